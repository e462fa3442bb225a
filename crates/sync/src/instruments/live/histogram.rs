//! Times by powers of two, counted by one thread and read by any.

use crate::shim::{AtomicU64, Ordering};
use std::time::Duration;

/// Bucket `b` counts times of `b` binary digits, in nanoseconds: the last begins at about 39 hours.
pub(crate) const BUCKETS: usize = 48;

/// Adds to a figure that only the calling thread writes.
pub(crate) fn add(figure: &AtomicU64, more: u64) {
    figure.store(figure.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

/// The figures of one thread.
#[derive(Debug)]
pub(crate) struct Times {
    sum: AtomicU64,
    max: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Times {
    pub(crate) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self { sum: zero(), max: zero(), buckets: std::array::from_fn(|_| zero()) }
    }

    /// Counts a time; only one thread at a time may.
    pub(crate) fn record(&self, nanos: u64) {
        let bucket = (u64::BITS - nanos.leading_zeros()) as usize;
        add(&self.buckets[bucket.min(BUCKETS - 1)], 1);
        add(&self.sum, nanos);
        if nanos > self.max.load(Ordering::Relaxed) {
            self.max.store(nanos, Ordering::Relaxed);
        }
    }
}

/// How often, how long in all, and how the lengths are spread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    sum: u64,
    max: u64,
    buckets: Vec<u64>,
}

impl Histogram {
    /// Takes in what one thread has counted.
    pub(crate) fn merge(&mut self, times: &Times) {
        self.buckets.resize(BUCKETS, 0);
        self.sum += times.sum.load(Ordering::Relaxed);
        self.max = self.max.max(times.max.load(Ordering::Relaxed));
        for (sum, bucket) in self.buckets.iter_mut().zip(&times.buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
    }

    /// Times counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All times together.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// A time that the `share` (from 0 to 1) of all times do not exceed, rounded up by less than a factor of two.
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = (share.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(((1_u64 << bucket) - 1).min(self.max));
            }
        }
        Duration::ZERO
    }

    /// How many times were of so many binary digits in nanoseconds: element `b` counts those from `2^(b-1)` to below
    /// `2^b`, the first those of none at all.
    pub fn buckets(&self) -> &[u64] {
        &self.buckets
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_quantile_is_above_its_share_and_below_twice_that(
            mut times in prop::collection::vec(0_u64..1 << 40, 1..200),
            share in 0.0..1.0_f64,
        ) {
            let counted = Times::new();
            times.iter().for_each(|&nanos| counted.record(nanos));
            let mut histogram = Histogram::default();
            histogram.merge(&counted);
            times.sort_unstable();
            prop_assert_eq!(histogram.count(), times.len() as u64);
            prop_assert_eq!(histogram.total(), Duration::from_nanos(times.iter().sum()));
            prop_assert_eq!(histogram.max(), Duration::from_nanos(times[times.len() - 1]));
            let exact = times[((share * times.len() as f64).ceil() as usize).saturating_sub(1)];
            let said = histogram.quantile(share).as_nanos() as u64;
            prop_assert!(said >= exact && said <= (2 * exact).max(1), "{said} for {exact}");
        }
    }

    #[test]
    fn nothing_counted_is_zero_throughout() {
        let histogram = Histogram::default();
        assert_eq!((histogram.count(), histogram.quantile(0.5)), (0, Duration::ZERO));
    }
}
