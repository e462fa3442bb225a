//! Parameters by name: between a flat buffer and named tensors of a file.

use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use crate::Error;
use crate::layout::Layout;

/// Name, shape and values of every parameter of a flat buffer, in memory order.
pub fn named<'a>(
    layout: &'a Layout,
    params: &'a [f32],
) -> impl Iterator<Item = (&'a str, Vec<usize>, &'a [f32])> {
    layout.slots().iter().map(|slot| (slot.name.as_str(), slot.shape(), &params[slot.span.range()]))
}

/// A flat buffer of `layout` from the tensors of `file`, whose names get `prefix` in front. `path` is for messages.
///
/// # Errors
/// [`Error::MissingTensor`], [`Error::Shape`] or [`Error::Dtype`] where the file does not fit the layout.
pub fn from_named(
    layout: &Layout,
    file: &SafeTensors<'_>,
    prefix: &str,
    path: &Path,
) -> Result<Vec<f32>, Error> {
    let mut params = vec![0.0; layout.len()];
    for slot in layout.slots() {
        let name = format!("{prefix}{}", slot.name);
        let tensor = file
            .tensor(&name)
            .map_err(|_| Error::MissingTensor { path: path.to_owned(), name: name.clone() })?;
        if tensor.dtype() != Dtype::F32 {
            return Err(Error::Dtype { path: path.to_owned(), name, found: format!("{:?}", tensor.dtype()) });
        }
        if tensor.shape() != slot.shape() {
            return Err(Error::Shape {
                path: path.to_owned(),
                name,
                found: tensor.shape().to_vec(),
                expected: slot.shape(),
            });
        }
        for (to, bytes) in params[slot.span.range()].iter_mut().zip(tensor.data().chunks_exact(4)) {
            *to = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
    }
    Ok(params)
}
