//! A bounded queue between any number of threads, without a lock.
#![expect(unsafe_code, reason = "slots that change hands by a turn")]

use crate::shim::{AtomicU64, Line, Ordering, UnsafeCell, in_order, keep, weaken};
use crate::spin::Backoff;
use std::fmt;
use std::mem::MaybeUninit;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// A queue of at most `capacity` items that any thread may push to and pop from, first in, first out.
///
/// ```
/// let queue = selvedge_sync::mpmc::Queue::new(2);
/// assert_eq!(queue.try_push('a'), Ok(()));
/// assert_eq!(queue.try_push('b'), Ok(()));
/// assert_eq!(queue.try_push('c'), Err('c'));
/// assert_eq!(queue.try_pop(), Some('a'));
/// assert_eq!(queue.len(), 1);
/// ```
///
/// Dmitry Vyukov's bounded MPMC queue: a push or a pop claims the next position by one compare-and-swap, and a slot has
/// a turn, which says whose it is. Here positions go up in twos, so that a full slot looks like no position of another
/// lap and any capacity will do, one too: the original takes powers of two from two on. And unlike the original, full
/// means full and empty means empty: of what happened before the call nothing is overlooked because another thread is in
/// the middle of its own. When a slot is about to change hands, an operation waits for that thread's last step; it waits
/// for nothing else.
///
/// There are 2⁶³ positions, and none is used twice.
pub struct Queue<T> {
    /// Position of the next push: a multiple of `lap`, plus twice the index of its slot.
    tail: Line<AtomicU64>,
    /// Position of the next pop.
    head: Line<AtomicU64>,
    slots: Box<[Slot<T>]>,
    /// From a position to that of the same slot in the next lap: a power of two.
    lap: u64,
    /// Twice the index of the last slot.
    last: u64,
}

