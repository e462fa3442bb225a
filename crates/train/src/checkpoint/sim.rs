//! A file system in memory that fails on request and forgets, when the power goes, what was not made durable.
//!
//! Each file has the bytes a program sees and those that are durable; each folder likewise has the entries seen and the
//! durable ones. What survives a loss of power is the worst a real file system may leave: of unflushed bytes nothing, or
//! half, or zeros of the right length; of unflushed entries any subset, so that a rename may keep both names or lose
//! both. Code that survives this does not lean on what one file system happens to do.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use selvedge_sync::lock::{Key, RwLock};

use crate::checkpoint::{Store, StoreFile};
use crate::order::Order;

/// What goes wrong, at the operation of this number, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// The power goes: a write is half done, another operation not at all, and nothing works from then on.
    Cut(u32),
    /// The operation fails as on a full disk, with nothing done; later ones work.
    Error(u32),
    /// A write stops half-way and fails; another operation fails with nothing done; later ones work.
    Short(u32),
}

/// How the program ended, which decides what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    /// It was killed: all it did is there.
    Killed,
    /// The power went: what was durable is there and nothing else.
    Strict,
    /// The power went: what was durable is there, and of the rest anything.
    Random(u64),
}

#[derive(Clone, Debug)]
enum Node {
    File { seen: Vec<u8>, durable: Vec<u8> },
    Folder { seen: BTreeMap<OsString, usize>, durable: BTreeMap<OsString, usize> },
}

#[derive(Clone, Debug)]
struct Disk {
    /// The first is the root.
    nodes: Vec<Node>,
    fault: Fault,
    log: Vec<&'static str>,
    dark: bool,
}

selvedge_sync::lock_ranks! {
    /// The simulated disk, under no other lock.
    DiskRank,
}

/// The file system. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct SimStore {
    disk: Arc<RwLock<Disk, DiskRank>>,
}

impl SimStore {
    pub(super) fn new() -> Self {
        let root = Node::Folder { seen: BTreeMap::new(), durable: BTreeMap::new() };
        Self::over(Disk { nodes: vec![root], fault: Fault::None, log: Vec::new(), dark: false })
    }

    fn over(disk: Disk) -> Self {
        Self { disk: Arc::new(RwLock::new(disk)) }
    }

    fn with<R>(&self, work: impl FnOnce(&mut Disk) -> R) -> R {
        work(&mut Key::new().write(&self.disk).0)
    }

    /// As others may look at the same time.
    fn see<R>(&self, look: impl FnOnce(&Disk) -> R) -> R {
        look(&Key::new().read(&self.disk).0)
    }

    /// An independent copy as it is now, on which `fault` is going to happen.
    pub(super) fn fork(&self, fault: Fault) -> Self {
        Self::over(Disk { fault, log: Vec::new(), ..self.see(Disk::clone) })
    }

    /// The operations that change something, in order, since the last fork.
    pub(super) fn log(&self) -> Vec<&'static str> {
        self.see(|disk| disk.log.clone())
    }

    /// The disk as it is found after the crash: all that is there now is durable.
    pub(super) fn after(&self, crash: Crash) -> Self {
        let mut disk = self.see(Disk::clone);
        let mut draws = 0;
        // An even draw, the same for the same crash and disk.
        let mut draw = |most: u64| match crash {
            Crash::Killed => most - 1,
            Crash::Strict => 0,
            Crash::Random(seed) => {
                draws += 1;
                Order::new(seed, most).window(draws, 0)
            }
        };
        for node in &mut disk.nodes {
            match node {
                Node::File { seen, durable } => {
                    if seen != durable {
                        *seen = match draw(4) {
                            0 => durable.clone(),
                            1 => seen[..seen.len() / 2].to_vec(),
                            2 => vec![0; seen.len()],
                            _ => seen.clone(),
                        };
                    }
                    *durable = seen.clone();
                }
                Node::Folder { seen, durable } => {
                    let names: BTreeSet<OsString> = seen.keys().chain(durable.keys()).cloned().collect();
                    for name in names {
                        if seen.get(&name) != durable.get(&name) && draw(2) == 0 {
                            match durable.get(&name) {
                                Some(&node) => seen.insert(name, node),
                                None => seen.remove(&name),
                            };
                        }
                    }
                    *durable = seen.clone();
                }
            }
        }
        Self::over(Disk { fault: Fault::None, log: Vec::new(), dark: false, ..disk })
    }

    /// Changes the bytes of a file behind everybody's back.
    pub(super) fn corrupt(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        self.with(|disk| {
            let at = disk.find(path).unwrap();
            match &mut disk.nodes[at] {
                Node::File { seen, .. } => change(seen),
                Node::Folder { .. } => panic!("{} is a folder", path.display()),
            }
        });
    }
}

