//! The loom models: every primitive under every schedule loom can tell apart, up to a number of preemptions.
//!
//! Each model's text names its property, threads, preemption bound and what it takes; `mutants.txt` names the broken
//! variants that each must catch. One process for each model: loom reports a deadlock by aborting.

mod cancel;
mod reduce;
mod team;
mod thread;
mod watchdog;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Explores `body` with at most `bound` preemptions (`LOOM_MAX_PREEMPTIONS` overrides it) and prints what it took.
fn explore(name: &str, bound: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 10_000;
    builder.preemption_bound = builder.preemption_bound.or(Some(bound));
    let schedules = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&schedules);
    let began = Instant::now();
    let used = builder.preemption_bound;
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        body();
    });
    let seconds = began.elapsed().as_secs_f64();
    eprintln!(
        "loom: {name}: bound {used:?}, {} schedules, {seconds:.2} s",
        schedules.load(Ordering::Relaxed)
    );
}
