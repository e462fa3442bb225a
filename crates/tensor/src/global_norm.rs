//! Euclidean norm of a flat buffer, in f64 over fixed blocks.

use selvedge_sync::chunks;

use crate::isa::dispatch;
use crate::{Context, Real};

/// Elements whose squares are summed before the blocks are.
const BLOCK: usize = 8 * 1024;

/// √(Σ x²), the blocks' sums added in order. Infinite or NaN where an element is.
///
/// `partial` is scratch for one sum a block and grows to that once.
pub fn global_norm<T: Real>(cx: &mut Context<T>, x: &[T], partial: &mut Vec<f64>) -> f64 {
    partial.resize(x.len().div_ceil(BLOCK), 0.0);
    let isa = cx.isa();
    cx.for_each(selvedge_sync::items(partial), |index, sum| {
        let end = x.len().min((index + 1) * BLOCK);
        *sum = sum_of_squares(isa, &x[index * BLOCK..end]);
    });
    partial.iter().sum::<f64>().sqrt()
}

/// The coefficient that brings a gradient of norm `norm` down to `max_norm`, and leaves a smaller one
/// alone: min(1, max_norm / (norm + 1e-6)), as PyTorch's `clip_grad_norm_` has it.
pub fn clip_coefficient(norm: f64, max_norm: f64) -> f64 {
    (max_norm / (norm + 1e-6)).min(1.0)
}

/// Index of the first element that is infinite or NaN.
pub fn first_non_finite<T: Real>(cx: &mut Context<T>, x: &[T]) -> Option<usize> {
    let mut found = vec![usize::MAX; x.len().div_ceil(BLOCK)];
    cx.for_each(chunks(&mut found, 1), |index, found| {
        let start = index * BLOCK;
        let end = x.len().min(start + BLOCK);
        if let Some(at) = x[start..end].iter().position(|x| !x.is_finite()) {
            found[0] = start + at;
        }
    });
    found.into_iter().find(|&at| at != usize::MAX)
}

dispatch! {
    fn sum_of_squares<T>(x: &[T]) -> f64 = sum_of_squares_body;
}

#[inline(always)]
fn sum_of_squares_body<T: Real>(x: &[T]) -> f64 {
    let mut lanes = [0.0f64; 16];
    for chunk in x.chunks(16) {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            let x = x.to_f64();
            *lane += x * x;
        }
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::random;

    #[test]
    fn norm_is_that_of_the_definition_and_clips_as_stated() {
        let x = random::<f32>(1, (3, 9001));
        let want = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let got = global_norm(&mut Context::solo(), x.as_slice().unwrap(), &mut Vec::new());
        assert!((got - want).abs() < 1e-9 * want, "{got} {want}");
        assert_eq!(clip_coefficient(0.5, 1.0), 1.0);
        assert!((clip_coefficient(4.0, 1.0) * 4.0 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_first_bad_element_is_found() {
        let mut x = vec![0.5f32; 3 * BLOCK];
        assert_eq!(first_non_finite(&mut Context::solo(), &x), None);
        x[2 * BLOCK + 7] = f32::NAN;
        x[2 * BLOCK + 3] = f32::INFINITY;
        assert_eq!(first_non_finite(&mut Context::solo(), &x), Some(2 * BLOCK + 3));
    }
}
