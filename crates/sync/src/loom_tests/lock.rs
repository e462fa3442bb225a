//! Models of the locks with ranks.

use super::{ALL, explore, explore_loads};
use crate::lock::{Mutex, RwLock};
use crate::shim::Arc;
use loom::thread;
use std::time::Duration;

crate::lock_ranks! { Low, High }

type Locks = (Mutex<u32, Low>, Mutex<u32, High>);

fn in_order((low, high): &Locks) {
    let mut low = low.lock();
    *low += 1;
    *high.lock() += *low;
}

/// Of two threads that take two locks, one asks out of order: it is refused before it can wait, under every schedule,
/// and what it holds goes, out of the order of taking too, so that both may then go on.
///
/// 2 threads, no bound on preemptions: 12 schedules, under 0.1 s. Kills `lock_order_unchecked`, `lock_order_kept`.
#[test]
fn loom_lock_order() {
    explore("loom_lock_order", ALL, || {
        let locks = Arc::new((Mutex::new(0), Mutex::new(0)));
        let theirs: Arc<Locks> = Arc::clone(&locks);
        let other = thread::spawn(move || in_order(&theirs));
        let high = locks.1.lock();
        let refusal = locks.0.ranked().unwrap_err().to_string();
        assert!(
            refusal.starts_with("lock order: holding High of rank 1 at crates/sync/src/loom_tests/lock.rs:")
        );
        assert!(refusal.contains("asked for Low of rank 0 at crates/sync/src/loom_tests/lock.rs:"));
        drop(high);
        in_order(&locks);
        other.join().unwrap();
        assert_eq!((*locks.0.lock(), *locks.1.lock()), (2, 3));
    });
}

/// A writer has the value alone, and readers what the last writer left.
///
/// 3 threads, at most 2 preemptions: 11,886 schedules, 0.6 s. Kills `rwlock_write_shared`.
#[test]
fn loom_rwlock_excludes() {
    explore_loads("loom_rwlock_excludes", 2, || {
        let lock: Arc<RwLock<[u32; 2], Low>> = Arc::new(RwLock::with_spin([0; 2], Duration::ZERO));
        let reader = Arc::clone(&lock);
        let reader = thread::spawn(move || {
            let pair = reader.read();
            assert_eq!(pair[0], pair[1]);
        });
        let writer = Arc::clone(&lock);
        let writer = thread::spawn(move || writer.write().iter_mut().for_each(|value| *value += 1));
        lock.write().iter_mut().for_each(|value| *value += 1);
        reader.join().unwrap();
        writer.join().unwrap();
        assert_eq!(*lock.read(), [2, 2]);
    });
}

/// A thread that reads twice, with a writer that comes in between and queues: refused at once, where parking_lot#212 and
/// candle#3878 wait for ever. Two threads may read at once, and the writer gets its turn.
///
/// 3 threads, at most 2 preemptions: 6,900 schedules, 0.4 s. Kills `lock_order_equal`.
#[test]
fn loom_rwlock_parking_lot_212() {
    explore_loads("loom_rwlock_parking_lot_212", 2, || {
        let lock: Arc<RwLock<u32, Low>> = Arc::new(RwLock::with_spin(0, Duration::ZERO));
        let theirs = Arc::clone(&lock);
        let writer = thread::spawn(move || *theirs.write() += 1);
        let theirs = Arc::clone(&lock);
        let reader = thread::spawn(move || assert!(*theirs.read() <= 1));
        let first = lock.read();
        let refusal = lock.ranked_read().unwrap_err().to_string();
        assert!(refusal.contains("holding Low of rank 0 at") && refusal.contains("asked for it again at"));
        drop(first);
        reader.join().unwrap();
        writer.join().unwrap();
        assert_eq!(*lock.read(), 1);
    });
}
