//! `loom`: the models of selvedge-sync, and the broken variants that they must catch.

pub(crate) mod mutants;

use crate::args::{Args, Usage};
use crate::loom::mutants::Mutant;
use crate::process::{End, Job, cores, run_all};
use crate::{Command, cargo};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub(crate) const COMMAND: Command = Command {
    name: "loom",
    summary: "model-check the concurrency primitives, and the models themselves",
    help: "\
Runs the loom models of selvedge-sync, each in a process of its own, and prints what each explored. Each model sets
how many preemptions its schedules may have; LOOM_MAX_PREEMPTIONS raises that for all of them, and the time they take.

Usage: cargo xtask loom [--smoke] [--mutants] [--only TEXT]

Options:
  --smoke      each model as it sets itself, within 120 s: what `cargo xtask ci` runs
  --mutants    then plant every broken variant of crates/sync/mutants.txt; the model named there must fail within
               120 s, and a variant that survives fails the command
  --only TEXT  models and broken variants with TEXT in their names, or in the name of a variant's model

What a model printed stays in loom/logs in the target folder.

Examples:
  cargo xtask loom
  LOOM_MAX_PREEMPTIONS=4 cargo xtask loom
  cargo xtask loom --mutants --only loom_team_dismiss
  cargo xtask loom --mutants --only gate_open_relaxed
",
    run,
};

/// How long a model may take, and with a bound raised it may take long.
const MODEL_LIMIT: Duration = Duration::from_secs(3600);
/// How long a model may take under `--smoke`, or to catch a broken variant.
const SHORT_LIMIT: Duration = Duration::from_secs(120);
/// Where loom takes a larger bound from than the one a model sets for itself.
const BOUND: &str = "LOOM_MAX_PREEMPTIONS";

fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let mut args = Args::new("loom", args);
    let (smoke, mutants) = (args.flag("--smoke"), args.flag("--mutants"));
    let only = args.value("--only")?.map(|only| only.to_string_lossy().into_owned());
    args.finish()?;
    if smoke && mutants {
        return Err(Usage("`--smoke` is a short run; broken variants take longer".into()).into());
    }
    check(smoke, mutants, only.as_deref()).map(|()| ExitCode::SUCCESS)
}

/// The models, in a short time.
pub(crate) fn smoke() -> Result<()> {
    check(true, false, None)
}

fn check(smoke: bool, mutants: bool, only: Option<&str>) -> Result<()> {
    let program = Program::build()?;
    let models = program.models()?;
    let chosen = |name: &str| only.is_none_or(|only| name.contains(only));
    let mutants = if mutants { mutants::read(&cargo::root().join(mutants::FILE))? } else { Vec::new() };
    let mutants: Vec<_> = mutants.into_iter().filter(|m| chosen(&m.name) || chosen(&m.model)).collect();
    let hunts = mutants.iter().map(|mutant| hunt(&models, mutant)).collect::<Result<Vec<_>>>()?;
    // A variant counts as caught only by a model that passes without it, so its model runs too.
    let picked = |model: &&Model| chosen(model.name()) || mutants.iter().any(|m| m.model == model.name());
    let picked: Vec<_> = models.iter().filter(picked).collect();
    if picked.is_empty() {
        bail!("no model and no broken variant has {:?} in its name", only.unwrap_or_default());
    }
    run_models(&program, &picked, smoke)?;
    if hunts.is_empty() { Ok(()) } else { run_mutants(&program, hunts) }
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

fn run_models(program: &Program, models: &[&Model], smoke: bool) -> Result<()> {
    let limit = if smoke { SHORT_LIMIT } else { MODEL_LIMIT };
    let job = |model: &&Model| {
        let log = program.logs.join(model.name()).with_extension("log");
        // Zero raises no bound.
        let envs = if smoke { vec![(BOUND, "0".to_owned())] } else { Vec::new() };
        Job { envs, ..Job::one_test(&program.path, &model.0, limit, log) }
    };
    let jobs: Vec<_> = models.iter().map(job).collect();
    let width = models.iter().map(|model| model.name().len()).max().unwrap_or(0);
    println!("{:<width$}  {:<8}  {:>7}  explored", "model", "result", "seconds");
    let mut failed = Vec::new();
    let began = Instant::now();
    run_all(&jobs, cores(), |at, end, seconds, log| {
        let (result, detail) = match end {
            End::Passed => ("passed", explored(log)),
            End::Failed => ("FAILED", reason(log)),
            End::Undecided => ("NO END", format!("after {} s", limit.as_secs())),
        };
        println!("{:<width$}  {result:<8}  {seconds:>7.1}  {detail}", models[at].name());
        if end != End::Passed {
            failed.push((models[at].name(), log.to_owned()));
        }
    })?;
    for (name, log) in &failed {
        println!("\n-- the end of what {name} printed\n{}", tail(log, 40));
    }
    println!(
        "\n{} of {} models passed in {:.1} s\n",
        jobs.len() - failed.len(),
        jobs.len(),
        began.elapsed().as_secs_f64()
    );
    if failed.is_empty() { Ok(()) } else { bail!("{} models failed", failed.len()) }
}

fn run_mutants(program: &Program, hunts: Vec<(&Mutant, String)>) -> Result<()> {
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
    let mut survivors = Vec::new();
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
        if end != End::Failed {
            survivors.push(mutant.name.clone());
        }
    })?;
    println!("\nkilled {} of {}", jobs.len() - survivors.len(), jobs.len());
    if survivors.is_empty() { Ok(()) } else { bail!("survived: {}", survivors.join(", ")) }
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
    fn smoke_and_mutants_exclude_each_other() {
        let error = run(vec!["--smoke".into(), "--mutants".into()]).unwrap_err();
        assert!(error.is::<Usage>());
    }
}
