//! Saving: the order of operations that makes a checkpoint appear at once, and the removal of old ones.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::load::{self, Entry};
use super::manifest::{self, Best, FileEntry, MANIFEST, Manifest, VERSION};
use super::{Checkpoints, SaveRequest, Saved, Skipped, Store, tensors};
use crate::Error;

/// Names beginning so are of unfinished or half-removed checkpoints.
const TEMPORARY: &str = ".tmp-";

impl Checkpoints {
    /// Saves a checkpoint, durable on return, and removes those that are no longer to be kept.
    ///
    /// An error leaves all earlier checkpoints as they were. Saving a step again replaces its checkpoint only once the
    /// new one is durable.
    ///
    /// # Errors
    /// [`Error::Io`] naming the operation and the file (with the remedy if the disk is full), [`Error::SaveTensor`] or
    /// [`Error::SaveName`] if the request does not fit together.
    ///
    /// ```
    /// use selvedge_train::checkpoint::{Checkpoints, ManifestData, NamedTensor, SaveRequest};
    /// # let run = tempfile::tempdir()?;
    /// let checkpoints = Checkpoints::new(run.path().join("checkpoints"), 2)?;
    /// let weight = NamedTensor {
    ///     name: "weight".into(),
    ///     shape: vec![2, 2],
    ///     data: vec![0.0, 1.0, 2.0, 3.0, 4.0].into(),
    ///     range: 1..5,
    /// };
    /// let state = ManifestData { step: 100, row: 3200, ..ManifestData::default() };
    /// checkpoints.save(&SaveRequest { manifest: state, files: vec![("model.safetensors".into(), vec![weight])] })?;
    ///
    /// let loaded = checkpoints.latest_good()?;
    /// assert_eq!(loaded.manifest.state.row, 3200);
    /// let mut weight = [0.0; 4];
    /// loaded.file("model.safetensors")?.copy_into("weight", &[2, 2], &mut weight)?;
    /// assert_eq!(weight, [1.0, 2.0, 3.0, 4.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn save(&self, request: &SaveRequest) -> Result<Saved, Error> {
        let store = &*self.store;
        check(request)?;
        self.prepare()?;
        let (entries, damaged) = load::entries(&self.dir, store)?;

        let step = request.manifest.step;
        let taken: BTreeSet<&Path> =
            entries.iter().map(|e| &*e.path).chain(damaged.iter().map(|d| &*d.path)).collect();
        // Always a new name: a folder cannot be replaced by a rename, and removing the old one first would leave a
        // moment without either.
        let name = (1..)
            .map(|n| if n == 1 { format!("step-{step:08}") } else { format!("step-{step:08}-{n}") })
            .find(|name| !taken.contains(&*self.dir.join(name)))
            .unwrap_or_default();
        let path = self.dir.join(&name);
        let temporary = self.dir.join(format!("{TEMPORARY}{name}"));

        let sequence = entries.iter().map(|e| e.manifest.sequence + 1).max().unwrap_or(1);
        let best = best_of(&entries, request, &name);
        let is_best = best.as_ref().is_some_and(|best| best.folder == name);
        let manifest = Manifest {
            version: VERSION,
            sequence,
            state: request.manifest.clone(),
            best: best.clone(),
            files: Vec::new(),
        };
        if let Err(error) = self.commit(request, manifest, &temporary, &path) {
            // Room for the next attempt; if even this fails, the next save tries again.
            let _ = store.remove_dir(&temporary);
            return Err(error);
        }

