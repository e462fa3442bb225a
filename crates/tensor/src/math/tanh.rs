//! tanh x: an odd polynomial near zero, 1 − 2/(e^{2|x|}+1) elsewhere.

use super::{exp, horner};

/// tanh x within 2 ulp.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let z = x * x;
    let small = horner(z, [-0.005_704_988_7, 0.020_639_088, -0.053_739_715, 0.133_314_42, -0.333_332_8]);
    let small = (small * z).mul_add(x, x);
    let a = x.abs();
    let large = 1.0 - 2.0 / (exp(a + a) + 1.0);
    let large = if x < 0.0 { -large } else { large };
    if a < 0.625 { small } else { large }
}

#[cfg(test)]
mod tests {
    use super::super::worst_ulp;
    use super::*;

    #[test]
    fn error_is_within_the_stated_bound() {
        let worst = worst_ulp(-10.0..10.0, 400_000, tanh, libm::tanh);
        assert!(worst < 2.0, "worst error {worst} ulp");
    }

    #[test]
    fn limits() {
        assert_eq!(tanh(0.0), 0.0);
        assert_eq!(tanh(40.0), 1.0);
        assert_eq!(tanh(f32::NEG_INFINITY), -1.0);
        assert!(tanh(f32::NAN).is_nan());
    }
}
