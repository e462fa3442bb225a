//! GELU (Hendrycks, Gimpel 2016): x·Φ(x), exactly by erf or by the tanh approximation GPT-2 uses.

use ndarray::{ArrayView2, ArrayViewMut2};
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
        y.copy_from_slice(&x[..y.len()]);
        values(isa, y, form);
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
        times_slopes(isa, dx, &x[index * ELEMENTS..], form);
    });
}

/// y (N, F) = gelu(x (N, C) · Wᵀ + `init`): each element's function is taken while its sum is at hand. `slopes` (N, F), if
/// there are any, become gelu′ of the same sums, for [`linear_backward`]. Errors are those of [`forward`] and [`backward`].
///
/// # Panics
/// On shapes that do not fit.
#[track_caller]
pub fn linear_forward<'a, T: Real>(
    cx: &mut Context<T>,
    y: ArrayViewMut2<'_, T>,
    slopes: Option<ArrayViewMut2<'_, T>>,
    x: ArrayView2<'_, T>,
    w_t: impl Into<Operand<'a, T>>,
    init: Init<'_, T>,
    form: Form,
) {
    let isa = cx.isa();
    product_then(cx, y, init, x, w_t, slopes, |y: &mut Tile<'_, T>, mut slopes: Option<Tile<'_, T>>| {
        for row in 0..y.rows() {
            match &mut slopes {
                Some(slopes) => values_and_slopes(isa, y.row_mut(row), slopes.row_mut(row), form),
                None => values(isa, y.row_mut(row), form),
            }
        }
    });
}

/// dup (N, F) = (dy (N, C) · W + `init`) ∘ slopes (N, F), with W (C, F): the gradient of `up`, the sums at which [`linear_forward`]
/// took the slopes, given that of a linear layer's output over gelu(up).
///
/// # Panics
/// On shapes that do not fit.
#[track_caller]
pub fn linear_backward<T: Real>(
    cx: &mut Context<T>,
    dup: ArrayViewMut2<'_, T>,
    init: Init<'_, T>,
    dy: ArrayView2<'_, T>,
    w: ArrayView2<'_, T>,
    slopes: ArrayView2<'_, T>,
) {
    assert_eq!(dup.dim(), slopes.dim(), "gradient and slopes of gelu");
    let isa = cx.isa();
    let then = |dup: &mut Tile<'_, T>, slopes: Strided<'_, T>| {
        for row in 0..dup.rows() {
            multiply(isa, dup.row_mut(row), slopes.row(row));
        }
    };
    product_then(cx, dup, init, dy, w, None, Reading { other: slopes.into(), then });
}

dispatch! {
    /// Each x becomes gelu(x).
    fn values<T>(x: &mut [T], form: Form) = values_body;
}
dispatch! {
    /// Each x becomes gelu(x), and its slope gelu′(x).
    fn values_and_slopes<T>(x: &mut [T], slopes: &mut [T], form: Form) = values_and_slopes_body;
}
dispatch! {
    /// dx *= gelu′(x).
    fn times_slopes<T>(dx: &mut [T], x: &[T], form: Form) = times_slopes_body;
}
dispatch! {
    /// dx *= slopes.
    fn multiply<T>(dx: &mut [T], slopes: &[T]) = multiply_body;
}

#[inline(always)]
fn values_body<T: Real>(x: &mut [T], form: Form) {
    match form {
        Form::Tanh => {
            for x in x {
                *x = Tanh::at(*x).value();
            }
        }
        Form::Exact => {
            for x in x {
                *x = Exact::at(*x).value();
            }
        }
    }
}

#[inline(always)]
fn values_and_slopes_body<T: Real>(x: &mut [T], slopes: &mut [T], form: Form) {
    match form {
        Form::Tanh => {
            for (x, slope) in x.iter_mut().zip(slopes) {
                let at = Tanh::at(*x);
                (*x, *slope) = (at.value(), at.slope());
            }
        }
        Form::Exact => {
            for (x, slope) in x.iter_mut().zip(slopes) {
                let at = Exact::at(*x);
                (*x, *slope) = (at.value(), at.slope());
            }
        }
    }
}

