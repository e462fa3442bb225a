//! The order in which training reads its windows: a pure function of (seed, epoch, index).
//!
//! Each epoch is an exact permutation of all windows, computed window by window in constant memory, so that a run can be
//! resumed at any row, on any number of loader threads, without replaying anything.
//!
//! The permutation is a keyed Feistel network on the smallest even number of bits that holds the windows, repeated until
//! the result is one of them ("cycle walking": J. Black and P. Rogaway, *Ciphers with Arbitrary Finite Domains*, CT-RSA
//! 2002, LNCS 2271, section 3). A Feistel network is a bijection whatever its round function (M. Luby and C. Rackoff,
//! *How to Construct Pseudorandom Permutations from Pseudorandom Functions*, SIAM J. Comput. 17(2), 1988), and walking a
//! bijection's cycle from one window always comes back to a window; so the whole is a bijection on them. The domain is
//! less than four times the number of windows, hence fewer than four rounds of walking on average. The round function
//! mixes 64 bits as SplitMix64 does (G. Steele, D. Lea and C. Flood, *Fast Splittable Pseudorandom Number Generators*,
//! OOPSLA 2014). It shuffles; it keeps no secret.

/// Rounds of the network. Four make a permutation hard to tell from a random one with a perfect round function; the
/// halves here are a few bits wide for small data, where more rounds even out what few key bits leave uneven.
const ROUNDS: usize = 8;

/// Sample order over `n` windows.
///
/// ```
/// let order = selvedge_train::order::Order::new(1, 1000);
/// let mut epoch: Vec<u64> = (0..1000).map(|index| order.window(0, index)).collect();
/// epoch.sort_unstable();
/// assert!(epoch.into_iter().eq(0..1000)); // every window exactly once
/// assert_eq!(order.at(2500), (2, 500)); // row 2,500 of a run is row 500 of its third epoch
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    seed: u64,
    windows: u64,
    half_bits: u32,
}

impl Order {
    /// The order that `seed` gives to `windows` windows.
    ///
    /// # Panics
    /// If `windows` is 0: there is nothing to order, and a token file too short for one window is an error where it is
    /// opened.
    #[must_use]
    pub fn new(seed: u64, windows: u64) -> Self {
        assert!(windows > 0, "Order::new: no windows to order");
        let bits = u64::BITS - (windows - 1).leading_zeros();
        // Two bits a side at least: one bit a side has too few round functions to reach all orders evenly.
        Self { seed, windows, half_bits: bits.div_ceil(2).max(2) }
    }

    /// Number of windows, which is the number of rows in an epoch.
    #[must_use]
    pub fn windows(&self) -> u64 {
        self.windows
    }

    /// The window that comes at place `index` of `epoch`.
    ///
    /// # Panics
    /// If `index` is not below [`windows`](Self::windows).
    #[must_use]
    pub fn window(&self, epoch: u64, index: u64) -> u64 {
        assert!(index < self.windows, "Order::window: index {index} of {} windows", self.windows);
        // The epoch is mixed on its own first, so that (seed, epoch + 1) and (seed + 1, epoch) share nothing.
        let key = mix(self.seed ^ mix(epoch ^ 0xA5A5_A5A5_5A5A_5A5A));
        let mut at = index;
        loop {
            at = self.permute(key, at);
            if at < self.windows {
                return at;
            }
        }
    }

    /// Epoch and index of row `row` of a run, counted from its very first row.
    #[must_use]
    pub fn at(&self, row: u64) -> (u64, u64) {
        (row / self.windows, row % self.windows)
    }

    /// One pass of the network over `2 * half_bits` bits.
    fn permute(&self, key: u64, at: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (at >> self.half_bits, at & mask);
        for round in 0..ROUNDS as u64 {
            let f = mix(key.wrapping_add(round.wrapping_mul(GOLDEN)) ^ right) & mask;
            (left, right) = (right, left ^ f);
        }
        left << self.half_bits | right
    }
}

