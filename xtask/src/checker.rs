//! A test program of selvedge-sync that is built for a model checker, its tests, and the broken variants that they must
//! catch.

use crate::cargo;
use crate::mutants::{self, Mutant};
use crate::process::{End, Job, cores, run_all};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a test may take under `--smoke`, or to catch a broken variant.
pub(crate) const SHORT_LIMIT: Duration = Duration::from_secs(120);

/// The executable that holds the tests, and where their logs go.
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) logs: PathBuf,
    prefix: String,
}

/// A test by its full path in the program, such as `loom_tests::team::loom_team_nested`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Test(pub(crate) String);

impl Test {
    pub(crate) fn name(&self) -> &str {
        self.0.rsplit("::").next().unwrap_or(&self.0)
    }
}

impl Program {
    /// Builds the library's tests under `--cfg checker`. Broken variants are chosen when it runs, so one build serves
    /// all of them.
    pub(crate) fn build(checker: &str) -> Result<Self> {
        let metadata = cargo::metadata(&["--no-deps"])?;
        let target =
            metadata["target_directory"].as_str().context("cargo metadata names no target folder")?;
        // Apart from the usual target folder: other flags for rustc would throw each other's work away.
        let target = Path::new(target).join(checker);
        let mut command = cargo::cargo();
        command.args(["test", "--no-run", "--profile", "loom", "--package", "selvedge-sync", "--lib"]);
        let flags = cargo::flags("RUSTFLAGS", &format!("--cfg {checker}"));
        command.env("RUSTFLAGS", flags).env("CARGO_TARGET_DIR", &target);
        let built = cargo::build(&mut command)?.into_iter().find(|built| built.name == "selvedge_sync");
        let path = built.context("cargo test --no-run names no test program of selvedge-sync")?.path;
        Ok(Self { path, logs: target.join("logs"), prefix: format!("{checker}_") })
    }

    /// The tests that are named after the checker.
    pub(crate) fn tests(&self) -> Result<Vec<Test>> {
        let mut list = std::process::Command::new(&self.path);
        let list = cargo::output(list.args(["--list", "--format", "terse"]))?;
        let tests = tests(&String::from_utf8_lossy(&list), &self.prefix);
        if tests.is_empty() {
            bail!("the test program of selvedge-sync holds no test whose name begins with `{}`", self.prefix);
        }
        Ok(tests)
    }

    /// One test in a process of its own.
    pub(crate) fn job(&self, test: &Test, limit: Duration, envs: Vec<(&'static str, String)>) -> Job {
        let log = self.logs.join(test.name()).with_extension("log");
        Job { envs, ..Job::one_test(&self.path, &test.0, limit, log) }
    }

    /// Plants the broken variants and returns the names of those killed: all of them.
    pub(crate) fn hunt(
        &self,
        hunts: &[(&Mutant, Test)],
        envs: &[(&'static str, String)],
    ) -> Result<Vec<String>> {
        if hunts.is_empty() {
            return Ok(Vec::new());
        }
        let job = |(mutant, test): &(&Mutant, Test)| {
            let mut envs = envs.to_vec();
            envs.push((mutants::CHOOSE, mutant.name.clone()));
            let log = self.logs.join(&mutant.name).with_extension("log");
            Job { log, ..self.job(test, SHORT_LIMIT, envs) }
        };
        let jobs: Vec<_> = hunts.iter().map(job).collect();
        let widths =
            |of: fn(&Mutant) -> &str| hunts.iter().map(|(mutant, _)| of(mutant).len()).max().unwrap_or(0);
        let (wide, test_wide) = (widths(|mutant| &mutant.name), widths(|mutant| &mutant.model));
        println!("{:<wide$}  {:<test_wide$}  {:<8}  {:>7}  by", "variant", "must fail", "result", "seconds");
        let (mut killed, mut survivors) = (Vec::new(), Vec::new());
        run_all(&jobs, cores(), |at, end, seconds, log| {
            let mutant = hunts[at].0;
            let (result, detail) = match end {
                End::Failed => ("killed", reason(log)),
                End::Passed => ("SURVIVED", mutant.description.clone()),
                End::Undecided => ("NO END", mutant.description.clone()),
            };
            println!(
                "{:<wide$}  {:<test_wide$}  {result:<8}  {seconds:>7.1}  {detail}",
                mutant.name, mutant.model
            );
            let list = if end == End::Failed { &mut killed } else { &mut survivors };
            list.push(mutant.name.clone());
        })?;
        println!("\nkilled {} of {}\n", killed.len(), jobs.len());
        if survivors.is_empty() { Ok(killed) } else { bail!("survived: {}", survivors.join(", ")) }
    }
}

/// The tests with this prefix in what a test program prints for `--list`.
fn tests(list: &str, prefix: &str) -> Vec<Test> {
    let tests = list.lines().filter_map(|line| line.strip_suffix(": test"));
    tests.map(|test| Test(test.to_owned())).filter(|test| test.name().starts_with(prefix)).collect()
}

/// The broken variant with its test.
pub(crate) fn hunt<'a>(tests: &[Test], mutant: &'a Mutant, list: &str) -> Result<(&'a Mutant, Test)> {
    let test = tests
        .iter()
        .find(|test| test.name() == mutant.model)
        .with_context(|| format!("{list}:{}: there is no test `{}`", mutant.line, mutant.model))?;
    Ok((mutant, test.clone()))
}

/// The first panic's message in a log.
pub(crate) fn reason(log: &str) -> String {
    let mut lines = log.lines().skip_while(|line| !line.contains("panicked at")).skip(1);
    let message = lines.find(|line| !line.trim().is_empty()).unwrap_or("ended without a panic");
    // A deadlock's message goes on with all threads and where they wait.
    let message = message.trim().split("; ").next().unwrap_or_default();
    message.chars().take(72).collect()
}

pub(crate) fn tail(log: &str, lines: usize) -> String {
    let all: Vec<&str> = log.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str =
        "counter::tests::adds: test\nloom_tests::team::loom_team_nested: test\nbench_x: benchmark\n";

    #[test]
    fn tests_are_known_by_their_prefix() {
        assert_eq!(tests(LIST, "loom_"), [Test("loom_tests::team::loom_team_nested".into())]);
        assert_eq!(tests(LIST, "shuttle_"), []);
    }

    #[test]
    fn a_variant_whose_test_is_gone_is_an_error_and_not_a_pass() {
        let model = "loom_team_gone".into();
        let mutant = Mutant { name: "m".into(), model, description: "d".into(), line: 4 };
        let error = hunt(&tests(LIST, "loom_"), &mutant, mutants::LOOM).unwrap_err().to_string();
        assert_eq!(error, "crates/sync/mutants.txt:4: there is no test `loom_team_gone`");
    }

    #[test]
    fn logs_say_what_happened() {
        let log = "\nthread 'x' (3) panicked at src/a.rs:1:2:\n\n  deadlock; threads = [1]\nstack\n";
        assert_eq!(reason(log), "deadlock");
        assert_eq!(tail("a\nb\nc", 2), "b\nc");
    }
}
