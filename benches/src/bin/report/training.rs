//! Training steps of the reference jobs: Selvedge, PyTorch, and with `--peers` candle and burn, in turn.

use std::path::Path;
use std::process::Command;

use selvedge_benches::median;
use selvedge_benches::reference::{Scale, Work};
use serde::Deserialize;

use crate::Wish;
use crate::chart::{Chart, Kind, Series};
use crate::machine::locked;
use crate::page::{Page, decimal, percent, whole};
use crate::run::{Job, Progress};

const WORKS: [Work; 4] = [Work::T1, Work::T2, Work::T3, Work::T4];
/// What Selvedge runs in, and PyTorch's way to the same: its own way is the fastest it has for each.
const WAYS: [(&str, &str); 2] = [("f32", "eager"), ("bf16", "compiled")];

/// Whose steps they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Selvedge,
    PyTorch,
    Candle,
    Burn,
}

/// What one start of a program measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    work: Work,
    dtype: &'static str,
    who: Who,
}

/// The line that each of the programs prints.
#[derive(Clone, Debug, Deserialize)]
struct Row {
    tokens_per_s: f64,
    peak_rss_mib: f64,
    torch: Option<String>,
}

/// Steps to measure, steps before, and seconds that a step takes Selvedge in f32.
fn steps(work: Work, smoke: bool) -> (u64, u64, f64) {
    match work {
        _ if smoke => (2, 1, 0.1),
        Work::T1 => (200, 20, 0.03),
        Work::T2 => (12, 3, 0.8),
        Work::T3 => (8, 2, 1.3),
        Work::T4 => (4, 1, 5.0),
    }
}

/// Programs for each work, dtype and round: those that are compared run one after another.
pub(crate) fn jobs(wish: &Wish<'_>) -> Vec<Job<Key>> {
    let programs = wish.programs;
    let works = if wish.smoke { &WORKS[..1] } else { &WORKS };
    let mut jobs = Vec::new();
    for &work in works {
        let (steps, warmup, seconds) = steps(work, wish.smoke);
        for (dtype, mode) in WAYS {
            for round in 1..=wish.rounds {
                let mut job = |who, command: Command, cost: f64, (steps, warmup): (u64, u64)| {
                    let mut command = command;
                    command.args(["--threads", "2"]);
                    command.args(["--steps", &steps.to_string(), "--warmup", &warmup.to_string()]);
                    let label =
                        format!("training, {work:?} in {dtype}, round {round} of {}: {who:?}", wish.rounds);
                    let seconds = 1.0 + cost * seconds * (steps + warmup) as f64;
                    jobs.push(Job { key: Key { work, dtype, who }, label, seconds, command });
                };
                let mut ours = Command::new(&programs.training);
                ours.args(["--work", &format!("{work:?}"), "--dtype", dtype]);
                job(Who::Selvedge, ours, 1.0, (steps, warmup));
                if let Some(mut theirs) = programs.script("train_step.py") {
                    theirs.args(["--work", &format!("{work:?}"), "--dtype", dtype, "--mode", mode]);
                    // Loading and compiling take PyTorch longer than a small work's steps.
                    let cost = if work == Work::T1 { 4.0 } else { 1.8 };
                    job(Who::PyTorch, theirs, cost, (steps, warmup));
                }
                // Some ten and five times as slow as Selvedge: fewer steps, and the small works alone.
                let small = dtype == "f32" && matches!(work, Work::T1 | Work::T2);
                let peers = [(Who::Candle, &programs.candle, 8.0), (Who::Burn, &programs.burn, 5.0)];
                for (who, path, cost) in peers.into_iter().filter(|_| small) {
                    if let Some(command) = path.as_ref().map(|path| peer(path, work.scale())) {
                        job(who, command, cost, (steps.div_ceil(4), warmup.div_ceil(4)));
                    }
                }
            }
        }
    }
    jobs
}

/// A program of benches/peers, whose threads are rayon's.
fn peer(path: &Path, scale: Scale) -> Command {
    let mut command = Command::new(path);
    let Scale { layers, heads, channels, context, batch, vocab, .. } = scale;
    let sizes = [
        ("layers", layers),
        ("heads", heads),
        ("channels", channels),
        ("context", context),
        ("batch", batch),
        ("vocab", vocab),
    ];
    command.args(sizes.map(|(name, size)| format!("--{name}={size}")));
    command.env("RAYON_NUM_THREADS", "2");
    command
}