impl Disk {
    /// Counts an operation; says how much of it is to be done, of 2 halves, and how it ends.
    fn begin(&mut self, name: &'static str) -> (usize, io::Result<()>) {
        if self.dark {
            return (0, Err(io::Error::other("no power")));
        }
        let number = self.log.len() as u32;
        self.log.push(name);
        let full = || Err(ErrorKind::StorageFull.into());
        match self.fault {
            Fault::Cut(at) if at == number => {
                self.dark = true;
                (1, Err(io::Error::other("no power")))
            }
            Fault::Error(at) if at == number => (0, full()),
            Fault::Short(at) if at == number => (1, full()),
            _ => (2, Ok(())),
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        path.components().skip(1).try_fold(0, |at, name| match &self.nodes[at] {
            Node::Folder { seen, .. } => {
                seen.get(name.as_os_str()).copied().ok_or(ErrorKind::NotFound.into())
            }
            Node::File { .. } => Err(ErrorKind::NotADirectory.into()),
        })
    }

    fn folder(&mut self, path: &Path) -> io::Result<&mut BTreeMap<OsString, usize>> {
        let at = self.find(path)?;
        match &mut self.nodes[at] {
            Node::Folder { seen, .. } => Ok(seen),
            Node::File { .. } => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<usize> {
        let at = self.nodes.len();
        self.folder(path.parent().unwrap())?.insert(path.file_name().unwrap().into(), at);
        self.nodes.push(node);
        Ok(at)
    }
}

impl Store for SimStore {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.with(|disk| {
            disk.begin("create_dir").1?;
            if disk.find(path).is_err() {
                disk.add(path, Node::Folder { seen: BTreeMap::new(), durable: BTreeMap::new() })?;
            }
            Ok(())
        })
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn StoreFile>> {
        self.with(|disk| {
            disk.begin("create_file").1?;
            let at = disk.add(path, Node::File { seen: Vec::new(), durable: Vec::new() })?;
            Ok(Box::new(SimFile { store: self.clone(), at }) as Box<dyn StoreFile>)
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.with(|disk| {
            disk.begin("sync_dir").1?;
            let at = disk.find(path)?;
            if let Node::Folder { seen, durable } = &mut disk.nodes[at] {
                *durable = seen.clone();
            }
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.with(|disk| {
            disk.begin("rename").1?;
            if disk.find(to).is_ok() {
                return Err(ErrorKind::DirectoryNotEmpty.into());
            }
            let at = disk.find(from)?;
            disk.folder(from.parent().unwrap())?.remove(from.file_name().unwrap());
            disk.folder(to.parent().unwrap())?.insert(to.file_name().unwrap().into(), at);
            Ok(())
        })
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.with(|disk| {
            let (halves, outcome) = disk.begin("remove_dir");
            let inside = disk.folder(path)?;
            // A removal goes file by file, and the manifest may well be left.
            let names: Vec<OsString> = inside.keys().take(inside.len() * halves / 2).cloned().collect();
            inside.retain(|name, _| !names.contains(name));
            outcome?;
            disk.folder(path.parent().unwrap())?.remove(path.file_name().unwrap());
            Ok(())
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.see(|disk| match &disk.nodes[disk.find(path)?] {
            Node::Folder { seen, .. } => Ok(seen.keys().cloned().collect()),
            Node::File { .. } => Err(ErrorKind::NotADirectory.into()),
        })
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.see(|disk| match &disk.nodes[disk.find(path)?] {
            Node::File { seen, .. } => Ok(seen.clone()),
            Node::Folder { .. } => Err(ErrorKind::IsADirectory.into()),
        })
    }
}

struct SimFile {
    store: SimStore,
    at: usize,
}

impl StoreFile for SimFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.store.with(|disk| {
            let (halves, outcome) = disk.begin("write");
            if let Node::File { seen, .. } = &mut disk.nodes[self.at] {
                seen.extend_from_slice(&bytes[..bytes.len() * halves / 2]);
            }
            outcome
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.store.with(|disk| {
            disk.begin("sync").1?;
            if let Node::File { seen, durable } = &mut disk.nodes[self.at] {
                *durable = seen.clone();
            }
            Ok(())
        })
    }
}
