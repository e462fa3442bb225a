//! Operands of bf16: two steps of k side by side, as the processor's dot products want them.
//!
//! A chain over pairs adds, for each pair of steps, the product of the later one and then that of the earlier one, by
//! fused multiply-adds whose results and operands are 0 where they would be subnormal. That is what AVX-512's instruction
//! does; the plain loops here do the same, so all instruction sets give the same bits.
#![expect(unsafe_code, reason = "calls functions compiled for detected features")]

#[cfg(target_arch = "x86_64")]
mod avx512;

use super::kernel::{COLS, ROWS, by_panels};
use super::turn::turn;
use crate::Init;
use crate::isa::Isa;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::isa::Kind;
use crate::tile::{Panels, Strided, Tile};

/// Two bf16: that of the earlier step in the low half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub(crate) struct Pair(u32);

impl Pair {
    #[inline(always)]
    fn new(earlier: f32, later: f32) -> Self {
        Pair(u32::from(round(earlier)) | u32::from(round(later)) << 16)
    }

    /// The same with another later one.
    pub(super) fn with_later(self, later: f32) -> Self {
        Pair(self.0 & 0xffff | u32::from(round(later)) << 16)
    }

    /// The f32 of both.
    pub(super) fn values(self) -> [f32; 2] {
        [f32::from_bits(self.0 << 16), f32::from_bits(self.0 & 0xffff_0000)]
    }
}

/// The nearest bf16, the even one of two; 0 for a subnormal number.
#[inline(always)]
fn round(x: f32) -> u16 {
    let bits = x.to_bits();
    let bits = if x.is_nan() {
        bits | 0x0040_0000
    } else if x.is_subnormal() {
        bits & 0x8000_0000
    } else {
        bits + 0x7fff + (bits >> 16 & 1)
    };
    (bits >> 16) as u16
}

/// Pairs that `k` steps make; the last may be half empty.
pub(crate) fn pairs(k: usize) -> usize {
    k.div_ceil(2)
}

/// Rows of `from`, up to 12, as rows of pairs `step` apart.
pub(super) fn convert_rows(isa: Isa, from: Strided<'_, f32>, out: &mut [Pair], step: usize) {
    for (row, out) in out.chunks_mut(step).take(from.rows()).enumerate() {
        let (from, out) = (from.row(row), &mut out[..pairs(from.cols())]);
        #[cfg(target_arch = "x86_64")]
        if isa.kind() == Kind::Avx512Bf16 {
            // SAFETY: an `Isa` of this kind is only made after detecting the features.
            unsafe { avx512::convert(from, out) };
            continue;
        }
        #[cfg(target_arch = "x86_64")]
        if isa.kind() >= Kind::Avx2 {
            // SAFETY: as above.
            unsafe { convert_avx2(from, out) };
            continue;
        }
        let _ = isa;
        convert_row(from, out);
    }
}

/// A row, pair by pair.
#[inline(always)]
fn convert_row(from: &[f32], out: &mut [Pair]) {
    let (whole, rest) = from.as_chunks::<2>();
    for (&[earlier, later], out) in whole.iter().zip(&mut *out) {
        *out = Pair::new(earlier, later);
    }
    if let ([last], [.., out]) = (rest, out) {
        *out = Pair::new(*last, 0.0);
    }
}

/// [`convert_row`] compiled for AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn convert_avx2(from: &[f32], out: &mut [Pair]) {
    convert_row(from, out);
}

/// Columns of `from`, rows of adjacent elements, in panels of `n` (12 or 32), `len` apart: `[panel][pair of rows][n]`.
pub(super) fn interleave_rows(isa: Isa, n: usize, from: Strided<'_, f32>, out: &mut [Pair], len: usize) {
    let (count, cols) = (pairs(from.rows()), from.cols());
    assert!(
        (n == ROWS || n == COLS) && count * n <= len && cols.div_ceil(n) * len <= out.len(),
        "{cols} columns of {count} pairs in panels of {n}, {len} apart, into {} pairs",
        out.len()
    );
    #[cfg(target_arch = "x86_64")]
    if isa.kind() == Kind::Avx512Bf16 {
        // SAFETY: as above; there is room, as has been checked.
        return unsafe { avx512::interleave(from, out, n, len) };
    }
    #[cfg(target_arch = "x86_64")]
    if isa.kind() >= Kind::Avx2 {
        // SAFETY: as above.
        return unsafe { interleave_avx2(from, out, n, len) };
    }
    let _ = isa;
    interleave(from, out, n, len);
}

