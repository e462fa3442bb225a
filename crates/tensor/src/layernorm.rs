//! Layer normalization (Ba, Kiros, Hinton 2016): y = (x − mean) / √(var + ε) · w + b over each row.

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2};
use selvedge_sync::chunks;

use crate::isa::dispatch;
use crate::linear::add_rows;
use crate::reduce::{COLUMNS, fold_rows, sum_by, sum_by2, sum_by3};
use crate::rows::rows_at_once;
use crate::tile::Strided;
use crate::{Context, Real};

/// y (N, C), and for the backward mean (N) and rstd (N) = 1/√(var + ε); w and b are (C).
///
/// # Panics
/// On shapes that do not fit and on views that are not contiguous.
#[track_caller]
pub fn forward<T: Real>(
    cx: &mut Context<T>,
    mut y: ArrayViewMut2<'_, T>,
    mean: &mut [T],
    rstd: &mut [T],
    x: ArrayView2<'_, T>,
    w: ArrayView1<'_, T>,
    b: ArrayView1<'_, T>,
    epsilon: f64,
) {
    let (n, c) = x.dim();
    assert!(
        y.dim() == (n, c) && mean.len() == n && rstd.len() == n && w.len() == c && b.len() == c,
        "layernorm of ({n}, {c}) into {:?}, {} means, {} weights",
        y.dim(),
        mean.len(),
        w.len()
    );
    let (w, b) = (w.to_slice().expect("contiguous w"), b.to_slice().expect("contiguous b"));
    let x = x.to_slice().expect("contiguous x");
    let (isa, rows) = (cx.isa(), rows_at_once(n, c));
    let y = chunks(y.as_slice_mut().expect("contiguous y"), rows * c);
    cx.for_each((y, chunks(mean, rows), chunks(rstd, rows)), |index, (y, mean, rstd)| {
        let x = &x[index * rows * c..];
        for (i, (y, x)) in y.chunks_mut(c).zip(x.chunks(c)).enumerate() {
            (mean[i], rstd[i]) = forward_row(isa, y, x, w, b, T::from_f64(epsilon));
        }
    });
}

/// dx (N, C) += gradient of the input; dw (C) and db (C) += their gradients, row after row.
///
/// # Panics
/// As [`forward`].
#[track_caller]
pub fn backward<T: Real>(
    cx: &mut Context<T>,
    mut dx: ArrayViewMut2<'_, T>,
    mut dw: ArrayViewMut1<'_, T>,
    mut db: ArrayViewMut1<'_, T>,
    dy: ArrayView2<'_, T>,
    x: ArrayView2<'_, T>,
    w: ArrayView1<'_, T>,
    mean: &[T],
    rstd: &[T],
) {
    let (n, c) = x.dim();
    assert!(
        dx.dim() == (n, c)
            && dy.dim() == (n, c)
            && mean.len() == n
            && rstd.len() == n
            && dw.len() == c
            && db.len() == c,
        "layernorm backward of ({n}, {c}) into {:?} from {:?}",
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
            backward_row(isa, dx, &dy[at.clone()], &x[at], w, mean[row], rstd[row]);
        }
    });
    let dw = chunks(dw.as_slice_mut().expect("contiguous dw"), COLUMNS);
    let db = chunks(db.as_slice_mut().expect("contiguous db"), COLUMNS);
    let (x, dy) = (Strided::new(x, n, c, c, 1), Strided::new(dy, n, c, c, 1));
    cx.for_each((dw, db), |index, (dw, db)| {
        let (first, cols) = (index * COLUMNS, db.len());
        let (dy, x) = (dy.window(0, n, first, cols), x.window(0, n, first, cols));
        backward_columns(isa, dw, dy, x, mean, rstd);
        add_rows(isa, db, dy);
    });
}

