//! Copies of operands in the order register tiles read them.
//!
//! The right operand becomes panels of 32 columns: `[panel][k][32]`. What a last, narrower panel has beyond the operand is
//! not read. The left operand is read where it lies, but for panels of 12 rows that are copied to where they do not push
//! each other out of the nearest cache.

use ndarray::ArrayView2;
use selvedge_sync::{Team, chunks};

use super::kernel::{COLS, ROWS};
use super::panel::{Full, Panel};
use crate::gather::{Hold, Kept, Move};
use crate::isa::{Kind, dispatch};
use crate::tile::{Panels, Strided};
use crate::{Context, Isa, Precision, Real};

/// Elements of a packed right operand of `k` x `cols`.
pub(super) fn right_len(k: usize, cols: usize) -> usize {
    k * cols.next_multiple_of(COLS)
}

dispatch! {
    /// Rows cut into pieces of 32 elements, a panel's width.
    pub(super) fn copy_rows<T>(from: Strided<'_, T>, out: &mut [T]) = copy_rows_body;
}

/// A few rows at a time, so that both sides are touched in runs of whole cache lines.
#[inline(always)]
fn copy_rows_body<T: Real>(from: Strided<'_, T>, out: &mut [T]) {
    const AT_ONCE: usize = 16;
    let k = from.rows();
    for k0 in (0..k).step_by(AT_ONCE) {
        let end = k.min(k0 + AT_ONCE);
        for (panel, out) in out.chunks_exact_mut(k * COLS).enumerate() {
            let out = out[k0 * COLS..end * COLS].chunks_exact_mut(COLS);
            for (row, out) in (k0..end).zip(out) {
                let piece = &from.row(row)[panel * COLS..];
                match (piece.first_chunk::<COLS>(), out.first_chunk_mut::<COLS>()) {
                    (Some(piece), Some(out)) => *out = *piece,
                    _ => out[..piece.len()].copy_from_slice(piece),
                }
            }
        }
    }
}

dispatch! {
    /// Up to 12 elements of each row, side by side.
    pub(super) fn copy_steps<T>(from: Strided<'_, T>, out: &mut [T]) = copy_steps_body;
}

#[inline(always)]
fn copy_steps_body<T: Real>(from: Strided<'_, T>, out: &mut [T]) {
    for (step, out) in out.chunks_exact_mut(ROWS).enumerate().take(from.rows()) {
        let row = from.row(step);
        match (row.first_chunk::<ROWS>(), out.first_chunk_mut::<ROWS>()) {
            (Some(row), Some(out)) => *out = *row,
            _ => out[..row.len()].copy_from_slice(row),
        }
    }
}

/// Whether rows so many elements apart lie in the same few sets of the nearest cache, where they would push each other out
/// of it.
pub(super) fn rows_collide<T>(row_step: isize) -> bool {
    (row_step.unsigned_abs() * size_of::<T>()).is_multiple_of(2048)
}

/// The same of steps of k, of which there are many more. Where a tile is made of several, each reads them again.
pub(super) fn steps_collide<T>(isa: Isa, col_step: isize) -> bool {
    let apart = if isa.kind() >= Kind::Avx512 { 2048 } else { 256 };
    (col_step.unsigned_abs() * size_of::<T>()).is_multiple_of(apart)
}

/// Elements of the copy of a panel of 12 rows of `k` elements.
pub(super) fn panel_len(k: usize) -> usize {
    ROWS * copy_step(k)
}

/// Distance between rows of a copied panel: an odd number of cache lines.
pub(super) fn copy_step(k: usize) -> usize {
    k.next_multiple_of(32) + 16
}

/// Steps `first..first + k` of a packed right operand of `steps` steps: `cols` columns from panel `panel` on.
pub(super) fn right_panels<E: Copy>(
    packed: &[E],
    steps: usize,
    panel: usize,
    (first, k): (usize, usize),
    cols: usize,
) -> Panels<'_, E, COLS> {
    Panels::packed(&packed[(panel * steps + first) * COLS..], k, cols, steps * COLS)
}

/// A right operand packed once and used many times, such as a weight while generating.
#[derive(Clone, Debug)]
pub struct Packed<T> {
    data: Kept<T>,
    rows: usize,
    cols: usize,
    precision: Precision,
    /// As [`Panel::least_exponent`] gives it.
    least: u32,
}

impl<T: Real> Packed<T> {
    /// N, the number of outputs.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.data)
    }

    /// Packs `b` (K, N) for products of the context's precision; pass `weight.t()` for a weight of shape (N, K).
    pub fn new(cx: &mut Context<T>, b: ArrayView2<'_, T>) -> Self {
        let ((rows, cols), precision) = (b.dim(), cx.precision());
        let mut data = Vec::new();
        let least = match precision {
            Precision::F32 => pack_whole::<T, Full>(cx, b.into(), &mut data),
            Precision::Bf16 => pack_whole::<T, T::Half>(cx, b.into(), &mut data),
        };
        Packed { data: Kept::Own(data), rows, cols, precision, least }
    }

    /// K, the length of a chain.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes that an operand (K, N) would take.
    pub fn bytes_of(precision: Precision, (rows, cols): (usize, usize)) -> usize {
        let steps = match precision {
            Precision::F32 => <Full as Panel<T>>::steps(rows),
            Precision::Bf16 => T::Half::steps(rows),
        };
        right_len(steps, cols) * size_of::<T>()
    }

    /// Column `col` of the operand as products read it: rounded where they are of bf16.
    ///
    /// # Panics
    /// If there is no such column, or `to` has another length than K.
    #[track_caller]
    pub(crate) fn column(&self, col: usize, to: &mut [T]) {
        assert!(col < self.cols && to.len() == self.rows, "column {col} of {}", self.cols);
        match self.precision {
            Precision::F32 => column::<T, Full>(&self.data, col, to),
            Precision::Bf16 => column::<T, T::Half>(&self.data, col, to),
        }
    }

    pub(super) fn data(&self) -> &[T] {
        &self.data
    }

    pub(super) fn least(&self) -> u32 {
        self.least
    }

    /// Of what precision the products are that it is for.
    pub fn precision(&self) -> Precision {
        self.precision
    }
}

