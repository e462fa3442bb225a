//! Elementary functions in f32 as branch-free polynomials: they vectorize, and no libm can change their bits.
//!
//! Polynomials and their coefficients are those of S. Moshier's Cephes library (single precision).
//! Errors are against f64, at every 1009th bit pattern of f32 and at evenly spaced numbers: bounds on those, not proofs.

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
