//! Loading: nothing is taken for whole that is not, and the newest whole one is found.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::damage::Damage;
use super::manifest::{MANIFEST, Manifest};
use super::tensors::LoadedFile;
use super::{Checkpoints, DiskStore, Store};
use crate::Error;

/// A checkpoint, read and found whole.
#[derive(Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// Its folder.
    pub path: PathBuf,
    /// What it says about itself.
    pub manifest: Manifest,
    /// Its files, in the order in which they were saved.
    pub files: Vec<LoadedFile>,
    /// Newer ones that were passed over, and why; ones whose age is not known are here too.
    pub skipped: Vec<Skipped>,
}

impl Loaded {
    /// The file of this name.
    ///
    /// # Errors
    /// [`Error::Io`] (not found) if the checkpoint has no such file.
    pub fn file(&self, name: &str) -> Result<&LoadedFile, Error> {
        self.files
            .iter()
            .find(|file| file.path().ends_with(name))
            .ok_or_else(|| Error::io("read", self.path.join(name))(io::ErrorKind::NotFound.into()))
    }
}

/// A checkpoint that was passed over.
#[derive(Debug)]
pub struct Skipped {
    /// Its folder.
    pub path: PathBuf,
    /// Why.
    pub reason: Error,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

impl Checkpoints {
    /// The newest checkpoint that is whole: manifest, lengths and digests of all files are checked.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`], with what was passed over, if none is; [`Error::Io`] if the folder cannot be listed.
    pub fn latest_good(&self) -> Result<Loaded, Error> {
        latest_good(&self.dir, &*self.store)
    }

    /// Folders and manifests of the checkpoints, the newest first. The files are not read; what has no readable manifest
    /// is left out.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be listed.
    pub fn list(&self) -> Result<Vec<(PathBuf, Manifest)>, Error> {
        let (entries, _) = entries(&self.dir, &*self.store)?;
        Ok(entries.into_iter().map(|entry| (entry.path, entry.manifest)).collect())
    }
}

/// Loads the checkpoint in folder `path`, and no other.
///
/// # Errors
/// [`Error::Io`] if a file is missing or unreadable, [`Error::CheckpointDamaged`] naming the file that is not whole.
pub fn load(path: &Path) -> Result<Loaded, Error> {
    let manifest = read_manifest(path, &DiskStore)?;
    let files = read_files(path, &manifest, &DiskStore)?;
    Ok(Loaded { path: path.to_path_buf(), manifest, files, skipped: Vec::new() })
}

/// A checkpoint whose manifest was read.
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) manifest: Manifest,
}

/// The checkpoints in `dir`, newest first, and those without a readable manifest. A missing folder holds none.
pub(super) fn entries(dir: &Path, store: &dyn Store) -> Result<(Vec<Entry>, Vec<Skipped>), Error> {
    let mut names = match store.list(dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(Error::Io { op: "read", path: dir.to_path_buf(), source }),
    };
    names.sort();
    let (mut entries, mut damaged) = (Vec::new(), Vec::new());
    for name in names.iter().rev().filter(|name| name.as_encoded_bytes().starts_with(b"step-")) {
        let path = dir.join(name);
        match read_manifest(&path, store) {
            Ok(manifest) => entries.push(Entry { path, manifest }),
            Err(reason) => damaged.push(Skipped { path, reason }),
        }
    }
    // Stable, so that equal numbers (folders copied together by hand) are tried in the order of their names.
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.manifest.sequence));
    Ok((entries, damaged))
}

pub(super) fn latest_good(dir: &Path, store: &dyn Store) -> Result<Loaded, Error> {
    let (entries, mut skipped) = entries(dir, store)?;
    for Entry { path, manifest } in entries {
        match read_files(&path, &manifest, store) {
            Ok(files) => return Ok(Loaded { path, manifest, files, skipped }),
            Err(reason) => skipped.push(Skipped { path, reason }),
        }
    }
    Err(Error::NoCheckpoint { dir: dir.to_path_buf(), skipped })
}

fn read_manifest(folder: &Path, store: &dyn Store) -> Result<Manifest, Error> {
    let path = folder.join(MANIFEST);
    let bytes = store.read(&path).map_err(Error::io("read", &path))?;
    Manifest::decode(&path, &bytes)
}

fn read_files(folder: &Path, manifest: &Manifest, store: &dyn Store) -> Result<Vec<LoadedFile>, Error> {
    let mut files = Vec::with_capacity(manifest.files.len());
    for entry in &manifest.files {
        let path = folder.join(&entry.name);
        let bytes = store.read(&path).map_err(Error::io("read", &path))?;
        let found = bytes.len() as u64;
        if found != entry.bytes {
            let damage = Damage::Length { expected: entry.bytes, found };
            return Err(Error::CheckpointDamaged { path, damage });
        }
        let found = blake3::hash(&bytes).to_hex();
        if found.as_str() != entry.blake3 {
            let damage = Damage::Digest { expected: entry.blake3.clone(), found: found.to_string() };
            return Err(Error::CheckpointDamaged { path, damage });
        }
        files.push(LoadedFile::parse(path, bytes)?);
    }
    Ok(files)
}
