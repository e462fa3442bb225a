//! Linear layer: y = x·Wᵀ + b, with W (OC, C) as PyTorch stores it.
//!
//! The gradient of the bias is added to what is there, and that of the weight when asked, row after row, so that any split
//! of the rows into calls gives the same bits. The gradient of the input is overwritten, or added when asked.

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2};

use crate::context::ELEMENTS;
use crate::isa::dispatch;
use crate::matmul::{Epilogue, Init, Late, Operand, Reading, product, product_then};
use crate::quantized::BLOCK;
use crate::reduce::{COLUMNS, fold_rows};
use crate::rmsnorm::Norm;
use crate::tile::{Grid, Strided, Tile};
use crate::{Context, Isa, Quantized, Real};

/// y (N, OC) = x (N, C) · Wᵀ + b. The weight is `w.t()` of a (OC, C) view, or packed from it.
///
/// # Panics
/// On shapes that do not fit, and on a bias whose elements are not adjacent.
#[track_caller]
pub fn forward<'a, T: Real>(
    cx: &mut Context<T>,
    y: ArrayViewMut2<'_, T>,
    x: ArrayView2<'_, T>,
    w_t: impl Into<Operand<'a, T>>,
    bias: Option<ArrayView1<'_, T>>,
) {
    product(cx, y, start(&bias), x, w_t);
}

/// y (N, OC) = residual (N, OC) + (x·Wᵀ + b): each sum is added while it is at hand.
///
/// # Panics
/// As [`forward`].
#[track_caller]
pub fn forward_onto<'a, T: Real>(
    cx: &mut Context<T>,
    y: ArrayViewMut2<'_, T>,
    residual: ArrayView2<'_, T>,
    x: ArrayView2<'_, T>,
    w_t: impl Into<Operand<'a, T>>,
    bias: Option<ArrayView1<'_, T>>,
) {
    assert_eq!(y.dim(), residual.dim(), "residual and output");
    product_then(cx, y, start(&bias), x, w_t, None, onto(cx.isa(), residual));
}

/// Adds the residual, of the shape of the product.
fn onto<'a, T: Real>(isa: Isa, residual: ArrayView2<'a, T>) -> impl Epilogue<T> + use<'a, T> {
    let then = move |y: &mut Tile<'_, T>, residual: Strided<'_, T>| {
        for row in 0..y.rows() {
            add(isa, y.row_mut(row), residual.row(row));
        }
    };
    Reading { other: residual.into(), then }
}

/// y (N, OC) = norm(x) (N, C) · Wᵀ + b over quantized weights: normalized rows are rounded at once, and not kept. The bits are
/// those of [`rmsnorm::forward`](crate::rmsnorm::forward) and [`forward`].
///
/// # Panics
/// As [`forward`], on a norm of another length than C, and on an x that is not contiguous.
#[track_caller]
pub fn forward_normed<T: Real>(
    cx: &mut Context<T>,
    y: ArrayViewMut2<'_, T>,
    x: ArrayView2<'_, T>,
    norm: Norm<'_, T>,
    weights: &Quantized,
    bias: Option<ArrayView1<'_, T>>,
) {
    let (n, c) = x.dim();
    assert!(
        y.dim() == (n, weights.outputs())
            && weights.inputs() == c
            && norm.weight.len() == c
            && x.is_standard_layout(),
        "({n}, {c}) with {} scales by weights ({}, {}) does not give {:?}",
        norm.weight.len(),
        weights.outputs(),
        weights.inputs(),
        y.dim()
    );
    let init = start(&bias);
    if let Init::Bias(bias) = init {
        assert_eq!(bias.len(), weights.outputs(), "length of the bias");
    }
    if y.is_empty() {
        return;
    }
    T::multiply_quantized(
        cx,
        y,
        init,
        (x, Some(norm)),
        weights,
        None,
        |_: &mut Tile<'_, T>, _: Option<Tile<'_, T>>| {},
    );
}

