//! Copies of operands in the order register tiles read them.
//!
//! The left operand becomes panels of [`ROWS`] rows (the last may be lower), each k by k. The right
//! operand becomes panels of 64 or 16 columns, each k by k, padded with zeros to a multiple of 16.

use ndarray::ArrayView2;

use super::kernel::{NARROW, ROWS, WIDE, has_wide_tile};
use crate::isa::{Isa, dispatch};
use crate::{Context, Real};

/// Widths of the panels that cover `cols` columns, as `(first column, padded width)`.
pub(crate) fn panels<T: Real>(isa: Isa, cols: usize) -> impl Iterator<Item = (usize, usize)> {
    let wide = if has_wide_tile::<T>(isa) { cols / WIDE * WIDE } else { 0 };
    let wide_panels = (0..wide).step_by(WIDE).map(|col| (col, WIDE));
    let narrow_panels = (wide..cols).step_by(NARROW).map(|col| (col, NARROW));
    wide_panels.chain(narrow_panels)
}

/// Elements of a packed right operand of `k` x `cols`.
pub(crate) fn packed_len(k: usize, cols: usize) -> usize {
    k * cols.next_multiple_of(NARROW)
}

/// Packs rows `first..first + rows` of `a` (rows x k) as one panel, `panel[k][row]`.
pub(crate) fn pack_rows<T: Real>(isa: Isa, a: ArrayView2<'_, T>, first: usize, rows: usize, panel: &mut [T]) {
    debug_assert!(rows <= ROWS);
    let a = a.slice_move(ndarray::s![first..first + rows, ..]);
    transpose_into(isa, a.reversed_axes(), panel, rows);
}

/// Packs columns `first..first + cols` of `b` (k x cols) as one panel of `width` columns, `panel[k][col]`.
pub(crate) fn pack_cols<T: Real>(
    isa: Isa,
    b: ArrayView2<'_, T>,
    first: usize,
    width: usize,
    panel: &mut [T],
) {
    let cols = width.min(b.ncols() - first);
    let b = b.slice_move(ndarray::s![.., first..first + cols]);
    if cols < width {
        panel.fill(T::ZERO);
    }
    transpose_into(isa, b, panel, width);
}

/// Depth and width of the blocks turned at once: a cache line of f32 either way.
const BLOCK: usize = 16;

/// Writes `source` (k x n, any strides) to rows of `stride` elements.
fn transpose_into<T: Real>(isa: Isa, source: ArrayView2<'_, T>, out: &mut [T], stride: usize) {
    let (k, n) = source.dim();
    if k == 0 || n == 0 {
        return;
    }
    if source.strides()[1] == 1 || n == 1 {
        for (row, out) in source.outer_iter().zip(out.chunks_mut(stride)) {
            match row.as_slice() {
                Some(row) => out[..n].copy_from_slice(row),
                None => out.iter_mut().zip(row).for_each(|(o, &x)| *o = x),
            }
        }
        return;
    }
    let columns = source.strides()[0] == 1;
    if !columns {
        for (row, out) in source.outer_iter().zip(out.chunks_mut(stride)) {
            out.iter_mut().zip(row).for_each(|(o, &x)| *o = x);
        }
        return;
    }
    // Columns adjacent along k: turn blocks that fit in the first-level cache.
    let turned = source.reversed_axes();
    for n0 in (0..n).step_by(BLOCK) {
        let width = BLOCK.min(n - n0);
        let mut columns: [&[T]; BLOCK] = [&[]; BLOCK];
        for (j, column) in columns.iter_mut().enumerate().take(width) {
            *column = turned.index_axis_move(ndarray::Axis(0), n0 + j).to_slice().unwrap_or_default();
        }
        for k0 in (0..k).step_by(BLOCK) {
            let depth = BLOCK.min(k - k0);
            let out = &mut out[k0 * stride + n0..];
            match (depth, width) {
                (BLOCK, BLOCK) => turn_16(isa, &columns, k0, out, stride),
                (BLOCK, ROWS) => turn_rows(isa, &columns, k0, out, stride),
                _ => {
                    for (j, column) in columns[..width].iter().enumerate() {
                        for (i, &x) in column[k0..k0 + depth].iter().enumerate() {
                            out[i * stride + j] = x;
                        }
                    }
                }
            }
        }
    }
}

dispatch! {
    fn turn_16<T>(columns: &[&[T]; BLOCK], k0: usize, out: &mut [T], stride: usize) = turn_16_body;
}
dispatch! {
    fn turn_rows<T>(columns: &[&[T]; BLOCK], k0: usize, out: &mut [T], stride: usize) = turn_rows_body;
}

#[inline(always)]
fn turn_16_body<T: Real>(columns: &[&[T]; BLOCK], k0: usize, out: &mut [T], stride: usize) {
    turn::<T, BLOCK>(columns, k0, out, stride);
}

#[inline(always)]
fn turn_rows_body<T: Real>(columns: &[&[T]; BLOCK], k0: usize, out: &mut [T], stride: usize) {
    turn::<T, ROWS>(columns, k0, out, stride);
}

/// Turns a block of N columns, 16 deep, over arrays of constant size.
#[inline(always)]
fn turn<T: Real, const N: usize>(columns: &[&[T]; BLOCK], k0: usize, out: &mut [T], stride: usize) {
    let mut block = [[T::ZERO; N]; BLOCK];
    for (j, column) in columns[..N].iter().enumerate() {
        let column = &column[k0..k0 + BLOCK];
        for i in 0..BLOCK {
            block[i][j] = column[i];
        }
    }
    for (i, row) in block.iter().enumerate() {
        out[i * stride..i * stride + N].copy_from_slice(row);
    }
}

/// A right operand packed once and used many times, such as a weight while generating.
#[derive(Clone, Debug)]
pub struct Packed<T> {
    data: Vec<T>,
    rows: usize,
    cols: usize,
    isa: Isa,
}

impl<T: Real> Packed<T> {
    /// Packs `b` (K, N); pass `weight.t()` for a weight of shape (N, K).
    pub fn new(cx: &mut Context<T>, b: ArrayView2<'_, T>) -> Self {
        let mut data = vec![T::ZERO; packed_len(b.nrows(), b.ncols())];
        let isa = cx.isa();
        pack_all(cx.team(), isa, b, &mut data);
        Packed { data, rows: b.nrows(), cols: b.ncols(), isa }
    }

    /// K, the length of a chain.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// N, the number of outputs.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The instruction set whose panels these are.
    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    pub(crate) fn data(&self) -> &[T] {
        &self.data
    }
}

/// Packs all of `b` into `out`, groups of panels by the team.
#[track_caller]
pub(crate) fn pack_all<T: Real>(team: &selvedge_sync::Team, isa: Isa, b: ArrayView2<'_, T>, out: &mut [T]) {
    let (k, cols) = b.dim();
    if k == 0 || cols == 0 {
        return;
    }
    // Each task takes 64 columns, whatever the panels: one wide panel or up to four narrow ones.
    team.parallel_parts(selvedge_sync::chunks(&mut out[..packed_len(k, cols)], k * WIDE), |index, part| {
        let first = index * WIDE;
        let end = (first + WIDE).min(cols);
        for (col, width) in panels::<T>(isa, cols).filter(|&(col, _)| col >= first && col < end) {
            let at = (col - first) * k;
            pack_cols(isa, b, col, width, &mut part[at..at + width * k]);
        }
    });
}
