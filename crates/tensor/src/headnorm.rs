//! RMS normalization of each head by itself, in place among the columns of a wider matrix: what Qwen3 does to queries
//! and keys before they are turned.
//!
//! The gradient of the input overwrites that of the output; the gradient of the scale is added to, row after row.

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2};
use selvedge_sync::chunks;

use crate::isa::dispatch;
use crate::reduce::{COLUMNS, sum_by3};
use crate::rmsnorm::forward_row;
use crate::rows::rows_at_once;
use crate::tile::{Grid, Strided};
use crate::{Context, Real};

/// x (N, heads·D) becomes its norm, head by head: x / √(mean(x²) + ε) · w with w (D). For the backward, `raw` (N, heads·D)
/// gets what x was, and `rstd` (N·heads) the 1/√(mean(x²) + ε) of each head.
///
/// # Panics
/// On shapes that do not fit, and on a `raw` or `w` that is not contiguous.
#[track_caller]
pub fn forward<T: Real>(
    cx: &mut Context<T>,
    x: ArrayViewMut2<'_, T>,
    mut raw: ArrayViewMut2<'_, T>,
    rstd: &mut [T],
    w: ArrayView1<'_, T>,
    epsilon: f64,
) {
    let (n, cols) = x.dim();
    let heads = heads(cols, w.len());
    assert!(
        raw.dim() == (n, cols) && rstd.len() == n * heads,
        "head norm of ({n}, {cols}) with {:?} to keep, {} scales",
        raw.dim(),
        rstd.len()
    );
    let w = w.to_slice().expect("contiguous w");
    let (isa, rows) = (cx.isa(), rows_at_once(n, cols));
    let raw = chunks(raw.as_slice_mut().expect("contiguous raw"), (rows * cols).max(1));
    let rstd = chunks(rstd, (rows * heads).max(1));
    cx.for_each((Grid::new(x, rows, cols.max(1)), raw, rstd), |_, (mut x, raw, rstd)| {
        for (r, (raw, rstd)) in raw.chunks_mut(cols).zip(rstd.chunks_mut(heads)).enumerate() {
            let x = x.row_mut(r);
            raw.copy_from_slice(x);
            let heads = x.chunks_mut(w.len()).zip(raw.chunks(w.len()));
            for ((x, raw), rstd) in heads.zip(rstd) {
                *rstd = forward_row(isa, x, raw, w, T::from_f64(epsilon));
            }
        }
    });
}

/// d (N, heads·D), the gradient of the output, becomes that of the input; dw (D) += the gradient of the scale, row after
/// row and within a row head after head.
///
/// # Panics
/// As [`forward`].
#[track_caller]
pub fn backward<T: Real>(
    cx: &mut Context<T>,
    d: ArrayViewMut2<'_, T>,
    mut dw: ArrayViewMut1<'_, T>,
    raw: ArrayView2<'_, T>,
    rstd: &[T],
    w: ArrayView1<'_, T>,
) {
    let (n, cols) = d.dim();
    let heads = heads(cols, w.len());
    assert!(
        raw.dim() == (n, cols) && rstd.len() == n * heads && dw.len() == w.len(),
        "head norm backward of ({n}, {cols}) from {:?}, {} scales",
        raw.dim(),
        rstd.len()
    );
    let w = w.to_slice().expect("contiguous w");
    let (isa, rows) = (cx.isa(), rows_at_once(n, cols));
    let dw = chunks(dw.as_slice_mut().expect("contiguous dw"), COLUMNS);
    let (dy, x) = (Strided::from(d.view()), Strided::from(raw));
    cx.for_each(dw, |index, dw| backward_columns(isa, dw, dy, x, rstd, index * COLUMNS, w.len()));
    let raw = raw.to_slice().expect("contiguous raw");
    cx.for_each(Grid::new(d, rows, cols.max(1)), |index, mut d| {
        for r in 0..d.rows() {
            let row = index * rows + r;
            let pairs = d.row_mut(r).chunks_mut(w.len()).zip(raw[row * cols..].chunks(w.len()));
            for ((d, x), &rstd) in pairs.zip(&rstd[row * heads..]) {
                backward_head(isa, d, x, w, rstd);
            }
        }
    });
}

/// Heads of size `head_size` in so many columns.
#[track_caller]
fn heads(cols: usize, head_size: usize) -> usize {
    assert!(
        head_size > 0 && cols.is_multiple_of(head_size),
        "{cols} columns are not a whole number of heads of {head_size}"
    );
    cols / head_size
}

dispatch! {
    fn backward_columns<T>(dw: &mut [T], dy: Strided<'_, T>, x: Strided<'_, T>, rstd: &[T], first: usize, head_size: usize) = backward_columns_body;
}
dispatch! {
    fn backward_head<T>(d: &mut [T], x: &[T], w: &[T], rstd: T) = backward_head_body;
}

