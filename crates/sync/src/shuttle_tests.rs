//! Protocols made of several primitives, under random schedules: too large for loom, which explores every one.
//!
//! Each test runs two schedulers: one that chooses the next thread at random at every step, and PCT (Burckhardt and
//! others, 2010), which gives threads random priorities and changes them at a few random steps. shuttle takes every
//! atomic access for sequentially consistent, so what these tests look for is lost wake-ups, deadlocks, and what a
//! panic or a cancellation in the wrong moment leaves behind; orderings are for loom. `mutants-shuttle.txt` names the
//! broken variants that each must catch. `cargo xtask shuttle` runs them, and again with a seed or a schedule.

mod loader;
mod pool;
mod queue;
mod snapshot;
mod team;

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler};
use shuttle::{Config, Runner};
use std::time::Instant;

/// Preemptions that PCT places in a schedule, and one: most bugs of order need fewer.
const DEPTH: usize = 3;
/// Schedules of each scheduler if the environment does not say.
const ITERATIONS: usize = 500;

/// Runs `body` under `SELVEDGE_SHUTTLE_ITERATIONS` schedules of each scheduler, beginning with
/// `SELVEDGE_SHUTTLE_SEED`, or under the one that `SELVEDGE_SHUTTLE_REPLAY` holds, and prints what it took.
#[expect(clippy::print_stderr, reason = "the report of a test")]
fn explore(name: &str, body: fn()) {
    let mut config = Config::new();
    config.silence_warnings = true;
    if let Ok(schedule) = std::env::var("SELVEDGE_SHUTTLE_REPLAY") {
        Runner::new(ReplayScheduler::new_from_encoded(schedule.trim()), config).run(body);
        eprintln!("shuttle: {name}: the schedule passed");
        return;
    }
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let iterations = number("SELVEDGE_SHUTTLE_ITERATIONS").map_or(ITERATIONS, |number| number as usize);
    let seed = number("SELVEDGE_SHUTTLE_SEED").unwrap_or(0);
    let began = Instant::now();
    let random = RandomScheduler::new_from_seed(seed, iterations);
    let ran = Runner::new(random, config.clone()).run(body);
    let pct = PctScheduler::new_from_seed(seed, DEPTH, iterations);
    let ran = ran + Runner::new(pct, config).run(body);
    eprintln!("shuttle: {name}: {ran} schedules from seed {seed}, {:.2} s", began.elapsed().as_secs_f64());
}

/// A number below `end`, chosen anew in every schedule and replayed with it.
fn choose(end: usize) -> usize {
    use shuttle::rand::Rng as _;
    shuttle::rand::thread_rng().gen_range(0..end)
}

/// A panic that needs no report.
fn tear(what: &'static str) -> ! {
    std::panic::resume_unwind(Box::new(what))
}