#[inline(always)]
fn times_slopes_body<T: Real>(dx: &mut [T], x: &[T], form: Form) {
    match form {
        Form::Tanh => {
            for (dx, &x) in dx.iter_mut().zip(x) {
                *dx *= Tanh::at(x).slope();
            }
        }
        Form::Exact => {
            for (dx, &x) in dx.iter_mut().zip(x) {
                *dx *= Exact::at(x).slope();
            }
        }
    }
}

#[inline(always)]
fn multiply_body<T: Real>(dx: &mut [T], slopes: &[T]) {
    for (dx, &slope) in dx.iter_mut().zip(slopes) {
        *dx *= slope;
    }
}

/// √(2/π).
const ROOT: f64 = 0.797_884_560_802_865_4;
const CUBIC: f64 = 0.044_715;

/// What the form with tanh and its slope share at one argument.
struct Tanh<T> {
    x: T,
    square: T,
    /// ½(1 + tanh u), written as 1/(1 + e^(−2u)): one exponential, and no cancellation for negative u.
    gate: T,
}

impl<T: Real> Tanh<T> {
    #[inline(always)]
    fn at(x: T) -> Self {
        let (minus_two_root, cubic) = (T::from_f64(-2.0 * ROOT), T::from_f64(-2.0 * ROOT * CUBIC));
        let square = x * x;
        let gate = T::ONE / (T::ONE + (x * square.mul_add(cubic, minus_two_root)).exp());
        Tanh { x, square, gate }
    }

    #[inline(always)]
    fn value(&self) -> T {
        self.x * self.gate
    }

    /// With g the gate and u its argument, (x·g)′ = g + x·g·(1 − g)·2u′.
    #[inline(always)]
    fn slope(&self) -> T {
        let (two_root, cubic) = (T::from_f64(2.0 * ROOT), T::from_f64(6.0 * ROOT * CUBIC));
        let g = self.gate;
        let steep = self.x * self.square.mul_add(cubic, two_root);
        (g * (T::ONE - g)).mul_add(steep, g)
    }
}

/// What the exact form and its slope share at one argument.
struct Exact<T> {
    x: T,
    /// 1 + erf(x/√2), which is 2Φ(x).
    twice: T,
}

impl<T: Real> Exact<T> {
    #[inline(always)]
    fn at(x: T) -> Self {
        let root = T::from_f64(std::f64::consts::FRAC_1_SQRT_2);
        Exact { x, twice: T::ONE + (x * root).erf() }
    }

    #[inline(always)]
    fn value(&self) -> T {
        T::from_f64(0.5) * self.x * self.twice
    }

    /// (x·Φ(x))′ = Φ(x) + x·e^(−x²/2)/√(2π).
    #[inline(always)]
    fn slope(&self) -> T {
        let (x, half) = (self.x, T::from_f64(0.5));
        // 1/√(2π), the height of the normal density.
        let density = T::from_f64(0.398_942_280_401_432_7);
        half * self.twice + x * density * (-(half * x * x)).exp()
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
            let bias = Init::Bias(b.as_slice().unwrap());
            let cx = &mut Context::new(selvedge_sync::Team::new(2).unwrap(), crate::Isa::detect());
            let zeros = || Array2::zeros((n, f));
            let (mut up, mut y) = (zeros(), zeros());
            crate::linear::forward(cx, up.view_mut(), x.view(), w.t(), Some(b.row(0)));
            forward(cx, y.view_mut(), up.view(), form);
            let (mut slopes, mut y_fused, mut y_alone) = (zeros(), zeros(), zeros());
            linear_forward(cx, y_fused.view_mut(), Some(slopes.view_mut()), x.view(), w.t(), bias, form);
            linear_forward(cx, y_alone.view_mut(), None, x.view(), w.t(), bias, form);
            prop_assert_eq!((&y, &y), (&y_fused, &y_alone));

            let (dy, down) = (random(seed ^ 3, (n, c)), random(seed ^ 4, (c, f)));
            let (mut dup, mut dup_fused) = (zeros(), zeros());
            crate::linear::backward_input(cx, dup.view_mut(), Init::Zero, dy.view(), down.view());
            backward(cx, dup.view_mut(), up.view(), form);
            linear_backward(cx, dup_fused.view_mut(), Init::Zero, dy.view(), down.view(), slopes.view());
            prop_assert_eq!(dup, dup_fused);
        }

