//! What can go wrong with a GGUF file.

use std::io;
use std::path::{Path, PathBuf};

use super::{Kind, Type};

/// Errors of a file, with its path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done: open, read or map.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not a whole GGUF file.
    #[error("cannot load {}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with its bytes.
        source: FormatError,
    },
    /// The file's metadata are not what the program needs.
    #[error("cannot use {}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Which key, and what about it.
        source: KeyError,
    },
    /// A tensor has a type that is not supported.
    #[error("{}: tensor {tensor:?} cannot be used", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// Its type.
        source: UnsupportedType,
    },
    /// A key says something that this program does not compute.
    #[error("{}: {key} = {found} {rule}", path.display())]
    Setting {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What it is.
        found: String,
        /// What about it.
        rule: &'static str,
    },
    /// The keys are well formed and make no model.
    #[error("{}: these keys make no model", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: crate::Error,
    },
    /// A tensor of the model is not there.
    #[error("{}: no tensor {name:?}; is this a vocabulary, or a part of a split model?", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
    },
    /// A tensor has another shape than the keys say.
    #[error("{}: tensor {name:?} has shape {found:?}, the keys say {expected:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// The shape in the file, the fastest dimension last.
        found: Vec<usize>,
        /// The shape by the keys.
        expected: Vec<usize>,
    },
    /// A tensor that the model does not have, so that it must be another one.
    #[error("{}: tensor {name:?} is none of the model that the keys name", path.display())]
    ExtraTensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
    },
}

impl Error {
    /// Adds the path of the file that the metadata are of.
    pub fn key(path: impl AsRef<Path>) -> impl FnOnce(KeyError) -> Self {
        move |source| Self::Key { path: path.as_ref().to_path_buf(), source }
    }

    pub(super) fn model(path: &Path) -> impl FnOnce(crate::Error) -> Self {
        move |source| Self::Model { path: path.to_path_buf(), source }
    }

    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_path_buf(), source }
    }
}

/// What is wrong with the bytes of a file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}, {field}: {problem}")]
#[non_exhaustive]
pub struct FormatError {
    /// Where in the file the faulty number, string or list begins.
    pub offset: u64,
    /// What was being read.
    pub field: Field,
    /// What is wrong with it.
    pub problem: Problem,
}

/// A part of the header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Field {
    /// The first four bytes.
    #[error("magic")]
    Magic,
    /// The version.
    #[error("version")]
    Version,
    /// The number of tensors.
    #[error("number of tensors")]
    TensorCount,
    /// The number of keys.
    #[error("number of keys")]
    KeyCount,
    /// The name of a key.
    #[error("key {index}")]
    Key {
        /// Which, from 0.
        index: u64,
    },
    /// The value of a key, with its kind.
    #[error("value of {key:?}")]
    Value {
        /// The key.
        key: String,
    },
    /// The name of a tensor.
    #[error("name of tensor {index}")]
    TensorName {
        /// Which, from 0.
        index: u64,
    },
    /// The dimensions of a tensor, with their number.
    #[error("dimensions of tensor {tensor:?}")]
    Dimensions {
        /// Its name.
        tensor: String,
    },
    /// The type of a tensor.
    #[error("type of tensor {tensor:?}")]
    Type {
        /// Its name.
        tensor: String,
    },
    /// The offset of a tensor, and the bytes there.
    #[error("offset of tensor {tensor:?}")]
    Offset {
        /// Its name.
        tensor: String,
    },
}

