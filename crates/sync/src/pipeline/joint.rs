//! Where the ends of a channel sleep.

use crate::probe::{Kind, Object};
use crate::shim::{AtomicUsize, Condvar, Line, Mutex, Ordering, in_order, keep, lock, wait_while_until};
use crate::spsc::ASLEEP;
use std::time::Instant;

/// Ends for the instruments.
pub(super) const SENDER: usize = 0;
pub(super) const RECEIVER: usize = 1;

/// Looks before an end sleeps: a few microseconds of pauses for an other end that is at work on a core of its own, then
/// a few times the core for one that needs it. Sleeping at once would cost both a system call for every item.
#[cfg(not(any(loom, shuttle)))]
const LOOKS: u32 = 12;

/// What the two ends share beside the ring.
#[derive(Debug)]
pub(super) struct Joint {
    pub(super) sender: Line<Bed>,
    pub(super) receiver: Line<Bed>,
    pub(super) probe: Object<2>,
}

impl Joint {
    #[track_caller]
    pub(super) fn new() -> Self {
        let probe = Object::new(Kind::Channel);
        Self { sender: Line(Bed::default()), receiver: Line(Bed::default()), probe }
    }

    /// Waits in its bed until the other end's word is no longer `seen`, or for no particular reason.
    #[cold]
    pub(super) fn wait(&self, bed: &Bed, word: &AtomicUsize, seen: usize, until: Option<Instant>) {
        // A look is of no use to a model checker, in which everybody is as slow.
        #[cfg(not(any(loom, shuttle)))]
        {
            let mut backoff = crate::spin::Backoff::new();
            for _ in 0..LOOKS {
                backoff.wait();
                if word.load(Ordering::Relaxed) != seen {
                    return;
                }
            }
        }
        bed.sleep(word, seen, until);
    }
}

/// Where one end sleeps.
#[derive(Debug, Default)]
pub(super) struct Bed {
    lock: Mutex<()>,
    bell: Condvar,
}

impl Bed {
    /// Announces a sleeper in `word`, if it still is `seen`, and sleeps until it is another or until the deadline.
    ///
    /// Nothing here need be ordered: whoever comes back looks at the word again, and acquires it then.
    fn sleep(&self, word: &AtomicUsize, seen: usize, until: Option<Instant>) {
        let asleep = if keep!("pipeline_sleep_silent") { seen | ASLEEP } else { seen };
        if keep!("pipeline_announce_torn") {
            if word.compare_exchange(seen, asleep, Ordering::Relaxed, Ordering::Relaxed).is_err() {
                return;
            }
        } else if word.load(Ordering::Relaxed) == seen {
            word.store(asleep, Ordering::Relaxed);
        }
        let guard = lock(&self.lock);
        drop(wait_while_until(&self.bell, guard, until, |()| word.load(Ordering::Relaxed) == asleep));
        // When its time is up it is still announced; whoever finds that would wake nobody.
        let _ = word.compare_exchange(asleep, seen, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Wakes the sleeper that was found in a word, after the word was changed.
    pub(super) fn wake(&self) {
        // It may be between its look at the word and its sleep, and holds the lock then.
        let wait_for_it = || {
            if keep!("pipeline_wake_no_lock") {
                drop(lock(&self.lock));
            }
        };
        in_order!("pipeline_wake_swapped", wait_for_it(), self.bell.notify_one());
    }
}
