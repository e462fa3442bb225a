//! What a product makes of its operands: elements as they are, or pairs of bf16.

use super::kernel::{COLS, ROWS};
use super::pack::{
    copy_rows, copy_step, copy_steps, panel_len, right_len, right_panels, rows_collide, steps_collide,
};
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

    /// Whether operands may be read where they lie.
    const LIES: bool;

    /// Steps that `k` steps of f32 take; the last may be half empty.
    fn steps(k: usize) -> usize {
        k.div_ceil(Self::K_A_STEP)
    }

    /// Scratch, or what was packed into it, seen as elements.
    fn view(buffer: &[T]) -> &[Self::Element];

    /// Scratch seen as room for elements.
    fn view_mut(buffer: &mut [T]) -> &mut [Self::Element];

    /// Whether panels of a left operand whose rows are so far apart must be copied.
    fn copies_left(isa: Isa, a: Strided<'_, T>) -> bool;

    /// A panel of a left operand where it lies, if that may be read.
    fn lies(a: Strided<'_, T>) -> Option<Strided<'_, Self::Element>>;

    /// Copies panels of 12 rows of a left operand, as they are or k by k, whichever way they lie, each to the next
    /// [`panel_len`] elements of `out`. They are read by [`copied_left`].
    fn copy_left(isa: Isa, a: Strided<'_, T>, out: &mut [Self::Element]);

    /// Packs a right operand into panels of 32 columns.
    fn pack_right(isa: Isa, b: Strided<'_, T>, out: &mut [Self::Element]);

    /// Up to 32 rows of adjacent elements become columns of a panel, from its first element, or a later one, on.
    fn turn(isa: Isa, from: Strided<'_, T>, out: &mut [Self::Element]);

    /// Puts rows of adjacent elements into a panel of rows, up to 32 wide, from step `first` of f32 on. What a step of
    /// several rows has beyond the last of them becomes 0.
    fn put_rows(isa: Isa, from: Strided<'_, T>, first: usize, out: &mut [Self::Element]);

    /// An exponent that no number but 0 of a packed operand is below of, where products ask for it; 0 where they do not.
    fn least_exponent(_isa: Isa, _packed: &[Self::Element]) -> u32 {
        0
    }

    /// What an element holds for step `k` of f32.
    fn number(element: Self::Element, k: usize) -> T;

    /// Whether tiles of many rows read blocks of the right operand written out as numbers.
    fn writes_out(_isa: Isa) -> bool {
        false
    }

    /// A block of a right operand so written, into room for [`Panel::K_A_STEP`] numbers an element; `None` if it is read as
    /// it is.
    fn write_out<'a>(
        _isa: Isa,
        _b: Panels<'_, Self::Element, COLS>,
        _room: &'a mut [T],
    ) -> Option<Panels<'a, T, COLS>> {
        None
    }

    /// C = init + A·B for a row of register tiles, with B also as it is [written out](Panel::write_out), if it is. Shapes
    /// have been checked.
    fn tiles(
        isa: Isa,
        init: Init<'_, T>,
        a: Strided<'_, Self::Element>,
        b: Panels<'_, Self::Element, COLS>,
        written: Option<Panels<'_, T, COLS>>,
        c: &mut Tile<'_, T>,
    );
}

/// Elements as they are.
#[derive(Debug)]
pub(crate) struct Full;

impl<T: Real> Panel<T> for Full {
    type Element = T;

    const K_A_STEP: usize = 1;

    const LIES: bool = true;

    fn view(buffer: &[T]) -> &[T] {
        buffer
    }

    fn view_mut(buffer: &mut [T]) -> &mut [T] {
        buffer
    }

    fn copies_left(isa: Isa, a: Strided<'_, T>) -> bool {
        if a.has_adjacent_columns() {
            rows_collide::<T>(a.row_step())
        } else {
            steps_collide::<T>(isa, a.col_step())
        }
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
        if b.has_adjacent_columns() {
            copy_rows(isa, b, out);
            return;
        }
        turn_all::<T, Self>(isa, b, out);
    }

    fn turn(isa: Isa, from: Strided<'_, T>, out: &mut [T]) {
        turn(isa, from, out, COLS);
    }

    fn put_rows(_: Isa, from: Strided<'_, T>, first: usize, out: &mut [T]) {
        for (row, out) in out.chunks_exact_mut(COLS).skip(first).take(from.rows()).enumerate() {
            out[..from.cols()].copy_from_slice(from.row(row));
        }
    }

    fn number(element: T, _: usize) -> T {
        element
    }

    #[inline(always)]
    fn tiles(
        isa: Isa,
        init: Init<'_, T>,
        a: Strided<'_, T>,
        b: Panels<'_, T, COLS>,
        _: Option<Panels<'_, T, COLS>>,
        c: &mut Tile<'_, T>,
    ) {
        T::tiles(isa, init, a, b, c);
    }
}

/// Pairs of bf16.
#[derive(Debug)]
pub(crate) struct Half;

impl Panel<f32> for Half {
    type Element = Pair;

    const K_A_STEP: usize = 2;

    const LIES: bool = false;

    fn view(buffer: &[f32]) -> &[Pair] {
        bytemuck::cast_slice(buffer)
    }

    fn view_mut(buffer: &mut [f32]) -> &mut [Pair] {
        bytemuck::cast_slice_mut(buffer)
    }

    fn copies_left(_: Isa, _: Strided<'_, f32>) -> bool {
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
        if b.has_adjacent_columns() {
            interleave_rows(isa, COLS, b, out, pairs(b.rows()) * COLS);
            return;
        }
        turn_all::<f32, Self>(isa, b, out);
    }

    fn turn(isa: Isa, from: Strided<'_, f32>, out: &mut [Pair]) {
        turn_pairs(isa, from, out);
    }

    fn put_rows(isa: Isa, from: Strided<'_, f32>, first: usize, out: &mut [Pair]) {
        let (rows, cols) = (from.rows(), from.cols());
        // A row that is the later one of a pair goes to the earlier one, which is there.
        let joins = first % 2;
        if joins > 0 && rows > 0 {
            for (pair, &later) in out[first / 2 * COLS..].iter_mut().zip(from.row(0)) {
                *pair = pair.with_later(later);
            }
        }
        if joins < rows {
            let from = from.window(joins, rows - joins, 0, cols);
            let len = pairs(from.rows()) * COLS;
            interleave_rows(isa, COLS, from, &mut out[(first + joins) / 2 * COLS..][..len], len);
        }
    }

    fn least_exponent(isa: Isa, packed: &[Pair]) -> u32 {
        super::pairs::least_exponent(isa, packed)
    }

    fn number(element: Pair, k: usize) -> f32 {
        element.values()[k % 2]
    }

    fn writes_out(isa: Isa) -> bool {
        super::pairs::multiplies_as_f32(isa)
    }

    fn write_out<'a>(
        isa: Isa,
        b: Panels<'_, Pair, COLS>,
        room: &'a mut [f32],
    ) -> Option<Panels<'a, f32, COLS>> {
        super::pairs::write_out(isa, b, room)
    }

    #[inline(always)]
    fn tiles(
        isa: Isa,
        init: Init<'_, f32>,
        a: Strided<'_, Pair>,
        b: Panels<'_, Pair, COLS>,
        written: Option<Panels<'_, f32, COLS>>,
        c: &mut Tile<'_, f32>,
    ) {
        super::pairs::tiles(isa, init, a, b, written, c);
    }
}

/// Packs a right operand whose rows are not of adjacent elements, so that its columns must be.
fn turn_all<T: Real, P: Panel<T>>(isa: Isa, b: Strided<'_, T>, out: &mut [P::Element]) {
    let (k, cols) = (b.rows(), b.cols());
    for (panel, out) in out.chunks_exact_mut(P::steps(k) * COLS).enumerate() {
        let width = COLS.min(cols - panel * COLS);
        P::turn(isa, b.window(0, k, panel * COLS, width).turned(), out);
    }
}

/// Elements of room that [`left`] needs for an operand (rows, k).
pub(crate) fn left_room<T: Real, P: Panel<T>>(rows: usize, k: usize) -> usize {
    if P::LIES { 0 } else { rows.div_ceil(ROWS) * panel_len(P::steps(k)) }
}

/// A left operand as register tiles read it: where it lies, or copied into `room`. More than 12 rows must be of adjacent
/// elements.
pub(crate) fn left<'a, T: Real, P: Panel<T>>(
    isa: Isa,
    a: Strided<'a, T>,
    room: &'a mut [P::Element],
) -> Strided<'a, P::Element> {
    P::lies(a).unwrap_or_else(|| {
        assert!(a.rows() <= ROWS || a.has_adjacent_columns(), "a copy of {a:?} is in panels");
        P::copy_left(isa, a, &mut room[..a.rows().div_ceil(ROWS) * panel_len(P::steps(a.cols()))]);
        copied_left::<T, P>(a, room, (0, P::steps(a.cols())))
    })
}