/// What is wrong with a part of the header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Another kind of file.
    #[error("{} is not \"GGUF\"; this is not a GGUF file", found.escape_ascii())]
    Magic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// Its numbers are big-endian.
    #[error("the file is big-endian, only little-endian ones are read; convert it")]
    BigEndian,
    /// A version that is not read.
    #[error("the file has version {found}, only 2 and 3 are read; convert the model again")]
    Version {
        /// The file's.
        found: u32,
    },
    /// The file ends too early.
    #[error("{needed} bytes are needed, {left} are left; the file is damaged or not whole, fetch it again")]
    Truncated {
        /// Bytes of what was being read.
        needed: u64,
        /// Bytes up to the end of the file.
        left: u64,
    },
    /// A list cannot be as long as it says.
    #[error(
        "{count} entries of at least {least} bytes do not fit the {left} bytes that are left; the file is damaged"
    )]
    Count {
        /// Entries that the file claims.
        count: u64,
        /// Fewest bytes of an entry.
        least: u64,
        /// Bytes up to the end of the file.
        left: u64,
    },
    /// More than there may be.
    #[error("{found} are too many, the limit is {limit}")]
    Limit {
        /// Entries or bytes that the file claims.
        found: u64,
        /// The most that are read.
        limit: u64,
    },
    /// A key or name of no characters.
    #[error("it is empty")]
    Empty,
    /// Text in another encoding.
    #[error("its text is not UTF-8 from byte {valid} on")]
    Utf8 {
        /// Bytes before the first that is wrong.
        valid: usize,
    },
    /// A kind of value that does not exist.
    #[error("there is no kind of value {found}; the file is damaged or of a later version")]
    Kind {
        /// Its number.
        found: u32,
    },
    /// A truth value that is neither.
    #[error("{found} is neither 0, false, nor 1, true")]
    Bool {
        /// The byte.
        found: u8,
    },
    /// Arrays of arrays of arrays.
    #[error("arrays nest deeper than {limit}")]
    Depth {
        /// The deepest that are read.
        limit: usize,
    },
    /// The same key or name twice.
    #[error("{name:?} occurs twice")]
    Duplicate {
        /// The key or name.
        name: String,
    },
    /// Tensors cannot be aligned so.
    #[error("the alignment must be a u32, a power of two and a multiple of 8")]
    Alignment,
    /// No dimension, or too many.
    #[error("{found} dimensions, a tensor has 1 to {}", super::MAX_DIMENSIONS)]
    Dimensions {
        /// Their number.
        found: u32,
    },
    /// A tensor of no elements.
    #[error("dimension {dimension} is 0")]
    ZeroDimension {
        /// Which, from 0, in the order of the file.
        dimension: usize,
    },
    /// More elements than an address can count.
    #[error("so many elements cannot be counted")]
    Elements,
    /// Rows that are not whole blocks.
    #[error("a row of {columns} is not a multiple of {block}, the block of {found}")]
    Ragged {
        /// Elements of a row.
        columns: usize,
        /// Elements of a block.
        block: usize,
        /// The tensor's type.
        found: Type,
    },
    /// An offset between two allowed ones.
    #[error("{found} is not a multiple of the alignment, {alignment}")]
    Misaligned {
        /// The offset.
        found: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// Bytes beyond the file's end.
    #[error(
        "{bytes} bytes from byte {start} on reach beyond the file's {len}; the file is not whole, fetch it again"
    )]
    Outside {
        /// Where the tensor begins in the file.
        start: u64,
        /// Bytes it takes; 0 if its type is not known.
        bytes: u64,
        /// Bytes of the file.
        len: u64,
    },
    /// Bytes that belong to another tensor too.
    #[error("its bytes overlap those of {other:?}")]
    Overlap {
        /// The other tensor.
        other: String,
    },
}

/// A key that is absent or has another value than asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No such key.
    #[error("no key {key:?}; the file lacks what its kind of model needs")]
    Missing {
        /// The key.
        key: String,
    },
    /// A value of another kind.
    #[error("key {key:?} is of kind {found}, expected {expected}")]
    Kind {
        /// The key.
        key: String,
        /// What was asked for.
        expected: Kind,
        /// What is there.
        found: Kind,
    },
    /// An array with elements of another kind.
    #[error("key {key:?} is an array of {found}, expected one of {expected}")]
    Elements {
        /// The key.
        key: String,
        /// What was asked for.
        expected: Kind,
        /// What is there.
        found: Kind,
    },
    /// An integer that the kind asked for cannot hold.
    #[error("key {key:?} does not fit {expected}")]
    Range {
        /// The key.
        key: String,
        /// What was asked for.
        expected: Kind,
    },
}

/// A type of elements that this module cannot compute with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("elements of type {0} are not supported; convert the model to F16, Q8_0, Q4_0 or Q4_K")]
pub struct UnsupportedType(pub Type);

/// What can go wrong with writing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The output refused.
    #[error("cannot write a GGUF file")]
    Io(#[from] io::Error),
    /// A part that [`Header::parse`](super::Header::parse) would not take.
    #[error("{field}: {problem}")]
    Format {
        /// What was to be written.
        field: Field,
        /// What is wrong with it.
        problem: Problem,
    },
    /// A tensor in a type that is not written.
    #[error("tensor {tensor:?} cannot be written")]
    Unsupported {
        /// Its name.
        tensor: String,
        /// Its type.
        source: UnsupportedType,
    },
    /// A tensor of another size than announced.
    #[error("tensor {tensor:?}: {found} elements or bytes were given, {expected} announced")]
    Length {
        /// Its name.
        tensor: String,
        /// What its announcement says.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// More or fewer tensors than announced.
    #[error("{found} tensors were given, {expected} announced")]
    Count {
        /// How many were announced.
        expected: usize,
        /// How many were given, the refused one included.
        found: usize,
    },
}