impl<T: Real> Hold for Packed<T> {
    fn kept(&self) -> &dyn Move {
        &self.data
    }

    fn kept_mut(&mut self) -> &mut dyn Move {
        &mut self.data
    }
}

fn column<T: Real, P: Panel<T>>(data: &[T], col: usize, to: &mut [T]) {
    let steps = P::steps(to.len());
    let panel = P::view(data)[col / COLS * steps * COLS..].chunks_exact(COLS);
    for (to, step) in to.chunks_mut(P::K_A_STEP).zip(panel) {
        to.iter_mut().enumerate().for_each(|(k, to)| *to = P::number(step[col % COLS], k));
    }
}

/// Packs a whole operand, and gives its least exponent.
fn pack_whole<T: Real, P: Panel<T>>(cx: &Context<T>, b: Strided<'_, T>, data: &mut Vec<T>) -> u32 {
    data.resize(right_len(P::steps(b.rows()), b.cols()), T::ZERO);
    pack_right_by::<T, P>(cx.team(), cx.isa(), b, P::view_mut(data));
    P::least_exponent(cx.isa(), P::view(data))
}

/// Packs a right operand, panels shared among the threads.
#[track_caller]
pub(super) fn pack_right_by<T: Real, P: Panel<T>>(
    team: &Team,
    isa: Isa,
    b: Strided<'_, T>,
    out: &mut [P::Element],
) {
    /// Elements worth a task at the least: some 3 µs.
    const WORK: usize = 1 << 13;
    let (k, cols) = (b.rows(), b.cols());
    if k == 0 || cols == 0 {
        return;
    }
    let (steps, at_once) = (P::steps(k), at_once(cols.div_ceil(COLS), WORK.div_ceil(k * COLS)) * COLS);
    team.parallel_parts(chunks(&mut out[..right_len(steps, cols)], steps * at_once), |index, out| {
        let col = index * at_once;
        P::pack_right(isa, b.window(0, k, col, at_once.min(cols - col)), out);
    });
}

/// Copies all panels of a left operand, shared among the threads.
#[track_caller]
pub(super) fn pack_left_by<T: Real, P: Panel<T>>(
    team: &Team,
    isa: Isa,
    a: Strided<'_, T>,
    out: &mut [P::Element],
) {
    let (rows, k) = (a.rows(), a.cols());
    let len = panel_len(P::steps(k));
    if len == 0 {
        return;
    }
    let panels = rows.div_ceil(ROWS);
    let at_once = at_once(panels, 1);
    team.parallel_parts(chunks(&mut out[..panels * len], at_once * len), |index, out| {
        let row = index * at_once * ROWS;
        P::copy_left(isa, a.window(row, (at_once * ROWS).min(rows - row), 0, k), out);
    });
}

/// Panels a task copies, of so many and at least so many: parts of one size, and where there are panels for it enough of them for
/// threads to share evenly.
fn at_once(panels: usize, least: usize) -> usize {
    const TASKS: usize = 48;
    let tasks = (panels / least).clamp(1, TASKS);
    panels.div_ceil(tasks)
}
