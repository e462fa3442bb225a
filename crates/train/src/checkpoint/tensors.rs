//! Safetensors files of f32 tensors, written from shared buffers without a second copy, and read back.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensors};
use selvedge_sync::OwnedLease;
use serde_json::{Map, Value, json};

use super::damage::Damage;
use crate::Error;

/// Values turned into bytes at a time: 256 KiB.
const PIECE: usize = 1 << 16;

/// Values that nobody changes while they are written, shared by the tensors cut from them: a vector's, or those of a
/// leased buffer, which goes back to its pool with the last tensor.
#[derive(Clone)]
pub struct Values(Arc<dyn Deref<Target = Vec<f32>> + Send + Sync>);

impl Deref for Values {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl From<OwnedLease<Vec<f32>>> for Values {
    fn from(lease: OwnedLease<Vec<f32>>) -> Self {
        Self(Arc::new(lease))
    }
}

impl From<Vec<f32>> for Values {
    fn from(values: Vec<f32>) -> Self {
        Self(Arc::new(Box::new(values)))
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Values({})", self.len())
    }
}

/// A tensor to be saved: a name, a shape and a part of a shared buffer.
#[derive(Clone, Debug)]
pub struct NamedTensor {
    /// Name, unique within its file.
    pub name: String,
    /// Shape; its product is the length of `range`.
    pub shape: Vec<usize>,
    /// The buffer.
    pub data: Values,
    /// Where in the buffer the tensor's values lie, row-major.
    pub range: Range<usize>,
}

/// Checks that `tensors` can be saved as `file`.
pub(super) fn check(file: &str, tensors: &[NamedTensor]) -> Result<(), Error> {
    let mut names = BTreeSet::new();
    for tensor in tensors {
        let elements = tensor.shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
        let values = tensor.data.get(tensor.range.clone()).map(<[f32]>::len);
        if elements.is_none() || elements != values || !names.insert(tensor.name.as_str()) {
            return Err(Error::SaveTensor {
                file: file.to_string(),
                tensor: tensor.name.clone(),
                shape: tensor.shape.clone(),
                range: tensor.range.clone(),
                buffer: tensor.data.len(),
            });
        }
    }
    Ok(())
}

/// Passes the bytes of a safetensors file with `tensors` to `sink`, piece by piece.
///
/// The format: the header's length (u64, little-endian), a header in JSON with type, shape and place of each tensor,
/// padded with spaces so that the values are aligned to 8 bytes, then the values.
pub(super) fn write<E>(
    tensors: &[NamedTensor],
    mut sink: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut header = Map::new();
    let mut offset = 0;
    for tensor in tensors {
        let end = offset + 4 * tensor.range.len();
        let entry = json!({ "dtype": "F32", "shape": tensor.shape, "data_offsets": [offset, end] });
        header.insert(tensor.name.clone(), entry);
        offset = end;
    }
    let mut bytes = Value::Object(header).to_string().into_bytes();
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    sink(&(bytes.len() as u64).to_le_bytes())?;
    sink(&bytes)?;
    for tensor in tensors {
        for values in tensor.data[tensor.range.clone()].chunks(PIECE) {
            bytes.clear();
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            sink(&bytes)?;
        }
    }
    Ok(())
}

/// A file of a checkpoint, read and found whole.
#[derive(Debug)]
pub struct LoadedFile {
    path: PathBuf,
    bytes: Vec<u8>,
    metadata: Metadata,
    /// Where the values begin.
    values: usize,
}

impl LoadedFile {
    pub(super) fn parse(path: PathBuf, bytes: Vec<u8>) -> Result<Self, Error> {
        match SafeTensors::read_metadata(&bytes) {
            Ok((header, metadata)) => Ok(Self { path, bytes, metadata, values: 8 + header }),
            Err(source) => Err(Error::CheckpointDamaged { path, damage: Damage::Tensors(Box::new(source)) }),
        }
    }

    /// Where the file lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names and shapes of its tensors, in the order in which they are stored.
    #[must_use]
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let names = self.metadata.offset_keys();
        let shape = |name: &str| self.metadata.info(name).map(|info| info.shape.clone()).unwrap_or_default();
        names.into_iter().map(|name| (name.clone(), shape(&name))).collect()
    }

    /// Copies the values of tensor `name` into `out`, bit for bit.
    ///
    /// # Errors
    /// [`Error::TensorMissing`]; [`Error::TensorShape`] if its type is not f32 or its shape not `shape`.
    ///
    /// # Panics
    /// If `out` does not have as many values as `shape` says.
    pub fn copy_into(&self, name: &str, shape: &[usize], out: &mut [f32]) -> Result<(), Error> {
        assert_eq!(
            shape.iter().product::<usize>(),
            out.len(),
            "tensor {name} of shape {shape:?}: output length"
        );
        let Some(info) = self.metadata.info(name) else {
            return Err(Error::TensorMissing { path: self.path.clone(), tensor: name.to_string() });
        };
        if info.dtype != Dtype::F32 || info.shape != shape {
            return Err(Error::TensorShape {
                path: self.path.clone(),
                tensor: name.to_string(),
                expected: shape.to_vec(),
                found: info.shape.clone(),
                dtype: info.dtype.to_string(),
            });
        }
        // The header was checked against the length of the file when it was parsed.
        let bytes = &self.bytes[self.values + info.data_offsets.0..self.values + info.data_offsets.1];
        for (value, four) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *value = f32::from_le_bytes(*four);
        }
        Ok(())
    }
}
