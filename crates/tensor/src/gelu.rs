//! GELU (Hendrycks, Gimpel 2016): x·Φ(x), exactly by erf or by the tanh approximation GPT-2 uses.

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut2};
use selvedge_sync::chunks;

use crate::context::ELEMENTS;
use crate::isa::dispatch;
use crate::matmul::{Reading, product_then};
use crate::tile::{Strided, Tile};
use crate::{Context, Init, Operand, Real};

/// Which form of the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// ½x(1 + tanh(√(2/π)(x + 0.044715x³))).
    Tanh,
    /// ½x(1 + erf(x/√2)).
    Exact,
}

/// y (N, C) = gelu(x). For finite x ≥ −1 it is within 3 ulp in the form with tanh and within 4 ulp in the exact one; below
/// −1, where y is small against what it is computed from, within 5·10⁻⁸ and 10⁻⁷. At −∞ it is NaN.
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

/// dx (N, C), which holds the gradient of the output, becomes that of the input: it is multiplied by the slope at x, which is
/// within 2.5·10⁻⁶ in the form with tanh, for |x| < 10¹² (beyond, x³ may overflow to NaN), and within 2·10⁻⁷ in the exact one.
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

/// up (N, F) = x (N, C) · Wᵀ + b and y (N, F) = gelu(up): each element's function is taken while its sum is at hand.
///
/// # Panics
/// On shapes that do not fit, and on a bias whose elements are not adjacent.
#[track_caller]
pub fn linear_forward<'a, T: Real>(
    cx: &mut Context<T>,
    y: ArrayViewMut2<'_, T>,
    up: ArrayViewMut2<'_, T>,
    x: ArrayView2<'_, T>,
    w_t: impl Into<Operand<'a, T>>,
    bias: ArrayView1<'_, T>,
    form: Form,
) {
    let init = Init::Bias(bias.to_slice().expect("a bias is contiguous"));
    let isa = cx.isa();
    let forward = match form {
        Form::Tanh => forward_tanh,
        Form::Exact => forward_exact,
    };
    product_then(cx, up, init, x, w_t, Some(y), |up: &mut Tile<'_, T>, y: Option<Tile<'_, T>>| {
        let mut y = y.expect("a matrix beside the product");
        for row in 0..up.rows() {
            forward(isa, y.row_mut(row), up.row(row));
        }
    });
}

/// dup (N, F) = (dy (N, C) · W) ∘ gelu′(up), with W (C, F): the gradient of `up` given that of a linear layer's output
/// over gelu(up).
///
/// # Panics
/// On shapes that do not fit.
#[track_caller]
pub fn linear_backward<T: Real>(
    cx: &mut Context<T>,
    dup: ArrayViewMut2<'_, T>,
    dy: ArrayView2<'_, T>,
    w: ArrayView2<'_, T>,
    up: ArrayView2<'_, T>,
    form: Form,
) {
    assert_eq!(dup.dim(), up.dim(), "gelu gradient and input");
    let isa = cx.isa();
    let backward = match form {
        Form::Tanh => backward_tanh,
        Form::Exact => backward_exact,
    };
    let then = |dup: &mut Tile<'_, T>, up: Strided<'_, T>| {
        for row in 0..dup.rows() {
            backward(isa, dup.row_mut(row), up.row(row));
        }
    };
    product_then(cx, dup, Init::Zero, dy, w, None, Reading { other: up.into(), then });
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

/// ½(1 + tanh u), written as 1/(1 + e^(−2u)): one exponential, and no cancellation for negative u.
#[inline(always)]
fn gate<T: Real>(x: T, square: T) -> T {
    let (minus_two_root, cubic) = (T::from_f64(-2.0 * ROOT), T::from_f64(-2.0 * ROOT * CUBIC));
    T::ONE / (T::ONE + (x * square.mul_add(cubic, minus_two_root)).exp())
}

#[inline(always)]
fn forward_tanh_body<T: Real>(y: &mut [T], x: &[T]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = x * gate(x, x * x);
    }
}

