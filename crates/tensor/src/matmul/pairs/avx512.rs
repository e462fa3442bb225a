//! Conversion to bf16 in AVX-512.

use core::arch::x86_64::*;

use super::{AT_ONCE, Pair, pairs, two_rows};
use crate::matmul::kernel::COLS;
use crate::matmul::turn::turn_registers;
use crate::tile::Strided;

/// Pairs of a vector.
const LANES: usize = 16;

/// Elements of a row, pair by pair.
///
/// # Safety
/// The processor has the features; `out` has a place for each pair of `from`.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn convert(from: &[f32], out: &mut [Pair]) {
    let (whole, rest) = from.as_chunks::<{ 2 * LANES }>();
    let mut to = out.as_mut_ptr();
    for vector in whole {
        let vector = load_pairs(vector);
        // SAFETY: `out` is as long as the row, by the caller's word.
        unsafe { store(to, !0, vector) };
        to = to.wrapping_add(LANES);
    }
    if !rest.is_empty() {
        let vector = load_pairs(rest);
        // SAFETY: as above; the lanes beyond the row are masked.
        unsafe { store(to, lanes(pairs(rest.len())), vector) };
    }
}

/// For [`in_turn`]: element i of the first half of a vector, then element i of the second.
const IN_TURN: [u16; 2 * LANES] = {
    let mut order = [0; 2 * LANES];
    let mut i = 0;
    while i < 2 * LANES {
        order[i] = (i / 2 + i % 2 * LANES) as u16;
        i += 1;
    }
    order
};

/// Pairs of elements at the same places of two vectors.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
fn in_turn(earlier: __m512, later: __m512) -> __m512i {
    // SAFETY: 64 bytes.
    let order = unsafe { _mm512_loadu_epi16(IN_TURN.as_ptr().cast()) };
    _mm512_permutexvar_epi16(order, bits(_mm512_cvtne2ps_pbh(later, earlier)))
}

/// Columns of rows of adjacent elements in panels of `n`, `len` apart: `[panel][pair of rows][n]`.
///
/// # Safety
/// The processor has the features. Panels of `n`, of 32 at most, for all columns, and in each a row of `n` for all pairs of rows
/// have room in `out`; the last of those may be as short as the panel is wide.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn interleave(from: Strided<'_, f32>, out: &mut [Pair], n: usize, len: usize) {
    let (count, cols) = (pairs(from.rows()), from.cols());
    for first in (0..count).step_by(AT_ONCE) {
        let end = count.min(first + AT_ONCE);
        for (panel, col) in (0..cols).step_by(n).enumerate() {
            let width = n.min(cols - col);
            let mut to = out.as_mut_ptr().wrapping_add(panel * len + first * n);
            for pair in first..end {
                let (earlier, later) = two_rows(from, pair, col, width);
                let (earlier, later) = (earlier.as_ptr(), later.as_ptr());
                for at in (0..width).step_by(LANES) {
                    let mask = lanes(width - at);
                    // SAFETY: the lanes beyond the rows are masked.
                    let earlier = unsafe { load(earlier.wrapping_add(at), mask) };
                    // SAFETY: as above.
                    let later = unsafe { load(later.wrapping_add(at), mask) };
                    let vector = in_turn(earlier, later);
                    // SAFETY: as above, and `out` has the row, by the caller's word.
                    unsafe { store(to.wrapping_add(at), mask, vector) };
                }
                to = to.wrapping_add(n);
            }
        }
    }
}

/// Loads the lanes of the mask, zeros in the others.
///
/// # Safety
/// They may be read.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn load(from: *const f32, mask: __mmask16) -> __m512 {
    if mask == !0 {
        // SAFETY: the caller's word.
        unsafe { _mm512_loadu_ps(from) }
    } else {
        // SAFETY: as above.
        unsafe { _mm512_maskz_loadu_ps(mask, from) }
    }
}

/// Rows of adjacent elements become columns of pairs.
///
/// # Safety
/// As [`convert`]; `out` has rows of 32 for all pairs of columns, of which the last may end with the rows of `from`, at
/// most 32.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn turn(from: Strided<'_, f32>, out: &mut [Pair]) {
    let (rows, count) = (from.rows(), pairs(from.cols()));
    let to = out.as_mut_ptr();
    for r0 in (0..rows).step_by(LANES) {
        let height = LANES.min(rows - r0);
        for pair in (0..count).step_by(LANES) {
            let mut v = [_mm512_setzero_ps(); LANES];
            for (r, v) in v.iter_mut().enumerate().take(height) {
                *v = _mm512_castsi512_ps(load_pairs(&from.row(r0 + r)[2 * pair..]));
            }
            let v = turn_registers(v);
            for (k, v) in v.into_iter().enumerate().take(count - pair) {
                let at = to.wrapping_add((pair + k) * COLS + r0);
                let v = _mm512_castps_si512(v);
                // SAFETY: inside `out`, by the caller's word; lanes beyond the rows are masked.
                unsafe { store(at, lanes(height), v) };
            }
        }
    }
}

/// The first 16 pairs of a row, or as many as there are.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
fn load_pairs(from: &[f32]) -> __m512i {
    let half = |first: usize| {
        let left = from.len().saturating_sub(first);
        // SAFETY: the lanes beyond the row are masked.
        unsafe { _mm512_maskz_loadu_ps(lanes(left), from.as_ptr().wrapping_add(first)) }
    };
    bits(_mm512_cvtne2ps_pbh(half(LANES), half(0)))
}

/// Stores the lanes of the mask.
///
/// # Safety
/// There is room for them.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn store(to: *mut Pair, mask: __mmask16, vector: __m512i) {
    if mask == !0 {
        // SAFETY: the caller's word.
        unsafe { _mm512_storeu_epi32(to.cast(), vector) };
    } else {
        // SAFETY: as above.
        unsafe { _mm512_mask_storeu_epi32(to.cast(), mask, vector) };
    }
}

/// The first `count` lanes.
#[inline(always)]
fn lanes(count: usize) -> __mmask16 {
    if count >= LANES { !0 } else { (1 << count) - 1 }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn bits(vector: __m512bh) -> __m512i {
    // SAFETY: any bits are integers.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(vector) }
}
