//! The register tile over vectors of an instruction set, written once: what differs is in the modules that use it.

use super::COLS;
use crate::Init;
use crate::tile::{Strided, Tile};

/// Writes `tile`: C = init + A·B for one register tile over operands of the element given.
///
/// Beside it must be the vector's operations: `LANES`, `Vector`, `Mask`, `first`, `zero`, `splat`, `load`, `load_part`,
/// `store`, `store_late` and `store_part`. The shapes list the numbers of vectors a row that tiles of so many rows come
/// with. Tiles of a `few` rows compute with a line of B for so short a time that memory is waited for, unless what is read
/// next is called for meanwhile; called for all at once it would be waited for there. Tiles of more rows, which pass over
/// what others have called for, have it brought into the nearest cache `soon` steps before, or leave that to the processor
/// if `soon` is 0. Rows of A are found by `pointers` of their own where registers suffice, which spares additions. A step of
/// k is as many passes as told; a pass adds to the vector `sum` the products of what `part` makes of an element of A, in all
/// lanes of `left`, and of a vector of B, `right`.
macro_rules! register_tile {
    (
        $element:ty, $features:literal, { $($m:literal: [$($n:literal)*],)* }, few: $few:literal,
        soon: $soon:literal, pointers: $pointers:literal, passes: $passes:literal,
        part: |$pass:ident, $whole:ident| $part:expr,
        step: |$sum:ident, $left:ident, $right:ident| $step:expr $(,)?
    ) => {
        use super::super::register::{forget, forget_offset};
        use super::*;
        use crate::hints::{call_for, prefetch};

        /// C = init + A·B.
        ///
        /// # Safety
        /// The processor has the features. C is of a listed shape, A has as many rows, B as many columns, adjacent ones,
        /// and A as many columns as B has rows; a bias has at least as many elements as C has columns.
        pub(in super::super::super) unsafe fn tile(
            init: Init<'_, f32>,
            a: Strided<'_, $element>,
            b: Strided<'_, $element>,
            c: &mut Tile<'_, f32>,
            ahead: usize,
        ) {
            const { assert!(size_of::<$element>() == size_of::<f32>()) };
            let (rows, cols) = (c.rows(), c.cols());
            let chain = match (rows, cols.div_ceil(LANES), cols % LANES != 0) {
                $($(
                    ($m, $n, false) => chain::<$m, $n, false>,
                    ($m, $n, true) => chain::<$m, $n, true>,
                )*)*
                _ => unreachable!("a register tile of {rows}x{cols}"),
            };
            // SAFETY: chosen by the rows and columns of C; the rest is this function's caller's word.
            unsafe { chain(init, a, b, c, ahead) }
        }

        /// M rows by N vectors; the last vector is partial if `PART`.
        ///
        /// # Safety
        /// As [`tile`], with M rows, and columns that take N vectors.
        #[inline]
        #[target_feature(enable = $features)]
        pub(in super::super::super) unsafe fn chain<const M: usize, const N: usize, const PART: bool>(
            init: Init<'_, f32>,
            a: Strided<'_, $element>,
            b: Strided<'_, $element>,
            c: &mut Tile<'_, f32>,
            ahead: usize,
        ) {
            let steps = a.cols();
            let (start, row, step) = (a.start().cast::<f32>(), a.row_step(), a.col_step());
            // Where rows of A begin, and how far behind that this step of k is.
            let elements: [_; M] = std::array::from_fn(|i| {
                let row = start.wrapping_offset(i as isize * row);
                if $pointers { forget(row) } else { row }
            });
            let mut at = 0;
            let (mut vectors, b_step) = (b.start().cast::<f32>(), b.row_step());
            let (out, c_step) = (c.start(), c.row_step());
            let tail = first(if PART { c.cols() - (N - 1) * LANES } else { LANES });
            // Why all of the blocks below are sound: vector j of a row is inside it, or its lanes beyond the row are
            // masked; rows and steps are those of the operands, by the caller's word. Pointers past the last step are
            // formed, and not read.
            let load = |from: *const f32, j: usize| {
                if PART && j == N - 1 {
                    // SAFETY: as said above.
                    unsafe { load_part(tail, from.wrapping_add(j * LANES)) }
                } else {
                    // SAFETY: as said above.
                    unsafe { load(from.wrapping_add(j * LANES)) }
                }
            };
            let mut acc = [[zero(); N]; M];
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
                for $pass in 0..$passes {
                    if $pass > 0 {
                        // Read again, not kept: there are no registers for it.
                        (at, vectors) = (forget_offset(at), forget(vectors));
                    }
                    if M <= $few && $pass == 0 && ahead > 0 {
                        (0..N).for_each(|j| call_for(vectors.wrapping_add(j * LANES + ahead)));
                    }
                    if M > $few && $pass == 0 && $soon > 0 {
                        prefetch(vectors.wrapping_offset($soon * b_step), N * LANES);
                    }
                    let left = |i: usize| {
                        // SAFETY: row i of this step of A.
                        let $whole = splat(unsafe { *elements[i].wrapping_offset(at) });
                        $part
                    };
                    let right = |j: usize| {
                        let $whole = load(vectors, j);
                        $part
                    };
                    // The operand of which there is less stays in registers.
                    if M < N {
                        let mut lefts = [zero(); M];
                        lefts.iter_mut().enumerate().for_each(|(i, to)| *to = left(i));
                        for j in 0..N {
                            let $right = right(j);
                            for (sums, $left) in acc.iter_mut().zip(lefts) {
                                let $sum = sums[j];
                                sums[j] = $step;
                            }
                        }
                    } else {
                        let mut rights = [zero(); N];
                        rights.iter_mut().enumerate().for_each(|(j, to)| *to = right(j));
                        for (i, sums) in acc.iter_mut().enumerate() {
                            let $left = left(i);
                            for (sum, $right) in sums.iter_mut().zip(rights) {
                                let $sum = *sum;
                                *sum = $step;
                            }
                        }
                    }
                }
                at += step;
                vectors = vectors.wrapping_offset(b_step);
            }
            // Past the caches only whole vectors go, which begin where they may.
            let late = c.is_late() && !PART && (out.addr() | c_step * size_of::<f32>()) % size_of::<Vector>() == 0;
            if late {
                for (i, row) in acc.into_iter().enumerate() {
                    for (j, sum) in row.into_iter().enumerate() {
                        // SAFETY: the vector lies inside the row, and begins at a multiple of its size.
                        unsafe { store_late(out.wrapping_add(i * c_step + j * LANES), sum) };
                    }
                }
                return;
            }
            for (i, row) in acc.into_iter().enumerate() {
                for (j, sum) in row.into_iter().enumerate() {
                    let to = out.wrapping_add(i * c_step + j * LANES);
                    if PART && j == N - 1 {
                        // SAFETY: the lanes beyond the row are masked.
                        unsafe { store_part(to, tail, sum) };
                    } else {
                        // SAFETY: the vector lies inside the row.
                        unsafe { store(to, sum) };
                    }
                }
            }
        }
    };
}
pub(super) use register_tile;

