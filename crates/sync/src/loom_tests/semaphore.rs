//! Models of the semaphore.
#![expect(unsafe_code, reason = "what permits guard are cells that loom watches for races")]

use super::{ALL, explore_loads};
use crate::shim::{Arc, Condvar, Mutex};
use crate::{AcquireError, Semaphore};
use loom::cell::UnsafeCell;
use loom::thread;
use std::time::Duration;

/// A semaphore and memory that its permits guard, so that loom sees what taking and giving back owe.
struct Guarded {
    semaphore: Semaphore,
    cells: Vec<UnsafeCell<u32>>,
}

// SAFETY: none in itself; loom reports every unsynchronized access, and that is what the models check.
unsafe impl Sync for Guarded {}
// SAFETY: as above.
unsafe impl Send for Guarded {}

impl Guarded {
    /// Nobody looks twice before queueing.
    fn new(permits: usize) -> Arc<Self> {
        let cells = (0..permits).map(|_| UnsafeCell::new(0)).collect();
        Arc::new(Self { semaphore: Semaphore::with_spin(permits, Duration::ZERO), cells })
    }

    fn bump(&self, index: usize) -> u32 {
        self.cells[index].with_mut(|cell| {
            // SAFETY: loom checks that nobody else is at it.
            unsafe { *cell += 1 };
            // SAFETY: as above.
            unsafe { *cell }
        })
    }
}

/// One permit keeps three threads apart; each sees what the holder before it wrote, and nobody sleeps on while the
/// permit is there.
///
/// 3 threads, at most 2 preemptions: 11,884 schedules, 0.6 s. Kills `semaphore_take_relaxed`, `semaphore_give_relaxed`,
/// `semaphore_take_torn`, `semaphore_give_torn`, `semaphore_give_silent`, `semaphore_announce_blind`,
/// `semaphore_grant_no_notify`.
#[test]
fn loom_semaphore_excludes() {
    explore_loads("loom_semaphore_excludes", 2, || {
        let guarded = Guarded::new(1);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let guarded = Arc::clone(&guarded);
                thread::spawn(move || {
                    let _permit = guarded.semaphore.acquire(1).unwrap();
                    guarded.bump(0);
                })
            })
            .collect();
        let permit = guarded.semaphore.acquire(1).unwrap();
        guarded.bump(0);
        drop(permit);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!((guarded.bump(0), guarded.semaphore.available()), (4, 1));
    });
}

/// Who waits for two permits gets them from two threads, with what both wrote, though one of the two came later and
/// tried to take what was meant for the first.
///
/// 3 threads, at most 3 preemptions: 10,004 schedules, 0.5 s. Kills `semaphore_grant_relaxed`, `semaphore_barge`.
#[test]
fn loom_semaphore_large() {
    explore_loads("loom_semaphore_large", 3, || {
        let guarded = Guarded::new(2);
        let one = guarded.semaphore.acquire(1).unwrap();
        let (large, small) = (Arc::clone(&guarded), Arc::clone(&guarded));
        let large = thread::spawn(move || {
            let _permits = large.semaphore.acquire(2).unwrap();
            large.bump(0);
            large.bump(1);
        });
        let small = thread::spawn(move || {
            if let Ok(_permit) = small.semaphore.try_acquire(1) {
                small.bump(1);
            }
        });
        guarded.bump(0);
        drop(one);
        large.join().unwrap();
        small.join().unwrap();
        assert_eq!(guarded.semaphore.available(), 2);
    });
}

/// Two permits given back at once serve two waiters, who do not go on before both have theirs; the queue they leave is no
/// longer one.
///
/// 3 threads, at most 3 preemptions: 38,403 schedules, 2.1 s. Kills `semaphore_grant_one`, `semaphore_queued_kept`.
#[test]
fn loom_semaphore_serves_all() {
    explore_loads("loom_semaphore_serves_all", 3, || {
        let guarded = Guarded::new(2);
        let both = guarded.semaphore.acquire(2).unwrap();
        let met = Arc::new((Mutex::new(0), Condvar::new()));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (guarded, met) = (Arc::clone(&guarded), Arc::clone(&met));
                thread::spawn(move || {
                    let _permit = guarded.semaphore.acquire(1).unwrap();
                    let mut here = met.0.lock().unwrap();
                    *here += 1;
                    met.1.notify_one();
                    while *here < 2 {
                        here = met.1.wait(here).unwrap();
                    }
                })
            })
            .collect();
        drop(both);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(guarded.semaphore.try_acquire(2).is_ok());
    });
}

/// One whose time is up leaves the queue, with nothing, and the one behind it gets what was too little for the first.
///
/// 3 threads, no bound on preemptions: 21,843 schedules, 1.1 s. Kills `semaphore_leave_stays`,
/// `semaphore_leave_silent`.
#[test]
fn loom_semaphore_gives_up() {
    explore_loads("loom_semaphore_gives_up", ALL, || {
        let guarded = Guarded::new(2);
        let one = guarded.semaphore.acquire(1).unwrap();
        let (large, small) = (Arc::clone(&guarded), Arc::clone(&guarded));
        let large = thread::spawn(move || {
            let refused = large.semaphore.acquire_timeout(2, Duration::ZERO).unwrap_err();
            assert_eq!(refused, AcquireError::TimedOut { asked: 2 });
        });
        let small = thread::spawn(move || drop(small.semaphore.acquire(1).unwrap()));
        large.join().unwrap();
        small.join().unwrap();
        drop(one);
        assert!(guarded.semaphore.try_acquire(2).is_ok());
    });
}

/// Closing turns away who waits, is about to wait, or comes later; what is out comes back.
///
/// 3 threads, at most 3 preemptions: 18,383 schedules, 0.9 s. Kills `semaphore_close_no_notify`.
#[test]
fn loom_semaphore_closes() {
    explore_loads("loom_semaphore_closes", 3, || {
        let guarded = Guarded::new(1);
        let permit = guarded.semaphore.acquire(1).unwrap();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let guarded = Arc::clone(&guarded);
                thread::spawn(move || guarded.semaphore.acquire(1).map(drop))
            })
            .collect();
        guarded.semaphore.close();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Err(AcquireError::Closed));
        }
        drop(permit);
        assert_eq!(guarded.semaphore.available(), 1);
    });
}