/// Runs the programs and writes the page.
pub(crate) fn report(wish: &Wish<'_>, progress: &mut Progress, jobs: &mut [Job<Key>]) -> anyhow::Result<()> {
    let programs = wish.programs;
    let mut missing = Vec::new();
    if programs.python.is_none() {
        missing.push("PyTorch is not there: no Python environment has it.".to_owned());
    }
    let mut measured: Vec<(Key, Row)> = Vec::new();
    for job in jobs {
        match progress.lines(job) {
            Ok(rows) => measured.extend(rows.into_iter().map(|row| (job.key, row))),
            // A peer that fails is a gap in the page; our own programs must not fail.
            Err(error) if job.key.who != Who::Selvedge => missing.push(format!("{error:#}")),
            Err(error) => return Err(error),
        }
    }
    let lock = programs.lock("benches/peers");
    let mut versions: Vec<String> = Vec::new();
    let torch = measured.iter().find_map(|(_, row)| row.torch.clone());
    versions.extend(torch.map(|version| format!("PyTorch {version}")));
    versions.extend(programs.candle.as_ref().map(|_| locked(&lock, "candle-core")));
    versions.extend(programs.burn.as_ref().map(|_| locked(&lock, "burn")));
    let versions = if versions.is_empty() { "No peers".to_owned() } else { versions.join(", ") };
    let mut page = Page::new("training", "Training steps", wish.head);
    page.paragraph(format!("{} {versions}.", wish.rounds_text()));
    page.paragraph(
        "GPT-2 wiring, tied head, dropout 0, forward + backward + AdamW, 2 threads; the works are those of \
         docs/benchmarks.md. Tokens a second are the medians of the rounds, ratios those of each round and \
         their median; memory is the most that a process held.",
    );
    beside_pytorch(&mut page, &measured);
    fastest(&mut page, &measured);
    for (who, name, there) in [(Who::Candle, "candle", &programs.candle), (Who::Burn, "burn", &programs.burn)]
    {
        if there.is_some() {
            beside_peer(&mut page, &measured, who, name);
        }
    }
    page.missing(&missing);
    page.write(wish.out)
}

/// A value of each round.
fn rounds(measured: &[(Key, Row)], key: Key, value: fn(&Row) -> f64) -> Vec<f64> {
    measured.iter().filter(|(other, _)| *other == key).map(|(_, row)| value(row)).collect()
}

/// Values of two programs, round by round, as ratios.
fn ratios(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(a, b)| a / b).collect()
}

fn list(values: &[f64]) -> String {
    values.iter().map(|value| decimal(*value, 2)).collect::<Vec<_>>().join(" ")
}

const SPEED: fn(&Row) -> f64 = |row| row.tokens_per_s;
const MEMORY: fn(&Row) -> f64 = |row| row.peak_rss_mib;

/// Works that were measured.
fn works(measured: &[(Key, Row)]) -> impl Iterator<Item = Work> {
    WORKS.into_iter().filter(|work| measured.iter().any(|(key, _)| key.work == *work))
}

fn beside_pytorch(page: &mut Page, measured: &[(Key, Row)]) {
    page.heading("Beside PyTorch");
    let header =
        ["work", "", "Selvedge", "PyTorch", "ratios", "median", "Selvedge, MiB", "PyTorch, MiB", "share"];
    let (mut table, mut places) = (Vec::new(), Vec::new());
    let (mut speeds, mut memories) = (Vec::new(), Vec::new());
    for work in works(measured) {
        for (dtype, mode) in WAYS {
            let both = |value| {
                let of = |who| rounds(measured, Key { work, dtype, who }, value);
                (of(Who::Selvedge), of(Who::PyTorch))
            };
            let ((our_speed, their_speed), (our_memory, their_memory)) = (both(SPEED), both(MEMORY));
            let ratios = ratios(&our_speed, &their_speed);
            let memory = median(our_memory.clone()) / median(their_memory.clone());
            table.push(vec![
                format!("{work:?}"),
                format!("{dtype}, {mode}"),
                whole(median(our_speed)),
                if their_speed.is_empty() { "not there".into() } else { whole(median(their_speed)) },
                list(&ratios),
                decimal(median(ratios.clone()), 2),
                whole(median(our_memory)),
                whole(median(their_memory)),
                percent(memory),
            ]);
            places.push(format!("{work:?}, {dtype}, {mode}"));
            speeds.push(median(ratios));
            memories.push(memory);
        }
    }
    page.table(&header, &table);
    let one = |name: &str, values| vec![Series { name: name.into(), values }];
    let chart = |title: &str, up: &str, series| Chart {
        title: title.into(),
        up: up.into(),
        kind: Kind::Ratios,
        places: places.clone(),
        series,
    };
    let speed = chart("Selvedge's speed to PyTorch's", "times as fast", one("speed", speeds));
    page.chart("speed", &speed);
    let memory = chart("Selvedge's peak memory to PyTorch's", "times as much", one("memory", memories));
    page.chart("memory", &memory);
}

