//! How a product is cut into tasks, and what is packed for them: decided by shapes, strides and the instruction set alone.

use super::kernel::{COLS, ROWS};
use super::panel::Panel;
use super::product::Right;
use crate::tile::Strided;
use crate::{Isa, Real};

/// Most steps of k between loading and storing C: a panel of A of this depth stays in the nearest cache, some of B in the
/// next, and so do blocks of B that are written out.
fn deepest<T: Real, P: Panel<T>>(isa: Isa) -> usize {
    if P::writes_out(isa) { 192 } else { 384 * P::K_A_STEP }
}

/// Elements that are called for ahead: 2 KiB. Without it, pairs that are not multiplied as they are were read more slowly;
/// numbers of f32, of which there are more, were with it.
const NEAR: usize = 512;
/// Elements of an operand that is packed for all tasks, at once or depth after depth: 32 MiB, a large third-level cache. What is larger is packed piece by
/// piece by those who use it, and stays in nearer caches.
const SHARED: usize = 8 << 20;
/// Elements of a right operand that stay in the caches until all tasks have read what was packed.
const STAYS: usize = 1 << 20;
/// Rows that a right operand is worth packing for: with fewer, it is read where it lies if it can be.
const WORTH_PACKING: usize = 2 * ROWS;
/// Tasks worth having, so that threads share them evenly.
const TASKS: usize = 24;
/// Multiply-adds worth a task: some 20 µs.
const WORK: usize = 1 << 20;

/// Whether, and by whom, an operand is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// Nobody.
    No,
    /// All threads, before the tasks.
    Shared,
    /// Each task for itself.
    Own,
}

/// Rows and columns of the rectangles of C that tasks compute, and what is packed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) height: usize,
    pub(super) width: usize,
    /// Steps of k between loading and storing C.
    pub(super) depth: usize,
    /// Steps of k that all tasks go through together, with what is packed for all of them: all, or one depth.
    pub(super) together: usize,
    /// What happens to panels of A before they are used. [`Packing::Own`] is a panel at a time.
    pub(super) left: Packing,
    pub(super) right: Packing,
    /// Elements from what is read of a packed operand to what is called for meanwhile, by products of few rows, which read it
    /// once; 0 if nothing is.
    pub(super) ahead: usize,
    /// Whether tasks write blocks of the right operand out for tiles to read: that is shared by more than one panel of A.
    pub(super) writes_out: bool,
}

impl Plan {
    pub(super) fn new<T: Real, P: Panel<T>>(isa: Isa, a: Strided<'_, T>, b: &Right<'_, T>) -> Self {
        let (m, (k, n)) = (a.rows(), b.dim());
        // Copying would not pay for a few rows, nor for a few columns.
        let must = P::lies(a).is_none();
        let copies_left = must || (m > ROWS && n > COLS && P::copies_left(isa, a));
        let mut right = match b {
            Right::Packed(_) => Packing::No,
            Right::Lies(b) if !must && b.has_adjacent_columns() && m <= WORTH_PACKING => Packing::No,
            Right::Lies(_) if P::steps(k) * n <= SHARED => Packing::Shared,
            Right::Lies(_) => Packing::Own,
        };
        // A task that packs for itself takes as much as it can of the other operand.
        let tallest = if right == Packing::Own { 96 * ROWS } else { 32 * ROWS };
        // One panel of A passes over B once, and stays near however deep it is: B is streamed from end to end.
        let depth = if m <= ROWS { k } else { part(k.max(1), deepest::<T, P>(isa), 16).min(k) };
        let (mut height, mut width) = (part(m, tallest, ROWS), part(n, 6 * COLS, COLS));
        let lowest = if right == Packing::Own { tallest } else { 8 * ROWS };
        let narrowest = if copies_left { 6 * COLS } else { 2 * COLS };
        while m.div_ceil(height) * n.div_ceil(width) < TASKS && height * width * k >= 2 * WORK {
            if width > narrowest {
                width = part(n, width / 2, COLS);
            } else if height > lowest {
                height = part(m, height / 2, ROWS);
            } else {
                break;
            }
        }
        // One that packs for itself and is alone in its column of tasks packs no more than all together would.
        if right == Packing::Shared && height >= m {
            right = Packing::Own;
        }
        // Depth after depth, a large B goes through the same few megabytes. So would C, which for many rows is larger.
        let by_depth = right == Packing::Shared && m <= tallest && P::steps(k) * n > STAYS;
        let together = if by_depth { depth } else { k };
        let left = match copies_left {
            // Every column of tasks would do it again.
            true if n > width && m * P::steps(together) <= SHARED => Packing::Shared,
            true => Packing::Own,
            false => Packing::No,
        };
        let ahead = if m <= ROWS && P::writes_out(isa) { NEAR } else { 0 };
        let writes_out = m > ROWS && P::writes_out(isa);
        Plan { height, width, depth, together, left, right, ahead, writes_out }
    }
}

/// The size of equal parts of `len`, of at most `most`, in whole units.
fn part(len: usize, most: usize, unit: usize) -> usize {
    len.div_ceil(len.div_ceil(most.max(1))).next_multiple_of(unit)
}
