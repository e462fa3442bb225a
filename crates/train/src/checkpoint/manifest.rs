//! The manifest: what a checkpoint holds, under one digest.
//!
//! A JSON file `{"blake3": …, "manifest": {…}}`. The digest is of the inner value as compact JSON with the keys in the order
//! of the file, so a changed figure is found though the file is still good JSON. Numbers are read back exactly, so a digest
//! computed over what was read is the digest over what was written, and a learning rate survives a resume bit for bit.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::damage::Damage;
use crate::Error;

/// Name of the manifest within a checkpoint's folder.
pub const MANIFEST: &str = "manifest.json";

/// The format version this program writes and reads.
pub const VERSION: u32 = 1;

/// What the training run says about its state. With the tensors it is all a resume needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ManifestData {
    /// Optimizer steps done.
    pub step: u64,
    /// Data position: the row at which the next batch begins, counted over all epochs.
    pub row: u64,
    /// Seed of the sample order and of everything else that is drawn; randomness is a pure function of it and the step.
    pub seed: u64,
    /// Configuration of the model.
    pub model: Value,
    /// Configuration of the training.
    pub training: Value,
    /// Digest of all parameters, in hexadecimal; see [`parameters_digest`](super::parameters_digest).
    pub parameters: String,
    /// Training loss of the last step, in nats per token.
    pub train_loss: Option<f64>,
    /// Validation loss, in nats per token; decides which checkpoint is the best.
    pub valid_loss: Option<f64>,
}

/// One file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Name within the checkpoint's folder.
    pub name: String,
    /// Length.
    pub bytes: u64,
    /// BLAKE3 of all its bytes, in hexadecimal.
    pub blake3: String,
}

/// The checkpoint with the lowest validation loss when a checkpoint was saved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Its folder's name.
    pub folder: String,
    /// Its step.
    pub step: u64,
    /// Its validation loss, in nats per token.
    pub valid_loss: f64,
}

/// A whole manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format version.
    pub version: u32,
    /// Number of the save within its folder of checkpoints, rising by one. The newest checkpoint is that of the highest
    /// number, not of the highest step: a run resumed from an older one goes on from there.
    pub sequence: u64,
    /// The run's state.
    pub state: ManifestData,
    /// The best so far, this one included; none without a validation loss.
    pub best: Option<Best>,
    /// Its files.
    pub files: Vec<FileEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    blake3: String,
    manifest: Value,
}

impl Manifest {
    pub(super) fn encode(&self) -> Result<Vec<u8>, Error> {
        let manifest = serde_json::to_value(self).map_err(|source| Error::SaveManifest { source })?;
        let sealed = json!({ "blake3": digest(&manifest), "manifest": manifest });
        let mut text = format!("{sealed:#}");
        text.push('\n');
        Ok(text.into_bytes())
    }

    pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let damaged = |damage| Error::CheckpointDamaged { path: path.to_path_buf(), damage };
        let Sealed { blake3: expected, manifest } =
            serde_json::from_slice(bytes).map_err(|source| damaged(Damage::Syntax(source)))?;
        let found = digest(&manifest);
        if found != expected {
            return Err(damaged(Damage::Digest { expected, found }));
        }
        // The version before the fields: another version may well have others.
        match manifest.get("version").and_then(Value::as_u64) {
            Some(found) if found != u64::from(VERSION) => {
                return Err(damaged(Damage::Version { found, expected: VERSION }));
            }
            _ => {}
        }
        let manifest: Self =
            serde_json::from_value(manifest).map_err(|source| damaged(Damage::Syntax(source)))?;
        match manifest.files.iter().find(|file| !is_plain(&file.name)) {
            Some(file) => Err(damaged(Damage::Name(file.name.clone()))),
            None => Ok(manifest),
        }
    }
}

fn digest(manifest: &Value) -> String {
    blake3::hash(manifest.to_string().as_bytes()).to_hex().to_string()
}

/// Whether `name` is one name of a visible file, other than the manifest's, wherever it is read.
pub(super) fn is_plain(name: &str) -> bool {
    name != MANIFEST
        && !name.starts_with('.')
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}
