//! Rotary position embedding (Su et al. 2021), in the rotate-half convention of Llama checkpoints:
//! element i is paired with element i + D/2 and turned by position · θ^(−2i/D).

use ndarray::{Array2, ArrayView2, ArrayViewMut2};

use crate::isa::dispatch;
use crate::rows::rows_at_once;
use crate::tile::Grid;
use crate::{Context, Real};

/// Sines and cosines for every position of the context: computed in f64 and rounded once, so within half a unit in the last
/// place but for what the angle in f64 is off by (10⁻¹¹ at position 4096).
#[derive(Clone, Debug)]
pub struct Table<T> {
    /// (context, D/2).
    cos: Array2<T>,
    sin: Array2<T>,
}

/// The plain frequencies of heads of size `head_size`, in radians a position: θ^(−2i/D) for each of the D/2 pairs, with
/// base θ = `theta`.
///
/// # Panics
/// If `head_size` is odd.
pub fn frequencies(head_size: usize, theta: f64) -> Vec<f64> {
    assert_eq!(head_size % 2, 0, "rope needs an even head size");
    (0..head_size / 2).map(|i| libm::pow(theta, -((2 * i) as f64) / head_size as f64)).collect()
}

impl<T: Real> Table<T> {
    /// A table for `context` positions of heads of size `head_size`, base θ = `theta`.
    ///
    /// # Panics
    /// If `head_size` is odd.
    pub fn new(context: usize, head_size: usize, theta: f64) -> Self {
        Table::with_frequencies(context, &frequencies(head_size, theta), 1.0)
    }

    /// A table for `context` positions that turns pair i by position · `frequencies[i]` and makes it `amplitude` times as
    /// long; heads have twice as many elements.
    pub fn with_frequencies(context: usize, frequencies: &[f64], amplitude: f64) -> Self {
        let angle = |(position, i): (usize, usize)| position as f64 * frequencies[i];
        let shape = (context, frequencies.len());
        // Software sine and cosine: the machine's libm must not choose the bits.
        Table {
            cos: Array2::from_shape_fn(shape, |at| T::from_f64(amplitude * libm::cos(angle(at)))),
            sin: Array2::from_shape_fn(shape, |at| T::from_f64(amplitude * libm::sin(angle(at)))),
        }
    }

    /// Positions it covers.
    pub fn context(&self) -> usize {
        self.cos.nrows()
    }

    fn row(&self, position: usize) -> (ArrayView2<'_, T>, ArrayView2<'_, T>) {
        let row = ndarray::s![position..position + 1, ..];
        (self.cos.slice(row), self.sin.slice(row))
    }
}

/// Turns x (B·T, heads·D) in place: row r is at position `first + r mod time`. Of a turned pair (a, b) both are within
/// 2⁻²³ (|a| + |b|) of what the table's sine and cosine make of it.
///
/// # Panics
/// If a row is not a whole number of heads, or a position lies outside the table.
#[track_caller]
pub fn forward<T: Real>(
    cx: &mut Context<T>,
    x: ArrayViewMut2<'_, T>,
    table: &Table<T>,
    time: usize,
    first: usize,
) {
    let rows = x.nrows();
    check_positions(table, first, time.min(rows));
    turn(cx, x, table, |row| first + row % time, false);
}

/// The same with row r at position `positions[r]`.
///
/// # Panics
/// As [`forward`], and if there are not as many positions as rows.
#[track_caller]
pub fn forward_at<T: Real>(
    cx: &mut Context<T>,
    x: ArrayViewMut2<'_, T>,
    table: &Table<T>,
    positions: &[u32],
) {
    assert_eq!(x.nrows(), positions.len(), "a position for each row");
    for &position in positions {
        check_positions(table, position as usize, 1);
    }
    turn(cx, x, table, |row| positions[row] as usize, false);
}

/// Turns the gradient back in place: the transpose of a rotation is the rotation by the opposite angle, and that of an
/// amplitude is itself.
///
/// # Panics
/// As [`forward`].
#[track_caller]
pub fn backward<T: Real>(
    cx: &mut Context<T>,
    dx: ArrayViewMut2<'_, T>,
    table: &Table<T>,
    time: usize,
    first: usize,
) {
    let rows = dx.nrows();
    check_positions(table, first, time.min(rows));
    turn(cx, dx, table, |row| first + row % time, true);
}

#[track_caller]
fn check_positions<T: Real>(table: &Table<T>, first: usize, count: usize) {
    assert!(
        first + count <= table.context(),
        "positions {first}..{} outside the context of {}",
        first + count,
        table.context()
    );
}

