//! Models of the pool.
#![expect(unsafe_code, reason = "buffers that loom watches for races")]

use super::{ALL, explore};
use crate::Pool;
use loom::cell::UnsafeCell;
use loom::thread;

struct Buffer(UnsafeCell<u32>);

// SAFETY: loom reports every unsynchronized access, and that is what the models check.
unsafe impl Send for Buffer {}

impl Buffer {
    fn bump(&mut self) -> u32 {
        self.0.with_mut(|buffer| {
            // SAFETY: loom checks that nobody else is at it.
            let buffer = unsafe { &mut *buffer };
            *buffer += 1;
            *buffer
        })
    }
}

/// One buffer for three leases: whoever waits is woken when it comes back, and finds what the holder before it wrote.
///
/// 2 threads, no bound on preemptions: 1,723 schedules, under 0.1 s. Kills `pool_no_notify`, `pool_notify_early`.
#[test]
fn loom_pool_waits() {
    explore("loom_pool_waits", ALL, || {
        let pool = Pool::new(1, || Buffer(UnsafeCell::new(0)));
        let theirs = pool.clone();
        let other = thread::spawn(move || theirs.acquire().bump());
        let mine = pool.acquire().bump();
        let others = other.join().unwrap();
        assert_eq!(mine + others, 3);
        assert_eq!(pool.try_acquire().map(|mut buffer| buffer.bump()), Some(3));
    });
}

/// As `loom_pool_waits`, with two that wait: each return wakes one, and that is enough.
///
/// 3 threads, 2 preemptions: 21,417 schedules, 1.2 s.
#[test]
fn loom_pool_wakes_one_after_another() {
    explore("loom_pool_wakes_one_after_another", 2, || {
        let pool = Pool::new(1, || Buffer(UnsafeCell::new(0)));
        let others: Vec<_> = (0..2)
            .map(|_| {
                let theirs = pool.clone();
                thread::spawn(move || theirs.acquire().bump())
            })
            .collect();
        let mine = pool.acquire().bump();
        let all: u32 = others.into_iter().map(|other| other.join().unwrap()).sum();
        assert_eq!(mine + all, 1 + 2 + 3);
    });
}
