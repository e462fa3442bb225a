//! A number of permits that threads take, and wait for in the order in which they came.

use crate::probe::{Held, Kind, Object};
use crate::shim::{
    self, Arc, AtomicU64, Condvar, Line, Mutex, Ordering, keep, lock, wait_while_until, weaken,
};
use crate::spin::{self, Spin};
use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

const CLOSED: u64 = 1;
/// Somebody waits in the queue: permits are taken under its lock alone.
const QUEUED: u64 = 2;
const PERMIT: u64 = 4;
const MOST: u64 = u64::MAX / PERMIT;

/// Ends for the instruments: the thread that gave permits back last, and the one that took some last.
const GIVER: usize = 0;
const TAKER: usize = 1;

/// A number of permits, taken a few at a time and given back when the [`Permit`] is dropped.
///
/// ```
/// use selvedge_sync::{AcquireError, Semaphore};
///
/// let memory = Semaphore::new(3);
/// let large = memory.acquire(2)?;
/// let small = memory.acquire(1)?;
/// assert_eq!(memory.try_acquire(1).unwrap_err(), AcquireError::WouldWait { asked: 1 });
/// drop(large);
/// assert_eq!(memory.available(), 2);
/// # drop(small);
/// # Ok::<(), AcquireError>(())
/// ```
///
/// Fair: whoever has to wait is served in the order of coming, and while somebody waits nobody else takes a permit, so
/// that many small requests cannot starve a large one. The price is that a hand-over goes through the scheduler.
///
/// What a thread did before it gave a permit back is visible to whoever takes permits afterwards. Without a wait, taking
/// and giving back are one read-modify-write each. A permit that is leaked, by [`std::mem::forget`] or in a cycle of
/// references, does not come back; there is no other way to lose one.
pub struct Semaphore {
    /// `permits << 2 | QUEUED | CLOSED`. `QUEUED` is set, under the lock, exactly while the queue is not empty.
    word: Line<AtomicU64>,
    queue: Mutex<Queue>,
    permits: u64,
    spin: Duration,
    probe: Object<2>,
    /// The end of the probe that a wait is for.
    awaited: usize,
}

#[derive(Default)]
struct Queue {
    /// By ascending ticket.
    waiting: VecDeque<Waiter>,
    /// The next ticket.
    next: u64,
    /// Whoever holds a ticket below this, and has not given up, has been given its permits.
    served: u64,
}

struct Waiter {
    ticket: u64,
    asked: u64,
    /// Its own, so that a hand-over wakes nobody else.
    bell: Arc<Condvar>,
}

/// Permits of a [`Semaphore`], given back when dropped.
#[must_use = "dropping the permit gives it back"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    count: u64,
    held: Held,
}

/// Why there is no [`Permit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcquireError {
    /// The semaphore is closed, or was during the wait.
    Closed,
    /// The permits did not come in time.
    TimedOut {
        /// Permits asked for.
        asked: usize,
    },
    /// The permits are not there, or others wait for them.
    WouldWait {
        /// Permits asked for.
        asked: usize,
    },
    /// The semaphore never has so many permits.
    TooMany {
        /// Permits asked for.
        asked: usize,
        /// Permits of the semaphore.
        permits: usize,
    },
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the semaphore is closed"),
            Self::TimedOut { asked } => write!(f, "{asked} permits did not come in time"),
            Self::WouldWait { asked } => write!(f, "{asked} permits are not to be had without waiting"),
            Self::TooMany { asked, permits } => {
                write!(f, "{asked} permits asked of a semaphore that has {permits}")
            }
        }
    }
}

impl std::error::Error for AcquireError {}

impl Semaphore {
    /// A semaphore with all of its `permits` at hand. A wait looks for some 30 µs before it sleeps, or not at all on a
    /// machine of one core.
    ///
    /// # Panics
    ///
    /// When there are 2^62 permits or more.
    #[track_caller]
    pub fn new(permits: usize) -> Self {
        Self::with_spin(permits, spin::budget(spin::cores()))
    }

    /// The permits of a lock: who waits does so because of who holds them.
    #[track_caller]
    pub(crate) fn for_lock(permits: usize, spin: Duration) -> Self {
        Self { probe: Object::new(Kind::RwLock), awaited: TAKER, ..Self::with_spin(permits, spin) }
    }

    #[track_caller]
    pub(crate) fn with_spin(permits: usize, spin: Duration) -> Self {
        let permits = permits as u64;
        assert!(permits <= MOST, "a semaphore of {permits} permits, at most {MOST} are possible");
        let word = Line(AtomicU64::new(permits * PERMIT));
        Self {
            word,
            queue: Mutex::new(Queue::default()),
            permits,
            spin,
            probe: Object::new(Kind::Semaphore),
            awaited: GIVER,
        }
    }

