//! GGUF files: metadata by key and tensors by name, as numbers or in quantized blocks, read and written.
//!
//! Versions 2 and 3, little-endian ([specification](https://github.com/ggml-org/ggml/blob/master/docs/gguf.md)):
//!
//! | bytes | field |
//! | --- | --- |
//! | 4 | magic, `GGUF` |
//! | 4 | version, u32 |
//! | 8 | number of tensors, u64 |
//! | 8 | number of keys, u64 |
//! | | for each key: its name, the kind of its value (u32, see [`Kind`]), the value |
//! | | for each tensor: name, number of dimensions (u32), dimensions (u64 each, the fastest first), type (u32, see [`Type`]), offset (u64) |
//! | | zeros up to a multiple of `general.alignment`, 32 if there is no such key |
//! | | the tensors; offsets count from here and are multiples of the alignment |
//!
//! A string is its length (u64) and that much UTF-8. An array is the kind of its elements (u32), their number (u64) and the
//! elements.
//!
//! [`Header::parse`] reads everything before the tensors out of bytes in memory, and says where in them the tensors lie.
//! [`File`] maps a file and parses that. [`dequantize()`] turns a tensor's bytes into f32, [`blocks`] into the blocks of
//! [`Quantized`](selvedge_tensor::Quantized). [`Writer`] writes a file,
//! [`Export`] a whole model.
//!
//! # Files are not trusted
//! Every count is held against the bytes that are left before anything is made of it, and lists grow as they are read:
//! parsing allocates at most about ten times the bytes that it has read. Nothing in a file makes this module panic.

pub mod blocks;
mod decode;
mod dequantize;
mod encode;
mod error;
mod export;
mod file;
mod header;
mod metadata;
mod model;
mod names;
mod quantize;
mod rewrite;
mod scaling;
mod settings;
mod sources;
mod tensors;
mod types;
mod value;
mod writer;

pub use dequantize::dequantize;
pub use error::{Error, Field, FormatError, KeyError, Problem, UnsupportedType, WriteError};
pub use export::{Export, ExportError, retype};
pub use file::{File, Tensor};
pub use header::Header;
pub use metadata::{Metadata, optional};
pub use model::Model;
pub use quantize::quantize;
pub use tensors::TensorInfo;
pub use types::{BlockSize, Type};
pub use value::{Array, Kind, Strings, Value};
pub use writer::{TensorSpec, Writer};

/// The version that [`Writer`] writes.
pub const VERSION: u32 = 3;
/// Alignment of tensors in a file that does not say, in bytes.
pub const DEFAULT_ALIGNMENT: u64 = 32;
/// The key that says otherwise.
pub const ALIGNMENT_KEY: &str = "general.alignment";
/// Most keys of a file.
pub const MAX_KEYS: u64 = 1 << 16;
/// Most tensors of a file.
pub const MAX_TENSORS: u64 = 1 << 20;
/// Longest key, in bytes.
pub const MAX_KEY_BYTES: u64 = (1 << 16) - 1;
/// Longest name of a tensor, in bytes.
pub const MAX_NAME_BYTES: u64 = 64;
/// Longest string that is a value or an element of an array, in bytes.
pub const MAX_STRING_BYTES: u64 = 1 << 26;
/// Most dimensions of a tensor.
pub const MAX_DIMENSIONS: usize = 4;
/// How deep arrays nest: an array of numbers or strings is of depth 1.
pub const MAX_DEPTH: usize = 4;

const MAGIC: [u8; 4] = *b"GGUF";
