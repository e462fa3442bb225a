//! RMS normalization (Zhang, Sennrich 2019): y = x / √(mean(x²) + ε) · w over each row.

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2};
use selvedge_sync::chunks;

use crate::isa::dispatch;
use crate::reduce::{COLUMNS, fold_rows, sum_by, sum_by3};
use crate::rows::rows_at_once;
use crate::tile::Strided;
use crate::{Context, Real};

/// How rows are normalized where only the product of them is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a, T> {
    /// (C).
    pub weight: &'a [T],
    /// ε.
    pub epsilon: f64,
}

/// y (N, C), and for the backward rstd (N) = 1/√(mean(x²) + ε); w is (C). Of a row of one element
/// rstd is within 2.5 ulp: square, sum, root and quotient are rounded once each. The mean of longer rows adds its own error.
///
/// # Panics
/// On shapes that do not fit and on views that are not contiguous.
#[track_caller]
pub fn forward<T: Real>(
    cx: &mut Context<T>,
    mut y: ArrayViewMut2<'_, T>,
    rstd: &mut [T],
    x: ArrayView2<'_, T>,
    w: ArrayView1<'_, T>,
    epsilon: f64,
) {
    let (n, c) = x.dim();
    assert!(
        y.dim() == (n, c) && rstd.len() == n && w.len() == c,
        "rmsnorm of ({n}, {c}) into {:?}, {} scales, {} weights",
        y.dim(),
        rstd.len(),
        w.len()
    );
    let (w, x) = (w.to_slice().expect("contiguous w"), x.to_slice().expect("contiguous x"));
    let (isa, rows) = (cx.isa(), rows_at_once(n, c));
    let y = chunks(y.as_slice_mut().expect("contiguous y"), rows * c);
    cx.for_each((y, chunks(rstd, rows)), |index, (y, rstd)| {
        let x = &x[index * rows * c..];
        for ((y, x), rstd) in y.chunks_mut(c).zip(x.chunks(c)).zip(rstd) {
            *rstd = forward_row(isa, y, x, w, T::from_f64(epsilon));
        }
    });
}

/// dx (N, C) += gradient of the input; dw (C) += its gradient, row after row.
///
/// # Panics
/// As [`forward`].
#[track_caller]
pub fn backward<T: Real>(
    cx: &mut Context<T>,
    mut dx: ArrayViewMut2<'_, T>,
    mut dw: ArrayViewMut1<'_, T>,
    dy: ArrayView2<'_, T>,
    x: ArrayView2<'_, T>,
    w: ArrayView1<'_, T>,
    rstd: &[T],
) {
    let (n, c) = x.dim();
    assert!(
        dx.dim() == (n, c) && dy.dim() == (n, c) && rstd.len() == n && dw.len() == c && w.len() == c,
        "rmsnorm backward of ({n}, {c}) into {:?} from {:?}",
        dx.dim(),
        dy.dim()
    );
    let w = w.to_slice().expect("contiguous w");
    let (x, dy) = (x.to_slice().expect("contiguous x"), dy.to_slice().expect("contiguous dy"));
    let (isa, rows) = (cx.isa(), rows_at_once(n, c));
    cx.for_each(chunks(dx.as_slice_mut().expect("contiguous dx"), rows * c), |index, dx| {
        for (i, dx) in dx.chunks_mut(c).enumerate() {
            let row = index * rows + i;
            let at = row * c..(row + 1) * c;
            backward_row(isa, dx, &dy[at.clone()], &x[at], w, rstd[row]);
        }
    });
    let (x, dy) = (Strided::new(x, n, c, c, 1), Strided::new(dy, n, c, c, 1));
    cx.for_each(chunks(dw.as_slice_mut().expect("contiguous dw"), COLUMNS), |index, dw| {
        let (first, cols) = (index * COLUMNS, dw.len());
        let (dy, x) = (dy.window(0, n, first, cols), x.window(0, n, first, cols));
        backward_columns(isa, dw, dy, x, rstd);
    });
}

