//! Whole files or no files: write under a temporary name, flush to the disk, rename.
//!
//! A reader of the final name sees the old content or the new one and never a part, and a reader that has the old file
//! mapped keeps it, because the name moves to another file and the old one is not touched.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::Error;

/// Replaces the content of `path` by `bytes`, all or nothing, durable on return.
///
/// # Errors
/// [`Error::Io`], naming `path`; the old content is then still there.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("metrics.json");
/// selvedge_train::fs_atomic::write(&path, b"{}\n")?;
/// assert_eq!(std::fs::read(&path)?, b"{}\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = AtomicFile::create(path)?;
    file.write(bytes)?;
    file.commit()
}

/// Makes the entries of a folder durable: a rename is on the disk only after this.
///
/// # Errors
/// The system's. On systems where a folder cannot be opened as a file this does nothing.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// A file being written under a temporary name beside its final one; dropped without [`commit`](Self::commit), it goes.
///
/// One writer per final name at a time: the temporary name holds the process id only.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    committed: bool,
}

impl AtomicFile {
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        let name = path.file_name().ok_or_else(|| Error::Io {
            op: "create",
            path: path.to_path_buf(),
            source: io::Error::from(io::ErrorKind::IsADirectory),
        })?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(hidden);
        let file = File::create(&temporary).map_err(Error::io("create", path))?;
        Ok(Self { path: path.to_path_buf(), temporary, file, committed: false })
    }

    /// The final name.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(Error::io("write", &self.path))
    }

    /// Overwrites the first bytes: a header whose figures are known only at the end.
    pub(crate) fn rewrite_start(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.write_all(bytes))
            .map_err(Error::io("write", &self.path))
    }

    /// Flushes, renames, and flushes the folder.
    pub(crate) fn commit(mut self) -> Result<(), Error> {
        self.file.sync_all().map_err(Error::io("flush", &self.path))?;
        fs::rename(&self.temporary, &self.path).map_err(Error::io("rename", &self.path))?;
        self.committed = true;
        let parent = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sync_dir(parent).map_err(Error::io("flush", parent))
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.committed {
            // The caller has its own error to report by now; a leftover hidden file harms nobody.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abandoned_file_leaves_the_old_content_and_no_litter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write(&path, b"old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write(b"half of the ne").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_start_can_be_rewritten_before_the_commit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write(b"????tail").unwrap();
        file.rewrite_start(b"head").unwrap();
        assert!(!path.exists(), "nothing under the final name before the commit");
        file.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"headtail");
    }

    #[test]
    fn a_missing_folder_and_a_nameless_path_are_errors_that_name_the_path() {
        for path in [Path::new("/nonexistent-folder/x"), Path::new("/")] {
            let error = write(path, b"").unwrap_err();
            assert!(matches!(&error, Error::Io { path: p, .. } if p == path), "{error}");
        }
    }
}
