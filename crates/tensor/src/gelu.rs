//! GELU (Hendrycks, Gimpel 2016): x·Φ(x), exactly by erf or by the tanh approximation GPT-2 uses.

use ndarray::{ArrayView2, ArrayViewMut2};
use selvedge_sync::chunks;

use crate::isa::dispatch;
use crate::residual::ELEMENTS;
use crate::{Context, Real};

/// Which form of the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// ½x(1 + tanh(√(2/π)(x + 0.044715x³))).
    Tanh,
    /// ½x(1 + erf(x/√2)).
    Exact,
}

/// y (N, C) = gelu(x).
///
/// # Panics
/// If the shapes differ or a view is not contiguous.
#[track_caller]
pub fn forward<T: Real>(cx: &mut Context<T>, mut y: ArrayViewMut2<'_, T>, x: ArrayView2<'_, T>, form: Form) {
    assert_eq!(y.dim(), x.dim(), "gelu output and input");
    let (y, x) = (y.as_slice_mut().expect("contiguous y"), x.to_slice().expect("contiguous x"));
    let isa = cx.isa();
    cx.for_each(chunks(y, ELEMENTS), |index, y| {
        let x = &x[index * ELEMENTS..];
        match form {
            Form::Tanh => forward_tanh(isa, y, x),
            Form::Exact => forward_exact(isa, y, x),
        }
    });
}

/// dx (N, C), which holds the gradient of the output, becomes that of the input.
///
/// # Panics
/// As [`forward`].
#[track_caller]
pub fn backward<T: Real>(
    cx: &mut Context<T>,
    mut dx: ArrayViewMut2<'_, T>,
    x: ArrayView2<'_, T>,
    form: Form,
) {
    assert_eq!(dx.dim(), x.dim(), "gelu gradient and input");
    let (dx, x) = (dx.as_slice_mut().expect("contiguous dx"), x.to_slice().expect("contiguous x"));
    let isa = cx.isa();
    cx.for_each(chunks(dx, ELEMENTS), |index, dx| {
        let x = &x[index * ELEMENTS..];
        match form {
            Form::Tanh => backward_tanh(isa, dx, x),
            Form::Exact => backward_exact(isa, dx, x),
        }
    });
}

dispatch! {
    fn forward_tanh<T>(y: &mut [T], x: &[T]) = forward_tanh_body;
}
dispatch! {
    fn forward_exact<T>(y: &mut [T], x: &[T]) = forward_exact_body;
}
dispatch! {
    fn backward_tanh<T>(dx: &mut [T], x: &[T]) = backward_tanh_body;
}
dispatch! {
    fn backward_exact<T>(dx: &mut [T], x: &[T]) = backward_exact_body;
}

/// √(2/π).
const ROOT: f64 = 0.797_884_560_802_865_4;
const CUBIC: f64 = 0.044_715;

#[inline(always)]
fn forward_tanh_body<T: Real>(y: &mut [T], x: &[T]) {
    let (half, root, cubic) = (T::from_f64(0.5), T::from_f64(ROOT), T::from_f64(ROOT * CUBIC));
    for (y, &x) in y.iter_mut().zip(x) {
        let inner = x * (x * x).mul_add(cubic, root);
        *y = half * x * (T::ONE + inner.tanh());
    }
}

#[inline(always)]
fn backward_tanh_body<T: Real>(dx: &mut [T], x: &[T]) {
    let (half, root, cubic) = (T::from_f64(0.5), T::from_f64(ROOT), T::from_f64(ROOT * CUBIC));
    let three = T::from_f64(3.0);
    for (dx, &x) in dx.iter_mut().zip(x) {
        let square = x * x;
        let t = (x * square.mul_add(cubic, root)).tanh();
        let slope = (square * three).mul_add(cubic, root);
        *dx *= half * (T::ONE + t) + half * x * (T::ONE - t * t) * slope;
    }
}

#[inline(always)]
fn forward_exact_body<T: Real>(y: &mut [T], x: &[T]) {
    let (half, root) = (T::from_f64(0.5), T::from_f64(std::f64::consts::FRAC_1_SQRT_2));
    for (y, &x) in y.iter_mut().zip(x) {
        *y = half * x * (T::ONE + (x * root).erf());
    }
}

#[inline(always)]
fn backward_exact_body<T: Real>(dx: &mut [T], x: &[T]) {
    let (half, root) = (T::from_f64(0.5), T::from_f64(std::f64::consts::FRAC_1_SQRT_2));
    // 1/√(2π), the height of the normal density.
    let density = T::from_f64(0.398_942_280_401_432_7);
    for (dx, &x) in dx.iter_mut().zip(x) {
        let cumulative = half * (T::ONE + (x * root).erf());
        *dx *= cumulative + x * density * (-(half * x * x)).exp();
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{check_gradient, dot, random};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn backward_agrees_with_differences((n, c) in (1usize..5, 1usize..40), seed in any::<u64>(), exact in any::<bool>()) {
            let form = if exact { Form::Exact } else { Form::Tanh };
            let (x, dy) = (random(seed, (n, c)), random(seed ^ 3, (n, c)));
            let mut dx = dy.clone();
            backward(&mut Context::solo(), dx.view_mut(), x.view(), form);
            check_gradient("x", &x, dx.view(), |x| {
                let mut y = Array2::zeros((n, c));
                forward(&mut Context::solo(), y.view_mut(), x.view(), form);
                dot(&y, &dy)
            });
        }
    }
}
