//! `loom`: the models of selvedge-sync, and the broken variants that they must catch.

pub(crate) mod document;
pub(crate) mod models;

use crate::args::{Args, Usage};
use crate::checker::{Program, SHORT_LIMIT, Test, hunt, reason, tail};
use crate::loom::document::{Explored, Record};
use crate::mutants;
use crate::process::{End, cores, run_all};
use crate::tidy::tree::Tree;
use crate::{Command, cargo};
use anyhow::{Context, Result, anyhow, bail};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub(crate) const COMMAND: Command = Command {
    name: "loom",
    summary: "model-check the concurrency primitives, and the models themselves",
    help: "\
Runs the loom models of selvedge-sync, each in a process of its own, and prints what each explored. Each model sets
how many preemptions its schedules may have; LOOM_MAX_PREEMPTIONS raises that for all of them, and the time they take.

Usage: cargo xtask loom [--smoke | --mutants [--write]] [--only TEXT]

Options:
  --smoke      in a short time: a model that took more than a second when docs/loom.md was written has at most two
               preemptions
  --mutants    then plant every broken variant of crates/sync/mutants.txt; the model named there must fail within
               120 s. A variant that survives fails the command, and so does a run that docs/loom.md contradicts: what
               `cargo xtask ci` runs
  --write      write what the run has shown to docs/loom.md and to the models' texts
  --only TEXT  models and broken variants with TEXT in their names, or in the name of a variant's model

What a model printed stays in loom/logs in the target folder.

Examples:
  cargo xtask loom
  LOOM_MAX_PREEMPTIONS=4 cargo xtask loom
  cargo xtask loom --mutants --only loom_team_dismiss
  cargo xtask loom --mutants --only gate_open_relaxed
  cargo xtask loom --mutants --write
",
    run,
};

/// How long a model may take, and with a bound raised it may take long.
const MODEL_LIMIT: Duration = Duration::from_secs(3600);
/// Where loom takes a larger bound from than the one a model sets for itself.
const BOUND: &str = "LOOM_MAX_PREEMPTIONS";
/// Where a model takes a smaller bound from.
const CAP: &str = "SELVEDGE_LOOM_CAP";
/// The bound of long models under `--smoke`, and what makes a model long, in seconds.
const SMOKE: (&str, f64) = ("2", 1.0);

/// What of the models is to be run.
#[derive(Clone, Copy, PartialEq)]
enum Tier {
    Smoke,
    Full,
    /// And the broken variants, and whether to write down what is found.
    Mutants {
        write: bool,
    },
}

fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let mut args = Args::new("loom", args);
    let (smoke, mutants, write) = (args.flag("--smoke"), args.flag("--mutants"), args.flag("--write"));
    let only = args.value("--only")?.map(|only| only.to_string_lossy().into_owned());
    args.finish()?;
    let tier = match (smoke, mutants) {
        (true, true) => {
            return Err(Usage("`--smoke` is a short run; broken variants take longer".into()).into());
        }
        (_, false) if write => {
            return Err(Usage("`--write` needs `--mutants`: it records both".into()).into());
        }
        (true, _) => Tier::Smoke,
        (_, false) => Tier::Full,
        (_, true) => Tier::Mutants { write },
    };
    if write && std::env::var_os(BOUND).is_some() {
        return Err(Usage(format!("`--write` records the models' own bounds: not with {BOUND}")).into());
    }
    check(tier, only.as_deref()).map(|()| ExitCode::SUCCESS)
}

/// The models and the broken variants, against the document.
pub(crate) fn mutants() -> Result<()> {
    check(Tier::Mutants { write: false }, None)
}

