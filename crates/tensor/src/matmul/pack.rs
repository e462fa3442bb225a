//! Copies of operands in the order register tiles read them.
//!
//! The left operand becomes panels of 12 rows, each k by k: `[panel][k][12]`. The right operand becomes panels of 32
//! columns: `[panel][k][32]`. What a last, narrower panel has beyond the operand is not read.

use ndarray::ArrayView2;
use selvedge_sync::{Team, chunks};

use super::kernel::{COLS, ROWS};
use super::turn::turn;
use crate::isa::dispatch;
use crate::tile::Strided;
use crate::{Context, Isa, Real};

/// Elements of a packed left operand of `rows` x `k`.
pub(crate) fn left_len(rows: usize, k: usize) -> usize {
    rows.next_multiple_of(ROWS) * k
}

/// Elements of a packed right operand of `k` x `cols`.
pub(crate) fn right_len(k: usize, cols: usize) -> usize {
    k * cols.next_multiple_of(COLS)
}

/// Packs a left operand.
pub(crate) fn pack_left<T: Real>(isa: Isa, a: Strided<'_, T>, out: &mut [T]) {
    pack::<T, ROWS>(isa, a.turned(), out);
}

/// Packs a right operand.
pub(crate) fn pack_right<T: Real>(isa: Isa, b: Strided<'_, T>, out: &mut [T]) {
    pack::<T, COLS>(isa, b, out);
}

/// Packs panels of N columns.
fn pack<T: Real, const N: usize>(isa: Isa, b: Strided<'_, T>, out: &mut [T]) {
    let (k, cols) = (b.rows(), b.cols());
    if k == 0 || cols == 0 {
        return;
    }
    let out = &mut out[..k * cols.next_multiple_of(N)];
    if b.has_adjacent_columns() {
        copy_rows::<T>(isa, N, b, out);
        return;
    }
    for (panel, out) in out.chunks_exact_mut(k * N).enumerate() {
        let width = N.min(cols - panel * N);
        turn(isa, b.window(0, k, panel * N, width).turned(), out, N);
    }
}

dispatch! {
    /// Rows cut into pieces of `n` elements, a panel's width.
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

/// Steps `first..first + k` of panel `panel` of a packed left operand of `steps` steps, `rows` rows of it.
pub(crate) fn left_panel<T: Real>(
    packed: &[T],
    steps: usize,
    panel: usize,
    (first, k): (usize, usize),
    rows: usize,
) -> Strided<'_, T> {
    Strided::new(&packed[(panel * steps + first) * ROWS..], rows, k, 1, ROWS)
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
    by_panels::<T, COLS>(team, isa, b, out);
}

/// Packs a left operand, panels shared among the threads.
#[track_caller]
pub(crate) fn pack_left_by<T: Real>(team: &Team, isa: Isa, a: Strided<'_, T>, out: &mut [T]) {
    by_panels::<T, ROWS>(team, isa, a.turned(), out);
}

#[track_caller]
fn by_panels<T: Real, const N: usize>(team: &Team, isa: Isa, b: Strided<'_, T>, out: &mut [T]) {
    /// Elements worth a task.
    const WORK: usize = 1 << 16;
    let (k, cols) = (b.rows(), b.cols());
    if k == 0 || cols == 0 {
        return;
    }
    let panels = WORK.div_ceil(k * N);
    let out = &mut out[..k * cols.next_multiple_of(N)];
    team.parallel_parts(chunks(out, panels * k * N), |index, out| {
        let col = index * panels * N;
        pack::<T, N>(isa, b.window(0, k, col, (panels * N).min(cols - col)), out);
    });
}
