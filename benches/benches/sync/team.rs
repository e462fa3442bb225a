//! `Team` beside rayon: what a parallel region costs that does nothing, and one that does little.

use criterion::{BenchmarkId, Criterion};
use selvedge_sync::Team;
use std::hint::black_box;

use crate::THREADS;

pub(crate) fn regions(c: &mut Criterion) {
    let mut group = c.benchmark_group("team/empty");
    for threads in THREADS {
        let team = Team::new(threads).expect("threads");
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        group.bench_function(BenchmarkId::new("selvedge", threads), |b| {
            b.iter(|| {
                team.parallel(threads, |task| {
                    black_box(task);
                })
            });
        });
        // Called from inside the pool, as rayon is at its best.
        group.bench_function(BenchmarkId::new("rayon scope", threads), |b| {
            pool.install(|| {
                b.iter(|| {
                    rayon::scope(|scope| {
                        for task in 0..threads {
                            scope.spawn(move |_| {
                                black_box(task);
                            });
                        }
                    });
                });
            });
        });
        group.bench_function(BenchmarkId::new("rayon broadcast", threads), |b| {
            pool.install(|| {
                b.iter(|| {
                    pool.broadcast(|at| {
                        black_box(at.index());
                    })
                })
            });
        });
        group.bench_function(BenchmarkId::new("rayon par_iter", threads), |b| {
            use rayon::prelude::*;
            pool.install(|| {
                b.iter(|| {
                    (0..threads).into_par_iter().with_max_len(1).for_each(|task| {
                        black_box(task);
                    })
                })
            });
        });
    }
    group.finish();

    // Some ten microseconds of arithmetic a task: what a small kernel gives each thread.
    let mut group = c.benchmark_group("team/10us");
    for threads in THREADS {
        let team = Team::new(threads).expect("threads");
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        group.bench_function(BenchmarkId::new("selvedge", threads), |b| {
            b.iter(|| {
                team.parallel(threads, |task| {
                    black_box(work(task));
                })
            });
        });
        group.bench_function(BenchmarkId::new("rayon scope", threads), |b| {
            pool.install(|| {
                b.iter(|| {
                    rayon::scope(|scope| {
                        for task in 0..threads {
                            scope.spawn(move |_| {
                                black_box(work(task));
                            });
                        }
                    });
                });
            });
        });
        group.bench_function(BenchmarkId::new("one thread", threads), |b| {
            b.iter(|| {
                (0..threads).for_each(|task| {
                    black_box(work(task));
                })
            });
        });
    }
    group.finish();
}

/// A chain of dependent multiplications and additions, about 10 µs of it.
fn work(seed: usize) -> f32 {
    (0..4500).fold(black_box(seed as f32), |value, _| value * 0.5 + 1.0)
}