/// Pairs of rows that are interleaved at a time, so that both sides are touched in runs of whole cache lines.
const AT_ONCE: usize = 8;

/// [`interleave_rows`] element by element.
#[inline(always)]
fn interleave(from: Strided<'_, f32>, out: &mut [Pair], n: usize, len: usize) {
    let (count, cols) = (pairs(from.rows()), from.cols());
    for first in (0..count).step_by(AT_ONCE) {
        let end = count.min(first + AT_ONCE);
        for (panel, out) in out.chunks_mut(len).take(cols.div_ceil(n)).enumerate() {
            let (col, out) = (panel * n, out[first * n..end * n].chunks_exact_mut(n));
            for (pair, out) in (first..end).zip(out) {
                let (earlier, later) = two_rows(from, pair, col, n.min(cols - col));
                for ((out, &earlier), &later) in out.iter_mut().zip(earlier).zip(later) {
                    *out = Pair::new(earlier, later);
                }
            }
        }
    }
}

/// [`interleave`] compiled for AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn interleave_avx2(from: Strided<'_, f32>, out: &mut [Pair], n: usize, len: usize) {
    interleave(from, out, n, len);
}

/// Up to 32 elements of the rows of a pair, from a column on.
#[inline(always)]
fn two_rows(from: Strided<'_, f32>, pair: usize, col: usize, width: usize) -> (&[f32], &[f32]) {
    let (earlier, later) = (2 * pair, 2 * pair + 1);
    let piece = |row| &from.row(row)[col..][..width];
    (piece(earlier), if later < from.rows() { piece(later) } else { &ZEROS[..width] })
}

/// What stands for the step after the last of an odd number.
const ZEROS: [f32; COLS] = [0.0; COLS];

/// Rows of adjacent elements become columns, up to 32 of them, `[pair of columns][32]`.
pub(super) fn turn_pairs(isa: Isa, from: Strided<'_, f32>, out: &mut [Pair]) {
    let (rows, k) = (from.rows(), from.cols());
    if rows == 0 || k == 0 {
        return;
    }
    assert!(
        rows <= COLS && (pairs(k) - 1) * COLS + rows <= out.len(),
        "{rows} rows of {k} into {} pairs",
        out.len()
    );
    #[cfg(target_arch = "x86_64")]
    if isa.kind() == Kind::Avx512Bf16 {
        // SAFETY: as above; the lengths have been checked.
        return unsafe { avx512::turn(from, out) };
    }
    // Rows of a block become pairs first, and then columns.
    const AT_ONCE: usize = 16;
    let mut block = [Pair::default(); COLS * AT_ONCE];
    for (first, out) in (0..k).step_by(2 * AT_ONCE).zip(out.chunks_mut(AT_ONCE * COLS)) {
        let steps = (2 * AT_ONCE).min(k - first);
        convert_rows(isa, from.window(0, rows, first, steps), &mut block, AT_ONCE);
        let block = Strided::new(bytemuck::cast_slice(&block), rows, pairs(steps), AT_ONCE, 1);
        turn::<f32>(isa, block, bytemuck::cast_slice_mut(out), COLS);
    }
}

/// An exponent that no number but 0 is below of, for instruction sets whose products must know; 0 for others.
pub(super) fn least_exponent(isa: Isa, all: &[Pair]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if multiplies_as_f32(isa) {
        // SAFETY: an `Isa` of this kind is only made after detecting the features.
        return unsafe { super::kernel::avx2::pairs::least_of_all(all) };
    }
    let _ = (isa, all);
    0
}

/// Whether the instruction set multiplies pairs as f32, and does not flush subnormal sums by itself.
pub(super) fn multiplies_as_f32(isa: Isa) -> bool {
    #[cfg(target_arch = "x86_64")]
    return (Kind::Avx2..Kind::Avx512Bf16).contains(&isa.kind());
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = isa;
        false
    }
}

/// A block of a right operand as f32, for instruction sets that multiply it so: for every pair a row of the later numbers and
/// one of the earlier, with the least exponent of all.
pub(super) fn write_out<'a>(
    isa: Isa,
    b: Panels<'_, Pair, COLS>,
    room: &'a mut [f32],
) -> Option<Panels<'a, f32, COLS>> {
    #[cfg(target_arch = "x86_64")]
    if multiplies_as_f32(isa) {
        // SAFETY: an `Isa` of this kind is only made after detecting the features.
        return Some(unsafe { super::kernel::avx2::pairs::write_panels(b, room) });
    }
    let _ = (isa, b, room);
    None
}

