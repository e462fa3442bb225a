//! Waiting for a condition over lock-free state: a condition variable without a lock around the state.

use crate::probe::{Kind, Object};
use crate::shim::{self, AtomicU64, Condvar, Line, Mutex, Ordering, keep, lock, wait_while_until, weaken};
use crate::spin::{self, Spin};
use std::fmt;
use std::time::{Duration, Instant};

const WAITER: u64 = 1;
const WAITERS: u64 = 0xFFFF_FFFF;
const EPOCH: u64 = 1 << 32;

/// Lets threads sleep until something they try succeeds, and wakes them when it may.
///
/// The state that is waited for lies elsewhere, in atomics. Whoever changes it calls a `notify` afterwards; with
/// nobody waiting that is one read-modify-write. Waiting takes the attempt itself and makes it again after every
/// wake-up, so there is no flag beside the state that could disagree with it, and a wake-up cannot be lost.
///
/// ```
/// use selvedge_sync::{EventCount, OwnedThread};
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// let shared = Arc::new((AtomicUsize::new(0), EventCount::new()));
/// let theirs = Arc::clone(&shared);
/// let waiter = OwnedThread::spawn("waiter", move || {
///     let (count, changed) = &*theirs;
///     changed.wait(|| Some(count.load(Ordering::Relaxed)).filter(|&count| count >= 3))
/// })?;
/// for _ in 0..3 {
///     shared.0.fetch_add(1, Ordering::Relaxed);
///     shared.1.notify_all();
/// }
/// assert_eq!(waiter.join(), Ok(3));
/// # Ok::<(), selvedge_sync::SpawnError>(())
/// ```
///
/// After Vyukov's eventcount, with the fences of the original replaced: the waiter announces itself and the notifier
/// looks for waiters by read-modify-writes of one word. If the notifier's comes first, the waiter's acquires the change
/// of state with it and its attempt sees that; if the waiter's comes first, the notifier sees the waiter.
pub struct EventCount {
    /// `epoch << 32 | waiters`.
    word: Line<AtomicU64>,
    beds: Mutex<()>,
    bell: Condvar,
    spin: Duration,
    /// At its one end: whoever woke others last.
    probe: Object,
}

impl EventCount {
    /// Nobody waits yet. A wait looks for some 30 µs before it sleeps, or not at all on a machine of one core.
    #[track_caller]
    pub fn new() -> Self {
        Self::with_spin(spin::budget(spin::cores()))
    }

    /// As [`EventCount::new`], with waits that look for at most `spin` before they sleep.
    #[track_caller]
    pub fn with_spin(spin: Duration) -> Self {
        Self::of(Kind::Condition, spin)
    }

    /// An event count on which threads wait for something of this kind.
    #[track_caller]
    pub(crate) fn of(kind: Kind, spin: Duration) -> Self {
        let (word, probe) = (Line(AtomicU64::new(0)), Object::new(kind));
        Self { word, beds: Mutex::new(()), bell: Condvar::new(), spin, probe }
    }

    /// Waits until `attempt` returns a value, which it may do before any waiting.
    ///
    /// `attempt` runs on this thread, again after every notification, and with no lock held.
    pub fn wait<T>(&self, attempt: impl FnMut() -> Option<T>) -> T {
        let outcome = self.wait_until(None, attempt);
        outcome.expect("a wait without a deadline ends with a value")
    }

    /// As [`EventCount::wait`], for `timeout` at most; `None` when that has passed. Even with no time at all
    /// `attempt` runs once.
    pub fn wait_timeout<T>(&self, timeout: Duration, attempt: impl FnMut() -> Option<T>) -> Option<T> {
        self.wait_until(shim::deadline(timeout), attempt)
    }

    /// For those who build on this, to say who has what is waited for.
    pub(crate) fn probe(&self) -> &Object {
        &self.probe
    }

    /// Waits until `attempt` succeeds, or until the deadline if there is one.
    pub(crate) fn wait_until<T>(
        &self,
        deadline: Option<Instant>,
        mut attempt: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        if let Some(value) = attempt() {
            return Some(value);
        }
        let _wait = self.probe.wait(0);
        let mut spin = Spin::new(self.spin);
        while spin.again() {
            if let Some(value) = attempt() {
                return Some(value);
            }
        }
        let waiter = Waiter::announce(self);
        let mut seen = waiter.since;
        loop {
            // Whatever this attempt is too early for comes with a later epoch.
            let value = if keep!("event_sleep_blind") { attempt() } else { None };
            if value.is_some() || shim::remaining(deadline).is_none() {
                return value;
            }
            if !keep!("event_look_late") {
                seen = self.epoch();
            }
            let bed = lock(&self.beds);
            drop(wait_while_until(&self.bell, bed, deadline, |()| self.epoch() == seen));
            seen = self.epoch();
        }
    }

