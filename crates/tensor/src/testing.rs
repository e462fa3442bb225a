//! Test data and the central-difference check every backward must pass.

use ndarray::{Array2, ArrayView2};
use ndarray_rand::RandomExt;
use ndarray_rand::rand::SeedableRng;
use ndarray_rand::rand::rngs::SmallRng;
use ndarray_rand::rand_distr::StandardNormal;

use selvedge_sync::Team;

use crate::{Context, Isa, Real};

/// Standard normal values, the same for the same seed and shape.
pub(crate) fn random<T: Real>(seed: u64, shape: (usize, usize)) -> Array2<T> {
    let mut rng = SmallRng::seed_from_u64(seed);
    Array2::<f64>::random_using(shape, StandardNormal, &mut rng).mapv(T::from_f64)
}

/// Checks `gradient` of `loss` at `at` by central differences, in f64.
///
/// The step of 1e-5 leaves an error near 1e-9 (curvature) plus 1e-11 (rounding); 1e-6 relative to the
/// larger of 1 and the gradient shows every wrong formula and no right one.
#[track_caller]
pub(crate) fn check_gradient(
    what: &str,
    at: &Array2<f64>,
    gradient: ArrayView2<'_, f64>,
    mut loss: impl FnMut(&Array2<f64>) -> f64,
) {
    assert_eq!(at.dim(), gradient.dim(), "{what}: shape of the gradient");
    const STEP: f64 = 1e-5;
    let mut moved = at.clone();
    for (index, &value) in at.indexed_iter() {
        moved[index] = value + STEP;
        let above = loss(&moved);
        moved[index] = value - STEP;
        let below = loss(&moved);
        moved[index] = value;
        let numeric = (above - below) / (2.0 * STEP);
        let analytic = gradient[index];
        let error = (numeric - analytic).abs() / analytic.abs().max(1.0);
        assert!(error < 1e-6, "{what}{index:?}: backward says {analytic}, differences say {numeric}");
    }
}

/// Sum of the element-wise product: a loss whose gradient at `out` is `weights`.
pub(crate) fn dot(out: &Array2<f64>, weights: &Array2<f64>) -> f64 {
    (out * weights).sum()
}

/// Every 1009th bit pattern of f32, all signs, exponents, infinities and NaNs among them, 440,000 evenly spaced numbers from
/// −110 to 110, where the functions are neither 0 nor 1 nor ∞, and what lies at the edges.
pub(crate) fn patterns() -> Vec<f32> {
    let edges = [0.0, f32::MIN_POSITIVE.next_down(), f32::MIN_POSITIVE, 1.0, f32::MAX, f32::INFINITY];
    let edges = edges.into_iter().flat_map(|x| [x, -x]);
    let smallest = [f32::from_bits(1), -f32::from_bits(1), f32::NAN, -f32::NAN];
    let even = (-220_000..220_000).map(|i| i as f32 / 2000.0);
    (0..=u32::MAX).step_by(1009).map(f32::from_bits).chain(even).chain(edges).chain(smallest).collect()
}

/// The largest errors of computed values.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Errors {
    /// In units in the last place of the exact value, and at which argument.
    pub(crate) ulp: (f64, f32),
    /// As they are.
    pub(crate) absolute: (f64, f32),
}

/// Compares `got`, the values at those arguments that `range` takes, with the `exact` ones. Where the exact value is beyond
/// f32, ∞ is as good as it gets; where it is none, NaN must be.
pub(crate) fn errors(
    arguments: &[f32],
    got: &[f32],
    range: impl Fn(f32) -> bool,
    exact: impl Fn(f64) -> f64,
) -> Errors {
    const BEYOND: f64 = 2.0 * (1_u128 << 127) as f64;
    let mut worst = Errors::default();
    for (&x, &got) in arguments.iter().zip(got).filter(|&(&x, _)| range(x)) {
        let want = exact(f64::from(x)).clamp(-BEYOND, BEYOND);
        assert_eq!(got.is_nan(), want.is_nan(), "{got:e} at {x:e} instead of {want:e}");
        if want.is_nan() {
            continue;
        }
        let near = (want.abs() as f32).min(f32::MAX.next_down());
        let unit = f64::from(near.next_up()) - f64::from(near);
        let error = (f64::from(got).clamp(-BEYOND, BEYOND) - want).abs();
        if error / unit > worst.ulp.0 {
            worst.ulp = (error / unit, x);
        }
        if error > worst.absolute.0 {
            worst.absolute = (error, x);
        }
    }
    worst
}

/// `compute` under every instruction set, which must give the same bits (any NaN for a NaN).
pub(crate) fn same_bits(compute: impl Fn(&mut Context<f32>) -> Vec<f32>) -> Vec<f32> {
    let run = |isa| compute(&mut Context::new(Team::solo(), isa));
    let want = run(Isa::scalar());
    for isa in Isa::available() {
        for (got, want) in run(isa).iter().zip(&want) {
            assert!(
                got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
                "{isa}: {got:e} instead of {want:e}"
            );
        }
    }
    want
}
