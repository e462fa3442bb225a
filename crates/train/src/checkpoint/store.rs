//! The few file operations a commit is made of, so that a test can make any of them fail.

use std::ffi::OsString;
use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::fs_atomic;

/// A file system as checkpoints need it.
///
/// Nothing is promised to survive a loss of power but what was made durable: a file's bytes by [`StoreFile::sync`], a
/// folder's entries (new files, renames) by [`sync_dir`](Self::sync_dir).
pub trait Store: Debug + Send + Sync {
    /// Creates a folder and those above it.
    ///
    /// # Errors
    /// The system's.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Creates an empty file, or empties an existing one.
    ///
    /// # Errors
    /// The system's.
    fn create_file(&self, path: &Path) -> io::Result<Box<dyn StoreFile>>;
    /// Makes a folder's entries durable.
    ///
    /// # Errors
    /// The system's.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Renames a file or folder within its folder.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a folder and all it holds.
    ///
    /// # Errors
    /// The system's.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Names of a folder's entries, in any order.
    ///
    /// # Errors
    /// The system's.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;
    /// All bytes of a file.
    ///
    /// # Errors
    /// The system's.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
}

/// A file being written to a [`Store`].
pub trait StoreFile {
    /// Appends all of `bytes`.
    ///
    /// # Errors
    /// The system's; any part of `bytes` may then have been written.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written durable.
    ///
    /// # Errors
    /// The system's.
    fn sync(&mut self) -> io::Result<()>;
}

/// The system's own file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskStore;

impl Store for DiskStore {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn StoreFile>> {
        Ok(Box::new(File::create(path)?))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs_atomic::sync_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }
}

impl StoreFile for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Continues after interruptions and short writes, unlike a single call of the system's.
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}