/// Selvedge in f32 beside the way that is PyTorch's fastest.
fn fastest(page: &mut Page, measured: &[(Key, Row)]) {
    page.heading("f32 beside PyTorch in bf16, compiled");
    let rows = works(measured).map(|work| {
        let ours = rounds(measured, Key { work, dtype: "f32", who: Who::Selvedge }, SPEED);
        let theirs = rounds(measured, Key { work, dtype: "bf16", who: Who::PyTorch }, SPEED);
        let ratio = median(ours) / median(theirs);
        vec![format!("{work:?}"), decimal(ratio, 2)]
    });
    page.table(&["work", "ratio of the medians"], &rows.collect::<Vec<_>>());
}

fn beside_peer(page: &mut Page, measured: &[(Key, Row)], who: Who, name: &str) {
    page.heading(format!("Beside {name}, f32"));
    let mut table = Vec::new();
    for work in
        works(measured).filter(|work| measured.iter().any(|(key, _)| key.who == who && key.work == *work))
    {
        let of = |who, value| rounds(measured, Key { work, dtype: "f32", who }, value);
        let (ours, theirs) = (of(Who::Selvedge, SPEED), of(who, SPEED));
        let ratios = ratios(&ours, &theirs);
        let memory = [Who::Selvedge, who].map(|who| median(of(who, MEMORY)));
        table.push(vec![
            format!("{work:?}"),
            whole(median(ours)),
            whole(median(theirs)),
            list(&ratios),
            decimal(median(ratios), 2),
            whole(memory[0]),
            whole(memory[1]),
            percent(memory[0] / memory[1]),
        ]);
    }
    let (speed, memory) = (name.to_owned(), format!("{name}, MiB"));
    let header = ["work", "Selvedge", &speed, "ratios", "median", "Selvedge, MiB", &memory, "share"];
    page.table(&header, &table);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_compared_in_pairs() {
        let row = |who, speed| {
            let line = format!(r#"{{"tokens_per_s": {speed}, "peak_rss_mib": 5, "work": "T1"}}"#);
            (Key { work: Work::T1, dtype: "f32", who }, serde_json::from_str::<Row>(&line).unwrap())
        };
        let measured = [
            row(Who::Selvedge, 32.0),
            row(Who::PyTorch, 20.0),
            row(Who::Selvedge, 16.0),
            row(Who::PyTorch, 10.0),
        ];
        let of = |who| rounds(&measured, Key { work: Work::T1, dtype: "f32", who }, SPEED);
        assert_eq!(ratios(&of(Who::Selvedge), &of(Who::PyTorch)), [1.6, 1.6]);
        assert_eq!(works(&measured).collect::<Vec<_>>(), [Work::T1]);
        let mut page = Page::new("training", "Training", "");
        beside_pytorch(&mut page, &measured);
        let folder = tempfile::tempdir().unwrap();
        page.write(folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join("training.md")).unwrap();
        assert!(text.contains("| T1 | f32, eager | 24 | 15 | 1.60 1.60 | 1.60 | 5 | 5 | 100 % |"), "{text}");
        // What was not measured is a dash, not a number.
        assert!(text.contains("| T1 | bf16, compiled | – | not there |  | – | – | – | – |"), "{text}");
    }
}
