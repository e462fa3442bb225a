//! e^x: argument reduced by a multiple of ln 2, polynomial of degree 7, exponent put back in two halves.

use super::horner;

/// e^x within 1 ulp, gradual underflow included; 0 below −104, ∞ above 88.73; NaN stays NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and taking away 1.5·2²³ rounds to the nearest integer in plain additions.
    const ROUND: f32 = 12_582_912.0;
    // Outside this range the result is 0 or ∞ whatever the argument; inside it both scales are normal.
    let clamped = if x < -104.0 { -104.0 } else { x };
    let clamped = if clamped > 89.0 { 89.0 } else { clamped };
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_HIGH, clamped);
    let r = n.mul_add(-LN2_LOW, r);
    let p = horner(r, [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5]);
    let mantissa = p.mul_add(r * r, r) + 1.0;
    // Two factors of half the exponent each reach the subnormal range and overflow without a branch.
    // The last bits of the shifted number are the integer; of a NaN they are anything, and the mantissa is NaN.
    let whole = shifted.to_bits().wrapping_sub(ROUND.to_bits()).cast_signed();
    let half = whole >> 1;
    mantissa * power_of_two(half) * power_of_two(whole.wrapping_sub(half))
}

/// 2^n for −126 ≤ n ≤ 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23).cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{errors, patterns};

    #[test]
    fn error_is_within_the_stated_bound() {
        let x = patterns();
        let y: Vec<f32> = x.iter().map(|&x| exp(x)).collect();
        let worst = errors(&x, &y, |_| true, libm::exp);
        assert!(worst.ulp.0 < 1.0, "{worst:?}");
    }

    #[test]
    fn limits() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(-104.5), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(89.0), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
        assert!((exp(-100.0) - 3.8e-44).abs() < 2e-45, "subnormal results survive");
    }
}
