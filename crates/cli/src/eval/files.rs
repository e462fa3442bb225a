//! Files that a model is measured by.

use std::path::Path;

use anyhow::{Context as _, ensure};

/// The bytes of a file.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let cannot = || format!("cannot read {}", path.display());
    // A pipe would wait for its other end, and a device might never end.
    let about = std::fs::metadata(path).with_context(cannot)?;
    ensure!(about.is_file(), "{}: it is no file", cannot());
    std::fs::read(path).with_context(cannot)
}

/// The text of a file.
pub(crate) fn read_text(path: &Path) -> anyhow::Result<String> {
    let text = String::from_utf8(read(path)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        anyhow::anyhow!("{} is no text in UTF-8, at byte {at}; convert it first", path.display())
    })?;
    ensure!(!text.trim().is_empty(), "{} has no text; name another file", path.display());
    Ok(text)
}