/// Elements `first..` of dw, from those elements of every head.
#[inline(always)]
fn backward_columns_body<T: Real>(
    dw: &mut [T],
    dy: Strided<'_, T>,
    x: Strided<'_, T>,
    rstd: &[T],
    first: usize,
    head_size: usize,
) {
    let mut rstd = rstd.iter();
    for row in 0..dy.rows() {
        let heads = dy.row(row).chunks(head_size).zip(x.row(row).chunks(head_size));
        for ((dy, x), &rstd) in heads.zip(&mut rstd) {
            for ((dw, &dy), &x) in dw.iter_mut().zip(&dy[first..]).zip(&x[first..]) {
                *dw += dy * (x * rstd);
            }
        }
    }
}

/// d ← rstd · (g − x̂ · mean(g · x̂)) with g = d · w and x̂ = x · rstd.
#[inline(always)]
fn backward_head_body<T: Real>(d: &mut [T], x: &[T], w: &[T], rstd: T) {
    let mean = sum_by3(d, x, w, |d, x, w| d * w * (x * rstd)) / T::from_f64(x.len() as f64);
    for ((d, &x), &w) in d.iter_mut().zip(x).zip(w) {
        *d = (*d * w - x * rstd * mean) * rstd;
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, s};
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{check_gradient, dot, random, same_bits};

    /// The columns `1..` of x, normalized in place, with what the backward needs.
    fn run<T: Real>(cx: &mut Context<T>, x: &Array2<T>, w: &Array2<T>) -> (Array2<T>, Array2<T>, Vec<T>) {
        let mut y = x.clone();
        let inner = y.slice_mut(s![.., 1..]);
        let mut raw = Array2::from_elem(inner.dim(), T::ZERO);
        let mut rstd = vec![T::ZERO; raw.len() / w.len()];
        forward(cx, inner, raw.view_mut(), &mut rstd, w.row(0), 1e-6);
        (y, raw, rstd)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn backward_agrees_with_differences(
            (n, heads, head_size) in (1usize..5, 1usize..4, 1usize..20), seed in any::<u64>(),
        ) {
            let (x, w) = (random(seed, (n, heads * head_size + 1)), random(seed ^ 1, (1, head_size)));
            let (_, raw, rstd) = run(&mut Context::solo(), &x, &w);
            // The curvature grows with rstd³; rows of tiny values are for the next case.
            prop_assume!(rstd.iter().all(|&r| r < 5.0));
            let dy = random(seed ^ 3, x.dim());
            let (mut d, mut dw) = (dy.clone(), Array2::zeros((1, head_size)));
            let (inner, cx) = (d.slice_mut(s![.., 1..]), &mut Context::solo());
            backward(cx, inner, dw.row_mut(0), raw.view(), &rstd, w.row(0));
            check_gradient("x", &x, d.view(), |x| dot(&run(&mut Context::solo(), x, &w).0, &dy));
            check_gradient("w", &w, dw.view(), |w| dot(&run(&mut Context::solo(), &x, w).0, &dy));
        }
    }

    #[test]
    fn rows_in_two_calls_and_any_instruction_set_give_the_bits_of_one() {
        let (n, heads, head_size, cut) = (21, 3, 70, 7);
        let x = random::<f32>(1, (n, heads * head_size + 1));
        let (w, dy) = (random::<f32>(2, (1, head_size)), random::<f32>(3, x.dim()));
        same_bits(|cx| {
            let part = |cx: &mut Context<f32>, rows: std::ops::Range<usize>, dw: &mut Array2<f32>| {
                let x = x.slice(s![rows.clone(), ..]).to_owned();
                let (y, raw, rstd) = run(cx, &x, &w);
                let mut d = dy.slice(s![rows, ..]).to_owned();
                backward(cx, d.slice_mut(s![.., 1..]), dw.row_mut(0), raw.view(), &rstd, w.row(0));
                [y, d]
            };
            let (mut whole, mut parts) = (Array2::zeros((1, head_size)), Array2::zeros((1, head_size)));
            let [y, d] = part(cx, 0..n, &mut whole);
            let (above, below) = (part(cx, 0..cut, &mut parts), part(cx, cut..n, &mut parts));
            assert_eq!(whole, parts);
            for (whole, (above, below)) in [&y, &d].into_iter().zip(above.iter().zip(&below)) {
                assert_eq!(whole.slice(s![..cut, ..]), above);
                assert_eq!(whole.slice(s![cut.., ..]), below);
            }
            [y, d, whole].into_iter().flat_map(|x| x.into_raw_vec_and_offset().0).collect()
        });
    }
}