    /// Wakes one waiter, if there is any. Right when whatever changed satisfies one waiter only, whichever it is.
    pub fn notify_one(&self) {
        self.notify(Condvar::notify_one);
    }

    /// Wakes all waiters.
    pub fn notify_all(&self) {
        self.notify(if keep!("event_all_wakes_one") { Condvar::notify_all } else { Condvar::notify_one });
    }

    fn notify(&self, ring: impl FnOnce(&Condvar)) {
        let ordering = weaken!("event_notify_relaxed", Release);
        let before = if keep!("event_notify_torn") {
            self.word.fetch_add(EPOCH, ordering)
        } else {
            let before = self.word.load(Ordering::Relaxed);
            self.word.store(before.wrapping_add(EPOCH), ordering);
            before
        };
        if before & WAITERS == 0 {
            return;
        }
        self.probe.here(0);
        // A waiter between its look at the epoch and its sleep holds the lock.
        if keep!("event_notify_no_lock") {
            drop(lock(&self.beds));
        }
        if keep!("event_no_notify") {
            ring(&self.bell);
        }
    }

    /// Notifications so far, modulo 2^32; what went before them is visible afterwards.
    fn epoch(&self) -> u64 {
        self.word.load(weaken!("event_epoch_relaxed", Acquire)) / EPOCH
    }
}

/// One thread's place among the waiters, for as long as it waits.
struct Waiter<'a> {
    event: &'a EventCount,
    /// The epoch in which it came.
    since: u64,
}

impl<'a> Waiter<'a> {
    fn announce(event: &'a EventCount) -> Self {
        let ordering = weaken!("event_announce_relaxed", Acquire);
        let before = if keep!("event_announce_torn") {
            event.word.fetch_add(WAITER, ordering)
        } else {
            let before = event.word.load(ordering);
            event.word.store(before + WAITER, Ordering::Relaxed);
            before
        };
        Self { event, since: before / EPOCH }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.event.word.fetch_sub(WAITER, Ordering::Relaxed);
    }
}

impl Default for EventCount {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for EventCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiters = self.word.load(Ordering::Relaxed) & WAITERS;
        f.debug_struct("EventCount").field("waiters", &waiters).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::OwnedThread;
    use std::sync::Arc;

    #[test]
    fn what_is_there_already_is_not_waited_for() {
        let event = EventCount::new();
        assert_eq!(event.wait(|| Some(1)), 1);
        assert_eq!(event.wait_timeout(Duration::ZERO, || Some(2)), Some(2));
    }

    #[test]
    fn a_wait_in_vain_ends_in_time_and_leaves_no_waiter() {
        let event = EventCount::new();
        let began = Instant::now();
        assert_eq!(event.wait_timeout(Duration::from_millis(30), || None::<u8>), None);
        assert!(began.elapsed() >= Duration::from_millis(30));
        assert_eq!(format!("{event:?}"), "EventCount { waiters: 0, .. }");
    }

    #[test]
    fn an_attempt_that_panics_leaves_no_waiter() {
        let event = EventCount::with_spin(Duration::ZERO);
        let mut attempts = 0;
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            event.wait_timeout(Duration::from_millis(1), || {
                attempts += 1;
                assert!(attempts < 2, "planted");
                None::<u8>
            })
        }));
        assert!(outcome.is_err());
        assert_eq!(event.word.load(Ordering::Relaxed) & WAITERS, 0);
    }

    #[test]
    fn a_token_goes_round_a_ring_of_threads() {
        const THREADS: u64 = 4;
        const ROUNDS: u64 = 200;
        let shared = Arc::new((AtomicU64::new(0), EventCount::with_spin(Duration::ZERO)));
        let threads: Vec<_> = (0..THREADS)
            .map(|mine| {
                let shared = Arc::clone(&shared);
                OwnedThread::spawn(format!("ring-{mine}"), move || {
                    let (token, moved) = &*shared;
                    for _ in 0..ROUNDS {
                        let here = || Some(token.load(Ordering::Acquire)).filter(|at| at % THREADS == mine);
                        let at = moved.wait(here);
                        token.store(at + 1, Ordering::Release);
                        moved.notify_all();
                    }
                })
                .unwrap()
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(shared.0.load(Ordering::Relaxed), THREADS * ROUNDS);
    }
}