fn check(tier: Tier, only: Option<&str>) -> Result<()> {
    let file = cargo::root().join(document::FILE);
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let before = Record::read(&text);
    if tier == (Tier::Mutants { write: true }) {
        // Before the work: a model that cannot be read cannot be written down.
        declared()?;
    }
    let program = Program::build("loom")?;
    let models = program.tests()?;
    let chosen = |name: &str| only.is_none_or(|only| name.contains(only));
    let hunting = matches!(tier, Tier::Mutants { .. });
    let mutants = if hunting { mutants::read(mutants::LOOM)? } else { Vec::new() };
    let mutants: Vec<_> = mutants.into_iter().filter(|m| chosen(&m.name) || chosen(&m.model)).collect();
    let hunts =
        mutants.iter().map(|mutant| hunt(&models, mutant, mutants::LOOM)).collect::<Result<Vec<_>>>()?;
    // A variant counts as caught only by a model that passes without it, so its model runs too.
    let picked = |model: &&Test| chosen(model.name()) || mutants.iter().any(|m| m.model == model.name());
    let picked: Vec<_> = models.iter().filter(picked).collect();
    if picked.is_empty() {
        bail!("no model and no broken variant has {:?} in its name", only.unwrap_or_default());
    }
    let explored = run_models(&program, &picked, tier, &before)?;
    let killed = program.hunt(&hunts, &[])?;
    match tier {
        Tier::Smoke | Tier::Full => Ok(()),
        Tier::Mutants { write: true } => write_down(&text, before, Record { explored, killed }),
        Tier::Mutants { write: false } => compare(&before, &Record { explored, killed }),
    }
}

/// The models as their source declares them.
fn declared() -> Result<(Tree, Vec<models::Declared>)> {
    let tree = Tree::read(&cargo::root())?;
    let (models, broken) = models::declared(&tree);
    match broken.first() {
        None => Ok((tree, models)),
        Some(finding) => bail!("{finding}"),
    }
}

/// Writes what a run has shown to the document and to the models' texts; what it has not looked at stays.
fn write_down(text: &str, before: Record, found: Record) -> Result<()> {
    let (tree, models) = declared()?;
    let mut record = before;
    record.explored.extend(found.explored);
    record.killed.extend(found.killed);
    let write = |path: &str, text: &str| {
        println!("wrote {path}");
        fs::write(cargo::root().join(path), text).with_context(|| format!("cannot write {path}"))
    };
    let mutants = mutants::read(mutants::LOOM)?;
    let new = document::written(text, &models, &mutants, &record)
        .map_err(|why| anyhow!("{}: {why}: run the command without `--only`", document::FILE))?;
    if new != text {
        write(document::FILE, &new)?;
    }
    for file in &tree.files {
        let mut new = file.text.clone();
        // From the last, for a text may become a line longer or shorter.
        for model in models.iter().rev().filter(|model| model.path == file.path) {
            let explored = record.explored.get(&model.name).context("the document has this model's row")?;
            new = models::with_explored(&new, model, &explored.shown()).unwrap_or(new);
        }
        if new != file.text {
            write(&file.path, &new)?;
        }
    }
    Ok(())
}

/// Fails if a run has shown something else than the document records.
fn compare(before: &Record, found: &Record) -> Result<()> {
    let mut contradictions = Vec::new();
    // Times differ from run to run; schedules do not, unless the bounds are others.
    let explored = found.explored.iter().filter(|_| std::env::var_os(BOUND).is_none());
    for (name, explored) in explored {
        let recorded = before.explored.get(name).map(|explored| explored.schedules);
        if recorded != Some(explored.schedules) {
            let recorded = recorded.map_or_else(|| "none".into(), |schedules| schedules.to_string());
            contradictions
                .push(format!("`{name}` has {} schedules, recorded {recorded}", explored.schedules));
        }
    }
    for name in found.killed.iter().filter(|name| !before.killed.contains(name)) {
        contradictions.push(format!("`{name}` is not recorded as killed"));
    }
    if contradictions.is_empty() {
        return Ok(());
    }
    bail!("{} is out of date ({}): {}", document::FILE, contradictions.join("; "), document::WRITER)
}

