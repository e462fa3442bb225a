//! Blocks of 32 elements: a scale, with some types a least, with 5 bits the upper bits, then codes.
//!
//! With 4 or 5 bits a byte has the lower 4 bits of two codes: i in the lower half and i + 16 in the upper.

use std::array;

use crate::gguf::blocks::{fives, half_at, nibbles};

/// Scale, 32 codes with a sign.
pub(super) fn q8_0(block: &[u8; 34]) -> [f32; 32] {
    let scale = half_at(block, 0).to_f32();
    array::from_fn(|i| scale * f32::from(block[2 + i].cast_signed()))
}

/// Scale, 16 bytes of codes.
pub(super) fn q4_0(block: &[u8; 18]) -> [f32; 32] {
    let scale = half_at(block, 0).to_f32();
    nibbles(block, 2).map(|code| scale * (f32::from(code) - 8.0))
}

/// Scale, least, 16 bytes of codes.
pub(super) fn q4_1(block: &[u8; 20]) -> [f32; 32] {
    let (scale, least) = (half_at(block, 0).to_f32(), half_at(block, 2).to_f32());
    nibbles(block, 4).map(|code| scale * f32::from(code) + least)
}

/// Scale, 32 upper bits, 16 bytes of codes.
pub(super) fn q5_0(block: &[u8; 22]) -> [f32; 32] {
    let scale = half_at(block, 0).to_f32();
    fives(block, 2).map(|code| scale * (f32::from(code) - 16.0))
}

/// Scale, least, 32 upper bits, 16 bytes of codes.
pub(super) fn q5_1(block: &[u8; 24]) -> [f32; 32] {
    let (scale, least) = (half_at(block, 0).to_f32(), half_at(block, 2).to_f32());
    fives(block, 4).map(|code| scale * f32::from(code) + least)
}
