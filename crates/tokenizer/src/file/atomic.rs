//! Replacing a file all at once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::Error;

/// Names tried for the temporary file: others may be saving to the same place.
const ATTEMPTS: u32 = 1000;

/// Writes to a new file in the same folder, flushes it, and renames it to `path`.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let (temporary, file) = create(path, folder)?;
    let written = fill(file, content)
        .map_err(|source| Error::Io { action: "write", path: temporary.clone(), source })
        .and_then(|()| {
            fs::rename(&temporary, path).map_err(|source| Error::Io {
                action: "rename a finished file to",
                path: path.into(),
                source,
            })
        });
    if written.is_err() {
        // The first error tells more than a failure to tidy up after it.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync_folder(folder).map_err(|source| Error::Io {
        action: "flush the folder",
        path: folder.into(),
        source,
    })
}

/// A new file that nobody else has: its name says whose it is, and creating it fails if it exists.
fn create(path: &Path, folder: &Path) -> Result<(PathBuf, File), Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    for attempt in 0.. {
        let temporary = folder.join(format!(".{name}.{}-{attempt}.tmp", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && attempt < ATTEMPTS => {}
            Err(source) => return Err(Error::Io { action: "create", path: temporary, source }),
        }
    }
    unreachable!("the last attempt returns")
}

fn fill(mut file: File, content: &[u8]) -> io::Result<()> {
    file.write_all(content)?;
    file.sync_all()
}

/// Makes the new name itself outlive a crash.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere folders cannot be opened as files; the rename is flushed with the file system's own journal.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