struct Slot<T> {
    /// A position when it is free for the push of that position, one more when it is full for the pop of it.
    turn: AtomicU64,
    item: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: items go through by value, so they must be `Send`. A slot belongs to the one thread that claimed the position
// of its turn, until that thread passes the turn on.
unsafe impl<T: Send> Sync for Queue<T> {}
// SAFETY: it owns its items.
unsafe impl<T: Send> Send for Queue<T> {}

// No code of a user runs while a slot and its turn disagree.
impl<T> UnwindSafe for Queue<T> {}
impl<T> RefUnwindSafe for Queue<T> {}

/// The turn of the slot of a position while it is full.
#[inline]
fn full(position: u64) -> u64 {
    position + if keep!("mpmc_full_as_next_lap") { 1 } else { 2 }
}

impl<T> Queue<T> {
    /// An empty queue for `capacity` items.
    ///
    /// # Panics
    ///
    /// When `capacity` is zero, or 2³² or more.
    pub fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "a queue of no capacity");
        assert!(u32::try_from(capacity).is_ok(), "a queue of {capacity} places");
        let slot =
            |index| Slot { turn: AtomicU64::new(2 * index), item: UnsafeCell::new(MaybeUninit::uninit()) };
        Self {
            tail: Line(AtomicU64::new(0)),
            head: Line(AtomicU64::new(0)),
            slots: (0..capacity as u64).map(slot).collect(),
            lap: 2 * capacity.next_power_of_two() as u64,
            last: 2 * (capacity as u64 - 1),
        }
    }

    /// Most items it holds.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Items in the queue, as of two looks at a queue that may be in motion.
    pub fn len(&self) -> usize {
        let (head, tail) = (self.head.load(Ordering::Relaxed), self.tail.load(Ordering::Relaxed));
        let count = |at: u64| at / self.lap * self.capacity() as u64 + at % self.lap / 2;
        count(tail).saturating_sub(count(head)).min(self.capacity() as u64) as usize
    }

    /// Whether it is empty, as [`Queue::len`] sees it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn slot(&self, position: u64) -> &Slot<T> {
        &self.slots[(position & (self.lap - 1)) as usize / 2]
    }

    fn next(&self, position: u64) -> u64 {
        let rest = self.lap - 1;
        if position & rest == self.last { (position | rest) + 1 } else { position + 2 }
    }

    /// Appends `item`.
    ///
    /// # Errors
    ///
    /// The item, when the queue is full.
    pub fn try_push(&self, item: T) -> Result<(), T> {
        let mut backoff = Backoff::new();
        let mut tail = self.tail.load(Ordering::Relaxed);
        loop {
            let slot = self.slot(tail);
            let turn = slot.turn.load(weaken!("mpmc_free_relaxed", Acquire));
            if turn == tail {
                let ordering = weaken!("mpmc_push_claim_relaxed", Release);
                match claim(&self.tail, tail, self.next(tail), ordering, keep!("mpmc_push_torn")) {
                    Ok(()) => {
                        // SAFETY: free in the turn of a position that this thread alone has claimed.
                        let fill = |item| slot.item.with_mut(|slot| unsafe { slot.cast::<T>().write(item) });
                        let pass = || slot.turn.store(full(tail), weaken!("mpmc_push_relaxed", Release));
                        in_order!("mpmc_push_early", fill(item), pass());
                        return Ok(());
                    }
                    Err(now) => tail = now,
                }
                backoff.lost();
            } else {
                // Behind: the slot is still full, or being emptied. Ahead: the position is an old one.
                let now = self.tail.load(weaken!("mpmc_tail_relaxed", Acquire));
                let behind = turn < tail && now == tail;
                if behind
                    && (self.head.load(Ordering::Relaxed) + self.lap == tail || !keep!("mpmc_full_guess"))
                {
                    return Err(item);
                }
                backoff.wait();
                tail = now;
            }
        }
    }

    /// Takes the oldest item, or `None` when the queue is empty.
    pub fn try_pop(&self) -> Option<T> {
        let mut backoff = Backoff::new();
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let slot = self.slot(head);
            let turn = slot.turn.load(weaken!("mpmc_full_relaxed", Acquire));
            if turn == full(head) {
                let ordering = weaken!("mpmc_pop_claim_relaxed", Release);
                match claim(&self.head, head, self.next(head), ordering, keep!("mpmc_pop_torn")) {
                    Ok(()) => {
                        // SAFETY: full in the turn of a position that this thread alone has claimed.
                        let empty = || slot.item.with(|slot| unsafe { slot.cast::<T>().read() });
                        let pass = || slot.turn.store(head + self.lap, weaken!("mpmc_pop_relaxed", Release));
                        let item;
                        in_order!("mpmc_pop_early", item = empty(), pass());
                        return Some(item);
                    }
                    Err(now) => head = now,
                }
                backoff.lost();
            } else {
                // Behind: nothing is there yet, or it is being filled. Ahead: the position is an old one.
                let now = self.head.load(weaken!("mpmc_head_relaxed", Acquire));
                let behind = turn < full(head) && now == head;
                if behind && (self.tail.load(Ordering::Relaxed) == head || !keep!("mpmc_empty_guess")) {
                    return None;
                }
                backoff.wait();
                head = now;
            }
        }
    }
}

/// Claims the position `at` by moving on to `next`; else says where the others are by now.
///
/// What is in a slot is ordered by its turn. A position orders what its claimants knew of the other position, for those
/// who are to say that the queue is full or empty.
#[inline]
fn claim(word: &AtomicU64, at: u64, next: u64, ordering: Ordering, whole: bool) -> Result<(), u64> {
    if whole {
        word.compare_exchange_weak(at, next, ordering, Ordering::Relaxed).map(drop)
    } else {
        let now = word.load(Ordering::Relaxed);
        if now != at {
            return Err(now);
        }
        word.store(next, Ordering::Relaxed);
        Ok(())
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        // Nobody is in the middle of anything: odd means full.
        if self.turn.load(Ordering::Relaxed) % 2 == 1 && keep!("mpmc_leftovers_leak") {
            // SAFETY: full, and dropped with its slot, once.
            self.item.with_mut(|slot| unsafe { slot.cast::<T>().drop_in_place() });
        }
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("len", &self.len()).field("capacity", &self.capacity()).finish()
    }
}
