//! The register tiles in 64-bit ARM's Advanced SIMD: 6 rows by four vectors, or 3 by eight, are 24 accumulators, which leaves
//! room for vectors of B and one of A in the 32 registers. So a tile of 12 by 32 is made of up to four.

use core::arch::aarch64::*;

use super::register::by_parts;
use super::{COLS, ROWS};
use crate::Init;
use crate::matmul::pairs::Pair;
use crate::tile::{Strided, Tile};

/// Elements of a vector.
const LANES: usize = 4;
const _: () = assert!(ROWS == 12 && COLS == 8 * LANES, "the shapes below");

type Vector = float32x4_t;
/// How many of the first lanes.
type Mask = usize;

fn first(count: usize) -> Mask {
    count
}

#[inline]
#[target_feature(enable = "neon")]
fn zero() -> Vector {
    vdupq_n_f32(0.0)
}

#[inline]
#[target_feature(enable = "neon")]
fn splat(x: f32) -> Vector {
    vdupq_n_f32(x)
}

/// # Safety
/// A vector may be read there.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load(from: *const f32) -> Vector {
    // SAFETY: the caller's word.
    unsafe { vld1q_f32(from) }
}

/// # Safety
/// So many lanes may be read there.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load_part(count: Mask, from: *const f32) -> Vector {
    let mut lanes = [0.0; LANES];
    for (i, lane) in lanes.iter_mut().enumerate().take(count) {
        // SAFETY: the caller's word.
        *lane = unsafe { *from.wrapping_add(i) };
    }
    // SAFETY: as many numbers as lanes.
    unsafe { load(lanes.as_ptr()) }
}

/// # Safety
/// A vector may be written there.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store(to: *mut f32, vector: Vector) {
    // SAFETY: the caller's word.
    unsafe { vst1q_f32(to, vector) };
}

/// As [`store`]: no instruction that is to be had writes past the caches.
///
/// # Safety
/// As [`store`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store_late(to: *mut f32, vector: Vector) {
    // SAFETY: the caller's word.
    unsafe { store(to, vector) };
}

/// # Safety
/// So many lanes may be written there.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store_part(to: *mut f32, count: Mask, vector: Vector) {
    let mut lanes = [0.0; LANES];
    // SAFETY: as many numbers as lanes.
    unsafe { store(lanes.as_mut_ptr(), vector) };
    for (i, lane) in lanes.into_iter().enumerate().take(count) {
        // SAFETY: the caller's word.
        unsafe { *to.wrapping_add(i) = lane };
    }
}

/// Over f32: a fused multiply-add a step.
mod full {
    super::super::register::register_tile! {
        f32, "neon",
        {
            1: [1 2 3 4 5 6 7 8], 2: [1 2 3 4 5 6 7 8], 3: [1 2 3 4 5 6 7 8],
            4: [1 2 3 4], 5: [1 2 3 4], 6: [1 2 3 4],
        },
        few: 3,
        soon: 0,
        pointers: true,
        passes: 1,
        part: |_pass, whole| whole,
        step: |sum, left, right| vfmaq_f32(sum, left, right),
    }
}

/// C = init + A·B over f32.
///
/// # Safety
/// C is 1 to [`ROWS`] rows by 1 to [`COLS`] columns, A has as many rows, B as many columns, adjacent ones, and A as many columns
/// as B has rows; a bias has at least as many elements as C has columns.
pub(super) unsafe fn tile(
    init: Init<'_, f32>,
    a: Strided<'_, f32>,
    b: Strided<'_, f32>,
    c: &mut Tile<'_, f32>,
    ahead: usize,
) {
    by_parts((3, 6), init, a, b, c, |init, a, b, c| {
        // SAFETY: the caller's word; parts are of the shapes listed.
        unsafe { full::tile(init, a, b, c, ahead) }
    });
}

/// The f32 of the later halves of pairs in the first pass, of the earlier ones in the second.
#[inline]
#[target_feature(enable = "neon")]
fn half_of(pass: usize, pairs: Vector) -> Vector {
    let bits = vreinterpretq_u32_f32(pairs);
    vreinterpretq_f32_u32(if pass == 0 {
        vandq_u32(bits, vdupq_n_u32(0xffff_0000))
    } else {
        vshlq_n_u32::<16>(bits)
    })
}

/// Subnormal numbers become 0 of their sign.
#[inline]
#[target_feature(enable = "neon")]
fn flush(x: Vector) -> Vector {
    let zero = vandq_u32(vreinterpretq_u32_f32(x), vdupq_n_u32(1 << 31));
    vbslq_f32(vcaltq_f32(x, vdupq_n_f32(f32::MIN_POSITIVE)), vreinterpretq_f32_u32(zero), x)
}

/// Over pairs of bf16, each sum flushed.
mod half_flushed {
    super::super::register::register_tile! {
        Pair, "neon",
        {
            1: [1 2 3 4 5 6 7 8], 2: [1 2 3 4 5 6 7 8], 3: [1 2 3 4], 4: [1 2 3 4],
        },
        few: 2,
        soon: 0,
        pointers: true,
        passes: 2,
        part: |pass, pairs| half_of(pass, pairs),
        step: |sum, left, right| flush(vfmaq_f32(flush(sum), left, right)),
    }
}

/// C = init + A·B over pairs of bf16.
///
/// # Safety
/// As [`tile`].
pub(in super::super) unsafe fn tile_of_pairs(
    init: Init<'_, f32>,
    a: Strided<'_, Pair>,
    b: Strided<'_, Pair>,
    c: &mut Tile<'_, f32>,
    ahead: usize,
) {
    by_parts((2, 4), init, a, b, c, |init, a, b, c| {
        // SAFETY: the caller's word; parts are of the shapes listed.
        unsafe { half_flushed::tile(init, a, b, c, ahead) }
    });
}