        #[test]
        fn backward_within_products_agrees_with_differences(
            (n, c, f) in (1usize..4, 1usize..6, 1usize..20), seed in any::<u64>(), exact in any::<bool>(),
        ) {
            let form = if exact { Form::Exact } else { Form::Tanh };
            let (x, w, b) = (random(seed, (n, c)), random::<f64>(seed ^ 1, (f, c)), random(seed ^ 2, (1, f)));
            let (dy, down) = (random(seed ^ 3, (n, c)), random::<f64>(seed ^ 4, (c, f)));
            let (cx, bias) = (&mut Context::solo(), Init::Bias(b.as_slice().unwrap()));
            let (mut y, mut slopes, mut dup) = (Array2::zeros((n, f)), Array2::zeros((n, f)), Array2::zeros((n, f)));
            linear_forward(cx, y.view_mut(), Some(slopes.view_mut()), x.view(), w.t(), bias, form);
            linear_backward(cx, dup.view_mut(), Init::Zero, dy.view(), down.view(), slopes.view());
            let dx = dup.dot(&w);
            check_gradient("x", &x, dx.view(), |x| {
                linear_forward(cx, y.view_mut(), None, x.view(), w.t(), bias, form);
                dot(&y.dot(&down.t()), &dy)
            });
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
    fn results(x: &[f32], form: Form, slope: bool) -> Vec<f32> {
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
    fn values_with_slopes_are_the_bits_of_each_alone() {
        let x = patterns();
        for form in [Form::Tanh, Form::Exact] {
            let together = same_bits(|cx| {
                let (mut y, mut slopes) = (x.clone(), vec![0.0; x.len()]);
                values_and_slopes(cx.isa(), &mut y, &mut slopes, form);
                [y, slopes].concat()
            });
            let alone = [results(&x, form, false), results(&x, form, true)].concat();
            for ((got, want), x) in together.iter().zip(&alone).zip(x.iter().cycle()) {
                let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
                assert!(same, "{form:?} at {x:e}: {got:e} instead of {want:e}");
            }
        }
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

        let y = results(&x, Form::Tanh, false);
        let worst = [errors(&x, &y, right, tanh).ulp, errors(&x, &y, left, tanh).absolute];
        assert!(worst[0].0 < 3.0 && worst[1].0 < 5e-8, "tanh: {worst:?}");
        let worst = errors(&x, &results(&x, Form::Tanh, true), all, tanh_slope).absolute;
        assert!(worst.0 < 2.5e-6, "slope of tanh: {worst:?}");

        let y = results(&x, Form::Exact, false);
        let worst = [errors(&x, &y, right, exact).ulp, errors(&x, &y, left, exact).absolute];
        assert!(worst[0].0 < 4.0 && worst[1].0 < 1e-7, "exact: {worst:?}");
        let worst = errors(&x, &results(&x, Form::Exact, true), f32::is_finite, exact_slope).absolute;
        assert!(worst.0 < 2e-7, "slope of exact: {worst:?}");
    }

    #[test]
    fn limits() {
        for form in [Form::Tanh, Form::Exact] {
            let y = results(&[0.0, -0.0, f32::MAX, f32::MIN, f32::INFINITY, f32::NAN], form, false);
            assert_eq!(y[..5], [0.0, 0.0, f32::MAX, 0.0, f32::INFINITY]);
            assert!(y[5].is_nan());
            assert_eq!(results(&[0.0, -0.0, 1e12, -1e12], form, true), [0.5, 0.5, 1.0, 0.0]);
        }
    }
}
