//! The primitives of selvedge-sync beside those one would otherwise take.
//!
//! Every group runs on 2 threads and, as `/8`, on 8: four for each core of the machine that the figures of
//! docs/benchmarks.md come from.
#![expect(clippy::disallowed_types, reason = "std's primitives are among those compared")]

mod barrier;
mod crowd;
mod lock;
mod queue;
mod snapshot;
mod team;

use criterion::{criterion_group, criterion_main};

/// Numbers of threads: one a core of the reference machine, and four.
const THREADS: [usize; 2] = [2, 8];

criterion_group!(
    benches,
    team::regions,
    queue::rings,
    queue::channels,
    snapshot::reads,
    barrier::rounds,
    lock::mutexes
);
criterion_main!(benches);
