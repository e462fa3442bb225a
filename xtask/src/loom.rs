//! `loom`: the models of selvedge-sync, and the broken variants that they must catch.

pub(crate) mod document;
pub(crate) mod models;
pub(crate) mod mutants;

use crate::args::{Args, Usage};
use crate::loom::document::{Explored, Record};
use crate::loom::mutants::Mutant;
use crate::process::{End, Job, cores, run_all};
use crate::tidy::tree::Tree;
use crate::{Command, cargo};
use anyhow::{Context, Result, anyhow, bail};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
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
  --smoke      in a short time, as `cargo xtask ci` runs them: a model that took more than a second when docs/loom.md
               was written has at most two preemptions
  --mutants    then plant every broken variant of crates/sync/mutants.txt; the model named there must fail within
               120 s. A variant that survives fails the command, and so does a run that docs/loom.md contradicts
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
/// How long a model may take under `--smoke`, or to catch a broken variant.
const SHORT_LIMIT: Duration = Duration::from_secs(120);
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

/// The models, in a short time.
pub(crate) fn smoke() -> Result<()> {
    check(Tier::Smoke, None)
}

fn check(tier: Tier, only: Option<&str>) -> Result<()> {
    let file = cargo::root().join(document::FILE);
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let before = Record::read(&text);
    let program = Program::build()?;
    let models = program.models()?;
    let chosen = |name: &str| only.is_none_or(|only| name.contains(only));
    let hunting = matches!(tier, Tier::Mutants { .. });
    let mutants = if hunting { mutants::read(&cargo::root().join(mutants::FILE))? } else { Vec::new() };
    let mutants: Vec<_> = mutants.into_iter().filter(|m| chosen(&m.name) || chosen(&m.model)).collect();
    let hunts = mutants.iter().map(|mutant| hunt(&models, mutant)).collect::<Result<Vec<_>>>()?;
    // A variant counts as caught only by a model that passes without it, so its model runs too.
    let picked = |model: &&Model| chosen(model.name()) || mutants.iter().any(|m| m.model == model.name());
    let picked: Vec<_> = models.iter().filter(picked).collect();
    if picked.is_empty() {
        bail!("no model and no broken variant has {:?} in its name", only.unwrap_or_default());
    }
    let explored = run_models(&program, &picked, tier, &before)?;
    let killed = run_mutants(&program, hunts)?;
    match tier {
        Tier::Smoke | Tier::Full => Ok(()),
        Tier::Mutants { write: true } => write_down(&text, before, Record { explored, killed }),
        Tier::Mutants { write: false } => compare(&before, &Record { explored, killed }),
    }
}

/// Writes what a run has shown to the document and to the models' texts; what it has not looked at stays.
fn write_down(text: &str, before: Record, found: Record) -> Result<()> {
    let root = cargo::root();
    let tree = Tree::read(&root)?;
    let (models, broken) = models::declared(&tree);
    if let Some(finding) = broken.first() {
        bail!("{finding}");
    }
    let mut record = before;
    record.explored.extend(found.explored);
    record.killed.extend(found.killed);
    let write = |path: &str, text: &str| {
        println!("wrote {path}");
        fs::write(root.join(path), text).with_context(|| format!("cannot write {path}"))
    };
    let mutants = mutants::read(&root.join(mutants::FILE))?;
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

/// The executable that holds the models, and where their logs go.
struct Program {
    path: PathBuf,
    logs: PathBuf,
}

/// A model by its full path in the test program, such as `loom_tests::team::loom_team_nested`.
struct Model(String);

impl Model {
    fn name(&self) -> &str {
        self.0.rsplit("::").next().unwrap_or(&self.0)
    }
}

impl Program {
    /// Builds the models. Broken variants are chosen when it runs, so one build serves all of them.
    fn build() -> Result<Self> {
        let metadata = cargo::metadata(&["--no-deps"])?;
        let target =
            metadata["target_directory"].as_str().context("cargo metadata names no target folder")?;
        // Apart from the usual target folder: other flags for rustc would throw each other's work away.
        let target = Path::new(target).join("loom");
        let mut command = cargo::cargo();
        command.args(["test", "--no-run", "--profile", "loom", "--package", "selvedge-sync", "--lib"]);
        command.env("RUSTFLAGS", cargo::flags("RUSTFLAGS", "--cfg loom")).env("CARGO_TARGET_DIR", &target);
        let built = cargo::build(&mut command)?.into_iter().find(|built| built.name == "selvedge_sync");
        let path = built.context("cargo test --no-run names no test program of selvedge-sync")?.path;
        Ok(Self { path, logs: target.join("logs") })
    }

    fn models(&self) -> Result<Vec<Model>> {
        let list =
            cargo::output(std::process::Command::new(&self.path).args(["--list", "--format", "terse"]))?;
        let models = models(&String::from_utf8_lossy(&list));
        if models.is_empty() {
            bail!("the test program of selvedge-sync holds no test whose name begins with `loom_`");
        }
        Ok(models)
    }
}

/// The models in what a test program prints for `--list`.
fn models(list: &str) -> Vec<Model> {
    let tests = list.lines().filter_map(|line| line.strip_suffix(": test"));
    tests.map(|test| Model(test.to_owned())).filter(|model| model.name().starts_with("loom_")).collect()
}

/// A job for `mutant`, once its model is found.
fn hunt<'a>(models: &[Model], mutant: &'a Mutant) -> Result<(&'a Mutant, String)> {
    let model = models.iter().find(|model| model.name() == mutant.model).with_context(|| {
        format!("{}:{}: there is no model `{}`", mutants::FILE, mutant.line, mutant.model)
    })?;
    Ok((mutant, model.0.clone()))
}

