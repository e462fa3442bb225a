//! Numbers out of a tensor's bytes.

mod block256;
mod block32;
mod floats;

use super::{Type, UnsupportedType};

/// Turns elements of a type into f32.
///
/// Each element is computed in f32, rounded after each operation, in the order of the type's formula:
///
/// | type | element |
/// | --- | --- |
/// | F32, F16, BF16 | itself, exactly |
/// | Q8_0, Q4_0, Q5_0 | scale·(code − offset) |
/// | Q4_1, Q5_1 | scale·code + least |
/// | Q4_K, Q5_K | (scale·part's scale)·code − least·part's least |
/// | Q6_K | (scale·part's scale)·(code − 32) |
///
/// # Errors
/// [`UnsupportedType`] for every other type.
///
/// # Panics
/// If `bytes` are not whole blocks, or `out` has another number of elements than they do.
///
/// ```
/// use selvedge_model::gguf::{Type, dequantize};
///
/// let mut out = [0.0; 2];
/// dequantize(Type::BF16, &[0x80, 0x3f, 0x00, 0xc0], &mut out)?;
/// assert_eq!(out, [1.0, -2.0]);
/// # Ok::<(), selvedge_model::gguf::UnsupportedType>(())
/// ```
pub fn dequantize(element_type: Type, bytes: &[u8], out: &mut [f32]) -> Result<(), UnsupportedType> {
    match element_type {
        Type::F32 => each(bytes, out, floats::f32),
        Type::F16 => each(bytes, out, floats::f16),
        Type::BF16 => each(bytes, out, floats::bf16),
        Type::Q8_0 => each(bytes, out, block32::q8_0),
        Type::Q4_0 => each(bytes, out, block32::q4_0),
        Type::Q4_1 => each(bytes, out, block32::q4_1),
        Type::Q5_0 => each(bytes, out, block32::q5_0),
        Type::Q5_1 => each(bytes, out, block32::q5_1),
        Type::Q4_K => each(bytes, out, block256::q4_k),
        Type::Q5_K => each(bytes, out, block256::q5_k),
        Type::Q6_K => each(bytes, out, block256::q6_k),
        other => return Err(UnsupportedType(other)),
    }
    Ok(())
}

/// Applies `block` to each block of `BYTES` bytes, which has N elements.
fn each<const BYTES: usize, const N: usize>(
    bytes: &[u8],
    out: &mut [f32],
    block: impl Fn(&[u8; BYTES]) -> [f32; N],
) {
    let (blocks, rest) = bytes.as_chunks::<BYTES>();
    let (outs, beyond) = out.as_chunks_mut::<N>();
    assert!(rest.is_empty(), "{} bytes beyond whole blocks of {BYTES}", rest.len());
    assert!(
        beyond.is_empty() && outs.len() == blocks.len(),
        "{} blocks for another number of elements",
        blocks.len()
    );
    for (from, to) in blocks.iter().zip(outs) {
        *to = block(from);
    }
}
