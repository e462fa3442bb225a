//! What a product makes of its operands: elements as they are, or pairs of bf16.

use super::kernel::{COLS, ROWS};
use super::pack::{collides, copy_rows, copy_step, copy_steps, panel_len};
use super::pairs::{Pair, convert_rows, interleave_rows, pairs, turn_pairs};
use super::turn::turn;
use crate::isa::Isa;
use crate::tile::{Panels, Strided, Tile};
use crate::{Init, Real};

/// A form of operands that register tiles read. Steps are counted in the form's own elements.
pub(crate) trait Panel<T: Real>: 'static {
    /// What register tiles read.
    type Element: Copy + Send + Sync + std::fmt::Debug;

    /// Steps of f32 that make one of the form.
    const K_A_STEP: usize;

    /// Steps that `k` steps of f32 take; the last may be half empty.
    fn steps(k: usize) -> usize {
        k.div_ceil(Self::K_A_STEP)
    }

    /// Scratch, or what was packed into it, seen as elements.
    fn view(buffer: &[T]) -> &[Self::Element];

    /// Scratch seen as room for elements.
    fn view_mut(buffer: &mut [T]) -> &mut [Self::Element];

    /// Whether panels of a left operand whose rows are so far apart must be copied.
    fn copies_left(a: Strided<'_, T>) -> bool;

    /// A panel of a left operand where it lies, if that may be read.
    fn lies(a: Strided<'_, T>) -> Option<Strided<'_, Self::Element>>;

    /// Copies panels of 12 rows of a left operand, as they are or k by k, whichever way they lie, each to the next
    /// [`panel_len`] elements of `out`. They are read by [`copied_left`].
    fn copy_left(isa: Isa, a: Strided<'_, T>, out: &mut [Self::Element]);

    /// Packs a right operand into panels of 32 columns.
    fn pack_right(isa: Isa, b: Strided<'_, T>, out: &mut [Self::Element]);

    /// C = init + A·B for a row of register tiles. Shapes have been checked.
    fn tiles(
        isa: Isa,
        init: Init<'_, T>,
        a: Strided<'_, Self::Element>,
        b: Panels<'_, Self::Element, COLS>,
        c: &mut Tile<'_, T>,
    );
}

/// Elements as they are.
#[derive(Debug)]
pub(crate) struct Full;

impl<T: Real> Panel<T> for Full {
    type Element = T;

    const K_A_STEP: usize = 1;

    fn view(buffer: &[T]) -> &[T] {
        buffer
    }

    fn view_mut(buffer: &mut [T]) -> &mut [T] {
        buffer
    }

    fn copies_left(a: Strided<'_, T>) -> bool {
        collides::<T>(if a.has_adjacent_columns() { a.row_step() } else { a.col_step() })
    }

    fn lies(a: Strided<'_, T>) -> Option<Strided<'_, T>> {
        Some(a)
    }

    fn copy_left(isa: Isa, a: Strided<'_, T>, out: &mut [T]) {
        let k = a.cols();
        for (panel, out) in out.chunks_mut(panel_len(k)).enumerate() {
            let row = panel * ROWS;
            let a = a.window(row, ROWS.min(a.rows() - row), 0, k);
            if a.has_adjacent_columns() {
                for (row, out) in out.chunks_mut(copy_step(k)).take(a.rows()).enumerate() {
                    out[..k].copy_from_slice(a.row(row));
                }
            } else if a.turned().has_adjacent_columns() {
                copy_steps(isa, a.turned(), out);
            } else {
                turn(isa, a, out, ROWS);
            }
        }
    }

    fn pack_right(isa: Isa, b: Strided<'_, T>, out: &mut [T]) {
        let (k, cols) = (b.rows(), b.cols());
        if b.has_adjacent_columns() {
            copy_rows(isa, b, out);
            return;
        }
        for (panel, out) in out.chunks_exact_mut(k * COLS).enumerate() {
            let width = COLS.min(cols - panel * COLS);
            turn(isa, b.window(0, k, panel * COLS, width).turned(), out, COLS);
        }
    }

    #[inline(always)]
    fn tiles(isa: Isa, init: Init<'_, T>, a: Strided<'_, T>, b: Panels<'_, T, COLS>, c: &mut Tile<'_, T>) {
        T::tiles(isa, init, a, b, c);
    }
}

/// Pairs of bf16.
#[derive(Debug)]
pub(crate) struct Half;

impl Panel<f32> for Half {
    type Element = Pair;

    const K_A_STEP: usize = 2;

    fn view(buffer: &[f32]) -> &[Pair] {
        bytemuck::cast_slice(buffer)
    }

    fn view_mut(buffer: &mut [f32]) -> &mut [Pair] {
        bytemuck::cast_slice_mut(buffer)
    }

    fn copies_left(_: Strided<'_, f32>) -> bool {
        true
    }

    fn lies(_: Strided<'_, f32>) -> Option<Strided<'_, Pair>> {
        None
    }

    fn copy_left(isa: Isa, a: Strided<'_, f32>, out: &mut [Pair]) {
        let (steps, len) = (pairs(a.cols()), panel_len(pairs(a.cols())));
        if !a.has_adjacent_columns() {
            return interleave_rows(isa, ROWS, a.turned(), out, len);
        }
        for (panel, out) in out.chunks_mut(len).enumerate() {
            let row = panel * ROWS;
            let a = a.window(row, ROWS.min(a.rows() - row), 0, a.cols());
            convert_rows(isa, a, out, copy_step(steps));
        }
    }

    fn pack_right(isa: Isa, b: Strided<'_, f32>, out: &mut [Pair]) {
        let (k, cols) = (b.rows(), b.cols());
        if b.has_adjacent_columns() {
            interleave_rows(isa, COLS, b, out, pairs(k) * COLS);
            return;
        }
        for (panel, out) in out.chunks_exact_mut(pairs(k) * COLS).enumerate() {
            let width = COLS.min(cols - panel * COLS);
            turn_pairs(isa, b.window(0, k, panel * COLS, width).turned(), out);
        }
    }

    #[inline(always)]
    fn tiles(
        isa: Isa,
        init: Init<'_, f32>,
        a: Strided<'_, Pair>,
        b: Panels<'_, Pair, COLS>,
        c: &mut Tile<'_, f32>,
    ) {
        super::pairs::tiles(isa, init, a, b, c);
    }
}

/// Steps `first..first + steps` of what [`Panel::copy_left`] made of `a`, up to 12 rows of a left operand.
pub(super) fn copied_left<'a, T: Real, P: Panel<T>>(
    a: Strided<'_, T>,
    copy: &'a [P::Element],
    (first, steps): (usize, usize),
) -> Strided<'a, P::Element> {
    if a.has_adjacent_columns() {
        return Strided::new(&copy[first..], a.rows(), steps, copy_step(P::steps(a.cols())), 1);
    }
    Strided::new(&copy[first * ROWS..], a.rows(), steps, 1, ROWS)
}

/// C = init + A·B for a row of register tiles: at most 12 rows.
///
/// # Panics
/// On shapes that do not fit.
#[inline]
pub(super) fn row_of_tiles<T: Real, P: Panel<T>>(
    isa: Isa,
    init: Init<'_, T>,
    a: Strided<'_, P::Element>,
    b: Panels<'_, P::Element, COLS>,
    c: &mut Tile<'_, T>,
) {
    let (rows, cols) = (c.rows(), c.cols());
    assert!(
        a.rows() == rows && a.cols() == b.rows() && b.cols() == cols && rows <= ROWS,
        "register tiles {rows}x{cols} of {a:?} and {b:?}"
    );
    if let Init::Bias(bias) = init {
        assert!(bias.len() >= cols, "{} biases for {cols} columns", bias.len());
    }
    if rows > 0 && cols > 0 {
        P::tiles(isa, init, a, b, c);
    }
}

/// C = init + A·B on the calling thread, register tile by register tile, both operands where they lie.
///
/// # Panics
/// On shapes that do not fit, and on a right operand whose rows are not of adjacent elements.
pub(crate) fn block<T: Real>(
    isa: Isa,
    init: Init<'_, T>,
    a: Strided<'_, T>,
    b: Strided<'_, T>,
    c: &mut Tile<'_, T>,
) {
    let (rows, cols, k) = (c.rows(), c.cols(), a.cols());
    let b = Panels::lying(b);
    for row in (0..rows).step_by(ROWS) {
        let height = ROWS.min(rows - row);
        let a = a.window(row, height, 0, k);
        row_of_tiles::<T, Full>(isa, init, a, b, &mut c.window(row, height, 0, cols));
    }
}
