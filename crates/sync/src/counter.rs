//! A count that many threads add to.

use crate::shim::{AtomicU64, Ordering, keep};

/// A count of events, added to by any thread and read by any other.
///
/// ```
/// let tokens = selvedge_sync::Counter::new();
/// tokens.add(512);
/// assert_eq!(tokens.get(), 512);
/// ```
///
/// It orders nothing: a reader may see a count before the data it counts.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A count of zero.
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `amount`; wraps after 2⁶⁴.
    pub fn add(&self, amount: u64) {
        if keep!("counter_torn") {
            self.0.fetch_add(amount, Ordering::Relaxed);
        } else {
            self.0.store(self.get() + amount, Ordering::Relaxed);
        }
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
