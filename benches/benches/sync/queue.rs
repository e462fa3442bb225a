//! Queues beside crossbeam's: the time an item takes from one side to the other, both sides busy.

use criterion::{BenchmarkId, Criterion, Throughput};
use crossbeam_queue::ArrayQueue;
use selvedge_sync::{bounded, mpmc, spsc};
use std::hint::{black_box, spin_loop};
use std::time::Duration;

use crate::THREADS;
use crate::crowd::{Shelf, timed};

const CAPACITY: usize = 256;

/// Tries until it succeeds: a queue alone does not say how to wait. Yields after a while, so that it works where there
/// are more threads than cores.
fn until<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let mut tries = 0_u32;
    loop {
        match attempt() {
            Some(value) => return value,
            None if tries < 64 => {
                tries += 1;
                spin_loop();
            }
            None => std::thread::yield_now(),
        }
    }
}

/// `pairs` producers beside as many consumers, each of which moves `items`; `ends` gives the two works of a pair.
fn pairs<P: FnOnce() + Send, C: FnOnce() + Send>(pairs: usize, ends: impl Fn() -> (P, C)) -> Duration {
    let (mut producers, mut consumers) = (Vec::new(), Vec::new());
    for _ in 0..pairs {
        let (producer, consumer) = ends();
        producers.push(Shelf::new(producer));
        consumers.push(Shelf::new(consumer));
    }
    timed(2 * pairs, |at| {
        // The works are of two types, and a thread takes the one that is its own.
        let producer = (at % 2 == 0).then(|| producers[at / 2].take());
        let consumer = (at % 2 == 1).then(|| consumers[at / 2].take());
        move || {
            if let Some(work) = producer {
                work();
            }
            if let Some(work) = consumer {
                work();
            }
        }
    })
}

pub(crate) fn rings(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue/spsc");
    group.throughput(Throughput::Elements(1));
    for threads in THREADS {
        group.bench_function(BenchmarkId::new("selvedge", threads), |b| {
            b.iter_custom(|items| {
                pairs(threads / 2, || {
                    let (mut producer, mut consumer) = spsc::ring(CAPACITY);
                    let push = move || (0..items).for_each(|item| until(|| producer.try_push(item).ok()));
                    let pop = move || {
                        (0..items).for_each(|_| assert!(black_box(until(|| consumer.try_pop())) < u64::MAX))
                    };
                    (push, pop)
                })
            });
        });
        group.bench_function(BenchmarkId::new("crossbeam ArrayQueue", threads), |b| {
            b.iter_custom(|items| {
                pairs(threads / 2, || {
                    let queue = std::sync::Arc::new(ArrayQueue::new(CAPACITY));
                    let theirs = queue.clone();
                    let push = move || (0..items).for_each(|item| until(|| queue.push(item).ok()));
                    let pop = move || {
                        (0..items).for_each(|_| assert!(black_box(until(|| theirs.pop())) < u64::MAX))
                    };
                    (push, pop)
                })
            });
        });
    }
    group.finish();

    let mut group = c.benchmark_group("queue/mpmc");
    group.throughput(Throughput::Elements(1));
    for threads in THREADS {
        group.bench_function(BenchmarkId::new("selvedge", threads), |b| {
            b.iter_custom(|items| {
                let queue = &mpmc::Queue::new(CAPACITY);
                pairs(threads / 2, || {
                    let push = move || (0..items).for_each(|item| until(|| queue.try_push(item).ok()));
                    let pop = move || {
                        (0..items).for_each(|_| assert!(black_box(until(|| queue.try_pop())) < u64::MAX))
                    };
                    (push, pop)
                })
            });
        });
        group.bench_function(BenchmarkId::new("crossbeam ArrayQueue", threads), |b| {
            b.iter_custom(|items| {
                let queue = &ArrayQueue::new(CAPACITY);
                pairs(threads / 2, || {
                    let push = move || (0..items).for_each(|item| until(|| queue.push(item).ok()));
                    let pop =
                        move || (0..items).for_each(|_| assert!(black_box(until(|| queue.pop())) < u64::MAX));
                    (push, pop)
                })
            });
        });
    }
    group.finish();
}

pub(crate) fn channels(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue/channel");
    group.throughput(Throughput::Elements(1));
    let long = Duration::from_secs(60);
    for threads in THREADS {
        group.bench_function(BenchmarkId::new("selvedge", threads), |b| {
            b.iter_custom(|items| {
                pairs(threads / 2, || {
                    let (mut sender, mut receiver) = bounded(CAPACITY);
                    let send = move || (0..items).for_each(|item| assert!(sender.send(item).is_ok()));
                    let recv = move || {
                        (0..items).for_each(|_| assert!(black_box(receiver.recv_timeout(long)).is_ok()))
                    };
                    (send, recv)
                })
            });
        });
        group.bench_function(BenchmarkId::new("crossbeam channel", threads), |b| {
            b.iter_custom(|items| {
                pairs(threads / 2, || {
                    let (sender, receiver) = crossbeam_channel::bounded(CAPACITY);
                    let send = move || (0..items).for_each(|item| assert!(sender.send(item).is_ok()));
                    let recv = move || {
                        (0..items).for_each(|_| assert!(black_box(receiver.recv_timeout(long)).is_ok()))
                    };
                    (send, recv)
                })
            });
        });
        group.bench_function(BenchmarkId::new("std sync_channel", threads), |b| {
            b.iter_custom(|items| {
                pairs(threads / 2, || {
                    let (sender, receiver) = std::sync::mpsc::sync_channel(CAPACITY);
                    let send = move || (0..items).for_each(|item| assert!(sender.send(item).is_ok()));
                    let recv = move || {
                        (0..items).for_each(|_| assert!(black_box(receiver.recv_timeout(long)).is_ok()))
                    };
                    (send, recv)
                })
            });
        });
    }
    group.finish();
}
