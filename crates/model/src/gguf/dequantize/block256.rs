//! Blocks of 256 elements in parts of 32 or 16, whose scales are themselves codes.

use std::array;

use crate::gguf::blocks::{factors, half_at, lower_bits, six_bits};

/// Scale, scale of leasts, 12 bytes of parts' scales and leasts, 128 of codes.
pub(super) fn q4_k(block: &[u8; 144]) -> [f32; 256] {
    let parts = parts(block);
    array::from_fn(|i| {
        let (scale, least) = parts[i / 32];
        scale * f32::from(lower_bits(block, 16, i)) - least
    })
}

/// As [`q4_k`], with 32 bytes of upper bits before the codes: bit p of byte i is that of element i of part p.
pub(super) fn q5_k(block: &[u8; 176]) -> [f32; 256] {
    let parts = parts(block);
    array::from_fn(|i| {
        let (scale, least) = parts[i / 32];
        let upper = block[16 + i % 32] >> (i / 32) & 1;
        scale * f32::from(lower_bits(block, 48, i) | upper << 4) - least
    })
}

/// 192 bytes of codes, 16 scales with a sign, the scale of scales.
pub(super) fn q6_k(block: &[u8; 210]) -> [f32; 256] {
    let scale = half_at(block, 208).to_f32();
    let scales: [f32; 16] = array::from_fn(|part| scale * f32::from(block[192 + part].cast_signed()));
    array::from_fn(|i| scales[i / 16] * (f32::from(six_bits(block, i)) - 32.0))
}

/// Scale and least of each part of 32.
fn parts(block: &[u8]) -> [(f32, f32); 8] {
    let (scale, least) = (half_at(block, 0).to_f32(), half_at(block, 2).to_f32());
    array::from_fn(|part| {
        let (of_scale, of_least) = factors(block, part);
        (scale * f32::from(of_scale), least * f32::from(of_least))
    })
}
