//! What can be wrong with a folder of Hugging Face's layout.

use std::io;
use std::path::{Path, PathBuf};

/// Errors of reading and writing such folders. The words of the system and of the parser of headers are in
/// [`source`](std::error::Error::source), not in the message: print the chain to see both.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried: `open`, `read`, `map`, `make`, `write`, `replace`, `remove`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There are no weights in the folder.
    #[error(
        "{}: neither model.safetensors nor model.safetensors.index.json; weights of another format must be converted to \
         safetensors first", path.display()
    )]
    NoWeights {
        /// The folder.
        path: PathBuf,
    },
    /// A JSON file is far longer than any real one.
    #[error("{}: {bytes} bytes of JSON, more than {most}; is this the right file?", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length, or more than `most` if it grew meanwhile.
        bytes: u64,
        /// The most that is read.
        most: u64,
    },
    /// Not JSON, or not an object.
    #[error("not a JSON object: {0}")]
    Json(serde_json::Error),
    /// A field is missing, of another type, or says something this program does not compute.
    #[error("field {field} = {found}: {rule}")]
    Field {
        /// The field, with dots into objects.
        field: String,
        /// What it is, shortened; `nothing` if it is not there.
        found: String,
        /// What it must satisfy.
        rule: &'static str,
    },
    /// The fields are well formed and make no model.
    #[error(transparent)]
    Model(#[from] crate::Error),
    /// One of the above, in a file.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        error: Box<Error>,
    },
    /// The index names a shard outside the folder.
    #[error("{}: tensor {tensor:?} is said to be in {shard:?}, which is not a path inside the folder", path.display())]
    ShardOutside {
        /// The index.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What the index says.
        shard: String,
    },
    /// The length of a safetensors header is impossible.
    #[error("{}: offset 0: a header of {header} bytes in a file of {file}; the file is cut short or not safetensors", path.display())]
    HeaderLength {
        /// The file.
        path: PathBuf,
        /// Bytes of the header, as the file says.
        header: u64,
        /// Bytes of the file.
        file: u64,
    },
    /// A safetensors header is not what the format asks for: JSON whose tensors cover the data without gap or overlap.
    #[error("{}: offset 8: bad safetensors header; the file is damaged or of another format", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// The file is longer or shorter than its header says.
    #[error("{}: {found} bytes of data, the header says {expected}; the file is cut short or damaged, fetch it again", path.display())]
    DataLength {
        /// The file.
        path: PathBuf,
        /// Bytes of data.
        found: usize,
        /// What the header says.
        expected: usize,
    },
    /// A tensor the model needs is not there.
    #[error("{}: no tensor {tensor:?}, which the config asks for", path.display())]
    MissingTensor {
        /// The file where it should be, or the folder.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A tensor the model does not have.
    #[error("{}: tensor {tensor:?} is none of the model that the config describes", path.display())]
    ExtraTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A tensor is in two files.
    #[error("{}: tensor {tensor:?} is in {} too", path.display(), first.display())]
    DuplicateTensor {
        /// The second file.
        path: PathBuf,
        /// The first one.
        first: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A tensor has another shape than the config says.
    #[error("{}: tensor {tensor:?} has shape {found:?}, the config says {expected:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape that follows from the config.
        expected: Vec<usize>,
    },
    /// A tensor has an element type that is not read.
    #[error("{}: tensor {tensor:?} has type {found}; F32, F16 and BF16 are read", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The type in the file.
        found: String,
    },
    /// The config ties the head to the embedding, and the file holds a head of its own that differs.
    #[error(
        "{}: tensor {tensor:?} differs from the embedding, but config.json has tie_word_embeddings true; set that to \
         false to use it", path.display()
    )]
    UntiedHead {
        /// The file.
        path: PathBuf,
        /// The head's name.
        tensor: String,
    },
    /// No architecture of transformers computes this configuration.
    #[error("no architecture of transformers has {what}; it cannot be saved in this layout")]
    NotSavable {
        /// What none has.
        what: &'static str,
    },
    /// A parameter is too large for f16.
    #[error("tensor {tensor:?} holds {value}, beyond f16; save as bf16 or f32")]
    Overflow {
        /// The tensor.
        tensor: String,
        /// The parameter.
        value: f32,
    },
}

impl Error {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    }

    /// Says in which file it is.
    pub(super) fn within(path: &Path) -> impl FnOnce(Error) -> Error {
        let path = path.to_owned();
        move |error| Error::File { path, error: Box::new(error) }
    }
}