/// C = init + A·B for a row of register tiles over pairs. Shapes have been checked.
pub(super) fn tiles(
    isa: Isa,
    init: Init<'_, f32>,
    a: Strided<'_, Pair>,
    b: Panels<'_, Pair, COLS>,
    written: Option<Panels<'_, f32, COLS>>,
    c: &mut Tile<'_, f32>,
) {
    #[cfg(target_arch = "x86_64")]
    if multiplies_as_f32(isa) {
        // SAFETY: an `Isa` of this kind is only made after detecting the features; the shapes fit, as the caller of this
        // function has checked, and panels of A are copied so that rows or columns are of adjacent elements.
        return unsafe { super::kernel::avx2::pairs::tiles(init, a, b, written, c) };
    }
    let (ahead, least) = (b.ahead(), b.least());
    by_panels(init, a, b, c, |init, a, b, c| {
        #[cfg(target_arch = "x86_64")]
        if isa.kind() == Kind::Avx512Bf16 {
            // SAFETY: as above.
            return unsafe { super::kernel::avx512::half::tile(init, a, b, c, ahead) };
        }
        #[cfg(target_arch = "aarch64")]
        if isa.kind() >= Kind::Neon {
            // SAFETY: as above.
            return unsafe { super::kernel::neon::tile_of_pairs(init, a, b, c, ahead) };
        }
        let _ = (isa, ahead, least, written);
        tile(init, a, b, c);
    });
}

/// One register tile by plain loops.
fn tile(init: Init<'_, f32>, a: Strided<'_, Pair>, b: Strided<'_, Pair>, c: &mut Tile<'_, f32>) {
    for row in 0..c.rows() {
        for col in 0..c.cols() {
            let start = match init {
                Init::Zero => 0.0,
                Init::Bias(bias) => bias[col],
                Init::Accumulate => c.row(row)[col],
            };
            c.row_mut(row)[col] = (0..a.cols()).fold(start, |sum, k| {
                // SAFETY: `c` has as many rows as `a` and as many columns as `b`, whose rows are the columns of `a`.
                let left = unsafe { a.read(row, k) };
                // SAFETY: as above.
                let right = unsafe { b.read(k, col) };
                step(sum, left, right)
            });
        }
    }
}

/// One step of a chain.
fn step(sum: f32, left: Pair, right: Pair) -> f32 {
    let normal = |x: f32| if x.is_subnormal() { 0.0_f32.copysign(x) } else { x };
    let ([left_earlier, left_later], [right_earlier, right_later]) = (left.values(), right.values());
    let sum = normal(left_later.mul_add(right_later, normal(sum)));
    normal(left_earlier.mul_add(right_earlier, sum))
}

/// The chain of one element, as the definition has it.
#[cfg(test)]
pub(super) fn chain_of_pairs(start: f32, left: &[f32], right: &[f32]) -> f32 {
    let pair = |values: &[f32]| Pair::new(values[0], values.get(1).copied().unwrap_or(0.0));
    left.chunks(2).zip(right.chunks(2)).fold(start, |sum, (l, r)| step(sum, pair(l), pair(r)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_to_the_nearest_even() {
        for (x, want) in [
            (1.0, 0x3f80),
            (1.0 + 1.0 / 256.0, 0x3f80),
            (1.0 + 3.0 / 256.0, 0x3f82),
            (-1.0 - 1.001 / 256.0, 0xbf81),
            (f32::MAX, 0x7f80),
            (f32::INFINITY, 0x7f80),
            (1e-39, 0),
            (-1e-39, 0x8000),
        ] {
            assert_eq!(round(x), want, "{x}");
        }
        assert!(f32::from_bits(u32::from(round(f32::NAN)) << 16).is_nan());
    }

    #[test]
    fn both_conversions_agree_on_hard_numbers() {
        let mut hard: Vec<f32> = (0..4096_u32).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b9))).collect();
        hard.retain(|x| !x.is_nan());
        hard.extend([
            0.0,
            -0.0,
            f32::MIN_POSITIVE,
            f32::MIN_POSITIVE.next_down(),
            f32::MAX,
            f32::NEG_INFINITY,
        ]);
        let convert = |isa| {
            let mut out = vec![Pair::default(); pairs(hard.len())];
            let step = out.len();
            convert_rows(isa, Strided::new(&hard, 1, hard.len(), hard.len(), 1), &mut out, step);
            out
        };
        for isa in Isa::available() {
            assert_eq!(convert(isa), convert(Isa::scalar()), "{isa}");
        }
    }
}