/// Elements of room that [`right`] needs for an operand (k, cols).
pub(crate) fn right_room<T: Real, P: Panel<T>>(k: usize, cols: usize) -> usize {
    if P::LIES { 0 } else { right_len(P::steps(k), cols) }
}

/// A right operand of rows of adjacent elements as register tiles read it: where it lies, or packed into `room`.
pub(crate) fn right<'a, T: Real, P: Panel<T>>(
    isa: Isa,
    b: Strided<'a, T>,
    room: &'a mut [P::Element],
) -> Panels<'a, P::Element, COLS> {
    let steps = P::steps(b.rows());
    match P::lies(b) {
        Some(b) => Panels::lying(b),
        None => {
            P::pack_right(isa, b, &mut room[..right_len(steps, b.cols())]);
            right_panels(room, steps, 0, (0, steps), b.cols())
        }
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
    written: Option<Panels<'_, T, COLS>>,
    c: &mut Tile<'_, T>,
) {
    let (rows, cols) = (c.rows(), c.cols());
    assert!(
        a.rows() == rows && a.cols() == b.rows() && b.cols() == cols && rows <= ROWS,
        "register tiles {rows}x{cols} of {a:?} and {b:?}"
    );
    if let Some(written) = &written {
        let steps = b.rows() * P::K_A_STEP;
        assert!(written.rows() == steps && written.cols() == cols, "{written:?} is {b:?} written out");
    }
    if let Init::Bias(bias) = init {
        assert!(bias.len() >= cols, "{} biases for {cols} columns", bias.len());
    }
    if rows > 0 && cols > 0 {
        P::tiles(isa, init, a, b, written, c);
    }
}

/// C = init + A·B on the calling thread, register tile by register tile.
///
/// # Panics
/// On shapes that do not fit.
pub(crate) fn block<T: Real, P: Panel<T>>(
    isa: Isa,
    init: Init<'_, T>,
    a: Strided<'_, P::Element>,
    b: Panels<'_, P::Element, COLS>,
    c: &mut Tile<'_, T>,
) {
    let (rows, cols, steps) = (c.rows(), c.cols(), a.cols());
    for row in (0..rows).step_by(ROWS) {
        let height = ROWS.min(rows - row);
        let a = a.window(row, height, 0, steps);
        row_of_tiles::<T, P>(isa, init, a, b, None, &mut c.window(row, height, 0, cols));
    }
}
