//! A tensor's bytes out of numbers.

use half::{bf16, f16};
use selvedge_tensor::quantized::{BLOCK, Block};

use super::{Type, UnsupportedType, blocks};

/// Adds numbers as elements of a type: F32, F16, BF16, or the nearest blocks of Q8_0, Q4_0, Q4_1, Q5_0 or Q5_1 (see
/// [`Block::of`]).
///
/// F16 and BF16 round to nearest, ties to even; what is beyond f16 becomes infinite.
///
/// # Errors
/// [`UnsupportedType`] for every other type.
///
/// # Panics
/// If `values` are not whole blocks.
pub fn quantize(element_type: Type, values: &[f32], out: &mut Vec<u8>) -> Result<(), UnsupportedType> {
    match element_type {
        Type::F32 => out.extend(values.iter().flat_map(|x| x.to_le_bytes())),
        Type::F16 => out.extend(values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes())),
        Type::BF16 => out.extend(values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes())),
        other => {
            let form =
                blocks::form(other).filter(|form| !form.has_factors()).ok_or(UnsupportedType(other))?;
            let (whole, rest) = values.as_chunks::<BLOCK>();
            assert!(rest.is_empty(), "{} elements beyond whole blocks of {BLOCK}", rest.len());
            for weights in whole {
                blocks::put(&Block::of(form, weights), other, out);
            }
        }
    }
    Ok(())
}
