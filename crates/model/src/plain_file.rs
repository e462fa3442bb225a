//! Opening files that come from elsewhere.

use std::fs::File;
use std::io;
use std::path::Path;

/// Opens a plain file, of so many bytes: opening a pipe would wait for its other end.
pub(crate) fn open(path: &Path) -> io::Result<(File, u64)> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}