#[track_caller]
fn turn<T: Real>(
    cx: &mut Context<T>,
    x: ArrayViewMut2<'_, T>,
    table: &Table<T>,
    position: impl Fn(usize) -> usize + Sync,
    back: bool,
) {
    let cols = x.ncols();
    let head_size = 2 * table.cos.ncols();
    assert_eq!(cols % head_size, 0, "{cols} columns are not a whole number of heads of {head_size}");
    let (isa, rows) = (cx.isa(), rows_at_once(x.nrows(), cols));
    cx.for_each(Grid::new(x, rows, cols.max(1)), |index, mut tile| {
        for r in 0..tile.rows() {
            let (cos, sin) = table.row(position(index * rows + r));
            let (cos, sin) = (cos.to_slice().unwrap_or_default(), sin.to_slice().unwrap_or_default());
            for head in tile.row_mut(r).chunks_mut(head_size) {
                let (low, high) = head.split_at_mut(head_size / 2);
                turn_head(isa, low, high, cos, sin, back);
            }
        }
    });
}

dispatch! {
    fn turn_head<T>(low: &mut [T], high: &mut [T], cos: &[T], sin: &[T], back: bool) = turn_head_body;
}

#[inline(always)]
fn turn_head_body<T: Real>(low: &mut [T], high: &mut [T], cos: &[T], sin: &[T], back: bool) {
    let sign = if back { -T::ONE } else { T::ONE };
    for (((low, high), &cos), &sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        let (a, b, sin) = (*low, *high, sin * sign);
        *low = a * cos - b * sin;
        *high = b * cos + a * sin;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{check_gradient, dot, random, same_bits};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn backward_agrees_with_differences(
            (b, t, heads, half) in (1usize..3, 1usize..6, 1usize..4, 1usize..9), seed in any::<u64>(),
        ) {
            let table = Table::with_frequencies(8, &frequencies(2 * half, 10_000.0), 1.5);
            let shape = (b * t, heads * 2 * half);
            let (x, dy) = (random(seed, shape), random(seed ^ 3, shape));
            let mut dx = dy.clone();
            backward(&mut Context::solo(), dx.view_mut(), &table, t, 2);
            check_gradient("x", &x, dx.view(), |x| {
                let mut y = x.clone();
                forward(&mut Context::solo(), y.view_mut(), &table, t, 2);
                dot(&y, &dy)
            });
        }
    }

    #[test]
    fn the_table_is_rounded_once_and_a_turn_errs_by_its_three_roundings() {
        let (context, head_size) = (4096, 64);
        let table = Table::<f32>::new(context, head_size, 10_000.0);
        let half = 0.5 * f64::from(f32::EPSILON);
        let mut worst = 0.0_f64;
        for position in 0..context {
            let (mut x, mut exact) = (Vec::new(), Vec::new());
            for i in 0..head_size / 2 {
                let angle = position as f64 * 10_000_f64.powf(-((2 * i) as f64) / head_size as f64);
                let (cos, sin) = (table.cos[[position, i]], table.sin[[position, i]]);
                for (got, want) in [(cos, angle.cos()), (sin, angle.sin())] {
                    // Half a unit of f32, and what the angle in f64 is off by.
                    let error = (f64::from(got) - want).abs();
                    assert!(error <= half * want.abs() + 1e-11, "{got} instead of {want} at {position}, {i}");
                }
                let (a, b) = (1.0 - i as f32 / 100.0, i as f32 / 7.0 - 2.0);
                x.push((a, b));
                let (cos, sin, a, b) = (f64::from(cos), f64::from(sin), f64::from(a), f64::from(b));
                exact.push((a * cos - b * sin, b * cos + a * sin, a.abs() + b.abs()));
            }
            let row: Vec<f32> = x.iter().map(|x| x.0).chain(x.iter().map(|x| x.1)).collect();
            let turned = same_bits(|cx| {
                let mut x = Array2::from_shape_vec((1, head_size), row.clone()).unwrap();
                forward(cx, x.view_mut(), &table, 1, position);
                x.into_raw_vec_and_offset().0
            });
            for (i, (low, high, size)) in exact.into_iter().enumerate() {
                for (got, want) in [(turned[i], low), (turned[i + head_size / 2], high)] {
                    worst = worst.max((f64::from(got) - want).abs() / size / half);
                }
            }
        }
        assert!(worst < 2.0, "worst {worst} halves of a unit of |a| + |b|");
    }
}