dispatch! {
    /// y = x · rstd · w, and rstd.
    pub(crate) fn forward_row<T>(y: &mut [T], x: &[T], w: &[T], epsilon: T) -> T = forward_row_body;
}
dispatch! {
    fn backward_row<T>(dx: &mut [T], dy: &[T], x: &[T], w: &[T], rstd: T) = backward_row_body;
}
dispatch! {
    fn backward_columns<T>(dw: &mut [T], dy: Strided<'_, T>, x: Strided<'_, T>, rstd: &[T]) = backward_columns_body;
}

#[inline(always)]
fn forward_row_body<T: Real>(y: &mut [T], x: &[T], w: &[T], epsilon: T) -> T {
    let mean_square = sum_by(x, |x| x * x) / T::from_f64(x.len() as f64);
    let rstd = T::ONE / (mean_square + epsilon).sqrt();
    for ((y, &x), &w) in y.iter_mut().zip(x).zip(w) {
        *y = x * rstd * w;
    }
    rstd
}

/// dx += rstd · (g − x̂ · mean(g · x̂)) with g = dy · w and x̂ = x · rstd.
#[inline(always)]
fn backward_row_body<T: Real>(dx: &mut [T], dy: &[T], x: &[T], w: &[T], rstd: T) {
    let mean = sum_by3(dy, x, w, |dy, x, w| dy * w * (x * rstd)) / T::from_f64(x.len() as f64);
    for (((dx, &dy), &x), &w) in dx.iter_mut().zip(dy).zip(x).zip(w) {
        *dx += (dy * w - x * rstd * mean) * rstd;
    }
}

#[inline(always)]
fn backward_columns_body<T: Real>(dw: &mut [T], dy: Strided<'_, T>, x: Strided<'_, T>, rstd: &[T]) {
    fold_rows(dw, dy, x, |row, dy, x| dy * (x * rstd[row]));
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{check_gradient, dot, errors, patterns, random, same_bits};

    fn run(x: &Array2<f64>, w: &Array2<f64>) -> (Array2<f64>, Vec<f64>) {
        let mut y = Array2::zeros(x.dim());
        let mut rstd = vec![0.0; x.nrows()];
        forward(&mut Context::solo(), y.view_mut(), &mut rstd, x.view(), w.row(0), 1e-5);
        (y, rstd)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn backward_agrees_with_differences((n, c) in (1usize..5, 1usize..40), seed in any::<u64>()) {
            let (x, w) = (random(seed, (n, c)), random(seed ^ 1, (1, c)));
            let dy = random(seed ^ 3, (n, c));
            let (_, rstd) = run(&x, &w);
            // The curvature grows with rstd³; rows of tiny values are for the next case.
            prop_assume!(rstd.iter().all(|&r| r < 5.0));
            let start = random(seed ^ 4, (n, c));
            let (mut dx, mut dw) = (start.clone(), Array2::zeros((1, c)));
            backward(&mut Context::solo(), dx.view_mut(), dw.row_mut(0), dy.view(), x.view(), w.row(0), &rstd);
            let dx = dx - start;
            check_gradient("x", &x, dx.view(), |x| dot(&run(x, &w).0, &dy));
            check_gradient("w", &w, dw.view(), |w| dot(&run(&x, w).0, &dy));
        }
    }

    #[test]
    fn the_error_of_a_scale_is_within_the_stated_bound() {
        let x: Vec<f32> = patterns().into_iter().filter(|x| x.abs() < 1e19).collect();
        let column = ArrayView2::from_shape((x.len(), 1), &x).unwrap();
        let rstd = same_bits(|cx| {
            let mut rstd = vec![0.0; x.len()];
            let w = ndarray::arr1(&[1.0]);
            forward(cx, Array2::zeros(column.dim()).view_mut(), &mut rstd, column, w.view(), 1e-5);
            rstd
        });
        let epsilon = f64::from(1e-5_f32);
        let worst = errors(&x, &rstd, |_| true, |x| 1.0 / (x * x + epsilon).sqrt());
        assert!(worst.ulp.0 < 2.5, "{worst:?}");
    }
}
