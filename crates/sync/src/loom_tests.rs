//! The loom models: every primitive under every schedule loom can tell apart, up to a number of preemptions.
//!
//! Each model's text names its property, threads, preemption bound and what it takes; `mutants.txt` names the broken
//! variants that each must catch. One process for each model: loom reports a deadlock by aborting.

mod atomic_f32;
mod barrier;
mod cancel;
mod event_count;
mod instruments;
mod latch;
mod lock;
mod mpmc;
mod pipeline;
mod pool;
mod reduce;
mod semaphore;
mod snapshot;
mod spsc;
mod stack;
mod team;
mod thread;
mod watchdog;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// No bound on preemptions: the model is explored to the end.
const ALL: usize = usize::MAX;

/// Explores `body` with at most `bound` preemptions, more if `LOOM_MAX_PREEMPTIONS` says so and fewer if
/// `SELVEDGE_LOOM_CAP` does, and prints what it took.
#[expect(clippy::print_stderr, reason = "the report of a test")]
fn explore(name: &str, bound: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 10_000;
    let cap = std::env::var("SELVEDGE_LOOM_CAP").map_or(ALL, |cap| cap.parse().expect("a number"));
    // The builder has read the variable.
    let bound = bound.max(builder.preemption_bound.unwrap_or(0)).min(cap);
    builder.preemption_bound = (bound != ALL).then_some(bound);
    let schedules = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&schedules);
    let began = processor_time();
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        body();
    });
    let (schedules, time) = (schedules.load(Ordering::Relaxed), processor_time() - began);
    let bound = if bound == ALL { "none".to_owned() } else { bound.to_string() };
    eprintln!("loom: {name}: bound {bound}, {schedules} schedules, {:.2} s", time.as_secs_f64());
}

/// What this thread has taken of a processor, on which loom runs all threads of a model; the time of day where the
/// system does not say.
fn processor_time() -> Duration {
    let taken = std::fs::read_to_string("/proc/thread-self/schedstat");
    let taken = taken.ok().and_then(|text| text.split(' ').next()?.parse().ok()).map(Duration::from_nanos);
    taken.unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().expect("after 1970"))
}

/// As [`explore`], with the order of loads explored too: for primitives that load what they then change.
fn explore_loads(name: &str, bound: usize, body: impl Fn() + Send + Sync + 'static) {
    crate::shim::watch_loads();
    explore(name, bound, body);
}
