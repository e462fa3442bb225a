//! Elementary functions in f32 as branch-free polynomials: they vectorize, and no libm can change their bits.
//!
//! Polynomials and their coefficients are those of S. Moshier's Cephes library (single precision).
//! Errors against f64, measured over the tested ranges, are in the tests below.

mod erf;
mod exp;

pub(crate) use erf::erf;
pub(crate) use exp::exp;

/// Horner's rule with fused steps, highest power first.
#[inline(always)]
fn horner<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut value = coefficients[0];
    for &c in &coefficients[1..] {
        value = value.mul_add(x, c);
    }
    value
}

/// Largest error in units in the last place against `exact`, over evenly spaced points of `range`.
#[cfg(test)]
fn worst_ulp(range: std::ops::Range<f64>, points: usize, f: fn(f32) -> f32, exact: fn(f64) -> f64) -> f64 {
    let step = (range.end - range.start) / points as f64;
    (0..points)
        .map(|i| {
            let x = (range.start + i as f64 * step) as f32;
            let want = exact(f64::from(x));
            let unit = f64::from((want.abs() as f32).next_up()) - f64::from(want.abs() as f32);
            (f64::from(f(x)) - want).abs() / unit
        })
        .fold(0.0, f64::max)
}
