//! Transposition: rows of adjacent elements become columns.
#![expect(unsafe_code, reason = "vector loads and stores at strided places")]

use crate::Real;
use crate::isa::{Isa, dispatch};
use crate::tile::Strided;

/// Rows and columns turned at once: a cache line of f32 either way.
const BLOCK: usize = 16;

/// Writes element (r, k) of `from` to `out[k * stride + r]`; the elements of a row of `from` may lie anywhere, and are
/// turned fastest when they lie side by side.
///
/// # Panics
/// If `out` is too short or `stride` less than the rows of `from`.
pub(crate) fn turn<T: Real>(isa: Isa, from: Strided<'_, T>, out: &mut [T], stride: usize) {
    let (rows, cols) = (from.rows(), from.cols());
    if rows == 0 || cols == 0 {
        return;
    }
    assert!(
        rows <= stride && (cols - 1) * stride + rows <= out.len(),
        "{rows}x{cols} turned into {} elements, {stride} apart",
        out.len()
    );
    if rows == 1 && from.has_adjacent_columns() {
        // One element a cache line: there is nothing to turn.
        out.iter_mut().step_by(stride).zip(from.row(0)).for_each(|(to, &from)| *to = from);
    } else if from.has_adjacent_columns() {
        T::turn(isa, from, out, stride);
    } else {
        for k in 0..cols {
            for r in 0..rows {
                // SAFETY: both are below the numbers of rows and columns.
                out[k * stride + r] = unsafe { from.read(r, k) };
            }
        }
    }
}

dispatch! {
    /// [`turn`] by plain loops, over rows of adjacent elements.
    pub(super) fn turn_plainly<T>(from: Strided<'_, T>, out: &mut [T], stride: usize) = turn_plainly_body;
}

#[inline(always)]
fn turn_plainly_body<T: Real>(from: Strided<'_, T>, out: &mut [T], stride: usize) {
    let (rows, cols) = (from.rows(), from.cols());
    for r0 in (0..rows).step_by(BLOCK) {
        let height = BLOCK.min(rows - r0);
        for k0 in (0..cols).step_by(BLOCK) {
            let width = BLOCK.min(cols - k0);
            let mut block = [[T::ZERO; BLOCK]; BLOCK];
            for r in 0..height {
                for (turned, &x) in block.iter_mut().zip(&from.row(r0 + r)[k0..k0 + width]) {
                    turned[r] = x;
                }
            }
            for (k, row) in block.iter().enumerate().take(width) {
                out[(k0 + k) * stride + r0..][..height].copy_from_slice(&row[..height]);
            }
        }
    }
}

/// [`turn`] of f32 in AVX-512, over rows of adjacent elements.
///
/// # Safety
/// `stride` is at least the rows of `from`, and `out` has room for all its columns.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn turn_avx512(from: Strided<'_, f32>, out: &mut [f32], stride: usize) {
    use core::arch::x86_64::*;

    let (rows, cols) = (from.rows(), from.cols());
    let (start, step, out) = (from.start(), from.row_step(), out.as_mut_ptr());
    for r0 in (0..rows).step_by(BLOCK) {
        let height = BLOCK.min(rows - r0);
        let lanes: __mmask16 = ((1_u32 << height) - 1) as u16;
        for k0 in (0..cols).step_by(BLOCK) {
            let width = BLOCK.min(cols - k0);
            let part: __mmask16 = ((1_u32 << width) - 1) as u16;
            if height == BLOCK && width == BLOCK {
                let from = start.wrapping_offset(r0.cast_signed() * from.row_step()).wrapping_add(k0);
                // SAFETY: sixteen rows of sixteen elements are inside.
                let v = unsafe { turn_memory(from, step) };
                for (k, v) in v.into_iter().enumerate() {
                    // SAFETY: inside `out`, by the caller's word.
                    unsafe { _mm512_storeu_ps(out.wrapping_add((k0 + k) * stride + r0), v) };
                }
                continue;
            }
            let mut v = [_mm512_setzero_ps(); BLOCK];
            for (r, v) in v.iter_mut().enumerate().take(height) {
                let at = start.wrapping_offset((r0 + r).cast_signed() * from.row_step()).wrapping_add(k0);
                // SAFETY: row r0 + r of `from`; lanes beyond its columns are masked.
                *v = unsafe { _mm512_maskz_loadu_ps(part, at) };
            }
            let v = turn_registers(v);
            for (k, v) in v.into_iter().enumerate().take(width) {
                let at = out.wrapping_add((k0 + k) * stride + r0);
                if height == BLOCK {
                    // Whole vectors are stored faster.
                    // SAFETY: inside `out`, by the caller's word.
                    unsafe { _mm512_storeu_ps(at, v) };
                } else {
                    // SAFETY: as above; lanes beyond the rows are masked.
                    unsafe { _mm512_mask_storeu_ps(at, lanes, v) };
                }
            }
        }
    }
}

