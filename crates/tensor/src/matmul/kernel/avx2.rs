//! The register tiles in AVX2: 6 rows by two vectors, or 3 by four, are 12 accumulators, which leaves room for vectors of
//! B and one of A in the 16 registers. So a tile of 12 by 32 is made of up to four. Over pairs of bf16, whose halves take
//! registers too, it is 4 rows by two vectors, or 2 by four.

pub(in super::super) mod pairs;

use core::arch::x86_64::*;

use super::register::by_parts;
use super::{COLS, ROWS};
use crate::Init;
use crate::matmul::pairs::Pair;
use crate::tile::{Strided, Tile};

/// Elements of a vector.
const LANES: usize = 8;
const _: () = assert!(ROWS == 12 && COLS == 4 * LANES, "the shapes below");

type Vector = __m256;
type Mask = __m256i;

/// The first `count` lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn first(count: usize) -> Mask {
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), lanes)
}

#[inline]
#[target_feature(enable = "avx")]
fn zero() -> Vector {
    _mm256_setzero_ps()
}

#[inline]
#[target_feature(enable = "avx")]
fn splat(x: f32) -> Vector {
    _mm256_set1_ps(x)
}

/// # Safety
/// A vector may be read there.
#[inline]
#[target_feature(enable = "avx")]
unsafe fn load(from: *const f32) -> Vector {
    // SAFETY: the caller's word.
    unsafe { _mm256_loadu_ps(from) }
}

/// # Safety
/// The lanes of the mask may be read there.
#[inline]
#[target_feature(enable = "avx")]
unsafe fn load_part(mask: Mask, from: *const f32) -> Vector {
    // SAFETY: the caller's word.
    unsafe { _mm256_maskload_ps(from, mask) }
}

/// # Safety
/// A vector may be written there.
#[inline]
#[target_feature(enable = "avx")]
unsafe fn store(to: *mut f32, vector: Vector) {
    // SAFETY: the caller's word.
    unsafe { _mm256_storeu_ps(to, vector) };
}

/// Past the caches.
///
/// # Safety
/// A vector may be written there, and that is a multiple of its size.
#[inline]
#[target_feature(enable = "avx")]
unsafe fn store_late(to: *mut f32, vector: Vector) {
    // SAFETY: the caller's word.
    unsafe { _mm256_stream_ps(to, vector) };
}

/// # Safety
/// The lanes of the mask may be written there.
#[inline]
#[target_feature(enable = "avx")]
unsafe fn store_part(to: *mut f32, mask: Mask, vector: Vector) {
    // SAFETY: the caller's word.
    unsafe { _mm256_maskstore_ps(to, mask, vector) };
}

/// Over f32: a fused multiply-add a step.
mod full {
    super::super::register::register_tile! {
        f32, "avx2,fma",
        { 1: [1 2 3 4], 2: [1 2 3 4], 3: [1 2 3 4], 4: [1 2], 5: [1 2], 6: [1 2], },
        few: 3,
        soon: 16,
        pointers: true,
        passes: 1,
        part: |_pass, whole| whole,
        step: |sum, left, right| _mm256_fmadd_ps(left, right, sum),
    }
}

/// C = init + A·B over f32.
///
/// # Safety
/// The processor has AVX2 and FMA. C is 1 to [`ROWS`] rows by 1 to [`COLS`] columns, A has as many rows, B as many columns,
/// adjacent ones, and A as many columns as B has rows; a bias has at least as many elements as C has columns.
pub(super) unsafe fn tile(
    init: Init<'_, f32>,
    a: Strided<'_, f32>,
    b: Strided<'_, f32>,
    c: &mut Tile<'_, f32>,
    ahead: usize,
) {
    if (c.rows(), c.cols()) == (ROWS, COLS) {
        // SAFETY: the caller's word.
        return unsafe { whole(init, a, b, c, ahead) };
    }
    by_parts((3, 6), init, a, b, c, |init, a, b, c| {
        // SAFETY: the caller's word; parts are of the shapes listed.
        unsafe { full::tile(init, a, b, c, ahead) }
    });
}

/// [`tile`] of all rows and columns, which most are: its parts are of one shape, and no call is between them.
///
/// # Safety
/// As [`tile`].
#[target_feature(enable = "avx2,fma")]
unsafe fn whole(
    init: Init<'_, f32>,
    a: Strided<'_, f32>,
    b: Strided<'_, f32>,
    c: &mut Tile<'_, f32>,
    ahead: usize,
) {
    by_parts((3, 6), init, a, b, c, |init, a, b, c| {
        // SAFETY: the caller's word; 12 by 32 are parts of 6 by 16.
        unsafe { full::chain::<6, 2, false>(init, a, b, c, ahead) }
    });
}

/// The f32 of the later halves of pairs in the first pass, of the earlier ones in the second.
#[inline]
#[target_feature(enable = "avx2")]
fn half_of(pass: usize, pairs: Vector) -> Vector {
    let bits = _mm256_castps_si256(pairs);
    _mm256_castsi256_ps(if pass == 0 {
        _mm256_and_si256(bits, _mm256_set1_epi32(0xffff_0000_u32.cast_signed()))
    } else {
        _mm256_slli_epi32::<16>(bits)
    })
}

/// Subnormal numbers become 0 of their sign.
#[inline]
#[target_feature(enable = "avx")]
fn flush(x: Vector) -> Vector {
    let sign = _mm256_set1_ps(-0.0);
    let normal = _mm256_cmp_ps::<_CMP_NLT_UQ>(_mm256_andnot_ps(sign, x), _mm256_set1_ps(f32::MIN_POSITIVE));
    _mm256_and_ps(x, _mm256_or_ps(normal, sign))
}

/// Over pairs of bf16 where no sum can be subnormal.
mod half {
    super::super::register::register_tile! {
        Pair, "avx2,fma",
        { 1: [1 2 3 4], 2: [1 2 3 4], 3: [1 2], 4: [1 2], },
        few: 2,
        soon: 0,
        pointers: true,
        passes: 2,
        part: |pass, pairs| half_of(pass, pairs),
        step: |sum, left, right| _mm256_fmadd_ps(left, right, sum),
    }
}

/// Over pairs of bf16, each sum flushed.
mod half_flushed {
    super::super::register::register_tile! {
        Pair, "avx2,fma",
        { 1: [1 2 3 4], 2: [1 2 3 4], 3: [1 2], 4: [1 2], },
        few: 2,
        soon: 0,
        pointers: true,
        passes: 2,
        part: |pass, pairs| half_of(pass, pairs),
        step: |sum, left, right| flush(_mm256_fmadd_ps(left, right, flush(sum))),
    }
}
