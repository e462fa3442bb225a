//! The ranked `Mutex` beside std's and parking_lot's: a counter that all threads raise.

use criterion::{BenchmarkId, Criterion};
use std::hint::black_box;

use crate::crowd::timed;

selvedge_sync::lock_ranks! { Counting }

/// One thread too: what a lock costs that nobody else wants.
const THREADS: [usize; 3] = [1, 2, 8];

pub(crate) fn mutexes(c: &mut Criterion) {
    let mut group = c.benchmark_group("lock/mutex");
    for threads in THREADS {
        group.bench_function(BenchmarkId::new("selvedge", threads), |b| {
            let lock = selvedge_sync::lock::Mutex::<u64, Counting>::new(0);
            b.iter_custom(|turns| {
                timed(threads, |_| {
                    let lock = &lock;
                    move || (0..turns).for_each(|_| *black_box(lock.lock()) += 1)
                })
            });
        });
        group.bench_function(BenchmarkId::new("std", threads), |b| {
            let lock = std::sync::Mutex::new(0_u64);
            b.iter_custom(|turns| {
                timed(threads, |_| {
                    let lock = &lock;
                    move || (0..turns).for_each(|_| *black_box(lock.lock().expect("no panic")) += 1)
                })
            });
        });
        group.bench_function(BenchmarkId::new("parking_lot", threads), |b| {
            let lock = parking_lot::Mutex::new(0_u64);
            b.iter_custom(|turns| {
                timed(threads, |_| {
                    let lock = &lock;
                    move || (0..turns).for_each(|_| *black_box(lock.lock()) += 1)
                })
            });
        });
    }
    group.finish();
}