/// Sixteen vectors as the rows of a matrix, turned: pairs of elements change places, then pairs of pairs, then quarters
/// of vectors twice.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn turn_registers(v: [core::arch::x86_64::__m512; BLOCK]) -> [core::arch::x86_64::__m512; BLOCK] {
    use core::arch::x86_64::*;

    let mut pairs = v;
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]);
    }
    // quads[4 * g + c], quarter q: column 4 * q + c of rows 4 * g .. 4 * g + 4.
    let mut quads = pairs;
    for g in 0..4 {
        let half = |x: __m512| _mm512_castps_pd(x);
        let (a, b) = (half(pairs[4 * g]), half(pairs[4 * g + 2]));
        let (c, d) = (half(pairs[4 * g + 1]), half(pairs[4 * g + 3]));
        quads[4 * g] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
        quads[4 * g + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        quads[4 * g + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(c, d));
        quads[4 * g + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(c, d));
    }
    let mut turned = quads;
    for c in 0..4 {
        let (a, b, d, e) = (quads[c], quads[4 + c], quads[8 + c], quads[12 + c]);
        // Quarters 0 and 2 of both, and 1 and 3.
        let (even_ab, odd_ab) = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
        let (even_de, odd_de) = (_mm512_shuffle_f32x4::<0x88>(d, e), _mm512_shuffle_f32x4::<0xdd>(d, e));
        turned[c] = _mm512_shuffle_f32x4::<0x88>(even_ab, even_de);
        turned[8 + c] = _mm512_shuffle_f32x4::<0xdd>(even_ab, even_de);
        turned[4 + c] = _mm512_shuffle_f32x4::<0x88>(odd_ab, odd_de);
        turned[12 + c] = _mm512_shuffle_f32x4::<0xdd>(odd_ab, odd_de);
    }
    turned
}

/// Sixteen rows of sixteen adjacent elements, `row_step` elements apart, turned. Quarters of vectors come from four rows
/// each, as they are loaded; pairs of elements and pairs of pairs change places after that, inside the quarters. That is
/// half the shuffles of [`turn_registers`].
///
/// # Safety
/// The processor has AVX-512 F, and the elements may be read.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) unsafe fn turn_memory(start: *const f32, row_step: isize) -> [core::arch::x86_64::__m512; BLOCK] {
    use core::arch::x86_64::*;

    let row = |r: isize| start.wrapping_offset(r * row_step);
    let rows: [*const f32; BLOCK] = std::array::from_fn(|r| row(r.cast_signed()));
    let mut turned = [_mm512_setzero_ps(); BLOCK];
    for quarter in 0..4 {
        let mut v = [_mm512_setzero_ps(); 4];
        for (r, v) in v.iter_mut().enumerate() {
            // SAFETY: four of the sixteen elements of a row, by the caller's word.
            let four = |g: usize| unsafe { _mm_loadu_ps(rows[4 * g + r].wrapping_add(4 * quarter)) };
            *v = _mm512_broadcast_f32x4(four(0));
            *v = _mm512_mask_broadcast_f32x4(*v, 0x00f0, four(1));
            *v = _mm512_mask_broadcast_f32x4(*v, 0x0f00, four(2));
            *v = _mm512_mask_broadcast_f32x4(*v, 0xf000, four(3));
        }
        let double = |x: __m512| _mm512_castps_pd(x);
        let (a, b) = (double(_mm512_unpacklo_ps(v[0], v[1])), double(_mm512_unpacklo_ps(v[2], v[3])));
        let (c, d) = (double(_mm512_unpackhi_ps(v[0], v[1])), double(_mm512_unpackhi_ps(v[2], v[3])));
        turned[4 * quarter] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
        turned[4 * quarter + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        turned[4 * quarter + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(c, d));
        turned[4 * quarter + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(c, d));
    }
    turned
}

/// Rows and columns turned at once in AVX2.
#[cfg(target_arch = "x86_64")]
const SMALL: usize = 8;

/// [`turn`] of f32 in AVX2, over rows of adjacent elements.
///
/// # Safety
/// `stride` is at least the rows of `from`, and `out` has room for all its columns.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn turn_avx2(from: Strided<'_, f32>, out: &mut [f32], stride: usize) {
    use core::arch::x86_64::*;

    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    let first = |count: usize| _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), lanes);
    let (rows, cols) = (from.rows(), from.cols());
    let (start, out) = (from.start(), out.as_mut_ptr());
    for r0 in (0..rows).step_by(SMALL) {
        let height = SMALL.min(rows - r0);
        for k0 in (0..cols).step_by(SMALL) {
            let width = SMALL.min(cols - k0);
            let at =
                |r: usize| start.wrapping_offset((r0 + r).cast_signed() * from.row_step()).wrapping_add(k0);
            let v = if (height, width) == (SMALL, SMALL) {
                // SAFETY: a whole block of `from`.
                unsafe { turn_eight_in_memory(at(0), from.row_step()) }
            } else {
                let mut v = [_mm256_setzero_ps(); SMALL];
                for (r, v) in v.iter_mut().enumerate().take(height) {
                    // SAFETY: row r0 + r of `from`; lanes beyond its columns are masked.
                    *v = unsafe { _mm256_maskload_ps(at(r), first(width)) };
                }
                turn_eight(v)
            };
            for (k, v) in v.into_iter().enumerate().take(width) {
                let at = out.wrapping_add((k0 + k) * stride + r0);
                if height == SMALL {
                    // Whole vectors are stored much faster.
                    // SAFETY: inside `out`, by the caller's word.
                    unsafe { _mm256_storeu_ps(at, v) };
                } else {
                    // SAFETY: as above; lanes beyond the rows are masked.
                    unsafe { _mm256_maskstore_ps(at, first(height), v) };
                }
            }
        }
    }
}

