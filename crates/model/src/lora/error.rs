//! What can go wrong with adapters that came from outside, and with what is asked of them.

use std::path::{Path, PathBuf};

/// Errors of adapters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting outside its range.
    #[error("adapters: {field} = {value} {rule}")]
    Setting {
        /// Name of the setting.
        field: &'static str,
        /// What it was.
        value: String,
        /// What it must satisfy.
        rule: &'static str,
    },
    /// A module that the model does not have.
    #[error("adapters: {target:?} is no module of this model; its blocks have {known}")]
    Target {
        /// What was asked for; empty if nothing was.
        target: String,
        /// What there is.
        known: String,
    },
    /// The model's configuration.
    #[error(transparent)]
    Model(#[from] crate::Error),
    /// A file of tensors or of JSON.
    #[error(transparent)]
    File(#[from] crate::hf::Error),
    /// The system refused an operation.
    #[error("cannot {op} {}", path.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file that is no adapter's.
    #[error("{}: {what}; make the adapter anew, or fetch it again", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A field of `adapter_config.json` that means something that is not computed here.
    #[error("{}: {field} is {found}, and only {expected} is computed here", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// What it was.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A tensor is missing, or one too many is there.
    #[error("{}: {what} {tensor:?}; the adapter is not for this model", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// "no tensor" or "no place for tensor".
        what: &'static str,
        /// Its name.
        tensor: String,
    },
    /// A tensor has another shape than the model and the rank say.
    #[error("{}: tensor {tensor:?} has shape {found:?}, the model and the rank say {expected:?}; the adapter is not for this model", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape of the model.
        expected: Vec<usize>,
    },
}

impl Error {
    /// A failed operation of the system on `path`.
    pub(crate) fn io(op: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { op, path, source }
    }
}
