//! `Snapshot` beside arc-swap: a read that begins and ends, alone and on all threads at once, and a publication.

use std::hint::black_box;
use std::sync::Arc;

use arc_swap::ArcSwap;
use criterion::{BenchmarkId, Criterion};
use selvedge_sync::Snapshot;

use crate::THREADS;
use crate::crowd::timed;

pub(crate) fn reads(c: &mut Criterion) {
    let mut group = c.benchmark_group("snapshot/read");
    let (snapshot, swap) = (Snapshot::new(vec![1_u64; 4]), ArcSwap::from_pointee(vec![1_u64; 4]));
    let mut reader = snapshot.reader();
    group.bench_function("selvedge/1", |b| b.iter(|| black_box(reader.read()[0])));
    let mut guard = reader.read();
    group.bench_function("selvedge renew/1", |b| {
        b.iter(|| {
            guard.renew();
            black_box(guard[0])
        })
    });
    drop(guard);
    group.bench_function("arc-swap load/1", |b| b.iter(|| black_box(swap.load()[0])));
    for threads in THREADS {
        group.bench_function(BenchmarkId::new("selvedge", threads), |b| {
            b.iter_custom(|rounds| {
                timed(threads, |_| {
                    let mut reader = snapshot.reader();
                    move || {
                        for _ in 0..rounds {
                            black_box(reader.read()[0]);
                        }
                    }
                })
            });
        });
        group.bench_function(BenchmarkId::new("arc-swap load", threads), |b| {
            b.iter_custom(|rounds| {
                timed(threads, |_| {
                    || {
                        for _ in 0..rounds {
                            black_box(swap.load()[0]);
                        }
                    }
                })
            });
        });
    }
    group.finish();

    let mut group = c.benchmark_group("snapshot/publish");
    let readers: Vec<_> = (0..THREADS[1]).map(|_| snapshot.reader()).collect();
    group.bench_function("selvedge/8 idle readers", |b| b.iter(|| snapshot.publish(vec![1; 4])));
    drop(readers);
    group.bench_function("arc-swap store", |b| b.iter(|| swap.store(Arc::new(vec![1; 4]))));
    group.finish();
}