/// out (N, C) = x + W₂·swiglu(W₁·norm(x)) for each row of x (N, C), over quantized weights W₁ (2F, C), gates first, and W₂ (C, F).
/// What lies between is rounded at once, and not kept. The bits are those of [`rmsnorm::forward`](crate::rmsnorm::forward),
/// [`forward`], [`swiglu::forward`](crate::swiglu::forward) and [`forward_onto`].
///
/// # Panics
/// On shapes that do not fit, an F that is not a multiple of 32, and views that are not contiguous.
#[track_caller]
pub fn forward_gated<T: Real>(
    cx: &mut Context<T>,
    out: ArrayViewMut2<'_, T>,
    x: ArrayView2<'_, T>,
    norm: Norm<'_, T>,
    weights: [&Quantized; 2],
) {
    let ((n, c), [gate_up, down]) = (x.dim(), weights);
    assert!(
        out.dim() == (n, c)
            && norm.weight.len() == c
            && (gate_up.outputs(), gate_up.inputs()) == (2 * down.inputs(), c)
            && down.outputs() == c
            && down.inputs().is_multiple_of(BLOCK)
            && x.is_standard_layout(),
        "({n}, {c}) with {} scales by weights ({}, {}), then ({}, {}) does not give {:?}",
        norm.weight.len(),
        gate_up.outputs(),
        gate_up.inputs(),
        down.outputs(),
        down.inputs(),
        out.dim()
    );
    if x.is_empty() {
        return;
    }
    T::gated_quantized(cx, out, x, norm, weights, onto(cx.isa(), x));
}

/// Writes down what the chains of a product start from, for products that go on from it with [`Init::Accumulate`].
///
/// # Panics
/// If y is not row-major, or of a bias of another length than its rows.
#[track_caller]
pub fn start_from<T: Real>(cx: &mut Context<T>, y: ArrayViewMut2<'_, T>, init: Init<'_, T>) {
    let cols = y.ncols().max(1);
    cx.for_each(Grid::new(y, ELEMENTS.div_ceil(cols), cols), |_, mut y| {
        for row in 0..y.rows() {
            match init {
                Init::Zero => y.row_mut(row).fill(T::ZERO),
                Init::Bias(bias) => y.row_mut(row).copy_from_slice(bias),
                Init::Accumulate => {}
            }
        }
    });
}

/// What the chains of a forward start from.
fn start<'a, T: Real>(bias: &'a Option<ArrayView1<'_, T>>) -> Init<'a, T> {
    match bias {
        Some(bias) => Init::Bias(bias.as_slice().expect("a bias is contiguous")),
        None => Init::Zero,
    }
}

/// dx (N, C) = dy (N, OC) · W, or `+=` with [`Init::Accumulate`].
#[track_caller]
pub fn backward_input<T: Real>(
    cx: &mut Context<T>,
    dx: ArrayViewMut2<'_, T>,
    init: Init<'_, T>,
    dy: ArrayView2<'_, T>,
    w: ArrayView2<'_, T>,
) {
    product(cx, dx, init, dy, w);
}

/// Elements of a gradient that has left the caches when the optimizer comes to it.
const LATE: usize = 1 << 20;

/// dW (OC, C) = dyᵀ · x, or `+=` with [`Init::Accumulate`], and db (OC) += Σ rows of dy.
#[track_caller]
pub fn backward_weight<T: Real>(
    cx: &mut Context<T>,
    dw: ArrayViewMut2<'_, T>,
    init: Init<'_, T>,
    dbias: Option<ArrayViewMut1<'_, T>>,
    dy: ArrayView2<'_, T>,
    x: ArrayView2<'_, T>,
) {
    if matches!(init, Init::Zero) && dw.len() >= LATE {
        product_then(cx, dw, init, dy.t(), x, None, Late);
    } else {
        product(cx, dw, init, dy.t(), x);
    }
    if let Some(mut dbias) = dbias {
        let dbias = dbias.as_slice_mut().expect("a bias gradient is contiguous");
        assert_eq!(dbias.len(), dy.ncols(), "length of the bias gradient");
        let (isa, dy) = (cx.isa(), Strided::from(dy));
        cx.for_each(selvedge_sync::chunks(dbias, COLUMNS), |index, sums| {
            add_rows(isa, sums, dy.window(0, dy.rows(), index * COLUMNS, sums.len()));
        });
    }
}

