//! The loom models: every primitive under every schedule loom can tell apart, up to a number of preemptions.
//!
//! Each model's text names its property, threads, preemption bound and what it takes; `mutants.txt` names the broken
//! variants that each must catch. One process for each model: loom reports a deadlock by aborting.

mod cancel;
mod counter;
mod reduce;
mod team;
mod thread;
mod watchdog;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Explores `body` with at most `bound` preemptions, more if `LOOM_MAX_PREEMPTIONS` says so, and prints what it took.
fn explore(name: &str, bound: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 10_000;
    let schedules = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&schedules);
    let began = Instant::now();
    // The builder has read the variable.
    let bound = bound.max(builder.preemption_bound.unwrap_or(0));
    builder.preemption_bound = Some(bound);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        body();
    });
    let seconds = began.elapsed().as_secs_f64();
    eprintln!("loom: {name}: bound {bound}, {} schedules, {seconds:.2} s", schedules.load(Ordering::Relaxed));
}
