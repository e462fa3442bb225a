//! erf x: an odd polynomial up to 1, 1 − erfc beyond, where erfc = e^{−x²}/x · P(1/x²).

use super::{exp, horner};

/// erf x within 2.5 ulp, and within 1.5·10⁻⁷.
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let small = x * horner(
        z,
        [
            7.853_861_4e-5,
            -8.010_193_6e-4,
            5.188_327_7e-3,
            -2.685_381_2e-2,
            1.128_358_5e-1,
            -3.761_262_6e-1,
            std::f32::consts::FRAC_2_SQRT_PI,
        ],
    );
    let q = 1.0 / a;
    let y = q * q;
    let near = horner(
        y,
        [
            2.326_82e-2,
            -1.387_039_4e-1,
            3.687_424_7e-1,
            -5.824_733e-1,
            6.210_004_6e-1,
            -4.944_515e-1,
            3.404_88e-1,
            -2.741_127e-1,
            5.638_259_4e-1,
        ],
    );
    let far = horner(
        y,
        [
            -10.477_664,
            12.977_2,
            -7.495_518_7,
            2.921_019,
            -1.015_265_2,
            4.218_463_4e-1,
            -2.820_767_4e-1,
            5.641_895e-1,
        ],
    );
    let tail = exp(-z) * q * if a < 2.0 { near } else { far };
    // Beyond 4 the tail is below half a unit of 1, and 1/x² may be NaN at infinity.
    let tail = if a > 4.0 { 0.0 } else { tail };
    let large = if x < 0.0 { tail - 1.0 } else { 1.0 - tail };
    if a < 1.0 || x.is_nan() { small } else { large }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{errors, patterns};

    #[test]
    fn error_is_within_the_stated_bound() {
        let x = patterns();
        let y: Vec<f32> = x.iter().map(|&x| erf(x)).collect();
        let worst = errors(&x, &y, |_| true, libm::erf);
        assert!(worst.ulp.0 < 2.5 && worst.absolute.0 < 1.5e-7, "{worst:?}");
    }

    #[test]
    fn limits() {
        assert_eq!(erf(0.0), 0.0);
        assert_eq!(erf(f32::INFINITY), 1.0);
        assert_eq!(erf(f32::NEG_INFINITY), -1.0);
        assert!(erf(f32::NAN).is_nan());
    }
}
