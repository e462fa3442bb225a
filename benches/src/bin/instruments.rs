//! What the instruments of selvedge-sync cost: not built in, built in with nobody watching, and watching.
//!
//! ```text
//! cargo build --release -p selvedge-benches --bin instruments --no-default-features --target-dir target/bare
//! cargo run --release -p selvedge-benches --bin instruments -- compare target/bare/release/instruments
//! cargo run --release -p selvedge-benches --bin instruments -- steps
//! ```
#![expect(clippy::print_stdout, reason = "a command-line program")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::Parser;
use selvedge_benches::median;
use selvedge_benches::reference::{Job, Work};
use selvedge_sync::lock::Mutex;
use selvedge_sync::{Semaphore, Team, bounded};
use selvedge_train::trainer::Trainer;

selvedge_sync::lock_ranks! { Counting }

/// Measures what instruments cost.
#[derive(Debug, Parser)]
enum Args {
    /// Measures once and prints a line of JSON: nanoseconds by what was measured
    Measure {
        /// With the main thread, and so all others, under instruments
        #[cfg(feature = "instruments")]
        #[arg(long)]
        watched: bool,
    },
    /// Trains one model watched and one not, in turn step by step in this process, and prints the ratio of their steps
    #[cfg(feature = "instruments")]
    Steps {
        #[arg(long, default_value = "T1")]
        work: Work,
        #[arg(long, default_value_t = 400)]
        pairs: u64,
    },
    /// Runs this program and one built without instruments in turn, and prints medians and ratios
    Compare {
        /// The program built with `--no-default-features`
        bare: PathBuf,
        #[arg(long, default_value_t = 9)]
        rounds: usize,
    },
}

type Figures = BTreeMap<String, f64>;

fn main() -> anyhow::Result<()> {
    match Args::parse() {
        #[cfg(feature = "instruments")]
        Args::Measure { watched: true } => {
            use selvedge_sync::instruments::{InstrumentSettings, Instruments};
            let instruments = Instruments::new(InstrumentSettings::default());
            let main = instruments.enter("main");
            println!("{}", serde_json::to_string(&measure()?)?);
            drop(main);
            Ok(instruments.finish()?)
        }
        Args::Measure { .. } => {
            println!("{}", serde_json::to_string(&measure()?)?);
            Ok(())
        }
        #[cfg(feature = "instruments")]
        Args::Steps { work, pairs } => steps(work, pairs),
        Args::Compare { bare, rounds } => compare(&bare, rounds),
    }
}

fn measure() -> anyhow::Result<Figures> {
    let mut figures = Figures::new();
    let mut note = |what: &str, ns: f64| figures.insert(what.to_owned(), ns);
    let team = Team::new(2)?;
    let region = |turns: u32| {
        team.parallel(2, |task| {
            black_box(turn_around(task, turns));
        })
    };
    note("empty region, 2 threads", timed(20_000, || region(0)));
    note("region of 2 x 10 us, 2 threads", timed(2_000, || region(4500)));
    let lock = Mutex::<_, Counting>::new(0_u64);
    note("mutex, alone", timed(500_000, || *black_box(lock.lock()) += 1));
    let permits = Semaphore::new(1);
    note("semaphore, alone", timed(500_000, || drop(black_box(permits.acquire(1)))));
    let (mut sender, mut receiver) = bounded(16);
    note(
        "channel, both ends one thread",
        timed(500_000, || {
            assert!(sender.send(1_u64).is_ok());
            assert_eq!(black_box(receiver.recv()), Ok(1));
        }),
    );
    note("training step, T1, 2 threads", step()?);
    Ok(figures)
}

/// Some dependent arithmetic: 4500 turns are about 10 µs.
fn turn_around(seed: usize, turns: u32) -> f32 {
    (0..turns).fold(black_box(seed as f32), |value, _| value * 0.5 + 1.0)
}

/// Nanoseconds a turn: the median of 15 batches.
fn timed(turns: u32, mut work: impl FnMut()) -> f64 {
    let batch = |_| {
        let began = Instant::now();
        (0..turns / 10).for_each(|_| work());
        began.elapsed().as_nanos() as f64 / f64::from(turns / 10)
    };
    median((0..15).map(batch).collect())
}

