//! The register tiles in AVX-512: 12 rows by two vectors are 24 accumulators, which leaves room for two vectors of B and
//! one of A in the 32 registers.

use core::arch::x86_64::*;

use super::{COLS, ROWS};
use crate::Init;
use crate::matmul::pairs::Pair;
use crate::tile::{Strided, Tile};

/// Elements of a vector.
const LANES: usize = 16;

/// Writes `tile`, a register tile over operands of the element given, whose step adds to the vector `sum` the products
/// of one element of A, in all lanes of `left`, and a vector of B, `right`. What is in the lanes is the step's business.
macro_rules! register_tile {
    ($element:ty, $features:literal, |$sum:ident, $left:ident, $right:ident| $step:expr) => {
        use super::*;

        /// C = init + A·B.
        ///
        /// # Safety
        /// The processor has the features. C is 1 to [`ROWS`] rows by 1 to [`COLS`] columns, A has as many rows, B as
        /// many columns, adjacent ones, and A as many columns as B has rows; a bias has at least as many elements as C
        /// has columns.
        pub(in super::super::super) unsafe fn tile(
            init: Init<'_, f32>,
            a: Strided<'_, $element>,
            b: Strided<'_, $element>,
            c: &mut Tile<'_, f32>,
        ) {
            const { assert!(ROWS == 12 && COLS == 2 * LANES && size_of::<$element>() == size_of::<f32>()) };
            let chain: Chain = match c.rows() {
                1 => by_columns::<1>(c.cols()),
                2 => by_columns::<2>(c.cols()),
                3 => by_columns::<3>(c.cols()),
                4 => by_columns::<4>(c.cols()),
                5 => by_columns::<5>(c.cols()),
                6 => by_columns::<6>(c.cols()),
                7 => by_columns::<7>(c.cols()),
                8 => by_columns::<8>(c.cols()),
                9 => by_columns::<9>(c.cols()),
                10 => by_columns::<10>(c.cols()),
                11 => by_columns::<11>(c.cols()),
                _ => by_columns::<12>(c.cols()),
            };
            // SAFETY: chosen by the rows and columns of C; the rest is this function's caller's word.
            unsafe { chain(init, a, b, c) }
        }

        /// [`chain`] for some number of rows and columns.
        type Chain =
            unsafe fn(Init<'_, f32>, Strided<'_, $element>, Strided<'_, $element>, &mut Tile<'_, f32>);

        /// [`chain`] for M rows and so many columns.
        #[inline]
        fn by_columns<const M: usize>(cols: usize) -> Chain {
            match cols {
                COLS => chain::<M, 2, false>,
                LANES => chain::<M, 1, false>,
                _ if cols > LANES => chain::<M, 2, true>,
                _ => chain::<M, 1, true>,
            }
        }

        /// M rows by N vectors; the last vector is partial if `PART`.
        ///
        /// # Safety
        /// As [`tile`], with M rows, and columns that take N vectors.
        #[target_feature(enable = $features)]
        unsafe fn chain<const M: usize, const N: usize, const PART: bool>(
            init: Init<'_, f32>,
            a: Strided<'_, $element>,
            b: Strided<'_, $element>,
            c: &mut Tile<'_, f32>,
        ) {
            let steps = a.cols();
            let (mut elements, row, step) = (a.start().cast::<f32>(), a.row_step(), a.col_step());
            let (mut vectors, b_step) = (b.start().cast::<f32>(), b.row_step());
            let (out, c_step) = (c.start(), c.row_step());
            let tail: __mmask16 = if PART { (1 << (c.cols() - (N - 1) * LANES)) - 1 } else { !0 };
            // Why all of the blocks below are sound: vector j of a row is inside it, or its lanes beyond the row are
            // masked; rows and steps are those of the operands, by the caller's word. Pointers past the last step are
            // formed, and not read.
            let load = |from: *const f32, j: usize| {
                if PART && j == N - 1 {
                    // SAFETY: as said above.
                    unsafe { _mm512_maskz_loadu_ps(tail, from.wrapping_add(j * LANES)) }
                } else {
                    // SAFETY: as said above.
                    unsafe { _mm512_loadu_ps(from.wrapping_add(j * LANES)) }
                }
            };
            let mut acc = [[_mm512_setzero_ps(); N]; M];
            match init {
                Init::Zero => {}
                Init::Bias(bias) => {
                    for j in 0..N {
                        let bias = load(bias.as_ptr(), j);
                        for row in &mut acc {
                            row[j] = bias;
                        }
                    }
                }
                Init::Accumulate => {
                    for (i, row) in acc.iter_mut().enumerate() {
                        for (j, sum) in row.iter_mut().enumerate() {
                            *sum = load(out.wrapping_add(i * c_step), j);
                        }
                    }
                }
            }
            for _ in 0..steps {
                let mut rights = [_mm512_setzero_ps(); N];
                for (j, right) in rights.iter_mut().enumerate() {
                    *right = load(vectors, j);
                }
                for (i, sums) in acc.iter_mut().enumerate() {
                    // SAFETY: row i of this step of A.
                    let $left = _mm512_set1_ps(unsafe { *elements.wrapping_offset(i as isize * row) });
                    for (sum, $right) in sums.iter_mut().zip(rights) {
                        let $sum = *sum;
                        *sum = $step;
                    }
                }
                elements = elements.wrapping_offset(step);
                vectors = vectors.wrapping_offset(b_step);
            }
            for (i, row) in acc.into_iter().enumerate() {
                for (j, sum) in row.into_iter().enumerate() {
                    let to = out.wrapping_add(i * c_step + j * LANES);
                    if PART && j == N - 1 {
                        // SAFETY: the lanes beyond the row are masked.
                        unsafe { _mm512_mask_storeu_ps(to, tail, sum) };
                    } else {
                        // SAFETY: the vector lies inside the row.
                        unsafe { _mm512_storeu_ps(to, sum) };
                    }
                }
            }
        }
    };
}

/// Over f32: a fused multiply-add a step.
pub(in super::super) mod full {
    register_tile!(f32, "avx512f", |sum, left, right| _mm512_fmadd_ps(left, right, sum));
}

/// Over pairs of bf16: two fused multiply-adds a step, that of the later k first.
pub(in super::super) mod half {
    register_tile!(Pair, "avx512f,avx512bf16", |sum, left, right| {
        // SAFETY: any bits are pairs of bf16.
        let pairs = |bits: __m512| unsafe { std::mem::transmute::<__m512, __m512bh>(bits) };
        _mm512_dpbf16_ps(sum, pairs(left), pairs(right))
    });
}
