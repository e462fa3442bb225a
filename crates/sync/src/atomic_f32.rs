//! f32 values that several threads update in no order.
#![cfg_attr(
    not(any(loom, shuttle)),
    expect(unsafe_code, reason = "a slice of f32 is seen as a slice of atomics of the same layout")
)]

use crate::shim::{AtomicU32, Ordering, keep};
use std::fmt;

/// An `f32` that several threads may read and add to at once.
///
/// For updates in the manner of Hogwild (Niu, Recht, Ré, Wright: "Hogwild!: a lock-free approach to parallelizing
/// stochastic gradient descent", 2011): every thread adds its steps to the shared weights as it goes, and reads whatever
/// is there. No addition is lost and no value torn, but which steps a thread sees, and the order in which they are
/// rounded, is up to the schedule: **two runs give two results**. That is sound where updates are sparse, so that threads
/// seldom meet; a transformer's are dense, and Selvedge's trainer promises one result, so it sums by
/// [`tree_reduce`](crate::tree_reduce) and does not use this.
///
/// ```
/// use selvedge_sync::{AtomicF32, Team};
///
/// let mut weights = vec![0.0; 3];
/// let shared = AtomicF32::from_mut_slice(&mut weights);
/// Team::new(2)?.parallel(4, |task| {
///     shared[task % 3].fetch_add(0.5);
/// });
/// assert_eq!(weights, [1.0, 0.5, 0.5]);
/// # Ok::<(), selvedge_sync::TeamError>(())
/// ```
///
/// All operations are relaxed: they order nothing but themselves.
#[repr(transparent)]
pub struct AtomicF32(AtomicU32);

impl AtomicF32 {
    /// The value to begin with.
    pub fn new(value: f32) -> Self {
        Self(AtomicU32::new(value.to_bits()))
    }

    /// Sees values as atomics for as long as they are borrowed.
    #[cfg(not(any(loom, shuttle)))]
    pub fn from_mut_slice(values: &mut [f32]) -> &[Self] {
        const {
            assert!(size_of::<Self>() == size_of::<f32>() && align_of::<Self>() == align_of::<f32>());
        }
        let atomics = std::ptr::from_mut(values) as *const [Self];
        // SAFETY: the two have one layout, for `AtomicU32` has that of `u32`, and any bits are a value of either. The
        // borrow is exclusive for the life of the result, so that nobody accesses the values by other means.
        unsafe { &*atomics }
    }

    /// The value.
    #[inline]
    pub fn load(&self) -> f32 {
        f32::from_bits(self.0.load(Ordering::Relaxed))
    }

    /// Replaces the value.
    #[inline]
    pub fn store(&self, value: f32) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Adds `value`, rounding as `+` does, and returns what was there before.
    #[inline]
    pub fn fetch_add(&self, value: f32) -> f32 {
        let mut before = self.0.load(Ordering::Relaxed);
        loop {
            let sum = (f32::from_bits(before) + value).to_bits();
            let added = if keep!("atomic_f32_torn") {
                self.0.compare_exchange_weak(before, sum, Ordering::Relaxed, Ordering::Relaxed)
            } else {
                self.0.store(sum, Ordering::Relaxed);
                Ok(before)
            };
            match added {
                Ok(before) => return f32::from_bits(before),
                Err(now) => before = now,
            }
        }
    }
}

impl fmt::Debug for AtomicF32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.load().fmt(f)
    }
}