fn run_models(
    program: &Program,
    models: &[&Test],
    tier: Tier,
    before: &Record,
) -> Result<BTreeMap<String, Explored>> {
    let limit = if tier == Tier::Smoke { SHORT_LIMIT } else { MODEL_LIMIT };
    let is_short = |name: &str| before.explored.get(name).is_some_and(|explored| explored.seconds <= SMOKE.1);
    let job = |model: &&Test| {
        let mut envs = Vec::new();
        if tier == Tier::Smoke {
            // Zero raises no bound.
            envs.push((BOUND, "0".to_owned()));
            if !is_short(model.name()) {
                envs.push((CAP, SMOKE.0.to_owned()));
            }
        }
        program.job(model, limit, envs)
    };
    let jobs: Vec<_> = models.iter().map(job).collect();
    println!(
        "{}",
        match tier {
            Tier::Smoke => "smoke tier: at most 2 preemptions in models that took more than a second\n",
            Tier::Full | Tier::Mutants { .. } => "full tier: each model as it sets itself\n",
        }
    );
    let width = models.iter().map(|model| model.name().len()).max().unwrap_or(0);
    println!("{:<width$}  {:<8}  {:>7}  explored", "model", "result", "seconds");
    let (mut all, mut failed) = (BTreeMap::new(), Vec::new());
    let began = Instant::now();
    run_all(&jobs, cores(), |at, end, seconds, log| {
        let name = models[at].name();
        let (result, detail) = match end {
            End::Passed => ("passed", explored(log)),
            End::Failed => ("FAILED", reason(log)),
            End::Undecided => ("NO END", format!("after {} s", limit.as_secs())),
        };
        println!("{name:<width$}  {result:<8}  {seconds:>7.1}  {detail}");
        match Explored::parse(&detail) {
            Some(explored) if end == End::Passed => drop(all.insert(name.to_owned(), explored)),
            _ => failed.push((name, log.to_owned())),
        }
    })?;
    for (name, log) in &failed {
        println!("\n-- the end of what {name} printed\n{}", tail(log, 40));
    }
    println!("\n{} of {} models passed in {:.1} s\n", all.len(), jobs.len(), began.elapsed().as_secs_f64());
    if failed.is_empty() { Ok(all) } else { bail!("{} models failed", failed.len()) }
}

/// What a model says that it explored: its line `loom: NAME: …`.
fn explored(log: &str) -> String {
    let line = log.lines().find_map(|line| line.split_once("loom: ")?.1.split_once(": "));
    line.map(|(_, text)| text.to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_says_what_was_explored() {
        let log = "running 1 test\ntest x ... loom: team_nested: bound Some(2), 17 schedules, 0.10 s\nok\n";
        assert_eq!(explored(log), "bound Some(2), 17 schedules, 0.10 s");
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        for args in [["--smoke", "--mutants"], ["--smoke", "--write"]] {
            assert!(run(args.map(OsString::from).into()).unwrap_err().is::<Usage>(), "{args:?}");
        }
    }

    #[test]
    fn a_run_that_the_document_contradicts_fails() {
        let explored = |schedules| Explored { schedules, seconds: 1.0 };
        let record = |schedules, killed: &[&str]| Record {
            explored: [("loom_a".to_owned(), explored(schedules))].into(),
            killed: killed.iter().map(|&name| name.to_owned()).collect(),
        };
        compare(&record(7, &["m", "n"]), &record(7, &["m"])).unwrap();
        let error = compare(&record(7, &["m"]), &record(8, &["m"])).unwrap_err().to_string();
        assert!(error.contains("`loom_a` has 8 schedules, recorded 7"), "{error}");
        let error = compare(&record(7, &[]), &record(7, &["m"])).unwrap_err().to_string();
        assert!(error.contains("`m` is not recorded as killed"), "{error}");
        let error = compare(&Record::default(), &record(7, &[])).unwrap_err().to_string();
        assert!(error.contains("recorded none"), "{error}");
    }
}
