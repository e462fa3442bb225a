//! What can be wrong with a file of a checkpoint.

/// Why a file of a checkpoint is not the one that was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// Another length than the manifest says.
    #[error("it is {found} bytes long, expected {expected}")]
    Length {
        /// By the manifest, in bytes.
        expected: u64,
        /// On disk, in bytes.
        found: u64,
    },
    /// Other bytes than the manifest says.
    #[error("its digest is {found}, expected {expected}")]
    Digest {
        /// By the manifest, in hexadecimal.
        expected: String,
        /// Of the bytes on disk, in hexadecimal.
        found: String,
    },
    /// The manifest is not JSON, or not a manifest.
    #[error("it is not a manifest: {0}")]
    Syntax(serde_json::Error),
    /// A manifest of another format version.
    #[error("its format version is {found}, this program reads {expected}")]
    Version {
        /// The version it names.
        found: u64,
        /// The version this program reads and writes.
        expected: u32,
    },
    /// The manifest names a file that is not a plain name within its folder.
    #[error("it names the file {0:?}")]
    Name(String),
    /// The header of a safetensors file does not fit its bytes.
    #[error("it is not a whole safetensors file: {0}")]
    Tensors(Box<safetensors::SafeTensorError>),
}
