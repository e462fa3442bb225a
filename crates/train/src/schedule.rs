//! Learning rate as a pure function of the step.

use serde::{Deserialize, Serialize};

/// Shape of the learning rate after warmup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Half a cosine from the peak to the floor (Loshchilov, Hutter 2017).
    Cosine,
    /// Warmup-stable-decay: the peak, then a straight line to the floor over the last part (Hu et al. 2024).
    Wsd,
    /// The peak throughout.
    Constant,
}

/// A schedule over a run of known length.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// What follows the warmup.
    pub shape: Shape,
    /// Highest learning rate.
    pub peak: f64,
    /// Lowest, as a share of the peak.
    pub floor: f64,
    /// Steps of linear warmup.
    pub warmup: u64,
    /// Steps of decay at the end (`Wsd`).
    pub decay: u64,
    /// Steps of the run.
    pub steps: u64,
}

impl Schedule {
    /// The learning rate of update `step`, counted from 0. Steps past the end keep the floor.
    pub fn lr(&self, step: u64) -> f64 {
        let floor = self.peak * self.floor;
        if step < self.warmup {
            // The first update moves: a rate of 0 would waste it.
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        match self.shape {
            Shape::Constant => self.peak,
            Shape::Cosine => {
                let length = self.steps.saturating_sub(self.warmup).max(1);
                let done = ((step - self.warmup) as f64 / length as f64).min(1.0);
                floor + (self.peak - floor) * 0.5 * (1.0 + cos_pi(done))
            }
            Shape::Wsd => {
                let start = self.steps.saturating_sub(self.decay);
                if step < start {
                    return self.peak;
                }
                let done = ((step - start) as f64 / self.decay.max(1) as f64).min(1.0);
                self.peak + (floor - self.peak) * done
            }
        }
    }
}

/// cos(πx) for 0 ≤ x ≤ 1 from additions and products alone, so that no libm chooses the bits; within 1e-12.
fn cos_pi(x: f64) -> f64 {
    // cos(πx) = −cos(π(1 − x)) folds the argument to [0, ½], where the series converges fast.
    if x > 0.5 {
        return -cos_pi(1.0 - x);
    }
    let square = (std::f64::consts::PI * x).powi(2);
    let mut term = 1.0;
    let mut sum = 1.0;
    for n in 1..=10 {
        term *= -square / f64::from((2 * n - 1) * (2 * n));
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(shape: Shape) -> Schedule {
        Schedule { shape, peak: 1e-3, floor: 0.1, warmup: 10, decay: 20, steps: 100 }
    }

    #[test]
    fn warmup_rises_to_the_peak() {
        for shape in [Shape::Cosine, Shape::Wsd, Shape::Constant] {
            let s = schedule(shape);
            assert_eq!(s.lr(0), 1e-4);
            assert_eq!(s.lr(9), 1e-3);
            assert_eq!(s.lr(10), 1e-3);
        }
    }

    #[test]
    fn ends_are_reached() {
        let s = schedule(Shape::Cosine);
        assert!((s.lr(55) - 5.5e-4).abs() < 1e-12, "halfway is the mean");
        assert!((s.lr(100) - 1e-4).abs() < 1e-12);
        assert_eq!(s.lr(1000), s.lr(100));
        let s = schedule(Shape::Wsd);
        assert_eq!(s.lr(79), 1e-3);
        assert!((s.lr(90) - 5.5e-4).abs() < 1e-12);
        assert!((s.lr(100) - 1e-4).abs() < 1e-12);
    }

    #[test]
    fn own_cosine_is_the_cosine() {
        for i in 0..=1000 {
            let x = f64::from(i) / 1000.0;
            assert!((cos_pi(x) - (std::f64::consts::PI * x).cos()).abs() < 1e-12, "{x}");
        }
    }
}
