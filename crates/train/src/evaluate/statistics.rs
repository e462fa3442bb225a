//! Means and shares of a sample, and how far from those of all they may be.

/// Sums for the mean of numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mean {
    count: u64,
    sum: f64,
    squares: f64,
}

impl Mean {
    /// Counts a number.
    pub fn add(&mut self, x: f64) {
        self.count += 1;
        self.sum += x;
        self.squares += x * x;
    }

    /// Numbers counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Their mean; NaN of none.
    pub fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }

    /// Standard error of the mean: the deviation of a sample of N, divided by √N. None of fewer than two numbers.
    pub fn standard_error(&self) -> Option<f64> {
        let (n, mean) = (self.count as f64, self.mean());
        // Of equal numbers the difference may round to less than nothing.
        let variance = (self.squares / n - mean * mean).max(0.0);
        (self.count > 1).then(|| (variance / (n - 1.0)).sqrt())
    }
}

/// So many of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Those that are.
    pub hits: u64,
    /// All.
    pub count: u64,
}

impl Share {
    /// Counts one more.
    pub fn add(&mut self, is_hit: bool) {
        self.count += 1;
        self.hits += u64::from(is_hit);
    }

    /// The share, from 0 to 1; NaN of none.
    pub fn value(&self) -> f64 {
        self.hits as f64 / self.count as f64
    }

    /// Standard error of the share, as of a mean of zeros and ones. None of fewer than two.
    pub fn standard_error(&self) -> Option<f64> {
        let p = self.value();
        (self.count > 1).then(|| (p * (1.0 - p) / (self.count as f64 - 1.0)).sqrt())
    }

    /// The interval that holds the true share with 95 % confidence (E. B. Wilson, *Probable Inference, the Law of Succession,
    /// and Statistical Inference*, JASA 22, 1927): unlike the standard error it is of use near 0 and 1 and for few.
    pub fn interval(&self) -> (f64, f64) {
        /// 97.5 % of a normal distribution lie below.
        const Z: f64 = 1.959_963_984_540_054;
        let (n, p) = (self.count as f64, self.value());
        let shrunk = 1.0 + Z * Z / n;
        let centre = (p + Z * Z / (2.0 * n)) / shrunk;
        let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt() / shrunk;
        ((centre - half).max(0.0), (centre + half).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_error_is_that_of_a_sample() {
        let mut mean = Mean::default();
        [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0].into_iter().for_each(|x| mean.add(x));
        assert_eq!((mean.count(), mean.mean()), (8, 5.0));
        // A sample deviation of √(32/7), over √8.
        assert!((mean.standard_error().unwrap() - (4.0_f64 / 7.0).sqrt()).abs() < 1e-12);
        let mut equal = Mean::default();
        (0..5).for_each(|_| equal.add(0.1));
        assert!(equal.standard_error().unwrap() < 1e-8);
    }

    #[test]
    fn one_has_no_error() {
        let (mut mean, mut share) = (Mean::default(), Share::default());
        assert_eq!((mean.standard_error(), share.standard_error()), (None, None));
        mean.add(2.0);
        share.add(true);
        assert_eq!((mean.standard_error(), share.standard_error()), (None, None));
        mean.add(4.0);
        share.add(true);
        assert_eq!((mean.standard_error(), share.standard_error()), (Some(1.0), Some(0.0)));
    }

    #[test]
    fn the_interval_is_wilsons() {
        let share = Share { hits: 15, count: 50 };
        let (low, high) = share.interval();
        // Centre 0.31427, half 0.12323.
        assert!((low - 0.191_0).abs() < 1e-4 && (high - 0.437_5).abs() < 1e-4, "{low} {high}");
        assert!((share.standard_error().unwrap() - (0.21_f64 / 49.0).sqrt()).abs() < 1e-12);
        let (low, high) = Share { hits: 0, count: 10 }.interval();
        assert!(low < 1e-9 && (high - 0.2775).abs() < 1e-4, "{low} {high}");
        let (low, high) = Share { hits: 10, count: 10 }.interval();
        assert!(high > 1.0 - 1e-9 && (low - 0.7225).abs() < 1e-4, "{low} {high}");
    }
}
