//! Treiber's stack, of places in a slab: R. K. Treiber, "Systems programming: coping with parallelism", 1986, with the
//! counted pointers of its section on IBM's compare-and-swap.

use super::Slot;
use crate::shim::{AtomicU64, Line, Ordering, keep, weaken};

const GENERATION: u64 = 1 << 32;

/// A list of places, each of which is on one list at most.
///
/// All changes of the top are read-modify-writes, so whoever acquires a top acquires every push before it, whichever
/// thread took other places off in between: the release sequence of a push goes on through them.
pub(super) struct List {
    /// `generation << 32 | place`.
    top: Line<AtomicU64>,
}

/// The word for `place` on top, one generation after `top`.
fn next(top: u64, place: u32) -> u64 {
    let generation = if keep!("stack_no_generation") { top.wrapping_add(GENERATION) } else { top };
    generation & !(GENERATION - 1) | u64::from(place)
}

impl List {
    /// No place: the list ends here.
    pub(super) const NONE: u32 = u32::MAX;

    pub(super) fn new() -> Self {
        Self { top: Line(AtomicU64::new(u64::from(Self::NONE))) }
    }

    /// Puts `place` on top; what was done to it before is visible to whoever takes it off.
    pub(super) fn push<T>(&self, slots: &[Slot<T>], place: u32) {
        let mut top = self.top.load(Ordering::Relaxed);
        let below = &slots[place as usize].below;
        below.store(top as u32, Ordering::Relaxed);
        loop {
            let ordering = weaken!("stack_push_relaxed", Release);
            let pushed = if keep!("stack_push_torn") {
                self.top.compare_exchange_weak(top, next(top, place), ordering, Ordering::Relaxed)
            } else {
                self.top.store(next(top, place), ordering);
                Ok(top)
            };
            let Err(now) = pushed else { return };
            top = now;
            if keep!("stack_push_stale") {
                below.store(top as u32, Ordering::Relaxed);
            }
        }
    }

    /// Takes the place on top.
    pub(super) fn pop<T>(&self, slots: &[Slot<T>]) -> Option<u32> {
        let mut top = self.top.load(weaken!("stack_pop_relaxed", Acquire));
        while top as u32 != Self::NONE {
            // Stale if others have changed the list meanwhile, and then the generation says so.
            let below = slots[top as u32 as usize].below.load(Ordering::Relaxed);
            let popped = if keep!("stack_pop_torn") {
                let retry = weaken!("stack_pop_retry_relaxed", Acquire);
                self.top.compare_exchange_weak(top, next(top, below), Ordering::Relaxed, retry)
            } else {
                self.top.store(next(top, below), Ordering::Release);
                Ok(top)
            };
            match popped {
                Ok(_) => return Some(top as u32),
                Err(now) => top = now,
            }
        }
        None
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn generations_begin_again_and_touch_nothing_else() {
        assert_eq!(next(0, 3), GENERATION | 3);
        assert_eq!(next(!0, 3), 3);
        assert_eq!(next(7 << 32 | 1, List::NONE), 8 << 32 | u64::from(List::NONE));
    }
}
