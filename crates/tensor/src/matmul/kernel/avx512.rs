//! The register tiles in AVX-512: 12 rows by two vectors are 24 accumulators, which leaves room for two vectors of B and
//! one of A in the 32 registers.

use core::arch::x86_64::*;

use super::{COLS, ROWS};
use crate::Init;
use crate::matmul::pairs::Pair;
use crate::tile::{Strided, Tile};

/// Elements of a vector.
const LANES: usize = 16;
const _: () = assert!(ROWS == 12 && COLS == 2 * LANES, "the shapes below");

type Vector = __m512;
type Mask = __mmask16;

/// The first `count` lanes, of 1 to 16.
#[inline(always)]
fn first(count: usize) -> Mask {
    !0 >> (LANES - count)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn zero() -> Vector {
    _mm512_setzero_ps()
}

#[inline]
#[target_feature(enable = "avx512f")]
fn splat(x: f32) -> Vector {
    _mm512_set1_ps(x)
}

/// # Safety
/// A vector may be read there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(from: *const f32) -> Vector {
    // SAFETY: the caller's word.
    unsafe { _mm512_loadu_ps(from) }
}

/// # Safety
/// The lanes of the mask may be read there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_part(mask: Mask, from: *const f32) -> Vector {
    // SAFETY: the caller's word.
    unsafe { _mm512_maskz_loadu_ps(mask, from) }
}

/// # Safety
/// A vector may be written there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store(to: *mut f32, vector: Vector) {
    // SAFETY: the caller's word.
    unsafe { _mm512_storeu_ps(to, vector) };
}

/// Past the caches.
///
/// # Safety
/// A vector may be written there, and that is a multiple of its size.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store_late(to: *mut f32, vector: Vector) {
    // SAFETY: the caller's word.
    unsafe { _mm512_stream_ps(to, vector) };
}

/// # Safety
/// The lanes of the mask may be written there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store_part(to: *mut f32, mask: Mask, vector: Vector) {
    // SAFETY: the caller's word.
    unsafe { _mm512_mask_storeu_ps(to, mask, vector) };
}

/// Over f32: a fused multiply-add a step.
pub(in super::super) mod full {
    super::super::register::register_tile! {
        f32, "avx512f",
        {
            1: [1 2], 2: [1 2], 3: [1 2], 4: [1 2], 5: [1 2], 6: [1 2],
            7: [1 2], 8: [1 2], 9: [1 2], 10: [1 2], 11: [1 2], 12: [1 2],
        },
        few: 8,
        soon: 0,
        pointers: false,
        passes: 1,
        part: |_pass, whole| whole,
        step: |sum, left, right| _mm512_fmadd_ps(left, right, sum),
    }
}

/// Over pairs of bf16: two fused multiply-adds a step, that of the later k first.
pub(in super::super) mod half {
    super::super::register::register_tile! {
        Pair, "avx512f,avx512bf16",
        {
            1: [1 2], 2: [1 2], 3: [1 2], 4: [1 2], 5: [1 2], 6: [1 2],
            7: [1 2], 8: [1 2], 9: [1 2], 10: [1 2], 11: [1 2], 12: [1 2],
        },
        few: 8,
        soon: 0,
        pointers: false,
        passes: 1,
        part: |_pass, whole| whole,
        step: |sum, left, right| {
            // SAFETY: any bits are pairs of bf16.
            let pairs = |bits: __m512| unsafe { std::mem::transmute::<__m512, __m512bh>(bits) };
            _mm512_dpbf16_ps(sum, pairs(left), pairs(right))
        },
    }
}