/// A register tile, in parts of up to `most` rows by half the columns, or of up to `few` rows by all, each computed by `part`:
/// what 16 registers of eight lanes hold, or 32 of four. Rows change fastest: a part of B stays in the nearest cache meanwhile.
#[inline(always)]
pub(super) fn by_parts<E: Copy>(
    (few, most): (usize, usize),
    init: Init<'_, f32>,
    a: Strided<'_, E>,
    b: Strided<'_, E>,
    c: &mut Tile<'_, f32>,
    part: impl Fn(Init<'_, f32>, Strided<'_, E>, Strided<'_, E>, &mut Tile<'_, f32>),
) {
    let (rows, cols) = (c.rows(), c.cols());
    let (most_rows, most_cols) = if rows <= few { (few, COLS) } else { (most, COLS / 2) };
    for col in (0..cols).step_by(most_cols) {
        let width = most_cols.min(cols - col);
        let right = b.window(0, b.rows(), col, width);
        for row in (0..rows).step_by(most_rows) {
            let height = most_rows.min(rows - row);
            let left = a.window(row, height, 0, a.cols());
            part(init.columns(col), left, right, &mut c.window(row, height, col, width));
        }
    }
}

/// The same pointer, of which the compiler does not know that it is the same.
#[inline(always)]
#[expect(clippy::pointers_in_nomem_asm_block, reason = "the pointer is not followed")]
pub(super) fn forget(mut pointer: *const f32) -> *const f32 {
    // SAFETY: no instruction at all.
    unsafe { core::arch::asm!("/* {0} */", inout(reg) pointer, options(nomem, nostack, preserves_flags)) };
    pointer
}

/// The same offset, of which the compiler does not know that it is the same.
#[inline(always)]
pub(super) fn forget_offset(mut offset: isize) -> isize {
    // SAFETY: no instruction at all.
    unsafe { core::arch::asm!("/* {0} */", inout(reg) offset, options(nomem, nostack, preserves_flags)) };
    offset
}
