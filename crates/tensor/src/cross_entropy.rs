//! Softmax cross-entropy, forward and backward in one pass over the logits.
//!
//! Losses stay sums: a mean is formed once, at the very end, by whoever knows all the parts.

use ndarray::ArrayViewMut2;
use selvedge_sync::chunks;

use crate::isa::dispatch;
use crate::reduce::{max, sum_by};
use crate::{Context, Real};

/// A target that counts for nothing.
pub const IGNORE: u32 = u32::MAX;

/// Rows a task takes.
const ROWS: usize = 8;

/// Writes each row's loss, −ln of the softmax at its target, in nats, to `losses` (N) and turns `logits` (N, V)
/// into the gradient of their **sum**. Rows whose target is [`IGNORE`] lose 0 and get gradient 0.
///
/// # Panics
/// If shapes differ or a target is neither below V nor [`IGNORE`].
#[track_caller]
pub fn forward_backward<T: Real>(
    cx: &mut Context<T>,
    losses: &mut [T],
    logits: ArrayViewMut2<'_, T>,
    targets: &[u32],
) {
    run(cx, losses, logits, targets, true);
}

/// Writes each row's loss and leaves in `logits` nothing of use.
///
/// # Panics
/// As [`forward_backward`].
#[track_caller]
pub fn forward<T: Real>(
    cx: &mut Context<T>,
    losses: &mut [T],
    logits: ArrayViewMut2<'_, T>,
    targets: &[u32],
) {
    run(cx, losses, logits, targets, false);
}

#[track_caller]
fn run<T: Real>(
    cx: &mut Context<T>,
    losses: &mut [T],
    mut logits: ArrayViewMut2<'_, T>,
    targets: &[u32],
    gradient: bool,
) {
    let (n, v) = logits.dim();
    assert!(
        n == targets.len() && n == losses.len(),
        "{n} rows, {} targets, {} losses",
        targets.len(),
        losses.len()
    );
    let isa = cx.isa();
    let logits = chunks(logits.as_slice_mut().expect("contiguous logits"), ROWS * v);
    cx.for_each((logits, chunks(losses, ROWS)), |index, (logits, losses)| {
        let targets = &targets[index * ROWS..];
        for ((row, loss), &target) in logits.chunks_mut(v).zip(losses).zip(targets) {
            if target == IGNORE {
                row.fill(T::ZERO);
                *loss = T::ZERO;
                continue;
            }
            let target = target as usize;
            assert!(target < v, "target {target} of a vocabulary of {v}");
            *loss = softmax_loss(isa, row, target, gradient);
        }
    });
}

dispatch! {
    fn softmax_loss<T>(row: &mut [T], target: usize, gradient: bool) -> T = softmax_loss_body;
}

#[inline(always)]
fn softmax_loss_body<T: Real>(row: &mut [T], target: usize, gradient: bool) -> T {
    let highest = max(row);
    let wanted = row[target] - highest;
    for x in row.iter_mut() {
        *x = (*x - highest).exp();
    }
    let sum = sum_by(row, |x| x);
    if gradient {
        let scale = T::ONE / sum;
        for x in row.iter_mut() {
            *x *= scale;
        }
        row[target] = row[target] - T::ONE;
    }
    sum.ln() - wanted
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{check_gradient, random};

    fn losses(logits: &Array2<f64>, targets: &[u32]) -> (Vec<f64>, Array2<f64>) {
        let mut losses = vec![0.0; targets.len()];
        let mut gradient = logits.clone();
        forward_backward(&mut Context::solo(), &mut losses, gradient.view_mut(), targets);
        (losses, gradient)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn backward_agrees_with_differences(
            targets in prop::collection::vec(prop_oneof![4 => 0u32..13, 1 => Just(IGNORE)], 1..20),
            seed in any::<u64>(),
        ) {
            let logits = random(seed, (targets.len(), 13)) * 3.0;
            let (_, gradient) = losses(&logits, &targets);
            check_gradient("logits", &logits, gradient.view(), |l| losses(l, &targets).0.iter().sum());
        }
    }

    #[test]
    fn loss_is_the_log_probability_and_survives_huge_logits() {
        let mut logits = Array2::from_shape_vec((1, 3), vec![1e4f32, 1e4 - 1.0, -1e4]).unwrap();
        let mut loss = [0.0f32];
        forward(&mut Context::solo(), &mut loss, logits.view_mut(), &[1]);
        let want = 1.0 + (1.0 + (-1.0f64).exp()).ln();
        assert!((f64::from(loss[0]) - want).abs() < 1e-6, "{} {want}", loss[0]);
    }
}