fn run_models(
    program: &Program,
    models: &[&Model],
    tier: Tier,
    before: &Record,
) -> Result<BTreeMap<String, Explored>> {
    let limit = if tier == Tier::Smoke { SHORT_LIMIT } else { MODEL_LIMIT };
    let is_short = |name: &str| before.explored.get(name).is_some_and(|explored| explored.seconds <= SMOKE.1);
    let job = |model: &&Model| {
        let log = program.logs.join(model.name()).with_extension("log");
        let mut envs = Vec::new();
        if tier == Tier::Smoke {
            // Zero raises no bound.
            envs.push((BOUND, "0".to_owned()));
            if !is_short(model.name()) {
                envs.push((CAP, SMOKE.0.to_owned()));
            }
        }
        Job { envs, ..Job::one_test(&program.path, &model.0, limit, log) }
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

/// Plants the broken variants and returns the names of those killed: all of them.
fn run_mutants(program: &Program, hunts: Vec<(&Mutant, String)>) -> Result<Vec<String>> {
    if hunts.is_empty() {
        return Ok(Vec::new());
    }
    let job = |(mutant, test): &(&Mutant, String)| {
        let log = program.logs.join(&mutant.name).with_extension("log");
        let envs = vec![(mutants::CHOOSE, mutant.name.clone())];
        Job { envs, ..Job::one_test(&program.path, test, SHORT_LIMIT, log) }
    };
    let jobs: Vec<_> = hunts.iter().map(job).collect();
    let widths =
        |of: fn(&Mutant) -> &str| hunts.iter().map(|(mutant, _)| of(mutant).len()).max().unwrap_or(0);
    let (wide, model_wide) = (widths(|mutant| &mutant.name), widths(|mutant| &mutant.model));
    println!("{:<wide$}  {:<model_wide$}  {:<8}  {:>7}  by", "variant", "model", "result", "seconds");
    let (mut killed, mut survivors) = (Vec::new(), Vec::new());
    run_all(&jobs, cores(), |at, end, seconds, log| {
        let mutant = hunts[at].0;
        let (result, detail) = match end {
            End::Failed => ("killed", reason(log)),
            End::Passed => ("SURVIVED", mutant.description.clone()),
            End::Undecided => ("NO END", mutant.description.clone()),
        };
        println!(
            "{:<wide$}  {:<model_wide$}  {result:<8}  {seconds:>7.1}  {detail}",
            mutant.name, mutant.model
        );
        let list = if end == End::Failed { &mut killed } else { &mut survivors };
        list.push(mutant.name.clone());
    })?;
    println!("\nkilled {} of {}\n", killed.len(), jobs.len());
    if survivors.is_empty() { Ok(killed) } else { bail!("survived: {}", survivors.join(", ")) }
}

/// What a model says that it explored: its line `loom: NAME: …`.
fn explored(log: &str) -> String {
    let line = log.lines().find_map(|line| line.split_once("loom: ")?.1.split_once(": "));
    line.map(|(_, text)| text.to_owned()).unwrap_or_default()
}

/// The first panic's message in a log.
fn reason(log: &str) -> String {
    let mut lines = log.lines().skip_while(|line| !line.contains("panicked at")).skip(1);
    let message = lines.find(|line| !line.trim().is_empty()).unwrap_or("ended without a panic");
    // A deadlock's message goes on with all threads and where they wait.
    let message = message.trim().split("; ").next().unwrap_or_default();
    message.chars().take(72).collect()
}

fn tail(log: &str, lines: usize) -> String {
    let all: Vec<&str> = log.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str =
        "counter::tests::adds: test\nloom_tests::team::loom_team_nested: test\nbench_x: benchmark\n";

    fn mutant(model: &str) -> Mutant {
        Mutant { name: "m".into(), model: model.into(), description: "d".into(), line: 4 }
    }

    #[test]
    fn models_are_the_tests_named_loom() {
        let names: Vec<_> = models(LIST).into_iter().map(|model| model.0).collect();
        assert_eq!(names, ["loom_tests::team::loom_team_nested"]);
    }

    #[test]
    fn a_variant_whose_model_is_gone_is_an_error_and_not_a_pass() {
        let mutant = mutant("loom_team_gone");
        let error = hunt(&models(LIST), &mutant).unwrap_err().to_string();
        assert_eq!(error, "crates/sync/mutants.txt:4: there is no model `loom_team_gone`");
    }

    #[test]
    fn logs_say_what_happened() {
        let log = "running 1 test\ntest x ... loom: team_nested: bound Some(2), 17 schedules, 0.10 s\nok\n";
        assert_eq!(explored(log), "bound Some(2), 17 schedules, 0.10 s");
        let log = "\nthread 'x' (3) panicked at src/a.rs:1:2:\n\n  deadlock; threads = [1]\nstack\n";
        assert_eq!(reason(log), "deadlock");
        assert_eq!(tail("a\nb\nc", 2), "b\nc");
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