dispatch! {
    fn forward_row<T>(y: &mut [T], x: &[T], w: &[T], b: &[T], epsilon: T) -> (T, T) = forward_row_body;
}
dispatch! {
    fn backward_row<T>(dx: &mut [T], dy: &[T], x: &[T], w: &[T], mean: T, rstd: T) = backward_row_body;
}
dispatch! {
    fn backward_columns<T>(dw: &mut [T], dy: Strided<'_, T>, x: Strided<'_, T>, mean: &[T], rstd: &[T]) = backward_columns_body;
}

#[inline(always)]
fn forward_row_body<T: Real>(y: &mut [T], x: &[T], w: &[T], b: &[T], epsilon: T) -> (T, T) {
    let count = T::from_f64(x.len() as f64);
    let mean = sum_by(x, |x| x) / count;
    let variance = sum_by(x, |x| (x - mean) * (x - mean)) / count;
    let rstd = T::ONE / (variance + epsilon).sqrt();
    for (((y, &x), &w), &b) in y.iter_mut().zip(x).zip(w).zip(b) {
        *y = ((x - mean) * rstd).mul_add(w, b);
    }
    (mean, rstd)
}

/// dx += rstd · (g − mean(g) − x̂ · mean(g · x̂)) with g = dy · w and x̂ the normalized row.
#[inline(always)]
fn backward_row_body<T: Real>(dx: &mut [T], dy: &[T], x: &[T], w: &[T], mean: T, rstd: T) {
    let count = T::from_f64(x.len() as f64);
    let g_mean = sum_by2(dy, w, |dy, w| dy * w) / count;
    let g_hat_mean = sum_by3(dy, x, w, |dy, x, w| dy * w * ((x - mean) * rstd)) / count;
    for (((dx, &dy), &x), &w) in dx.iter_mut().zip(dy).zip(x).zip(w) {
        let hat = (x - mean) * rstd;
        *dx += (dy * w - g_mean - hat * g_hat_mean) * rstd;
    }
}

#[inline(always)]
fn backward_columns_body<T: Real>(
    dw: &mut [T],
    dy: Strided<'_, T>,
    x: Strided<'_, T>,
    mean: &[T],
    rstd: &[T],
) {
    fold_rows(dw, dy, x, |row, dy, x| dy * ((x - mean[row]) * rstd[row]));
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{check_gradient, dot, random};

    fn run(x: &Array2<f64>, w: &Array2<f64>, b: &Array2<f64>) -> (Array2<f64>, Vec<f64>, Vec<f64>) {
        let mut y = Array2::zeros(x.dim());
        let (mut mean, mut rstd) = (vec![0.0; x.nrows()], vec![0.0; x.nrows()]);
        let cx = &mut Context::solo();
        forward(cx, y.view_mut(), &mut mean, &mut rstd, x.view(), w.row(0), b.row(0), 1e-5);
        (y, mean, rstd)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn backward_agrees_with_differences((n, c) in (1usize..5, 2usize..40), seed in any::<u64>()) {
            let (x, w, b) = (random(seed, (n, c)), random(seed ^ 1, (1, c)), random(seed ^ 2, (1, c)));
            let dy = random(seed ^ 3, (n, c));
            let (_, mean, rstd) = run(&x, &w, &b);
            let start = random(seed ^ 4, (n, c));
            let (mut dx, mut dw, mut db) = (start.clone(), Array2::zeros((1, c)), Array2::zeros((1, c)));
            backward(
                &mut Context::solo(), dx.view_mut(), dw.row_mut(0), db.row_mut(0),
                dy.view(), x.view(), w.row(0), &mean, &rstd,
            );
            let dx = dx - start;
            // The curvature grows with rstd³; rows whose spread is tiny are for the next case.
            prop_assume!(rstd.iter().all(|&r| r < 5.0));
            check_gradient("x", &x, dx.view(), |x| dot(&run(x, &w, &b).0, &dy));
            check_gradient("w", &w, dw.view(), |w| dot(&run(&x, w, &b).0, &dy));
            check_gradient("b", &b, db.view(), |b| dot(&run(&x, &w, b).0, &dy));
        }
    }
}
