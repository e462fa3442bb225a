//! Test data and the central-difference check every backward must pass.

use ndarray::{Array2, ArrayView2};
use ndarray_rand::RandomExt;
use ndarray_rand::rand::SeedableRng;
use ndarray_rand::rand::rngs::SmallRng;
use ndarray_rand::rand_distr::StandardNormal;

use crate::Real;

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
