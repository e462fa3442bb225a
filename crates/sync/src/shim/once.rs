//! A stand-in for std's `OnceLock`, which loom and shuttle lack.
#![expect(unsafe_code, reason = "publishing a value by an atomic")]

use super::{AtomicUsize, Ordering, UnsafeCell, yield_now};

const EMPTY: usize = 0;
const FILLING: usize = 1;
const FULL: usize = 2;

#[derive(Debug)]
pub(crate) struct OnceLock<T> {
    state: AtomicUsize,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the value is written by the one thread that moved the state to `FILLING`, and read once it is `FULL`.
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self { state: AtomicUsize::new(EMPTY), value: UnsafeCell::new(None) }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        if self.state.load(Ordering::Acquire) != FULL {
            return None;
        }
        // SAFETY: full, and so never written again.
        self.value.with(|value| unsafe { &*value }).as_ref()
    }

    pub(crate) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
        let (acquire, relaxed) = (Ordering::Acquire, Ordering::Relaxed);
        if self.state.compare_exchange(EMPTY, FILLING, acquire, relaxed).is_ok() {
            // SAFETY: this thread alone fills it.
            self.value.with_mut(|value| unsafe { *value = Some(init()) });
            self.state.store(FULL, Ordering::Release);
        }
        loop {
            match self.get() {
                Some(value) => return value,
                None => yield_now(),
            }
        }
    }
}