        let mut not_removed = Vec::new();
        for entry in self.outdated(&entries, step, best.as_ref()) {
            if let Err(reason) = self.remove(&entry.path) {
                not_removed.push(Skipped { path: entry.path.clone(), reason });
            }
        }
        Ok(Saved { path, step, best: is_best, not_removed })
    }

    /// Makes sure that the folder is there, durably, and holds no left-overs.
    fn prepare(&self) -> Result<(), Error> {
        let store = &*self.store;
        // If this fails for another reason than absence, creating the folder says so.
        let names = store.list(&self.dir).or_else(|_| {
            store.create_dir(&self.dir).map_err(Error::io("create", &self.dir))?;
            Ok::<_, Error>(Vec::new())
        })?;
        // Each time: that the folder is there does not mean that it will be after a loss of power.
        let parent =
            self.dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        store.sync_dir(parent).map_err(Error::io("flush", parent))?;
        self.leftovers(names).try_for_each(|path| store.remove_dir(&path).map_err(Error::io("remove", &path)))
    }

    /// Removes what a save or a removal that was cut short has left, if there is any and it can be removed; whatever
    /// stays is an error of the next save. A run that is resumed after its last save makes no other.
    pub(crate) fn sweep(&self) {
        for path in self.leftovers(self.store.list(&self.dir).unwrap_or_default()) {
            let _ = self.store.remove_dir(&path);
        }
    }

    /// The unfinished and half-removed checkpoints among the names in the folder.
    fn leftovers(&self, names: Vec<OsString>) -> impl Iterator<Item = PathBuf> {
        let is_leftover = |name: &OsString| name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes());
        names.into_iter().filter(is_leftover).map(|name| self.dir.join(name))
    }

    fn commit(
        &self,
        request: &SaveRequest,
        mut manifest: Manifest,
        temporary: &Path,
        path: &Path,
    ) -> Result<(), Error> {
        let store = &*self.store;
        store.create_dir(temporary).map_err(Error::io("create", temporary))?;
        for (name, tensors) in &request.files {
            let entry = write_file(store, &temporary.join(name), name, |sink| tensors::write(tensors, sink))?;
            manifest.files.push(entry);
        }
        // Last, so that a folder with a manifest has all its files.
        let bytes = manifest.encode()?;
        write_file(store, &temporary.join(MANIFEST), MANIFEST, |sink| sink(&bytes))?;
        store.sync_dir(temporary).map_err(Error::io("flush", temporary))?;
        store.rename(temporary, path).map_err(Error::io("rename", path))?;
        store.sync_dir(&self.dir).map_err(Error::io("flush", &self.dir))
    }

    /// The older checkpoints that go now that the one of `step` is durable: all but the last ones and the best.
    ///
    /// Damaged ones are not among them: they count for nothing, and what cannot be read is not ours to remove.
    fn outdated<'a>(&self, older: &'a [Entry], step: u64, best: Option<&Best>) -> Vec<&'a Entry> {
        let mut kept = 1;
        let outdated = |entry: &&Entry| {
            let replaced = entry.manifest.state.step == step;
            if !replaced && kept < self.keep {
                kept += 1;
                return false;
            }
            replaced || best.is_none_or(|best| !entry.path.ends_with(&best.folder))
        };
        older.iter().filter(outdated).collect()
    }

    /// Removes a checkpoint, out of the way first: a removal that is cut short must not leave half of one to be found.
    fn remove(&self, path: &Path) -> Result<(), Error> {
        let mut name = OsString::from(TEMPORARY);
        name.push("old-");
        name.push(path.file_name().unwrap_or_default());
        let aside: PathBuf = self.dir.join(name);
        self.store.rename(path, &aside).map_err(Error::io("rename", path))?;
        self.store.remove_dir(&aside).map_err(Error::io("remove", &aside))
    }
}

fn check(request: &SaveRequest) -> Result<(), Error> {
    let mut names = BTreeSet::new();
    for (name, tensors) in &request.files {
        if !manifest::is_plain(name) || !names.insert(name) {
            return Err(Error::SaveName { file: name.clone() });
        }
        tensors::check(name, tensors)?;
    }
    Ok(())
}

/// Writes one file through `fill`, makes it durable, and says what was written.
fn write_file(
    store: &dyn Store,
    path: &Path,
    name: &str,
    fill: impl FnOnce(&mut dyn FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()>,
) -> Result<FileEntry, Error> {
    let mut file = store.create_file(path).map_err(Error::io("create", path))?;
    let mut hasher = blake3::Hasher::new();
    let mut bytes = 0;
    fill(&mut |piece| {
        hasher.update(piece);
        bytes += piece.len() as u64;
        file.write(piece)
    })
    .map_err(Error::io("write", path))?;
    file.sync().map_err(Error::io("flush", path))?;
    Ok(FileEntry { name: name.to_string(), bytes, blake3: hasher.finalize().to_hex().to_string() })
}

/// The lowest validation loss among the older checkpoints and the new one; the earliest of equals.
fn best_of(older: &[Entry], request: &SaveRequest, name: &str) -> Option<Best> {
    let step = request.manifest.step;
    let earlier = older.iter().rev().filter(|entry| entry.manifest.state.step != step).filter_map(|entry| {
        Some(Best {
            folder: entry.path.file_name()?.to_str()?.to_string(),
            step: entry.manifest.state.step,
            valid_loss: entry.manifest.state.valid_loss?,
        })
    });
    let new =
        request.manifest.valid_loss.map(|valid_loss| Best { folder: name.to_string(), step, valid_loss });
    earlier
        .chain(new)
        .filter(|best| best.valid_loss.is_finite())
        .min_by(|a, b| a.valid_loss.total_cmp(&b.valid_loss))
}
