//! The ledger's seats: which threads there are and were, registered without a lock.

use super::place::Place;
use crate::shim::{AtomicU64, OnceLock, Ordering, keep, weaken};

const FREE: u64 = 0;
const TAKEN: u64 = 1;
const LEFT: u64 = 2;

/// What makes a thread the same thread to a reader of reports: a thread that is started anew, in the same place and by
/// the same name, goes on in the seat of the one before once that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) spawned: Place,
}

/// A fixed number of seats, each with what belongs to its thread.
#[derive(Debug)]
pub(crate) struct Seats<B> {
    seats: Box<[Seat<B>]>,
}

#[derive(Debug)]
struct Seat<B> {
    taker: OnceLock<(Role, B)>,
    life: AtomicU64,
}

impl<B> Seats<B> {
    pub(crate) fn new(count: usize) -> Self {
        let seat = |_| Seat { taker: OnceLock::new(), life: AtomicU64::new(FREE) };
        Self { seats: (0..count).map(seat).collect() }
    }

    #[cfg(not(any(loom, shuttle)))]
    pub(crate) fn count(&self) -> usize {
        self.seats.len()
    }

    /// Takes a seat: that of an ended thread of the same role, with all its figures, or a fresh one. `None` when there
    /// is no seat left.
    pub(crate) fn take(&self, role: &Role, make: impl Fn() -> B) -> Option<usize> {
        self.seats.iter().position(|seat| {
            let mut fresh = false;
            let (taken_by, _) = seat.taker.get_or_init(|| {
                fresh = true;
                (role.clone(), make())
            });
            if fresh {
                seat.life.store(TAKEN, Ordering::Relaxed);
            }
            fresh || taken_by == role && seat.take_over()
        })
    }

    /// Gives the seat up: the last thing its thread does with it.
    pub(crate) fn leave(&self, index: usize) {
        self.seats[index].life.store(LEFT, weaken!("seats_leave_relaxed", Release));
    }

    /// Who sits, or sat, in the seat, and what is theirs.
    pub(crate) fn get(&self, index: usize) -> Option<(&Role, &B)> {
        self.seats.get(index)?.taker.get().map(|(role, theirs)| (role, theirs))
    }

    /// Whether its thread has ended; all it left in the seat is visible then.
    pub(crate) fn has_left(&self, index: usize) -> bool {
        self.seats[index].life.load(weaken!("seats_look_relaxed", Acquire)) == LEFT
    }
}

impl<B> Seat<B> {
    /// Takes the seat of a thread that has left; only one can.
    fn take_over(&self) -> bool {
        let acquire = weaken!("seats_take_over_relaxed", Acquire);
        if keep!("seats_take_over_torn") {
            self.life.compare_exchange(LEFT, TAKEN, acquire, Ordering::Relaxed).is_ok()
        } else {
            let left = self.life.load(acquire) == LEFT;
            if left {
                self.life.store(TAKEN, Ordering::Relaxed);
            }
            left
        }
    }
}