    /// Takes `count` permits, waiting for them.
    ///
    /// # Errors
    ///
    /// [`AcquireError::Closed`], also when the semaphore is closed during the wait, and [`AcquireError::TooMany`], at
    /// once.
    #[inline]
    pub fn acquire(&self, count: usize) -> Result<Permit<'_>, AcquireError> {
        self.acquire_until(count, || None)
    }

    /// As [`Semaphore::acquire`], waiting for `timeout` at most.
    ///
    /// # Errors
    ///
    /// As [`Semaphore::acquire`], and [`AcquireError::TimedOut`].
    #[inline]
    pub fn acquire_timeout(&self, count: usize, timeout: Duration) -> Result<Permit<'_>, AcquireError> {
        self.acquire_until(count, || shim::deadline(timeout))
    }

    /// Takes `count` permits if that needs no wait.
    ///
    /// # Errors
    ///
    /// [`AcquireError::WouldWait`], [`AcquireError::Closed`] and [`AcquireError::TooMany`].
    #[inline]
    pub fn try_acquire(&self, count: usize) -> Result<Permit<'_>, AcquireError> {
        let asked = self.possible(count)?;
        match self.take(asked, false)? {
            true => Ok(self.permit(asked)),
            false => Err(AcquireError::WouldWait { asked: count }),
        }
    }

    /// Refuses permits from now on, also to those who wait for them; permits that are out may still be given back.
    pub fn close(&self) {
        let mut queue = lock(&self.queue);
        self.word.fetch_or(CLOSED, Ordering::Relaxed);
        for waiter in std::mem::take(&mut queue.waiting) {
            if keep!("semaphore_close_no_notify") {
                waiter.bell.notify_one();
            }
        }
        self.word.fetch_and(!QUEUED, Ordering::Relaxed);
    }

    /// Whether the semaphore has been closed.
    pub fn is_closed(&self) -> bool {
        self.word.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// Permits of the semaphore, at hand or not.
    pub fn permits(&self) -> usize {
        self.permits as usize
    }

    /// Permits at hand just now.
    pub fn available(&self) -> usize {
        (self.word.load(Ordering::Relaxed) / PERMIT) as usize
    }

    #[inline]
    fn acquire_until(
        &self,
        count: usize,
        deadline: impl FnOnce() -> Option<Instant>,
    ) -> Result<Permit<'_>, AcquireError> {
        let asked = self.possible(count)?;
        if !self.take(asked, false)? {
            self.wait(asked, deadline())?;
        }
        Ok(self.permit(asked))
    }

    #[cold]
    #[inline(never)]
    fn wait(&self, asked: u64, deadline: Option<Instant>) -> Result<(), AcquireError> {
        let _wait = self.probe.wait(self.awaited);
        let mut spin = Spin::new(self.spin);
        // Where others wait already, looking on would only lose the place in the queue.
        while self.word.load(Ordering::Relaxed) & QUEUED == 0 && spin.again() {
            if self.take(asked, false)? {
                return Ok(());
            }
        }
        self.queue_up(asked, deadline)
    }

    #[inline]
    fn permit(&self, count: u64) -> Permit<'_> {
        Permit { semaphore: self, count, held: self.probe.hold(TAKER) }
    }

    #[inline]
    fn possible(&self, count: usize) -> Result<u64, AcquireError> {
        let asked = count as u64;
        if asked > self.permits {
            return Err(AcquireError::TooMany { asked: count, permits: self.permits() });
        }
        Ok(asked)
    }

    /// Takes the permits if they are at hand and nobody waits; returns whether. If not, says so in the word with
    /// `announce`, for which the caller holds the queue's lock.
    #[inline]
    fn take(&self, asked: u64, announce: bool) -> Result<bool, AcquireError> {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & CLOSED != 0 {
                return Err(AcquireError::Closed);
            }
            let queued = word & QUEUED != 0 && (announce || keep!("semaphore_barge"));
            let taken = !queued && word / PERMIT >= asked;
            let next = match taken {
                true => word - asked * PERMIT,
                false if announce => word | QUEUED,
                false => return Ok(false),
            };
            let ordering = weaken!("semaphore_take_relaxed", Acquire);
            let swapped = match taken {
                true if !keep!("semaphore_take_torn") => {
                    self.word.store(next, Ordering::Relaxed);
                    Ok(word)
                }
                false if !keep!("semaphore_announce_blind") => {
                    Ok(self.word.fetch_or(QUEUED, Ordering::Relaxed))
                }
                _ => self.word.compare_exchange_weak(word, next, ordering, Ordering::Relaxed),
            };
            match swapped {
                Ok(_) => return Ok(taken),
                Err(now) => word = now,
            }
        }
    }

    /// Waits for the permits at the end of the queue, unless they are at hand by now.
    fn queue_up(&self, asked: u64, deadline: Option<Instant>) -> Result<(), AcquireError> {
        let mut queue = lock(&self.queue);
        // Whoever gives permits back from now on sees that somebody waits, and then waits for the lock.
        if self.take(asked, true)? {
            return Ok(());
        }
        let ticket = queue.next;
        queue.next += 1;
        let bell = Arc::new(Condvar::new());
        queue.waiting.push_back(Waiter { ticket, asked, bell: Arc::clone(&bell) });
        let waits = |queue: &mut Queue| ticket >= queue.served && !self.is_closed();
        queue = wait_while_until(&bell, queue, deadline, waits);
        if ticket < queue.served {
            return Ok(());
        }
        if self.is_closed() {
            return Err(AcquireError::Closed);
        }
        if let Ok(at) = queue.waiting.binary_search_by_key(&ticket, |waiter| waiter.ticket) {
            if keep!("semaphore_leave_stays") {
                queue.waiting.remove(at);
            }
            // What was too little for this one may be enough for the next.
            if keep!("semaphore_leave_silent") {
                self.hand_out(&mut queue);
            }
        }
        Err(AcquireError::TimedOut { asked: asked as usize })
    }

    #[cold]
    #[inline(never)]
    fn serve(&self) {
        self.hand_out(&mut lock(&self.queue));
    }

    /// Serves the queue from its head as far as the permits go. Takes the queue's lock for granted.
    fn hand_out(&self, queue: &mut Queue) {
        let mut word = self.word.load(Ordering::Relaxed);
        while let Some(first) = queue.waiting.front() {
            // Others only add to the word while somebody waits, and whoever adds comes here afterwards.
            if word / PERMIT < first.asked {
                return;
            }
            let price = first.asked * PERMIT;
            word = self.word.fetch_sub(price, weaken!("semaphore_grant_relaxed", Acquire)) - price;
            queue.served = first.ticket + 1;
            if keep!("semaphore_grant_no_notify") {
                first.bell.notify_one();
            }
            queue.waiting.pop_front();
            if !keep!("semaphore_grant_one") && !queue.waiting.is_empty() {
                return;
            }
        }
        if keep!("semaphore_queued_kept") {
            self.word.fetch_and(!QUEUED, Ordering::Relaxed);
        }
    }

    #[inline]
    fn give_back(&self, count: u64) {
        let (more, ordering) = (count * PERMIT, weaken!("semaphore_give_relaxed", Release));
        let before = if keep!("semaphore_give_torn") {
            self.word.fetch_add(more, ordering)
        } else {
            let before = self.word.load(Ordering::Relaxed);
            self.word.store(before + more, ordering);
            before
        };
        if before & QUEUED != 0 && keep!("semaphore_give_silent") {
            self.serve();
        }
    }
}

