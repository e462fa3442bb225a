//! Copies of operands in the order register tiles read them.
//!
//! The right operand becomes panels of 32 columns: `[panel][k][32]`. What a last, narrower panel has beyond the operand is
//! not read. The left operand is read where it lies, but for panels of 12 rows that are copied to where they do not push
//! each other out of the nearest cache.

use ndarray::ArrayView2;
use selvedge_sync::{Team, chunks};

use super::kernel::{COLS, ROWS};
use super::turn::turn;
use crate::isa::dispatch;
use crate::tile::Strided;
use crate::{Context, Isa, Real};

/// Elements of a packed right operand of `k` x `cols`.
pub(crate) fn right_len(k: usize, cols: usize) -> usize {
    k * cols.next_multiple_of(COLS)
}

/// Packs a right operand.
pub(crate) fn pack_right<T: Real>(isa: Isa, b: Strided<'_, T>, out: &mut [T]) {
    let (k, cols) = (b.rows(), b.cols());
    if k == 0 || cols == 0 {
        return;
    }
    let out = &mut out[..right_len(k, cols)];
    if b.has_adjacent_columns() {
        copy_rows(isa, COLS, b, out);
        return;
    }
    for (panel, out) in out.chunks_exact_mut(k * COLS).enumerate() {
        let width = COLS.min(cols - panel * COLS);
        turn(isa, b.window(0, k, panel * COLS, width).turned(), out, COLS);
    }
}

dispatch! {
    /// Rows cut into pieces of `n` elements, a panel's width: 12 or 32.
    fn copy_rows<T>(n: usize, from: Strided<'_, T>, out: &mut [T]) = copy_rows_body;
}

#[inline(always)]
fn copy_rows_body<T: Real>(n: usize, from: Strided<'_, T>, out: &mut [T]) {
    if n == ROWS {
        copy_pieces::<T, ROWS>(from, out);
    } else {
        copy_pieces::<T, COLS>(from, out);
    }
}

/// A few rows at a time, so that both sides are touched in runs of whole cache lines.
#[inline(always)]
fn copy_pieces<T: Real, const N: usize>(from: Strided<'_, T>, out: &mut [T]) {
    const AT_ONCE: usize = 16;
    let k = from.rows();
    for k0 in (0..k).step_by(AT_ONCE) {
        let end = k.min(k0 + AT_ONCE);
        for (panel, out) in out.chunks_exact_mut(k * N).enumerate() {
            let out = out[k0 * N..end * N].chunks_exact_mut(N);
            for (row, out) in (k0..end).zip(out) {
                let piece = &from.row(row)[panel * N..];
                match (piece.first_chunk::<N>(), out.first_chunk_mut::<N>()) {
                    (Some(piece), Some(out)) => *out = *piece,
                    _ => out[..piece.len()].copy_from_slice(piece),
                }
            }
        }
    }
}

/// Whether rows so many elements apart lie in the same few sets of the nearest cache: twelve of them would push each
/// other out of it.
pub(crate) fn collides<T>(row_step: isize) -> bool {
    (row_step.unsigned_abs() * size_of::<T>()).is_multiple_of(2048)
}

/// Elements of the copy of a panel of 12 rows of `k` elements.
pub(crate) fn panel_len(k: usize) -> usize {
    ROWS * copy_step(k)
}

/// Distance between rows of a copied panel: an odd number of cache lines.
fn copy_step(k: usize) -> usize {
    k.next_multiple_of(32) + 16
}

/// Copies up to 12 rows of a left operand, as they are or k by k, whichever way they lie.
pub(crate) fn copy_panel<'a, T: Real>(isa: Isa, a: Strided<'_, T>, out: &'a mut [T]) -> Strided<'a, T> {
    let (rows, k) = (a.rows(), a.cols());
    if a.has_adjacent_columns() {
        let step = copy_step(k);
        for (row, out) in out.chunks_mut(step).take(rows).enumerate() {
            out[..k].copy_from_slice(a.row(row));
        }
        Strided::new(out, rows, k, step, 1)
    } else if a.turned().has_adjacent_columns() {
        copy_rows(isa, ROWS, a.turned(), &mut out[..k * ROWS]);
        Strided::new(out, rows, k, 1, ROWS)
    } else {
        turn(isa, a, out, ROWS);
        Strided::new(out, rows, k, 1, ROWS)
    }
}

/// Steps `first..first + k` of panel `panel` of a packed right operand of `steps` steps, `cols` columns of it.
pub(crate) fn right_panel<T: Real>(
    packed: &[T],
    steps: usize,
    panel: usize,
    (first, k): (usize, usize),
    cols: usize,
) -> Strided<'_, T> {
    Strided::new(&packed[(panel * steps + first) * COLS..], k, cols, COLS, 1)
}

/// A right operand packed once and used many times, such as a weight while generating.
#[derive(Clone, Debug)]
pub struct Packed<T> {
    data: Vec<T>,
    rows: usize,
    cols: usize,
}

impl<T: Real> Packed<T> {
    /// Packs `b` (K, N); pass `weight.t()` for a weight of shape (N, K).
    pub fn new(cx: &mut Context<T>, b: ArrayView2<'_, T>) -> Self {
        let (rows, cols) = b.dim();
        let mut data = vec![T::ZERO; right_len(rows, cols)];
        pack_right_by(cx.team(), cx.isa(), b.into(), &mut data);
        Packed { data, rows, cols }
    }

    /// K, the length of a chain.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// N, the number of outputs.
    pub fn cols(&self) -> usize {
        self.cols
    }

    pub(super) fn data(&self) -> &[T] {
        &self.data
    }
}

/// Packs a right operand, panels shared among the threads.
#[track_caller]
pub(crate) fn pack_right_by<T: Real>(team: &Team, isa: Isa, b: Strided<'_, T>, out: &mut [T]) {
    /// Elements worth a task.
    const WORK: usize = 1 << 16;
    let (k, cols) = (b.rows(), b.cols());
    if k == 0 || cols == 0 {
        return;
    }
    let at_once = WORK.div_ceil(k * COLS) * COLS;
    team.parallel_parts(chunks(&mut out[..right_len(k, cols)], k * at_once), |index, out| {
        let col = index * at_once;
        pack_right(isa, b.window(0, k, col, at_once.min(cols - col)), out);
    });
}
