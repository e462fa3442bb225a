//! SwiGLU (Shazeer 2020): y = silu(gate)·up, with gate and up side by side in one row.

use ndarray::{ArrayView2, ArrayViewMut2};
use selvedge_sync::chunks;

use crate::isa::dispatch;
use crate::rows::rows_at_once;
use crate::{Context, Real};

/// y (N, F) from gate_up (N, 2F), whose rows are F gates, then F ups. silu of a gate is within 4 ulp from −88.7 up, and
/// within 10⁻³⁶, which is 0 in the end, below; it is NaN at −∞.
///
/// # Panics
/// If the shapes do not fit or a view is not contiguous.
#[track_caller]
pub fn forward<T: Real>(cx: &mut Context<T>, mut y: ArrayViewMut2<'_, T>, gate_up: ArrayView2<'_, T>) {
    let (n, f) = y.dim();
    assert_eq!(gate_up.dim(), (n, 2 * f), "gates and ups of ({n}, {f})");
    let gate_up = gate_up.to_slice().expect("contiguous gate_up");
    let (isa, rows) = (cx.isa(), rows_at_once(n, 2 * f));
    cx.for_each(chunks(y.as_slice_mut().expect("contiguous y"), rows * f), |index, y| {
        let gate_up = &gate_up[index * rows * 2 * f..];
        for (y, gate_up) in y.chunks_mut(f).zip(gate_up.chunks(2 * f)) {
            let (gate, up) = gate_up.split_at(f);
            forward_row(isa, y, gate, up);
        }
    });
}

/// dgate_up (N, 2F) is overwritten by the gradient of gate_up, given dy (N, F). The slope of silu is within 1.1·10⁻⁶.
///
/// # Panics
/// As [`forward`].
#[track_caller]
pub fn backward<T: Real>(
    cx: &mut Context<T>,
    mut dgate_up: ArrayViewMut2<'_, T>,
    dy: ArrayView2<'_, T>,
    gate_up: ArrayView2<'_, T>,
) {
    let (n, f) = dy.dim();
    assert!(
        gate_up.dim() == (n, 2 * f) && dgate_up.dim() == (n, 2 * f),
        "gates and ups {:?} and their gradient {:?} of ({n}, {f})",
        gate_up.dim(),
        dgate_up.dim()
    );
    let gate_up = gate_up.to_slice().expect("contiguous gate_up");
    let dy = dy.to_slice().expect("contiguous dy");
    let (isa, rows) = (cx.isa(), rows_at_once(n, 2 * f));
    let d = dgate_up.as_slice_mut().expect("contiguous dgate_up");
    cx.for_each(chunks(d, rows * 2 * f), |index, d| {
        let (gate_up, dy) = (&gate_up[index * rows * 2 * f..], &dy[index * rows * f..]);
        for ((d, gate_up), dy) in d.chunks_mut(2 * f).zip(gate_up.chunks(2 * f)).zip(dy.chunks(f)) {
            let ((dgate, dup), (gate, up)) = (d.split_at_mut(f), gate_up.split_at(f));
            backward_row(isa, dgate, dup, dy, gate, up);
        }
    });
}

dispatch! {
    /// y = silu(gate) · up.
    pub(crate) fn forward_row<T>(y: &mut [T], gate: &[T], up: &[T]) = forward_row_body;
}
dispatch! {
    fn backward_row<T>(dgate: &mut [T], dup: &mut [T], dy: &[T], gate: &[T], up: &[T]) = backward_row_body;
}

#[inline(always)]
fn sigmoid<T: Real>(x: T) -> T {
    T::ONE / (T::ONE + (-x).exp())
}

#[inline(always)]
fn forward_row_body<T: Real>(y: &mut [T], gate: &[T], up: &[T]) {
    for ((y, &gate), &up) in y.iter_mut().zip(gate).zip(up) {
        *y = gate * sigmoid(gate) * up;
    }
}

#[inline(always)]
fn backward_row_body<T: Real>(dgate: &mut [T], dup: &mut [T], dy: &[T], gate: &[T], up: &[T]) {
    for ((((dgate, dup), &dy), &gate), &up) in dgate.iter_mut().zip(dup).zip(dy).zip(gate).zip(up) {
        let s = sigmoid(gate);
        *dup = dy * (gate * s);
        *dgate = dy * up * (s * (T::ONE + gate * (T::ONE - s)));
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{check_gradient, dot, errors, patterns, random, same_bits};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn backward_agrees_with_differences((n, f) in (1usize..5, 1usize..30), seed in any::<u64>()) {
            let (x, dy) = (random(seed, (n, 2 * f)), random(seed ^ 3, (n, f)));
            let mut dx = Array2::zeros((n, 2 * f));
            backward(&mut Context::solo(), dx.view_mut(), dy.view(), x.view());
            check_gradient("gate_up", &x, dx.view(), |x| {
                let mut y = Array2::zeros((n, f));
                forward(&mut Context::solo(), y.view_mut(), x.view());
                dot(&y, &dy)
            });
        }
    }

    #[test]
    fn errors_are_within_the_stated_bounds() {
        let x = patterns();
        // silu: an up of 1; the slope: a gradient and an up of 1.
        let pairs: Vec<f32> = x.iter().flat_map(|&x| [x, 1.0]).collect();
        let x2 = ArrayView2::from_shape((x.len(), 2), &pairs).unwrap();
        let y = same_bits(|cx| {
            let mut y = Array2::zeros((x.len(), 1));
            forward(cx, y.view_mut(), x2);
            y.into_raw_vec_and_offset().0
        });
        let dx = same_bits(|cx| {
            let mut dx = Array2::zeros(x2.dim());
            backward(cx, dx.view_mut(), Array2::ones((x.len(), 1)).view(), x2);
            dx.column(0).to_vec()
        });
        let sigmoid = |x: f64| 1.0 / (1.0 + libm::exp(-x));
        let silu = |x: f64| if x.is_infinite() { x.max(0.0) } else { x * sigmoid(x) };
        let slope = |x: f64| {
            let s = sigmoid(x);
            s * (1.0 + x * sigmoid(-x))
        };
        let above = |x: f32| (-88.7..=f32::MAX).contains(&x);
        let below = |x: f32| (f32::MIN..-88.7).contains(&x);
        let worst = [errors(&x, &y, above, silu).ulp, errors(&x, &y, below, silu).absolute];
        assert!(worst[0].0 < 4.0 && worst[1].0 < 1e-36, "silu: {worst:?}");
        let worst = errors(&x, &dx, f32::is_finite, slope).absolute;
        assert!(worst.0 < 1.1e-6, "slope of silu: {worst:?}");
        let at = |wanted: f32| y[x.iter().position(|x| x.to_bits() == wanted.to_bits()).unwrap()];
        assert_eq!(
            [0.0, -0.0, f32::MAX, -f32::MAX, f32::INFINITY].map(at),
            [0.0, 0.0, f32::MAX, 0.0, f32::INFINITY]
        );
    }
}
