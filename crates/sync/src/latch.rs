//! Waiting until a number of things has happened, once.

use crate::probe::{Kind, Object};
use crate::shim::{
    self, Arc, AtomicU64, Condvar, Line, Mutex, Ordering, in_order, keep, lock, wait_while_until, weaken,
};
use std::fmt;
use std::time::{Duration, Instant};

const ONE: u64 = 1;
const LEFT: u64 = 0xFFFF_FFFF;
const WAITER: u64 = 1 << 32;

/// Opens, for good, once every one of its [`Ticket`]s has been dropped.
///
/// ```
/// use selvedge_sync::{Latch, OwnedThread};
///
/// let (latch, tickets) = Latch::new(2);
/// let threads = tickets.into_iter().map(|ticket| OwnedThread::spawn("loads", move || drop(ticket)));
/// let threads: Vec<_> = threads.collect::<Result<_, _>>()?;
/// latch.wait();
/// assert!(latch.is_open());
/// # Ok::<(), selvedge_sync::SpawnError>(())
/// ```
///
/// A ticket goes when its holder ends, by whatever way, so a panic cannot leave anybody waiting. What holders did
/// before they dropped their tickets is visible once the latch is open.
#[derive(Clone)]
pub struct Latch(Arc<Door>);

/// One of the things a [`Latch`] waits for; dropping it says that it has happened.
#[must_use = "dropping the ticket counts it"]
pub struct Ticket(Arc<Door>);

struct Door {
    /// `waiters << 32 | tickets left`.
    word: Line<AtomicU64>,
    beds: Mutex<()>,
    opened: Condvar,
    /// At its one end: whoever dropped a ticket last.
    probe: Object,
}

impl Latch {
    /// A latch with `count` tickets; of none it is open.
    #[track_caller]
    pub fn new(count: u32) -> (Self, Vec<Ticket>) {
        Self::of(Kind::Latch, count)
    }

    /// A latch that stands for something of this kind.
    #[track_caller]
    pub(crate) fn of(kind: Kind, count: u32) -> (Self, Vec<Ticket>) {
        let door = Door {
            word: Line(AtomicU64::new(u64::from(count))),
            beds: Mutex::new(()),
            opened: Condvar::new(),
            probe: Object::new(kind),
        };
        let latch = Self(Arc::new(door));
        let tickets = (0..count).map(|_| Ticket(Arc::clone(&latch.0))).collect();
        (latch, tickets)
    }

    /// Whether all tickets are gone.
    pub fn is_open(&self) -> bool {
        self.left() == 0
    }

    /// Tickets still held.
    pub fn left(&self) -> u32 {
        (self.0.word.load(weaken!("latch_look_relaxed", Acquire)) & LEFT) as u32
    }

    /// The thread that is to open it says so.
    pub(crate) fn probe(&self) -> &Object {
        &self.0.probe
    }

    /// Waits until all tickets are gone.
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// As [`Latch::wait`], for `timeout` at most; returns whether the latch is open.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(shim::deadline(timeout))
    }

    pub(crate) fn wait_until(&self, deadline: Option<Instant>) -> bool {
        if self.is_open() {
            return true;
        }
        // Announced for good: the latch opens once, and its last ticket then looks for sleepers.
        let announced = if keep!("latch_sleep_silent") {
            self.0.word.fetch_add(WAITER, weaken!("latch_announce_relaxed", Acquire))
        } else {
            self.0.word.load(Ordering::Acquire)
        };
        if announced & LEFT == 0 {
            return true;
        }
        let _wait = self.0.probe.wait(0);
        let bed = lock(&self.0.beds);
        drop(wait_while_until(&self.0.opened, bed, deadline, |()| !self.is_open()));
        self.is_open()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let door = &*self.0;
        door.probe.here(0);
        let ordering = weaken!("latch_count_relaxed", Release);
        let before = if keep!("latch_count_torn") {
            door.word.fetch_sub(ONE, ordering)
        } else {
            let before = door.word.load(Ordering::Relaxed);
            door.word.store(before - ONE, ordering);
            before
        };
        if before & LEFT == ONE && before >= WAITER {
            // A waiter between its look and its sleep holds the lock.
            in_order!(
                "latch_notify_swapped",
                {
                    if keep!("latch_no_lock") {
                        drop(lock(&door.beds));
                    }
                },
                {
                    if keep!("latch_no_notify") {
                        if keep!("latch_wakes_one") {
                            door.opened.notify_all();
                        } else {
                            door.opened.notify_one();
                        }
                    }
                }
            );
        }
    }
}

impl fmt::Debug for Latch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latch").field("left", &self.left()).finish()
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::OwnedThread;

    #[test]
    fn of_no_tickets_it_is_open() {
        let (latch, tickets) = Latch::new(0);
        assert!(tickets.is_empty() && latch.is_open());
        latch.wait();
    }

    #[test]
    fn it_opens_with_the_last_ticket_and_stays_open() {
        let (latch, mut tickets) = Latch::new(3);
        for left in [3, 2, 1] {
            assert_eq!(latch.left(), left);
            assert!(!latch.wait_timeout(Duration::from_millis(2)));
            drop(tickets.pop());
        }
        latch.wait();
        assert!(latch.wait_timeout(Duration::ZERO) && latch.clone().is_open());
    }

    #[test]
    fn a_holder_that_panics_counts_too() {
        let (latch, mut tickets) = Latch::new(1);
        let ticket = tickets.pop();
        let thread = OwnedThread::spawn("tears", move || {
            let _ticket = ticket;
            panic!("planted");
        });
        latch.wait();
        assert!(thread.unwrap().join().is_err());
    }
}
