//! Blocks of 256 elements in parts of 32 or 16, whose scales are themselves codes.

use std::array;

use crate::gguf::blocks::half_at;

/// Scale, scale of leasts, 12 bytes of parts' scales and leasts, 128 of codes.
///
/// Of each 64 elements, the lower halves of 32 bytes are the first 32, the upper halves the others.
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

/// 128 bytes of the codes' lower 4 bits, 64 of their upper 2, 16 scales with a sign, the scale of scales.
///
/// Of each 128 elements, four rows of 32: the lower bits of rows 0 and 1 are the lower halves of 64 bytes, those of 2 and 3
/// the upper halves; the upper bits of row r are bits 2r and 2r + 1 of 32 bytes.
pub(super) fn q6_k(block: &[u8; 210]) -> [f32; 256] {
    let scale = half_at(block, 208).to_f32();
    let scales: [f32; 16] = array::from_fn(|part| scale * f32::from(block[192 + part].cast_signed()));
    array::from_fn(|i| {
        let (half, row, at) = (i / 128, i / 32 % 4, i % 32);
        let lower = block[64 * half + 32 * (row % 2) + at] >> (4 * (row / 2)) & 15;
        let upper = block[128 + 32 * half + at] >> (2 * row) & 3;
        scales[i / 16] * (f32::from(lower | upper << 4) - 32.0)
    })
}

/// The lower 4 bits of code i, where codes are 128 bytes from `at` on.
fn lower_bits(block: &[u8], at: usize, i: usize) -> u8 {
    block[at + i / 64 * 32 + i % 32] >> (4 * (i / 32 % 2)) & 15
}

/// Scale and least of each part of 32.
///
/// Twelve bytes have eight pairs of 6 bits. The lower 6 bits of bytes 0 to 3 are the scales of parts 0 to 3, those of bytes
/// 4 to 7 their leasts. The halves of bytes 8 to 11 are the lower 4 bits of scales (lower half) and leasts (upper half) of
/// parts 4 to 7, whose upper 2 bits are those of bytes 0 to 3 (scales) and 4 to 7 (leasts).
fn parts(block: &[u8]) -> [(f32, f32); 8] {
    let (scale, least) = (half_at(block, 0).to_f32(), half_at(block, 2).to_f32());
    let codes = &block[4..16];
    array::from_fn(|part| {
        let (of_scale, of_least) = if part < 4 {
            (codes[part] & 63, codes[part + 4] & 63)
        } else {
            (codes[part + 4] & 15 | codes[part - 4] >> 6 << 4, codes[part + 4] >> 4 | codes[part] >> 6 << 4)
        };
        (scale * f32::from(of_scale), least * f32::from(of_least))
    })
}
