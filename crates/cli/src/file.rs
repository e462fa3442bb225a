//! Files that are read whole.

use std::path::Path;

use anyhow::{Context as _, ensure};

/// The bytes of a file of at most so many.
pub(crate) fn read(path: &Path, most: u64) -> anyhow::Result<Vec<u8>> {
    let cannot = || format!("cannot read {}", path.display());
    // A pipe would wait for its other end, and a device might never end.
    let about = std::fs::metadata(path).with_context(cannot)?;
    ensure!(about.is_file(), "{}: it is no file", cannot());
    ensure!(about.len() <= most, "{}: it has {} bytes, more than {most}", cannot(), about.len());
    std::fs::read(path).with_context(cannot)
}

/// The characters of a file of at most so many bytes.
pub(crate) fn read_utf8(path: &Path, most: u64) -> anyhow::Result<String> {
    String::from_utf8(read(path, most)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        anyhow::anyhow!("{} is no text in UTF-8, at byte {at}; convert it first", path.display())
    })
}

/// A text to measure by, of which there must be some.
pub(crate) fn read_text(path: &Path) -> anyhow::Result<String> {
    let text = read_utf8(path, u64::MAX)?;
    ensure!(!text.trim().is_empty(), "{} has no text; name another file", path.display());
    Ok(text)
}