dispatch! {
    /// sums += each row.
    pub(crate) fn add_rows<T>(sums: &mut [T], rows: Strided<'_, T>) = add_rows_body;
}

#[inline(always)]
fn add_rows_body<T: Real>(sums: &mut [T], rows: Strided<'_, T>) {
    fold_rows(sums, rows, rows, |_, x, _| x);
}

dispatch! {
    /// sums += row.
    pub(crate) fn add<T>(sums: &mut [T], row: &[T]) = add_body;
}

#[inline(always)]
fn add_body<T: Real>(sums: &mut [T], row: &[T]) {
    for (sum, &x) in sums.iter_mut().zip(row) {
        *sum += x;
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, Axis};
    use proptest::prelude::*;
    use selvedge_sync::Team;

    use super::*;
    use crate::testing::{check_gradient, dot, random};
    use crate::{Isa, Precision};

    #[test]
    fn chains_go_on_from_what_was_written_down() {
        let (x, w, bias) = (random::<f32>(1, (700, 9)), random::<f32>(2, (33, 9)), random::<f32>(3, (1, 33)));
        for bias in [None, Some(bias.row(0))] {
            let [at_once, after] = [false, true].map(|after| {
                let cx = &mut Context::new(Team::new(if after { 3 } else { 1 }).unwrap(), Isa::detect());
                let mut y = Array2::from_elem((700, 40), f32::NAN);
                let mut part = y.slice_mut(ndarray::s![.., 3..36]);
                let init = start(&bias);
                if after {
                    start_from(cx, part.view_mut(), init);
                    product(cx, part, Init::Accumulate, x.view(), w.t());
                } else {
                    product(cx, part, init, x.view(), w.t());
                }
                y.into_raw_vec_and_offset().0
            });
            let bits = |y: &[f32]| y.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&after), bits(&at_once));
        }
    }

    /// Of sizes that are written past the caches, with rows that begin at lines, rows that end within a tile, and rows that
    /// begin anywhere.
    #[test]
    fn gradients_written_past_the_caches_are_those_that_are_added_to() {
        let n = 9;
        for (oc, c) in [(1024, 1024), (1024, 1040), (1021, 1033)] {
            assert!(oc * c >= LATE);
            let (x, dy) = (random::<f32>(1, (n, c)), random::<f32>(2, (n, oc)));
            for isa in Isa::available() {
                for precision in [Precision::F32, Precision::Bf16] {
                    let cx = &mut Context::new(Team::new(2).unwrap(), isa).with_precision(precision);
                    let [late, added] = [Init::Zero, Init::Accumulate].map(|init| {
                        let fill = if matches!(init, Init::Zero) { f32::NAN } else { 0.0 };
                        let mut dw = Array2::from_elem((oc, c), fill);
                        backward_weight(cx, dw.view_mut(), init, None, dy.view(), x.view());
                        dw
                    });
                    assert!(late == added, "({oc}, {c}), {isa}, {precision:?}");
                }
            }
        }
    }

    fn run(x: &Array2<f64>, w: &Array2<f64>, b: &Array2<f64>) -> Array2<f64> {
        let mut y = Array2::zeros((x.nrows(), w.nrows()));
        forward(&mut Context::solo(), y.view_mut(), x.view(), w.t(), Some(b.row(0)));
        y
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn backward_agrees_with_differences((n, c, oc) in (1usize..6, 1usize..9, 1usize..20), seed in any::<u64>()) {
            let (x, w, b) = (random(seed, (n, c)), random(seed ^ 1, (oc, c)), random(seed ^ 2, (1, oc)));
            let dy = random(seed ^ 3, (n, oc));
            let cx = &mut Context::solo();
            let (mut dx, mut dw, mut db) = (x.clone(), Array2::zeros((oc, c)), Array2::zeros((1, oc)));
            backward_input(cx, dx.view_mut(), Init::Zero, dy.view(), w.view());
            let dbias = db.index_axis_mut(Axis(0), 0);
            backward_weight(cx, dw.view_mut(), Init::Zero, Some(dbias), dy.view(), x.view());
            check_gradient("x", &x, dx.view(), |x| dot(&run(x, &w, &b), &dy));
            check_gradient("w", &w, dw.view(), |w| dot(&run(&x, w, &b), &dy));
            check_gradient("b", &b, db.view(), |b| dot(&run(&x, &w, b), &dy));
        }

        #[test]
        fn rows_in_two_calls_give_the_bits_of_one(n in 2usize..40, cut in 1usize..39, seed in any::<u64>()) {
            let cut = cut.min(n - 1);
            let (x, dy) = (random::<f32>(seed, (n, 70)), random::<f32>(seed ^ 1, (n, 33)));
            let cx = &mut Context::solo();
            let (mut whole, mut whole_b) = (Array2::zeros((33, 70)), Array2::zeros((1, 33)));
            backward_weight(cx, whole.view_mut(), Init::Accumulate, Some(whole_b.row_mut(0)), dy.view(), x.view());
            let (mut parts, mut parts_b) = (Array2::zeros((33, 70)), Array2::zeros((1, 33)));
            let (x1, x2) = x.view().split_at(Axis(0), cut);
            let (d1, d2) = dy.view().split_at(Axis(0), cut);
            backward_weight(cx, parts.view_mut(), Init::Zero, Some(parts_b.row_mut(0)), d1, x1);
            backward_weight(cx, parts.view_mut(), Init::Accumulate, Some(parts_b.row_mut(0)), d2, x2);
            prop_assert_eq!(whole, parts);
            prop_assert_eq!(whole_b, parts_b);
        }
    }
}
