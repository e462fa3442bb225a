//! Blocks of weights, between files and [`Quantized`]: the same codes, laid out otherwise.

use std::array;

use half::f16;
use selvedge_tensor::quantized::{BLOCK, Block, Form, Parts, SuperBlock};
use selvedge_tensor::{Context, Quantized};

use super::Type;

/// The form of weights whose blocks a type has, if there is one.
#[must_use]
pub fn form(element_type: Type) -> Option<Form> {
    match element_type {
        Type::Q8_0 => Some(Form::Q8_0),
        Type::Q4_0 => Some(Form::Q4_0),
        Type::Q4_1 => Some(Form::Q4_1),
        Type::Q5_0 => Some(Form::Q5_0),
        Type::Q5_1 => Some(Form::Q5_1),
        Type::Q4_K => Some(Form::Q4_K),
        Type::Q5_K => Some(Form::Q5_K),
        Type::Q6_K => Some(Form::Q6_K),
        _ => None,
    }
}

/// A block of 32 as it lies in a file.
///
/// # Panics
/// If the type has no [`form`] or one of super-blocks, or `bytes` are not one block of it.
#[must_use]
pub fn block(element_type: Type, bytes: &[u8]) -> Block {
    check(element_type, bytes);
    let scale = half_at(bytes, 0);
    match element_type {
        Type::Q8_0 => {
            // Files have codes with a sign, blocks without.
            Block { scale, least: f16::ZERO, codes: array::from_fn(|i| bytes[2 + i] ^ 128) }
        }
        Type::Q4_0 => Block { scale, least: f16::ZERO, codes: nibbles(bytes, 2) },
        Type::Q4_1 => Block { scale, least: half_at(bytes, 2), codes: nibbles(bytes, 4) },
        Type::Q5_0 => Block { scale, least: f16::ZERO, codes: fives(bytes, 2) },
        Type::Q5_1 => Block { scale, least: half_at(bytes, 2), codes: fives(bytes, 4) },
        _ => panic!("{element_type} has no blocks of 32 weights"),
    }
}

/// A block of 256 as it lies in a file.
///
/// # Panics
/// If the type has no [`form`] or one of blocks of 32, or `bytes` are not one block of it.
#[must_use]
pub fn super_block(element_type: Type, bytes: &[u8]) -> SuperBlock {
    check(element_type, bytes);
    match element_type {
        Type::Q4_K => SuperBlock {
            scale: half_at(bytes, 0),
            parts: parts(bytes),
            codes: array::from_fn(|i| lower_bits(bytes, 16, i)),
        },
        Type::Q5_K => SuperBlock {
            scale: half_at(bytes, 0),
            parts: parts(bytes),
            codes: array::from_fn(|i| lower_bits(bytes, 48, i) | (bytes[16 + i % 32] >> (i / 32) & 1) << 4),
        },
        Type::Q6_K => SuperBlock {
            scale: half_at(bytes, 208),
            parts: Parts::Of16 { scales: array::from_fn(|part| bytes[192 + part].cast_signed()) },
            codes: array::from_fn(|i| six_bits(bytes, i)),
        },
        _ => panic!("{element_type} has no blocks of 256 weights"),
    }
}

/// Rows of blocks of a type as weights (N, K); none if it has no [`form`].
///
/// # Panics
/// If `bytes` are not N rows of K elements, in whole blocks.
pub(super) fn weights(element_type: Type, (n, k): (usize, usize), bytes: &[u8]) -> Option<Quantized> {
    let size = element_type.block()?;
    let row = k / size.elements * size.bytes;
    assert_eq!(bytes.len(), n * row, "bytes of {n} rows of {k} elements of {element_type}");
    rows(&Context::solo(), element_type, k, &(0..n).map(|n| &bytes[n * row..][..row]).collect::<Vec<_>>())
}

/// The same out of one slice a row, by the threads of a context.
///
/// # Panics
/// If a row is not K elements in whole blocks.
pub(super) fn rows(cx: &Context, element_type: Type, k: usize, rows: &[&[u8]]) -> Option<Quantized> {
    let (form, size) = (form(element_type)?, element_type.block()?);
    assert_eq!(k % size.elements, 0, "rows of {k} elements in blocks of {element_type}");
    let at = |n: usize, b: usize| &rows[n][b * size.bytes..][..size.bytes];
    let dim = (rows.len(), k);
    Some(if form.has_factors() {
        Quantized::from_super_blocks(cx, form, dim, |n, b| super_block(element_type, at(n, b)))
    } else {
        Quantized::new(cx, form, dim, |n, b| block(element_type, at(n, b)))
    })
}

