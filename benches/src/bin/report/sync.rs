//! The primitives of selvedge-sync beside their peers, as criterion measures them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::Wish;
use crate::chart::{Chart, Kind, Series};
use crate::machine::locked;
use crate::page::{Page, decimal};
use crate::run::{Job, Progress};

/// criterion's `benchmark.json`: what was measured.
#[derive(Debug, Deserialize)]
struct Benchmark {
    group_id: String,
    function_id: Option<String>,
    value_str: Option<String>,
    throughput: Option<Throughput>,
}

/// What a turn that criterion times consists of.
#[derive(Debug, Deserialize)]
enum Throughput {
    Elements(f64),
}

/// criterion's `estimates.json`, nanoseconds a turn.
#[derive(Debug, Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Debug, Deserialize)]
struct Estimate {
    point_estimate: f64,
    confidence_interval: Interval,
}

#[derive(Debug, Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

/// Nanoseconds of one candidate, with the bounds that hold them with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Time {
    median: f64,
    low: f64,
    high: f64,
}

/// Candidates by name, of a group and number of threads.
type Turns = BTreeMap<(String, u32), BTreeMap<String, Time>>;

/// The benchmark; its figures go to `folder`.
pub(crate) fn job(wish: &Wish<'_>, sync: &Path, folder: &Path) -> Job<()> {
    let mut command = Command::new(sync);
    command.args(["--bench", "--noplot"]).env("CRITERION_HOME", folder);
    let (warm_up, measure) = if wish.smoke { ("0.01", "0.02") } else { ("0.5", "1.5") };
    command.args(["--warm-up-time", warm_up, "--measurement-time", measure]);
    if wish.smoke {
        command.args(["--sample-size", "10", "lock/mutex"]);
    }
    // Some sixty candidates of 2 s.
    let seconds = if wish.smoke { 5.0 } else { 150.0 };
    Job { key: (), label: "primitives, by criterion".into(), seconds, command }
}

/// Runs the benchmark and writes the page.
pub(crate) fn report(
    wish: &Wish<'_>,
    progress: &mut Progress,
    job: &mut Job<()>,
    folder: &Path,
) -> anyhow::Result<()> {
    progress.text(job)?;
    let mut turns = Turns::new();
    collect(folder, &mut turns)?;
    ensure!(!turns.is_empty(), "the benchmark `sync` left no figures in {}", folder.display());
    let lock = wish.programs.lock("");
    let versions = ["rayon", "crossbeam-queue", "crossbeam-channel", "arc-swap", "parking_lot"]
        .map(|package| locked(&lock, package))
        .join(", ");
    let smoke = if wish.smoke { " **A smoke run: its figures say nothing about speed.**" } else { "" };
    let mut page = Page::new("sync", "Primitives", wish.head);
    page.paragraph(format!("{versions}.{smoke}"));
    page.paragraph(
        "Nanoseconds of a turn (a region, an item, a read, a round, a lock), medians of criterion's samples with the bounds of \
         95 % confidence. Candidates were measured one after another, so what the machine did meanwhile is in the ratios.",
    );
    let (mut rows, mut places, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for ((group, threads), candidates) in &turns {
        let ours = candidates.iter().find(|(name, _)| name.as_str() == "selvedge").map(|(_, time)| *time);
        let mut fastest = f64::INFINITY;
        for (name, time) in candidates {
            let ratio = ours.map_or(f64::NAN, |ours| time.median / ours.median);
            if !name.starts_with("selvedge") {
                fastest = fastest.min(ratio);
            }
            rows.push(vec![
                group.clone(),
                threads.to_string(),
                name.clone(),
                decimal(time.median, 1),
                format!("{}–{}", decimal(time.low, 1), decimal(time.high, 1)),
                decimal(ratio, 2),
            ]);
        }
        places.push(format!("{group}, {threads}"));
        ratios.push(fastest);
    }
    page.table(&["turn", "threads", "who", "ns", "95 %", "to Selvedge's"], &rows);
    let chart = Chart {
        title: "The fastest peer's time to Selvedge's, by turn and threads".into(),
        up: "times as long".into(),
        kind: Kind::Ratios,
        places,
        series: vec![Series { name: "fastest peer".into(), values: ratios }],
    };
    page.chart("ratios", &chart);
    page.write(wish.out)
}

/// Reads what criterion left under `folder`: pairs of files in folders called `new`.
fn collect(folder: &Path, turns: &mut Turns) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut folders: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    for path in folders {
        if !path.ends_with("new") {
            collect(&path, turns)?;
            continue;
        }
        let what: Benchmark = read(&path.join("benchmark.json"))?;
        let Estimates { median } = read(&path.join("estimates.json"))?;
        let Throughput::Elements(each) = what.throughput.unwrap_or(Throughput::Elements(1.0));
        let Interval { lower_bound, upper_bound } = median.confidence_interval;
        let time =
            Time { median: median.point_estimate / each, low: lower_bound / each, high: upper_bound / each };
        let threads = what.value_str.as_deref().and_then(|text| text.parse().ok()).unwrap_or(1);
        let candidates = turns.entry((what.group_id, threads)).or_default();
        candidates.insert(what.function_id.unwrap_or_default(), time);
    }
    Ok(())
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not what criterion writes", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criterions_files_are_read_and_a_turn_is_one_item() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("queue_spsc/selvedge/2/new");
        fs::create_dir_all(&folder).unwrap();
        let benchmark = r#"{"group_id": "queue/spsc", "function_id": "selvedge", "value_str": "2",
            "throughput": {"Elements": 10}, "full_id": "x", "directory_name": "x", "title": "x"}"#;
        fs::write(folder.join("benchmark.json"), benchmark).unwrap();
        let estimates = r#"{"mean": {}, "median": {"point_estimate": 50.0, "standard_error": 1.0,
            "confidence_interval": {"confidence_level": 0.95, "lower_bound": 40.0, "upper_bound": 60.0}}}"#;
        fs::write(folder.join("estimates.json"), estimates).unwrap();
        let mut turns = Turns::new();
        collect(home.path(), &mut turns).unwrap();
        let time = turns[&("queue/spsc".to_owned(), 2)]["selvedge"];
        assert_eq!(time, Time { median: 5.0, low: 4.0, high: 6.0 });
        fs::write(folder.join("estimates.json"), "{}").unwrap();
        let error = collect(home.path(), &mut turns).unwrap_err();
        assert!(format!("{error:#}").contains("estimates.json"), "{error:#}");
    }
}
