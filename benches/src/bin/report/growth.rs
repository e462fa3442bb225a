//! How tokens a second and memory of Selvedge's training grow with threads, layers, channels, context and batch.

use std::process::Command;

use selvedge_benches::median;
use serde::Deserialize;

use crate::Wish;
use crate::chart::{Chart, Kind, Series};
use crate::page::{Page, decimal, whole};
use crate::run::{Job, Progress};

/// Where each size but one stays: a small model of many heads, so that a sweep takes seconds.
const BASE: [(&str, usize); 6] =
    [("layers", 4), ("heads", 4), ("channels", 256), ("context", 128), ("batch", 8), ("vocab", 256)];
const SMOKE: [(&str, usize); 6] =
    [("layers", 1), ("heads", 2), ("channels", 32), ("context", 16), ("batch", 4), ("vocab", 65)];
/// Multiples of the base, by what grows.
const SWEEPS: [(&str, &[usize]); 4] =
    [("layers", &[1, 2, 4]), ("channels", &[1, 2, 4]), ("context", &[1, 2, 4, 8]), ("batch", &[1, 2, 4])];
const THREADS: [usize; 4] = [1, 2, 4, 8];

/// What one start of the program measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// `base`, or one of the reference works.
    model: &'static str,
    /// What grows.
    axis: &'static str,
    value: usize,
}

/// The line that `training` prints.
#[derive(Clone, Debug, Deserialize)]
struct Row {
    tokens_per_s: f64,
    gflops: f64,
    peak_rss_mib: f64,
    planned_mib: f64,
}

/// A program for each size and round.
pub(crate) fn jobs(wish: &Wish<'_>) -> Vec<Job<Key>> {
    let base = if wish.smoke { SMOKE } else { BASE };
    // Half the base for the sizes that are to grow from there.
    let from = |axis: &str| {
        let whole = base.iter().find(|(name, _)| *name == axis).map_or(1, |(_, size)| *size);
        if wish.smoke { whole } else { whole / 2 }
    };
    let mut keys = Vec::new();
    let models: &[&str] = if wish.smoke { &["base"] } else { &["base", "T2", "T3"] };
    let threads = if wish.smoke { &THREADS[..2] } else { &THREADS };
    for &model in models {
        keys.extend(threads.iter().map(|&value| Key { model, axis: "threads", value }));
    }
    for (axis, multiples) in SWEEPS {
        let multiples = if wish.smoke { &multiples[..2] } else { multiples };
        keys.extend(multiples.iter().map(|times| Key { model: "base", axis, value: from(axis) * times }));
    }
    let mut jobs = Vec::new();
    for round in 1..=wish.rounds {
        for &key in &keys {
            let Key { model, axis, value } = key;
            let mut command = Command::new(&wish.programs.training);
            let threads = if axis == "threads" { value } else { 2 };
            let (steps, step) = match model {
                "T2" => (4, 0.8),
                "T3" => (3, 1.3),
                _ => (10, 0.15),
            };
            command.args(["--threads", &threads.to_string(), "--warmup", "1"]);
            command.args(["--steps", &(if wish.smoke { 2 } else { steps }).to_string()]);
            if model == "base" {
                command.args(["--work", "T1"]);
                for (name, size) in base {
                    let size = if name == axis { value } else { size };
                    command.args([format!("--{name}"), size.to_string()]);
                }
            } else {
                command.args(["--work", model]);
            }
            let label = format!("growth, {model}, {axis} {value}, round {round} of {}", wish.rounds);
            let slow = if threads == 1 { 2.0 } else { 1.0 };
            let seconds = 0.5 + f64::from(steps + 1) * step * slow;
            jobs.push(Job { key, label, seconds, command });
        }
    }
    jobs
}

/// Runs the programs and writes the page.
pub(crate) fn report(wish: &Wish<'_>, progress: &mut Progress, jobs: &mut [Job<Key>]) -> anyhow::Result<()> {
    let mut measured: Vec<(Key, Row)> = Vec::new();
    for job in jobs {
        let rows: Vec<Row> = progress.lines(job)?;
        measured.extend(rows.into_iter().map(|row| (job.key, row)));
    }
    let base = if wish.smoke { SMOKE } else { BASE };
    let sizes = base.map(|(name, size)| format!("{size} {name}")).join(", ");
    let mut page = Page::new("growth", "Growth", wish.head);
    page.paragraph(wish.rounds_text());
    page.paragraph(format!(
        "Training of Selvedge alone, f32, medians of the rounds. `base` has {sizes}, and 2 threads where nothing else is said; \
         T2 and T3 are those of docs/benchmarks.md. `planned` is what the trainer says beforehand that it will hold, peak is \
         the most that the process held."
    ));
    for axis in ["threads", "layers", "channels", "context", "batch"] {
        section(&mut page, axis, &measured);
    }
    page.write(wish.out)
}

/// Table and chart of what grows.
fn section(page: &mut Page, axis: &'static str, measured: &[(Key, Row)]) {
    let mut keys: Vec<Key> = Vec::new();
    for (key, _) in measured.iter().filter(|(key, _)| key.axis == axis) {
        if !keys.contains(key) {
            keys.push(*key);
        }
    }
    let of = |key: Key, value: fn(&Row) -> f64| {
        median(measured.iter().filter(|(other, _)| *other == key).map(|(_, row)| value(row)).collect())
    };
    let speed = |key| of(key, |row| row.tokens_per_s);
    let peak = |key| of(key, |row| row.peak_rss_mib);
    // Of the same model with the least of it.
    let first = |key: Key| keys.iter().copied().find(|other| other.model == key.model).unwrap_or(key);
    let rows = keys.iter().map(|&key| {
        vec![
            key.model.to_owned(),
            key.value.to_string(),
            whole(speed(key)),
            decimal(speed(key) / speed(first(key)), 2),
            decimal(of(key, |row| row.gflops), 1),
            whole(peak(key)),
            decimal(peak(key) / peak(first(key)), 2),
            whole(of(key, |row| row.planned_mib)),
        ]
    });
    page.heading(axis);
    let header =
        ["model", axis, "tokens/s", "to the first", "GFLOP/s", "peak, MiB", "to the first", "planned, MiB"];
    page.table(&header, &rows.collect::<Vec<_>>());
    let mut models: Vec<&str> = keys.iter().map(|key| key.model).collect();
    models.dedup();
    let values: Vec<usize> = keys.iter().filter(|key| key.model == "base").map(|key| key.value).collect();
    let mut series = Vec::new();
    for model in models {
        let keys = || values.iter().map(|&value| Key { model, axis, value });
        let name = |what: &str| if axis == "threads" { format!("{model}, {what}") } else { what.to_owned() };
        let speeds = keys().map(|key| speed(key) / speed(first(key))).collect();
        let peaks = keys().map(|key| peak(key) / peak(first(key))).collect();
        series.push(Series { name: name("tokens/s"), values: speeds });
        series.push(Series { name: name("peak MiB"), values: peaks });
    }
    let places = values.iter().map(|value| format!("{value} {axis}")).collect();
    let (title, up) = (format!("Tokens a second and peak memory against {axis}"), "times the first".into());
    page.chart(axis, &Chart { title, up, kind: Kind::Lines, places, series });
}