/// With g the gate and u its argument, (x·g)′ = g + x·g·(1 − g)·2u′.
#[inline(always)]
fn backward_tanh_body<T: Real>(dx: &mut [T], x: &[T]) {
    let (two_root, cubic) = (T::from_f64(2.0 * ROOT), T::from_f64(6.0 * ROOT * CUBIC));
    for (dx, &x) in dx.iter_mut().zip(x) {
        let square = x * x;
        let g = gate(x, square);
        let slope = x * square.mul_add(cubic, two_root);
        *dx *= (g * (T::ONE - g)).mul_add(slope, g);
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
    use crate::testing::{check_gradient, dot, errors, patterns, random, same_bits};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn after_a_product_it_is_what_it_is_alone(
            (n, c, f) in (1usize..30, 1usize..20, 1usize..80), seed in any::<u64>(), exact in any::<bool>(),
        ) {
            let form = if exact { Form::Exact } else { Form::Tanh };
            let (x, w, b) = (random::<f32>(seed, (n, c)), random(seed ^ 1, (f, c)), random(seed ^ 2, (1, f)));
            let cx = &mut Context::new(selvedge_sync::Team::new(2).unwrap(), crate::Isa::detect());
            let (mut up, mut y) = (Array2::zeros((n, f)), Array2::zeros((n, f)));
            crate::linear::forward(cx, up.view_mut(), x.view(), w.t(), Some(b.row(0)));
            forward(cx, y.view_mut(), up.view(), form);
            let (mut up_fused, mut y_fused) = (Array2::zeros((n, f)), Array2::zeros((n, f)));
            linear_forward(cx, y_fused.view_mut(), up_fused.view_mut(), x.view(), w.t(), b.row(0), form);
            prop_assert_eq!((&up, &y), (&up_fused, &y_fused));

            let (dy, down) = (random(seed ^ 3, (n, c)), random(seed ^ 4, (c, f)));
            let (mut dup, mut dup_fused) = (Array2::zeros((n, f)), Array2::zeros((n, f)));
            crate::linear::backward_input(cx, dup.view_mut(), Init::Zero, dy.view(), down.view());
            backward(cx, dup.view_mut(), up.view(), form);
            linear_backward(cx, dup_fused.view_mut(), dy.view(), down.view(), up.view(), form);
            prop_assert_eq!(dup, dup_fused);
        }

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

    /// y or dy/dx at every argument, under every instruction set.
    fn values(x: &[f32], form: Form, slope: bool) -> Vec<f32> {
        let x = ArrayView2::from_shape((1, x.len()), x).unwrap();
        same_bits(|cx| {
            let mut y = Array2::ones(x.dim());
            if slope {
                backward(cx, y.view_mut(), x, form);
            } else {
                forward(cx, y.view_mut(), x, form);
            }
            y.into_raw_vec_and_offset().0
        })
    }

    #[test]
    fn errors_are_within_the_stated_bounds() {
        let x = patterns();
        let (root, cubic) = ((2.0 / std::f64::consts::PI).sqrt(), 0.044715);
        let gate = |x: f64| 1.0 / (1.0 + libm::exp(-2.0 * root * x * (1.0 + cubic * x * x)));
        let tanh = |x: f64| if x.is_infinite() { x.max(0.0) } else { x * gate(x) };
        let tanh_slope = |x: f64| {
            let g = gate(x);
            g + if g * (1.0 - g) == 0.0 {
                0.0
            } else {
                x * g * (1.0 - g) * 2.0 * root * (1.0 + 3.0 * cubic * x * x)
            }
        };
        let cumulative = |x: f64| 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2);
        let exact = |x: f64| if x.is_infinite() { x.max(0.0) } else { x * cumulative(x) };
        let exact_slope = |x: f64| cumulative(x) + x * 0.398_942_280_401_432_7 * libm::exp(-0.5 * x * x);
        let right = |x: f32| (-1.0..=f32::MAX).contains(&x);
        let left = |x: f32| (f32::MIN..-1.0).contains(&x);
        let all = |x: f32| x.abs() < 1e12;

        let y = values(&x, Form::Tanh, false);
        let worst = [errors(&x, &y, right, tanh).ulp, errors(&x, &y, left, tanh).absolute];
        assert!(worst[0].0 < 3.0 && worst[1].0 < 5e-8, "tanh: {worst:?}");
        let worst = errors(&x, &values(&x, Form::Tanh, true), all, tanh_slope).absolute;
        assert!(worst.0 < 2.5e-6, "slope of tanh: {worst:?}");

        let y = values(&x, Form::Exact, false);
        let worst = [errors(&x, &y, right, exact).ulp, errors(&x, &y, left, exact).absolute];
        assert!(worst[0].0 < 4.0 && worst[1].0 < 1e-7, "exact: {worst:?}");
        let worst = errors(&x, &values(&x, Form::Exact, true), f32::is_finite, exact_slope).absolute;
        assert!(worst.0 < 2e-7, "slope of exact: {worst:?}");
    }

    #[test]
    fn limits() {
        for form in [Form::Tanh, Form::Exact] {
            let y = values(&[0.0, -0.0, f32::MAX, f32::MIN, f32::INFINITY, f32::NAN], form, false);
            assert_eq!(y[..5], [0.0, 0.0, f32::MAX, 0.0, f32::INFINITY]);
            assert!(y[5].is_nan());
            assert_eq!(values(&[0.0, -0.0, 1e12, -1e12], form, true), [0.5, 0.5, 1.0, 0.0]);
        }
    }
}
