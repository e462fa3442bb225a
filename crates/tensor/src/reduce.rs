//! Sums with a fixed order: 16 lanes, then a fixed tree; and columns folded row by row.

use crate::Real;
use crate::tile::Strided;

/// Virtual lanes of a reduction along a row, whatever the machine's vectors.
pub(crate) const LANES: usize = 16;

/// Σ f(x[i]) over a row in lanes: element i goes to lane i mod 16.
#[inline(always)]
pub(crate) fn sum_by<T: Real>(x: &[T], f: impl Fn(T) -> T) -> T {
    let mut lanes = [T::ZERO; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += f(x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane += f(x);
    }
    fold(lanes)
}

/// Σ f(x[i], y[i]) over a row in lanes.
#[inline(always)]
pub(crate) fn sum_by2<T: Real>(x: &[T], y: &[T], f: impl Fn(T, T) -> T) -> T {
    let mut lanes = [T::ZERO; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let (x_rest, y_rest) = (xs.remainder(), ys.remainder());
    for (xs, ys) in xs.zip(ys) {
        for ((lane, &x), &y) in lanes.iter_mut().zip(xs).zip(ys) {
            *lane += f(x, y);
        }
    }
    for ((lane, &x), &y) in lanes.iter_mut().zip(x_rest).zip(y_rest) {
        *lane += f(x, y);
    }
    fold(lanes)
}

/// Σ f(x[i], y[i], z[i]) over a row in lanes.
#[inline(always)]
pub(crate) fn sum_by3<T: Real>(x: &[T], y: &[T], z: &[T], f: impl Fn(T, T, T) -> T) -> T {
    let mut lanes = [T::ZERO; LANES];
    for ((x, y), z) in x.chunks(LANES).zip(y.chunks(LANES)).zip(z.chunks(LANES)) {
        for (((lane, &x), &y), &z) in lanes.iter_mut().zip(x).zip(y).zip(z) {
            *lane += f(x, y, z);
        }
    }
    fold(lanes)
}

/// The largest element in lanes; −∞ for an empty row.
#[inline(always)]
pub(crate) fn max<T: Real>(x: &[T]) -> T {
    let mut lanes = [T::NEG_INFINITY; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = x.maximum(*lane);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = x.maximum(*lane);
    }
    lanes.into_iter().fold(T::NEG_INFINITY, |a, b| b.maximum(a))
}

/// Lanes 8 apart, then 4, 2 and 1.
#[inline(always)]
fn fold<T: Real>(mut lanes: [T; LANES]) -> T {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Columns a task folds: each column has one owner and takes its rows in order.
pub(crate) const COLUMNS: usize = 64;

/// sums += f(row, x, y) over the elements of two matrices, row after row: with [`COLUMNS`] columns each sum stays in a
/// register.
#[inline(always)]
pub(crate) fn fold_rows<T: Real>(
    sums: &mut [T],
    x: Strided<'_, T>,
    y: Strided<'_, T>,
    f: impl Fn(usize, T, T) -> T,
) {
    if let Some(sums) = sums.first_chunk_mut::<COLUMNS>() {
        let mut acc = *sums;
        for row in 0..x.rows() {
            let (xs, ys) = (x.row(row), y.row(row));
            let (Some(xs), Some(ys)) = (xs.first_chunk::<COLUMNS>(), ys.first_chunk::<COLUMNS>()) else {
                break;
            };
            for ((acc, &x), &y) in acc.iter_mut().zip(xs).zip(ys) {
                *acc += f(row, x, y);
            }
        }
        *sums = acc;
    } else {
        for row in 0..x.rows() {
            for ((sum, &x), &y) in sums.iter_mut().zip(x.row(row)).zip(y.row(row)) {
                *sum += f(row, x, y);
            }
        }
    }
}
