//! The pool: buffers come back, whatever happens to their holders.
#![cfg(not(any(loom, shuttle)))]

use proptest::prelude::*;
use selvedge_sync::{Lease, OwnedLease, OwnedThread, Pool};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Counts buffers made and destroyed.
#[derive(Clone, Default)]
struct Count {
    made: Arc<AtomicUsize>,
    gone: Arc<AtomicUsize>,
}

struct Buffer {
    number: usize,
    holders: usize,
    gone: Arc<AtomicUsize>,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.gone.fetch_add(1, Ordering::Relaxed);
    }
}

impl Count {
    fn pool(&self, capacity: usize) -> Pool<Buffer> {
        let Count { made, gone } = self.clone();
        Pool::new(capacity, move || Buffer {
            number: made.fetch_add(1, Ordering::Relaxed),
            holders: 0,
            gone: Arc::clone(&gone),
        })
    }

    fn get(&self) -> (usize, usize) {
        (self.made.load(Ordering::Relaxed), self.gone.load(Ordering::Relaxed))
    }
}

/// Leases to be had at once: all of them, when none is out.
fn to_be_had<T>(pool: &Pool<T>) -> usize {
    std::iter::from_fn(|| pool.try_acquire()).collect::<Vec<_>>().len()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn it_lends_each_buffer_to_one(capacity in 1usize..5, steps in prop::collection::vec(0usize..8, 0..60)) {
        let count = Count::default();
        let pool = count.pool(capacity);
        let mut out: Vec<Lease<'_, Buffer>> = Vec::new();
        let mut most = 0;
        for step in steps {
            if step < 4 {
                let lease = pool.try_acquire();
                prop_assert_eq!(lease.is_some(), out.len() < capacity);
                out.extend(lease);
            } else if !out.is_empty() {
                drop(out.swap_remove(step % out.len()));
            }
            most = most.max(out.len());
            let mut numbers: Vec<usize> = out.iter().map(|lease| lease.number).collect();
            numbers.sort_unstable();
            numbers.dedup();
            prop_assert_eq!(numbers.len(), out.len());
            prop_assert_eq!(count.get(), (most, 0), "as many as were ever out at once, and none destroyed");
        }
        drop(out);
        prop_assert_eq!(to_be_had(&pool), capacity);
        drop(pool);
        prop_assert_eq!(count.get().0, count.get().1);
    }
}

#[test]
fn all_are_back_after_many_threads() {
    const CAPACITY: usize = 3;
    let count = Count::default();
    let pool = count.pool(CAPACITY);
    let out = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..8)
        .map(|index| {
            let (pool, out) = (pool.clone(), Arc::clone(&out));
            let work = move || {
                for round in 0..1_000 {
                    let mut lease = match round % 3 {
                        0 => pool.acquire(),
                        1 => pool.acquire_timeout(Duration::from_secs(60)).unwrap(),
                        _ => match pool.try_acquire() {
                            Some(lease) => lease,
                            None => continue,
                        },
                    };
                    assert!(out.fetch_add(1, Ordering::Relaxed) < CAPACITY);
                    lease.holders += 1;
                    if round % 64 == 0 {
                        std::thread::yield_now();
                    }
                    assert_eq!(lease.holders, 1);
                    lease.holders -= 1;
                    out.fetch_sub(1, Ordering::Relaxed);
                    if round % 5 == index % 5 {
                        drop(lease.into_owned());
                    }
                }
            };
            OwnedThread::spawn(format!("holder-{index}"), work).unwrap()
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(to_be_had(&pool), CAPACITY);
    assert!(count.get().0 <= CAPACITY && count.get().1 == 0);
}

#[test]
fn a_wait_in_vain_ends_in_time() {
    let pool = Pool::new(1, || 0);
    let held = pool.acquire();
    let began = Instant::now();
    assert!(pool.acquire_timeout(Duration::from_millis(30)).is_none());
    assert!(began.elapsed() >= Duration::from_millis(30));
    drop(held);
    assert!(pool.acquire_timeout(Duration::ZERO).is_some());
}

#[test]
fn a_lease_crosses_threads_and_outlives_the_handle() {
    let pool = Pool::new(1, || vec![0; 4]);
    let mut lease = pool.acquire().into_owned();
    let watch = pool.clone();
    drop(pool);
    let worker = OwnedThread::spawn("worker", move || {
        lease[3] = 9;
        drop(lease);
    })
    .unwrap();
    assert_eq!(*watch.acquire(), [0, 0, 0, 9]);
    worker.join().unwrap();
}

/// A buffer that a panic left half-written is destroyed, another takes its place, and whoever waits is woken.
#[test]
fn a_panic_costs_the_buffer_but_not_the_place() {
    let count = Count::default();
    let pool = count.pool(1);
    let (theirs, held) = (pool.clone(), Arc::new(std::sync::Barrier::new(2)));
    let taken = Arc::clone(&held);
    let worker = OwnedThread::spawn("worker", move || {
        let lease = theirs.acquire();
        assert_eq!(lease.number, 0);
        taken.wait();
        std::thread::sleep(Duration::from_millis(20));
        panic!("planted");
    })
    .unwrap();
    held.wait();
    let lease = pool.acquire();
    assert_eq!(lease.number, 1, "a new one");
    assert_eq!(count.get(), (2, 1));
    drop(lease);
    assert!(worker.join().is_err());
    assert_eq!(to_be_had(&pool), 1);
}

#[test]
fn a_lease_taken_by_a_drop_during_a_panic_is_returned() {
    struct Flush(Pool<Buffer>);
    impl Drop for Flush {
        fn drop(&mut self) {
            assert!(std::thread::panicking());
            drop(self.0.acquire());
        }
    }
    let count = Count::default();
    let pool = count.pool(1);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let _flush = Flush(pool.clone());
        panic!("planted");
    }));
    assert!(ended.is_err());
    assert_eq!((to_be_had(&pool), count.get()), (1, (1, 0)));
}

#[test]
fn a_buffer_that_cannot_be_made_loses_no_place() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let pool = Pool::new(1, move || {
        assert!(counted.fetch_add(1, Ordering::Relaxed) > 0, "planted");
        7
    });
    assert!(catch_unwind(AssertUnwindSafe(|| assert_eq!(*pool.acquire(), 7))).is_err());
    assert_eq!(*pool.acquire(), 7);
}

#[test]
#[should_panic(expected = "a pool of no buffers")]
fn a_pool_has_a_buffer() {
    Pool::new(0, || ());
}

#[test]
fn leases_cross_threads() {
    fn send<T: Send>() {}
    fn both<T: Send + Sync>() {}
    both::<Pool<std::cell::Cell<u8>>>();
    send::<Lease<'static, std::cell::Cell<u8>>>();
    both::<Lease<'static, Vec<u8>>>();
    send::<OwnedLease<std::cell::Cell<u8>>>();
    both::<OwnedLease<Vec<u8>>>();
    let pool = Pool::new(2, || 1);
    assert_eq!(format!("{pool:?}"), "Pool { capacity: 2, .. }");
    assert_eq!(format!("{:?} {:?}", pool.acquire(), pool.acquire().into_owned()), "1 1");
}