/// Eight vectors as the rows of a matrix, turned: pairs of elements change places, then pairs of pairs, then halves of
/// vectors.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
fn turn_eight(v: [core::arch::x86_64::__m256; SMALL]) -> [core::arch::x86_64::__m256; SMALL] {
    use core::arch::x86_64::*;

    // quads[4 * g + c], half h: column 4 * h + c of rows 4 * g .. 4 * g + 4.
    let mut quads = v;
    for g in 0..2 {
        let rows = &v[4 * g..4 * g + 4];
        let (a, b) = (_mm256_unpacklo_ps(rows[0], rows[1]), _mm256_unpacklo_ps(rows[2], rows[3]));
        let (c, d) = (_mm256_unpackhi_ps(rows[0], rows[1]), _mm256_unpackhi_ps(rows[2], rows[3]));
        quads[4 * g] = _mm256_shuffle_ps::<0x44>(a, b);
        quads[4 * g + 1] = _mm256_shuffle_ps::<0xee>(a, b);
        quads[4 * g + 2] = _mm256_shuffle_ps::<0x44>(c, d);
        quads[4 * g + 3] = _mm256_shuffle_ps::<0xee>(c, d);
    }
    let mut turned = quads;
    for c in 0..4 {
        turned[c] = _mm256_permute2f128_ps::<0x20>(quads[c], quads[4 + c]);
        turned[4 + c] = _mm256_permute2f128_ps::<0x31>(quads[c], quads[4 + c]);
    }
    turned
}

/// Eight rows of eight elements, turned: half of the work is done by loading halves of rows to where they belong.
///
/// # Safety
/// The processor has AVX2. Eight elements may be read from `start` on, and so in the next seven rows.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
pub(super) unsafe fn turn_eight_in_memory(
    start: *const f32,
    row_step: isize,
) -> [core::arch::x86_64::__m256; SMALL] {
    use core::arch::x86_64::*;

    let row = |r: usize| start.wrapping_offset(r.cast_signed() * row_step);
    let mut turned = [_mm256_setzero_ps(); SMALL];
    for (half, turned) in turned.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        // Four elements of rows r and r + 4.
        let v: [__m256; 4] = std::array::from_fn(|r| {
            // SAFETY: four of the eight elements of a row, by the caller's word.
            let four = |r: usize| unsafe { _mm_loadu_ps(row(r).wrapping_add(4 * half)) };
            _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(four(r)), four(r + 4))
        });
        let double = |x: __m256| _mm256_castps_pd(x);
        let (a, b) = (double(_mm256_unpacklo_ps(v[0], v[1])), double(_mm256_unpacklo_ps(v[2], v[3])));
        let (c, d) = (double(_mm256_unpackhi_ps(v[0], v[1])), double(_mm256_unpackhi_ps(v[2], v[3])));
        *turned = [
            _mm256_castpd_ps(_mm256_unpacklo_pd(a, b)),
            _mm256_castpd_ps(_mm256_unpackhi_pd(a, b)),
            _mm256_castpd_ps(_mm256_unpacklo_pd(c, d)),
            _mm256_castpd_ps(_mm256_unpackhi_pd(c, d)),
        ];
    }
    turned
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::random;

    proptest! {
        #[test]
        fn columns_become_rows_and_nothing_else_is_touched(
            (rows, cols, spare) in (1usize..50, 1usize..50, 0usize..5), side_by_side in any::<bool>(), seed in any::<u64>(),
        ) {
            let matrix = random::<f32>(seed, if side_by_side { (rows, cols) } else { (cols, rows) });
            let view = if side_by_side { matrix.view() } else { matrix.t() };
            let stride = rows + spare;
            for isa in Isa::available() {
                let mut out = vec![7.0_f32; cols * stride];
                turn(isa, view.into(), &mut out, stride);
                for (k, row) in out.chunks(stride).enumerate() {
                    let (turned, rest) = row.split_at(rows);
                    prop_assert_eq!(turned, view.column(k).to_vec());
                    prop_assert!(rest.iter().all(|&x| x == 7.0));
                }
            }
        }
    }
}
