//! A conversation as a file.

use std::path::Path;

use anyhow::Context as _;
use selvedge_train::fs_atomic;
use serde_json::{Value, json};

use super::session::Session;

/// Writes all that was said: with a name that ends in `.jsonl`, one line `{"messages": [...]}` as fine-tuning reads it; else
/// a list of messages. All or nothing.
///
/// # Errors
/// If the file is there and is not to be replaced, or cannot be written.
pub(super) fn save(session: &Session<'_>, path: &Path, replace: bool) -> anyhow::Result<()> {
    anyhow::ensure!(
        replace || !path.exists(),
        "{} is there already: /save! {} replaces it",
        path.display(),
        path.display()
    );
    let messages: Value =
        session.messages().map(|(role, content)| json!({"role": role, "content": content})).collect();
    let text = match path.extension() {
        Some(extension) if extension == "jsonl" => json!({ "messages": messages }).to_string(),
        _ => format!("{messages:#}"),
    };
    fs_atomic::write(path, (text + "\n").as_bytes())
        .with_context(|| format!("cannot save to {}", path.display()))
}
