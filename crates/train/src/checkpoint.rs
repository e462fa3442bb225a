//! Checkpoints that are there whole or not at all.
//!
//! A checkpoint is a folder `step-00000100` with a manifest and safetensors files: parameters, optimizer, data position,
//! step and seed in one commit. It is written under a temporary name; every file is flushed, the manifest last; the folder
//! is flushed, renamed, and the folder above flushed. Whatever stops the program or the machine in between, what is found
//! afterwards is the old state or the new one. Loading checks every length and digest, and falls back to the newest
//! checkpoint that is whole.
//!
//! One process at a time may save into a folder of checkpoints; any number may read.

mod commit;
mod damage;
mod load;
mod manifest;
#[cfg(test)]
mod sim;
mod store;
mod tensors;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Error;
pub use damage::Damage;
pub use load::{Loaded, Skipped, load};
pub use manifest::{Best, FileEntry, MANIFEST, Manifest, ManifestData, VERSION};
pub use store::{DiskStore, Store, StoreFile};
pub use tensors::{LoadedFile, NamedTensor, Values};
pub use writer::CheckpointWriter;

/// All that a checkpoint is to hold.
#[derive(Clone, Debug)]
pub struct SaveRequest {
    /// The run's state.
    pub manifest: ManifestData,
    /// Names (`parameters.safetensors`) and tensors of the files.
    pub files: Vec<(String, Vec<NamedTensor>)>,
}

/// A checkpoint that is on the disk.
#[derive(Debug)]
#[non_exhaustive]
pub struct Saved {
    /// Its folder.
    pub path: PathBuf,
    /// Its step.
    pub step: u64,
    /// Whether it has the lowest validation loss so far.
    pub best: bool,
    /// Older checkpoints that were to go and could not be removed.
    pub not_removed: Vec<Skipped>,
}

/// A folder of checkpoints.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    dir: PathBuf,
    keep: usize,
    store: Arc<dyn Store>,
}

impl Checkpoints {
    /// The checkpoints in `dir`, of which saving keeps the last `keep` and the best. The folder need not exist.
    ///
    /// # Errors
    /// [`Error::Setting`] if `keep` is 0.
    pub fn new(dir: impl Into<PathBuf>, keep: usize) -> Result<Self, Error> {
        Self::with_store(dir, keep, Arc::new(DiskStore))
    }

    /// As [`new`](Self::new), through another file system: for tests that make operations fail.
    ///
    /// # Errors
    /// [`Error::Setting`] if `keep` is 0.
    pub fn with_store(dir: impl Into<PathBuf>, keep: usize, store: Arc<dyn Store>) -> Result<Self, Error> {
        if keep == 0 {
            return Err(Error::setting("number of checkpoints to keep", keep, "at least 1"));
        }
        Ok(Self { dir: dir.into(), keep, store })
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// The newest whole checkpoint in `dir`; see [`Checkpoints::latest_good`].
///
/// # Errors
/// As there.
pub fn latest_good(dir: &Path) -> Result<Loaded, Error> {
    load::latest_good(dir, &DiskStore)
}

/// The digest of a model's parameters: BLAKE3 of their bytes as little-endian f32, tensor after tensor.
///
/// ```
/// use selvedge_train::checkpoint::parameters_digest;
/// let whole = parameters_digest([&[1.0, 2.0, 3.0][..]]);
/// assert_eq!(whole, parameters_digest([&[1.0, 2.0][..], &[3.0]]));
/// assert_ne!(parameters_digest([&[0.0][..]]), parameters_digest([&[-0.0][..]])); // bits, not values
/// ```
pub fn parameters_digest<'a>(tensors: impl IntoIterator<Item = &'a [f32]>) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut bytes = Vec::new();
    for values in tensors.into_iter().flat_map(|tensor| tensor.chunks(1 << 16)) {
        bytes.clear();
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        hasher.update(&bytes);
    }
    hasher.finalize().to_hex().to_string()
}