/// Nanoseconds a step of training: the median of 40.
fn step() -> anyhow::Result<f64> {
    const STEPS: u64 = 44;
    let folder = tempfile::tempdir()?;
    let Job { config, recipe, resources, mut loader } = Work::T1.job(2, STEPS, folder.path())?;
    let mut trainer = Trainer::new(config, recipe, &resources, None)?;
    let mut times = Vec::new();
    for _ in 0..STEPS {
        times.push(trainer.train_step(loader.next()?)?.seconds * 1e9);
    }
    Ok(median(times.split_off(4)))
}

/// What watching costs a step: neighbours in time share the machine's speed of the moment, so their ratio is told finer
/// than either's time.
#[cfg(feature = "instruments")]
fn steps(work: Work, pairs: u64) -> anyhow::Result<()> {
    use selvedge_sync::instruments::{InstrumentSettings, Instruments};
    const WARM_UP: usize = 4;
    let instruments = Instruments::new(InstrumentSettings::default());
    let folders = [tempfile::tempdir()?, tempfile::tempdir()?];
    let start = |folder: &tempfile::TempDir| -> anyhow::Result<_> {
        let Job { config, recipe, resources, loader } = work.job(2, pairs, folder.path())?;
        Ok((Trainer::new(config, recipe, &resources, None)?, loader))
    };
    let mut plain = start(&folders[0])?;
    let main = instruments.enter("main");
    let mut watched = start(&folders[1])?;
    drop(main);
    let mut times = [Vec::new(), Vec::new()];
    for pair in 0..pairs {
        // Whoever comes second finds other caches than the first, so they change places.
        for at in [pair % 2, (pair + 1) % 2] {
            let main = (at == 1).then(|| instruments.enter("main"));
            let (trainer, loader) = if at == 1 { &mut watched } else { &mut plain };
            times[at as usize].push(trainer.train_step(loader.next()?)?.seconds);
            drop(main);
        }
    }
    ensure!(instruments.report().threads.len() > 1, "nobody was watched");
    let mut ratios: Vec<f64> =
        times[1].iter().zip(&times[0]).map(|(on, off)| on / off).skip(WARM_UP).collect();
    ratios.sort_by(f64::total_cmp);
    // Ranks that enclose the median with 95 % confidence, from the binomial distribution's normal approximation.
    let half = 0.98 * (ratios.len() as f64).sqrt();
    let middle = ratios.len() as f64 / 2.0;
    let rank = |at: f64| ratios[(at as usize).min(ratios.len() - 1)];
    println!(
        "{work:?}: step {:.2} ms not watched; watched / not watched {:.4} (95 %: {:.4} to {:.4}) in {} pairs",
        median(times[0].clone()) * 1e3,
        rank(middle),
        rank(middle - half),
        rank(middle + half),
        ratios.len(),
    );
    Ok(())
}

fn compare(bare: &Path, rounds: usize) -> anyhow::Result<()> {
    let own = std::env::current_exe()?;
    let programs: [(&Path, &[&str]); 3] =
        [(bare, &["measure"]), (&own, &["measure"]), (&own, &["measure", "--watched"])];
    let mut found: BTreeMap<String, [Vec<f64>; 3]> = BTreeMap::new();
    for _ in 0..rounds {
        for (at, (program, args)) in programs.iter().enumerate() {
            for (what, ns) in run(program, args)? {
                found.entry(what).or_default()[at].push(ns);
            }
        }
    }
    println!("| what | not built in, ns | not watching | watching |\n| --- | --- | --- | --- |");
    for (what, columns) in found {
        // Of the rounds' ratios, for the machine's speed drifts between rounds.
        let ratio = |at: usize| median(columns[at].iter().zip(&columns[0]).map(|(a, b)| a / b).collect());
        let (off, on) = (ratio(1), ratio(2));
        println!("| {what} | {:.1} | {off:.3} | {on:.3} |", median(columns[0].clone()));
    }
    Ok(())
}

fn run(program: &Path, args: &[&str]) -> anyhow::Result<Figures> {
    let named = || program.display();
    let output =
        Command::new(program).args(args).output().with_context(|| format!("cannot run {}", named()))?;
    ensure!(output.status.success(), "{}: {}", named(), String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).with_context(|| format!("{} printed no figures", named()))
}
