//! The register tile: up to 6 rows by 64 or 16 columns of C, held in vector registers over the k loop.

use crate::isa::{Isa, Kind, dispatch};
use crate::tile::Tile;
use crate::{Init, Real};

/// Rows of a full register tile.
pub(crate) const ROWS: usize = 6;
/// Columns of the narrow register tile, and what panels are padded to.
pub(crate) const NARROW: usize = 16;
/// Columns of the wide register tile.
pub(crate) const WIDE: usize = 64;

/// Where a register tile finds its operands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TileShape {
    /// Length of the chains.
    pub(crate) k: usize,
    /// Rows, 1 to [`ROWS`]; also the distance between consecutive k in `a`.
    pub(crate) rows: usize,
    /// Padded columns: [`WIDE`] or [`NARROW`].
    pub(crate) cols: usize,
    /// Distance between consecutive k in `b`.
    pub(crate) b_stride: usize,
}

/// Whether the 64-column tile fits the registers: 6x64 f32 is 24 of AVX-512's 32.
pub(crate) fn has_wide_tile<T: Real>(isa: Isa) -> bool {
    T::WIDE && isa.kind() == Kind::Avx512
}

/// Adds `a`·`b` to the tile `c`, which may be narrower than the padded columns.
///
/// `a` holds `shape.rows` values a step of k, `b` at least `shape.cols` at each `shape.b_stride`.
pub(crate) fn tile_chain<T: Real>(
    isa: Isa,
    shape: TileShape,
    init: Init<'_, T>,
    a: &[T],
    b: &[T],
    c: &mut Tile<'_, T>,
) {
    assert_eq!(c.rows(), shape.rows, "rows of the register tile");
    if shape.cols == WIDE {
        wide(isa, shape, init, a, b, c);
    } else {
        narrow(isa, shape, init, a, b, c);
    }
}

dispatch! {
    fn wide<T>(shape: TileShape, init: Init<'_, T>, a: &[T], b: &[T], c: &mut Tile<'_, T>) = wide_body;
}
dispatch! {
    fn narrow<T>(shape: TileShape, init: Init<'_, T>, a: &[T], b: &[T], c: &mut Tile<'_, T>) = narrow_body;
}

#[inline(always)]
fn wide_body<T: Real>(shape: TileShape, init: Init<'_, T>, a: &[T], b: &[T], c: &mut Tile<'_, T>) {
    by_rows::<T, WIDE>(shape, init, a, b, c);
}

#[inline(always)]
fn narrow_body<T: Real>(shape: TileShape, init: Init<'_, T>, a: &[T], b: &[T], c: &mut Tile<'_, T>) {
    by_rows::<T, NARROW>(shape, init, a, b, c);
}

#[inline(always)]
fn by_rows<T: Real, const N: usize>(
    shape: TileShape,
    init: Init<'_, T>,
    a: &[T],
    b: &[T],
    c: &mut Tile<'_, T>,
) {
    match shape.rows {
        1 => chain::<T, 1, N>(shape, init, a, b, c),
        2 => chain::<T, 2, N>(shape, init, a, b, c),
        3 => chain::<T, 3, N>(shape, init, a, b, c),
        4 => chain::<T, 4, N>(shape, init, a, b, c),
        5 => chain::<T, 5, N>(shape, init, a, b, c),
        _ => chain::<T, 6, N>(shape, init, a, b, c),
    }
}

/// M rows by N columns. Written over arrays of constant size, which the compiler keeps in vector registers.
#[inline(always)]
fn chain<T: Real, const M: usize, const N: usize>(
    shape: TileShape,
    init: Init<'_, T>,
    a: &[T],
    b: &[T],
    c: &mut Tile<'_, T>,
) {
    let mut acc = match init {
        Init::Zero => [[T::ZERO; N]; M],
        Init::Bias(bias) => [load(bias, c.cols()); M],
        Init::Accumulate => std::array::from_fn(|i| load(c.row(i), c.cols())),
    };
    let (steps, stride) = (shape.k, shape.b_stride);
    let a = &a[..steps * M];
    let b = if steps > 0 { &b[..(steps - 1) * stride + N] } else { &[] };
    for (left, right) in a.chunks_exact(M).zip(b.chunks(stride)) {
        // Both hold by the lengths above. A failing index would have to leave the sums in memory at
        // each step for the panic to find; leaving the loop keeps them in registers.
        let (Some(left), Some(right)) = (left.first_chunk::<M>(), right.first_chunk::<N>()) else { break };
        for i in 0..M {
            for j in 0..N {
                acc[i][j] = left[i].mul_add(right[j], acc[i][j]);
            }
        }
    }
    for (i, row) in acc.into_iter().enumerate() {
        store(row, c.row_mut(i));
    }
}

/// The first `cols` elements, then zeros. Copies of varying length go through arrays of their own, here and
/// in [`store`]: an accumulator they touched would live in memory, not in registers.
#[inline(always)]
fn load<T: Real, const N: usize>(from: &[T], cols: usize) -> [T; N] {
    if cols == N
        && let Some(row) = from.first_chunk::<N>()
    {
        return *row;
    }
    let mut row = [T::ZERO; N];
    row[..cols].copy_from_slice(&from[..cols]);
    row
}

#[inline(always)]
fn store<T: Real, const N: usize>(row: [T; N], to: &mut [T]) {
    if let Some(to) = to.first_chunk_mut::<N>() {
        *to = row;
    } else {
        let short = row;
        to.copy_from_slice(&short[..to.len()]);
    }
}