fn check(element_type: Type, bytes: &[u8]) {
    let expected = element_type.block().map(|block| block.bytes);
    assert_eq!(Some(bytes.len()), expected, "bytes of one block of {element_type}");
}

/// Adds a block as it lies in a file.
pub(super) fn put(block: &Block, element_type: Type, out: &mut Vec<u8>) {
    out.extend(block.scale.to_le_bytes());
    if matches!(element_type, Type::Q4_1 | Type::Q5_1) {
        out.extend(block.least.to_le_bytes());
    }
    if matches!(element_type, Type::Q5_0 | Type::Q5_1) {
        let upper = block.codes.iter().rev().fold(0_u32, |bits, code| bits << 1 | u32::from(code >> 4));
        out.extend(upper.to_le_bytes());
    }
    if element_type == Type::Q8_0 {
        out.extend(block.codes.map(|code| code ^ 128));
    } else {
        let (lower, upper) = block.codes.split_at(BLOCK / 2);
        out.extend(lower.iter().zip(upper).map(|(lower, upper)| lower & 15 | upper << 4));
    }
}

/// Factors and least of the parts of a block of Q4_K or Q5_K. Files have what is taken off, `Parts` what is added.
fn parts(block: &[u8]) -> Parts {
    let factors: [(u8, u8); 8] = array::from_fn(|part| factors(block, part));
    let least = half_at(block, 2);
    Parts::Of32 {
        scales: factors.map(|(scale, _)| scale),
        least: -least,
        leasts: factors.map(|(_, least)| least),
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

/// 32 codes of 5 bits, whose upper bits are 4 bytes from `at` on, one bit a code, and whose lower bits follow.
pub(super) fn fives(bytes: &[u8], at: usize) -> [u8; BLOCK] {
    let lower = nibbles(bytes, at + 4);
    array::from_fn(|i| lower[i] | (bytes[at + i / 8] >> (i % 8) & 1) << 4)
}

/// The lower 4 bits of code i of 256, where codes are 128 bytes from `at` on: of each 64, the lower halves of 32 bytes are the
/// first 32, the upper halves the others.
pub(super) fn lower_bits(block: &[u8], at: usize, i: usize) -> u8 {
    block[at + i / 64 * 32 + i % 32] >> (4 * (i / 32 % 2)) & 15
}

/// Code i of a block of Q6_K, whose 128 bytes of the codes' lower 4 bits come first, and then 64 of their upper 2.
///
/// Of each 128 codes, four rows of 32: the lower bits of rows 0 and 1 are the lower halves of 64 bytes, those of 2 and 3 the
/// upper halves; the upper bits of row r are bits 2r and 2r + 1 of 32 bytes.
pub(super) fn six_bits(block: &[u8], i: usize) -> u8 {
    let (half, row, at) = (i / 128, i / 32 % 4, i % 32);
    let lower = block[64 * half + 32 * (row % 2) + at] >> (4 * (row / 2)) & 15;
    let upper = block[128 + 32 * half + at] >> (2 * row) & 3;
    lower | upper << 4
}

/// The factors of scale and least of a part of 32 of Q4_K or Q5_K, in 12 bytes after four.
///
/// They have eight pairs of 6 bits. The lower 6 bits of bytes 0 to 3 are the scales of parts 0 to 3, those of bytes 4 to 7
/// their leasts. The halves of bytes 8 to 11 are the lower 4 bits of scales (lower half) and leasts (upper half) of parts 4
/// to 7, whose upper 2 bits are those of bytes 0 to 3 (scales) and 4 to 7 (leasts).
pub(super) fn factors(block: &[u8], part: usize) -> (u8, u8) {
    let codes = &block[4..16];
    if part < 4 {
        (codes[part] & 63, codes[part + 4] & 63)
    } else {
        (codes[part + 4] & 15 | codes[part - 4] >> 6 << 4, codes[part + 4] >> 4 | codes[part] >> 6 << 4)
    }
}
