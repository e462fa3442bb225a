//! Element types of weights in files, to and from f32.

use selvedge_tensor::HalfType;

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 32 bits.
    F32,
    /// IEEE half precision: 11 bits of significand, up to 65,504.
    F16,
    /// The upper half of an f32: 8 bits of significand.
    BF16,
}

impl Dtype {
    /// Bytes an element.
    pub(super) fn bytes(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::BF16 => 2,
        }
    }

    /// `None` for types that are not read.
    pub(crate) fn from_file(dtype: safetensors::Dtype) -> Option<Dtype> {
        match dtype {
            safetensors::Dtype::F32 => Some(Dtype::F32),
            safetensors::Dtype::F16 => Some(Dtype::F16),
            safetensors::Dtype::BF16 => Some(Dtype::BF16),
            _ => None,
        }
    }

    pub(super) fn in_file(self) -> safetensors::Dtype {
        match self {
            Dtype::F32 => safetensors::Dtype::F32,
            Dtype::F16 => safetensors::Dtype::F16,
            Dtype::BF16 => safetensors::Dtype::BF16,
        }
    }

    /// Name in config.json.
    pub(super) fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "float32",
            Dtype::F16 => "float16",
            Dtype::BF16 => "bfloat16",
        }
    }

    /// Fills `to` from the little-endian elements of `bytes`; of a matrix whose transpose `bytes` holds, `columns` is the
    /// number of columns of `to`.
    pub(crate) fn decode(self, to: &mut [f32], bytes: &[u8], columns: Option<usize>) {
        match self {
            Dtype::F32 => place(to, bytes.as_chunks().0, columns, |four| f32::from_le_bytes(*four)),
            Dtype::F16 => {
                place(to, bytes.as_chunks().0, columns, |two| half::f16::from_le_bytes(*two).to_f32())
            }
            Dtype::BF16 => {
                place(to, bytes.as_chunks().0, columns, |two| half::bf16::from_le_bytes(*two).to_f32())
            }
        }
    }

    /// What its elements are, if they have 16 bits.
    pub(crate) fn half(self) -> Option<HalfType> {
        match self {
            Dtype::F32 => None,
            Dtype::F16 => Some(HalfType::F16),
            Dtype::BF16 => Some(HalfType::Bf16),
        }
    }

    /// As [`Dtype::decode`], the bits of a type of 16 bits.
    pub(crate) fn bits(to: &mut [u16], bytes: &[u8], columns: Option<usize>) {
        place(to, bytes.as_chunks().0, columns, |two| u16::from_le_bytes(*two));
    }

    /// The little-endian elements of `from`, rounded to nearest, ties to even; of a matrix of `columns` columns those of
    /// its transpose.
    pub(crate) fn encode(self, from: &[f32], columns: Option<usize>) -> Vec<u8> {
        let mut bytes = vec![0; from.len() * self.bytes()];
        match self {
            Dtype::F32 => lay(bytes.as_chunks_mut().0, from, columns, f32::to_le_bytes),
            Dtype::F16 => {
                lay(bytes.as_chunks_mut().0, from, columns, |x| half::f16::from_f32(x).to_le_bytes())
            }
            Dtype::BF16 => {
                lay(bytes.as_chunks_mut().0, from, columns, |x| half::bf16::from_f32(x).to_le_bytes())
            }
        }
        bytes
    }
}

fn place<const N: usize, T>(
    to: &mut [T],
    from: &[[u8; N]],
    columns: Option<usize>,
    value: impl Fn(&[u8; N]) -> T,
) {
    match columns {
        None => to.iter_mut().zip(from).for_each(|(to, from)| *to = value(from)),
        Some(columns) => transposed(columns, to.len(), |here, there| to[here] = value(&from[there])),
    }
}

fn lay<const N: usize>(
    to: &mut [[u8; N]],
    from: &[f32],
    columns: Option<usize>,
    bytes: impl Fn(f32) -> [u8; N],
) {
    match columns {
        None => to.iter_mut().zip(from).for_each(|(to, &from)| *to = bytes(from)),
        Some(columns) => transposed(columns, from.len(), |here, there| to[there] = bytes(from[here])),
    }
}

/// Calls `pair` with the place of each element in a matrix of `columns` columns, and in its transpose.
fn transposed(columns: usize, len: usize, mut pair: impl FnMut(usize, usize)) {
    // Columns a pass: one pass touches as many cache lines of the transpose at a time, and finds them again.
    const BLOCK: usize = 16;
    let rows = len / columns.max(1);
    for first in (0..columns).step_by(BLOCK) {
        for row in 0..rows {
            for column in first..columns.min(first + BLOCK) {
                pair(row * columns + column, column * rows + row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_comes_back_whichever_way_the_matrix_lies() {
        let (rows, columns) = (5, 37);
        let values: Vec<f32> = (0..rows * columns).map(|i| i as f32 - 90.0).collect();
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            for columns in [None, Some(columns)] {
                let bytes = dtype.encode(&values, columns);
                assert_eq!(bytes.len(), values.len() * dtype.bytes());
                let mut back = vec![f32::NAN; values.len()];
                dtype.decode(&mut back, &bytes, columns);
                assert_eq!(back, values, "{dtype:?}");
            }
        }
        let bytes = Dtype::F32.encode(&values, Some(columns));
        assert_eq!(
            bytes[4..8],
            values[columns].to_le_bytes(),
            "the second of a column is the first of the next row"
        );
    }
}