/// 2⁶⁴ divided by the golden ratio, made odd.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64's step and output function: a bijection of 64 bits in which each input bit moves about half of the output.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(GOLDEN);
    let x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ x >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn epoch(order: &Order, epoch: u64) -> Vec<u64> {
        (0..order.windows()).map(|index| order.window(epoch, index)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

        #[test]
        fn every_epoch_is_an_exact_permutation(seed: u64, n in 1_u64..3000, e: u64) {
            let mut seen = epoch(&Order::new(seed, n), e);
            seen.sort_unstable();
            prop_assert!(seen.into_iter().eq(0..n));
        }

        #[test]
        fn seeds_and_epochs_differ(seed: u64, other: u64, n in 64_u64..500, e in 0_u64..1000) {
            prop_assume!(seed != other);
            let order = Order::new(seed, n);
            prop_assert_ne!(epoch(&order, e), epoch(&order, e + 1));
            prop_assert_ne!(epoch(&order, e), epoch(&Order::new(other, n), e));
            // The classic slip: seed + epoch as the key, which gives neighbouring seeds each other's epochs.
            prop_assert_ne!(epoch(&order, e + 1), epoch(&Order::new(seed.wrapping_add(1), n), e));
        }
    }

    #[test]
    fn powers_of_two_and_their_neighbours_are_permutations() {
        for n in (0..12).flat_map(|bits| [(1_u64 << bits) - 1, 1 << bits, (1 << bits) + 1]).filter(|&n| n > 0)
        {
            let mut seen = epoch(&Order::new(5, n), 3);
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..n), "n = {n}");
        }
    }

    #[test]
    fn the_largest_domain_works_at_both_ends() {
        let order = Order::new(1, u64::MAX);
        assert_eq!(order.at(u64::MAX), (1, 0));
        let ends = [order.window(0, 0), order.window(u64::MAX, u64::MAX - 1)];
        assert!(ends.iter().all(|&w| w < u64::MAX));
    }

    /// Chi-square of the window at one place over many epochs. With 99 degrees of freedom it stays below 170 but for one
    /// seed in 10⁵; the seeds are fixed, so the test is too.
    #[test]
    fn every_window_is_equally_likely_at_every_place() {
        for (seed, n, place) in [(1, 100, 0), (2, 100, 99), (3, 100, 50)] {
            let order = Order::new(seed, n);
            let mut counts = vec![0_u32; n as usize];
            let epochs = 20_000;
            for e in 0..epochs {
                counts[order.window(e, place) as usize] += 1;
            }
            let expected = epochs as f64 / n as f64;
            let chi2: f64 = counts.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
            assert!(chi2 < 170.0, "seed {seed}, place {place}: chi-square {chi2}");
        }
    }

    /// All 24 orders of four windows, each about as often: the smallest network is the one most likely to be lopsided.
    #[test]
    fn small_data_reaches_all_orders() {
        let order = Order::new(11, 4);
        let mut counts = std::collections::BTreeMap::<Vec<u64>, u32>::new();
        for e in 0..24_000 {
            *counts.entry(epoch(&order, e)).or_default() += 1;
        }
        assert_eq!(counts.len(), 24);
        assert!(counts.values().all(|c| (700..1300).contains(c)), "{counts:?}");
    }

    /// Neighbours in the text do not stay neighbours: what a shuffle is for.
    #[test]
    fn neighbours_are_torn_apart() {
        let order = Order::new(0, 10_000);
        let windows = epoch(&order, 0);
        let together = windows.windows(2).filter(|w| w[0].abs_diff(w[1]) == 1).count();
        assert!(together < 12, "{together} of 9,999 pairs are neighbours; about 2 are expected");
    }

    /// A change of the function would silently change every resumed run: these figures are the format.
    #[test]
    fn the_order_is_pinned() {
        let order = Order::new(42, 1000);
        let first: Vec<u64> = (0..5).map(|index| order.window(0, index)).collect();
        assert_eq!(
            first, PINNED,
            "the sample order changed: runs saved before can no longer be resumed exactly"
        );
    }

    const PINNED: [u64; 5] = [578, 665, 76, 422, 737];
}