impl Permit<'_> {
    /// Number of permits.
    pub fn count(&self) -> usize {
        self.count as usize
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.held.release();
        self.semaphore.probe.here(GIVER);
        self.semaphore.give_back(self.count);
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("available", &self.available())
            .field("permits", &self.permits)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("count", &self.count).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::OwnedThread;

    /// Waits until somebody waits.
    fn queued(semaphore: &Semaphore, count: usize) {
        while lock(&semaphore.queue).waiting.len() != count {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_large_request_is_not_overtaken() {
        let semaphore = Arc::new(Semaphore::with_spin(2, Duration::ZERO));
        let one = semaphore.acquire(1).unwrap();
        let theirs = Arc::clone(&semaphore);
        let large = OwnedThread::spawn("large", move || theirs.acquire(2).map(|permit| permit.count()));
        queued(&semaphore, 1);
        assert_eq!(semaphore.available(), 1);
        assert_eq!(semaphore.try_acquire(1).unwrap_err(), AcquireError::WouldWait { asked: 1 });
        drop(one);
        assert_eq!(large.unwrap().join().unwrap(), Ok(2));
        assert_eq!(semaphore.available(), 2);
    }

    #[test]
    fn waiters_are_served_in_the_order_of_coming() {
        let semaphore = Arc::new(Semaphore::with_spin(1, Duration::ZERO));
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let first = semaphore.acquire(1).unwrap();
        let threads: Vec<_> = (0..6)
            .map(|mine| {
                let (semaphore, order) = (Arc::clone(&semaphore), Arc::clone(&order));
                let theirs = Arc::clone(&semaphore);
                let thread = OwnedThread::spawn(format!("waiter-{mine}"), move || {
                    let _permit = semaphore.acquire(1).unwrap();
                    order.lock().unwrap().push(mine);
                });
                queued(&theirs, mine + 1);
                thread.unwrap()
            })
            .collect();
        drop(first);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn one_that_gives_up_lets_the_next_go() {
        let semaphore = Arc::new(Semaphore::with_spin(2, Duration::ZERO));
        let one = semaphore.acquire(1).unwrap();
        let (large, small) = (Arc::clone(&semaphore), Arc::clone(&semaphore));
        let patience = Duration::from_millis(50);
        let large = OwnedThread::spawn("large", move || large.acquire_timeout(2, patience).map(|_| ()));
        queued(&semaphore, 1);
        let small = OwnedThread::spawn("small", move || small.acquire(1).map(|_| ()));
        assert_eq!(large.unwrap().join().unwrap(), Err(AcquireError::TimedOut { asked: 2 }));
        assert_eq!(small.unwrap().join().unwrap(), Ok(()));
        drop(one);
        assert_eq!(semaphore.word.load(Ordering::Relaxed), 2 * PERMIT, "nobody is left in the queue");
    }
}
