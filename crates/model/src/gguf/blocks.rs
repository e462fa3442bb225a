//! Blocks of 32 weights, between files and [`Quantized`](selvedge_tensor::Quantized): the same codes, laid out otherwise.

use std::array;

use half::f16;
use selvedge_tensor::quantized::{BLOCK, Block, Form};

use super::Type;

/// The form of weights whose blocks a type has, if there is one.
#[must_use]
pub fn form(element_type: Type) -> Option<Form> {
    match element_type {
        Type::Q8_0 => Some(Form::Q8_0),
        Type::Q4_0 => Some(Form::Q4_0),
        Type::Q4_1 => Some(Form::Q4_1),
        _ => None,
    }
}

/// A block as it lies in a file.
///
/// # Panics
/// If the type has no [`form`], or `bytes` are not one block of it.
#[must_use]
pub fn block(element_type: Type, bytes: &[u8]) -> Block {
    let expected = element_type.block().map(|block| block.bytes);
    assert_eq!(Some(bytes.len()), expected, "bytes of one block of {element_type}");
    let scale = half_at(bytes, 0);
    match element_type {
        Type::Q8_0 => {
            // Files have codes with a sign, blocks without.
            Block { scale, least: f16::ZERO, codes: array::from_fn(|i| bytes[2 + i] ^ 128) }
        }
        Type::Q4_0 => Block { scale, least: f16::ZERO, codes: nibbles(bytes, 2) },
        Type::Q4_1 => Block { scale, least: half_at(bytes, 2), codes: nibbles(bytes, 4) },
        _ => panic!("{element_type} has no form of weights"),
    }
}

/// Adds a block as it lies in a file.
pub(super) fn put(block: &Block, element_type: Type, out: &mut Vec<u8>) {
    out.extend(block.scale.to_le_bytes());
    if element_type == Type::Q4_1 {
        out.extend(block.least.to_le_bytes());
    }
    if element_type == Type::Q8_0 {
        out.extend(block.codes.map(|code| code ^ 128));
    } else {
        let (lower, upper) = block.codes.split_at(BLOCK / 2);
        out.extend(lower.iter().zip(upper).map(|(lower, upper)| lower | upper << 4));
    }
}

/// The f16 at a place.
pub(super) fn half_at(bytes: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// 32 codes of 4 bits out of the 16 bytes from `at` on: code i is the lower half of byte i, code i + 16 the upper.
pub(super) fn nibbles(bytes: &[u8], at: usize) -> [u8; BLOCK] {
    let half = BLOCK / 2;
    array::from_fn(|i| bytes[at + i % half] >> (4 * (i / half)) & 15)
}
