//! `Barrier` beside std's: one round of all threads, with nothing between rounds.

use criterion::{BenchmarkId, Criterion};
use selvedge_sync::Barrier;
use std::hint::black_box;

use crate::THREADS;
use crate::crowd::{Shelf, timed};

pub(crate) fn rounds(c: &mut Criterion) {
    let mut group = c.benchmark_group("barrier/round");
    for threads in THREADS {
        group.bench_function(BenchmarkId::new("selvedge", threads), |b| {
            b.iter_custom(|rounds| {
                let (_, parties) = Barrier::new(threads);
                let parties: Vec<_> = parties.into_iter().map(Shelf::new).collect();
                timed(threads, |at| {
                    let mut party = parties[at].take();
                    move || (0..rounds).for_each(|_| assert!(party.wait().is_ok()))
                })
            });
        });
        group.bench_function(BenchmarkId::new("std", threads), |b| {
            b.iter_custom(|rounds| {
                let barrier = &std::sync::Barrier::new(threads);
                timed(threads, |_| {
                    move || {
                        (0..rounds).for_each(|_| {
                            black_box(barrier.wait());
                        })
                    }
                })
            });
        });
    }
    group.finish();
}
