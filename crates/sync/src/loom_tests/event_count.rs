//! Models of the event count.

use super::{ALL, explore};
use crate::EventCount;
use crate::shim::{Arc, AtomicU64, Ordering};
use loom::thread;
use std::time::Duration;

/// A waiter wakes, however its wait and the change race, and the data behind the change is visible by the change alone:
/// nothing is joined before it is read, so that no other edge can stand in for the one under test (the first model of
/// tokio's `Notify` passed without it, tokio#8179).
///
/// 2 threads, no bound on preemptions: 223 schedules, under 0.1 s. Kills `event_notify_relaxed`,
/// `event_announce_relaxed`, `event_epoch_relaxed`, `event_sleep_blind`, `event_look_late`, `event_no_notify`,
/// `event_notify_no_lock`, `event_notify_torn`, `event_announce_torn`.
#[test]
fn loom_event_tokio_8179() {
    explore("loom_event_tokio_8179", ALL, || {
        let shared = Arc::new((AtomicU64::new(0), EventCount::with_spin(Duration::ZERO)));
        let theirs = Arc::clone(&shared);
        let notifier = thread::spawn(move || {
            theirs.0.store(1, Ordering::Relaxed);
            theirs.1.notify_one();
        });
        shared.1.wait(|| Some(()).filter(|()| shared.0.load(Ordering::Relaxed) == 1));
        notifier.join().unwrap();
    });
}

/// Two waiters that want one thing each get it from two notifications of one, whoever sleeps.
///
/// 3 threads, at most 3 preemptions: 53,181 schedules, 2.8 s. Kills nothing that the others leave; it is for what
/// `notify_one` promises.
#[test]
fn loom_event_one_each() {
    explore("loom_event_one_each", 3, || {
        let shared = Arc::new((AtomicU64::new(0), EventCount::with_spin(Duration::ZERO)));
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let theirs = Arc::clone(&shared);
                thread::spawn(move || theirs.1.wait(|| take(&theirs.0)))
            })
            .collect();
        for _ in 0..2 {
            shared.0.fetch_add(1, Ordering::Relaxed);
            shared.1.notify_one();
        }
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert_eq!(shared.0.load(Ordering::Relaxed), 0);
    });
}

/// A notification of all lets both of two waiters go.
///
/// 3 threads, at most 3 preemptions: 7,861 schedules, 0.4 s. Kills `event_all_wakes_one`.
#[test]
fn loom_event_all() {
    explore("loom_event_all", 3, || {
        let shared = Arc::new((AtomicU64::new(0), EventCount::with_spin(Duration::ZERO)));
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let theirs = Arc::clone(&shared);
                thread::spawn(move || {
                    theirs.1.wait(|| Some(()).filter(|()| theirs.0.load(Ordering::Relaxed) == 1));
                })
            })
            .collect();
        shared.0.store(1, Ordering::Relaxed);
        shared.1.notify_all();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    });
}

/// Takes one of what is there.
fn take(left: &AtomicU64) -> Option<()> {
    let mut now = left.load(Ordering::Relaxed);
    while now > 0 {
        match left.compare_exchange(now, now - 1, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return Some(()),
            Err(other) => now = other,
        }
    }
    None
}
