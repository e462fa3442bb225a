//! `race`: the tests under the sanitizers, each of which must first find faults that were planted for it.

mod compiler;
mod planted;
mod sanitizer;
mod suites;

use crate::args::Args;
use crate::process::{End, Job, run_all};
use crate::race::compiler::{Compiler, Unavailable};
use crate::race::sanitizer::Sanitizer;
use crate::race::suites::Suite;
use crate::{Command, cargo};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub(crate) const COMMAND: Command = Command {
    name: "race",
    summary: "the tests under ThreadSanitizer, AddressSanitizer and LeakSanitizer",
    help: "\
Builds the tests with a sanitizer and runs them: those of selvedge-sync, the training of small models on several
numbers of threads and workers, the loader's faults, and the kernels. No report is suppressed. Before its tests, each
sanitizer must find the faults of its kind in crates/sync/tests/planted.rs, or the command fails.

Usage: cargo xtask race [--thread] [--address] [--leak] [--smoke]

Options:
  --thread   data races: ThreadSanitizer, with the standard library built anew so that it sees its locks too
  --address  use after free, overflows and leaks: AddressSanitizer
  --leak     leaks alone: LeakSanitizer
  --smoke    planted faults and the tests of selvedge-sync only, under ThreadSanitizer and AddressSanitizer unless told
             otherwise: what `cargo xtask ci` runs

Without a sanitizer named, all three. ThreadSanitizer needs the sources of the standard library beside a compiler of
the same version. The command takes those of the toolchain (`rustup component add rust-src`), else those of Debian's
packages rustc-web and rust-web-src, which it installs with apt-get where it runs as root, and brings up to date once if
they are older than this workspace needs; they lie beside rustup's and do not disturb it. Linux on x86-64.

Builds, logs and reports stay in tsan, asan and lsan in the target folder.

Examples:
  cargo xtask race
  cargo xtask race --thread --smoke
",
    run,
};

/// How long one test program may take: many times what any takes.
const LIMIT: Duration = Duration::from_secs(1200);

fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let mut args = Args::new("race", args);
    let smoke = args.flag("--smoke");
    let chosen: Vec<_> =
        Sanitizer::ALL.into_iter().filter(|s| args.flag(&format!("--{}", s.word()))).collect();
    args.finish()?;
    let usual: &[Sanitizer] = if smoke { Sanitizer::SMOKE } else { &Sanitizer::ALL };
    let chosen = if chosen.is_empty() { usual.to_vec() } else { chosen };
    let mut failed = Vec::new();
    for sanitizer in chosen {
        // One that fails, or that the machine cannot have, stops no other.
        if let Err(error) = Setup::new(sanitizer, smoke).and_then(|setup| setup.check()) {
            println!("error: {}: {error:#}\n", sanitizer.name());
            failed.push(sanitizer.name());
        }
    }
    if failed.is_empty() { Ok(ExitCode::SUCCESS) } else { bail!("failed: {}", failed.join(", ")) }
}

/// The smoke run of `cargo xtask ci`: what was left out because this machine cannot have it, if anything was.
pub(crate) fn smoke() -> Result<Option<String>> {
    let mut skipped = Vec::new();
    for &sanitizer in Sanitizer::SMOKE {
        match Setup::new(sanitizer, true) {
            Ok(setup) => setup.check()?,
            Err(error) => match error.downcast_ref::<Unavailable>() {
                Some(unavailable) => skipped.push(format!("{}: {unavailable}", sanitizer.name())),
                None => return Err(error),
            },
        }
    }
    Ok((!skipped.is_empty()).then(|| skipped.join("; ")))
}

/// What one sanitizer runs with.
struct Setup {
    sanitizer: Sanitizer,
    compiler: Compiler,
    suites: Vec<Suite>,
    /// Its own part of the target folder: its flags would throw away what others have built.
    target: PathBuf,
    host: String,
}

/// A test program.
struct Program {
    /// Such as `sync: team`.
    name: String,
    path: PathBuf,
    folder: PathBuf,
    args: Vec<String>,
}

/// What a run of a program has shown.
struct Shown {
    end: End,
    seconds: f64,
    /// The end of what it printed.
    log: String,
    /// What the sanitizer reported of it and its children.
    reports: String,
}

impl Setup {
    fn new(sanitizer: Sanitizer, smoke: bool) -> Result<Self> {
        let metadata = cargo::metadata(&["--no-deps"])?;
        let target =
            metadata["target_directory"].as_str().context("cargo metadata names no target folder")?;
        let target = Path::new(target).join(sanitizer.folder());
        let host = cargo::host()?;
        let compiler = Compiler::find(sanitizer, &host)?;
        Ok(Self { sanitizer, compiler, suites: suites::of(sanitizer, smoke), target, host })
    }

    /// Builds, finds the planted faults, runs the suites.
    fn check(&self) -> Result<()> {
        let sanitizer = self.sanitizer;
        println!("{}, {}", sanitizer.name(), self.compiler);
        row("what", "result", "seconds", "");
        let began = Instant::now();
        let programs = self.build()?;
        row("build", "ok", &format!("{:.1}", began.elapsed().as_secs_f64()), "");
        for folder in ["logs", "reports"] {
            let folder = self.target.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        self.find_planted(&programs)?;
        let mut failed = Vec::new();
        for suite in &self.suites {
            for program in suite.programs(&programs)? {
                let shown = self.run(&program)?;
                let (result, detail) = match (&shown.end, shown.reports.is_empty()) {
                    (_, false) => ("REPORT", summary(&shown.reports)),
                    (End::Passed, _) => ("ok", counted(&shown.log)),
                    (End::Failed, _) => ("FAILED", String::new()),
                    (End::Undecided, _) => ("NO END", format!("after {} s", LIMIT.as_secs())),
                };
                row(&program.name, result, &format!("{:.1}", shown.seconds), &detail);
                if result != "ok" {
                    failed.push((program.name, shown));
                }
            }
        }
        println!();
        for (name, shown) in &failed {
            println!("-- {name}: the end of what it printed\n{}\n", tail(&shown.log, 40));
            if !shown.reports.is_empty() {
                println!("-- {name}: what {} reported\n{}\n", sanitizer.name(), head(&shown.reports, 120));
            }
        }
        if failed.is_empty() { Ok(()) } else { bail!("{} of its test programs failed", failed.len()) }
    }

    fn build(&self) -> Result<Vec<cargo::Built>> {
        let mut command = cargo::cargo();
        command.args(["test", "--no-run", "--lib", "--tests", "--target", &self.host]);
        for suite in &self.suites {
            command.args(["--package", suite.package]);
        }
        command.env("CARGO_TARGET_DIR", &self.target);
        self.compiler.prepare(&mut command, self.sanitizer);
        cargo::build(&mut command)
    }

    /// Runs every planted fault; a detector that misses one proves nothing by its silence about the tests.
    fn find_planted(&self, programs: &[cargo::Built]) -> Result<()> {
        let program = planted::program(programs)?;
        let faults = planted::faults(self.sanitizer);
        planted::agree(program, &faults)?;
        let mut missed = Vec::new();
        for fault in faults {
            let args = ["--ignored", "--exact", fault.test, "--test-threads", "1"].map(str::to_owned);
            let shown = self.run(&Program {
                name: format!("planted: {}", fault.test),
                path: program.path.clone(),
                folder: program.folder.clone(),
                args: args.into(),
            })?;
            let found = shown.end == End::Failed && shown.reports.contains(fault.report);
            let result = if found { "found" } else { "MISSED" };
            let name = format!("planted: {}", fault.test);
            row(&name, result, &format!("{:.1}", shown.seconds), &summary(&shown.reports));
            if !found {
                missed.push(fault.test);
            }
        }
        if missed.is_empty() { Ok(()) } else { bail!("did not find what was planted: {}", missed.join(", ")) }
    }

    fn run(&self, program: &Program) -> Result<Shown> {
        let file: String = program.name.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
        let reports = self.target.join("reports");
        for old in report_files(&reports, &file)? {
            fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
        let job = Job {
            program: program.path.clone(),
            args: program.args.clone(),
            folder: Some(program.folder.clone()),
            envs: self.sanitizer.options(&reports.join(&file)),
            limit: LIMIT,
            log: self.target.join("logs").join(&file).with_extension("log"),
        };
        let mut shown = None;
        run_all(&[job], 1, |_, end, seconds, log| shown = Some((end, seconds, log.to_owned())))?;
        let (end, seconds, log) = shown.context("a job ended without a word")?;
        let mut text = String::new();
        for file in report_files(&reports, &file)? {
            let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
        Ok(Shown { end, seconds, log, reports: text })
    }
}

/// The reports of a program's processes: `NAME.PID`.
fn report_files(folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.file_stem().is_some_and(|stem| stem == name) {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Prints a line of the table, as soon as it is known.
fn row(what: &str, result: &str, seconds: &str, detail: &str) {
    println!("{}", format!("{what:<48}  {result:<7}  {seconds:>7}  {detail}").trim_end());
}

/// What a report says that it is about.
fn summary(report: &str) -> String {
    let line = report.lines().find_map(|line| line.strip_prefix("SUMMARY: ")?.split_once(": "));
    let text = line.map_or("no summary", |(_, text)| text);
    text.replace(&format!("{}/", cargo::root().display()), "").chars().take(90).collect()
}

/// How many tests a test program ran, by its last line.
fn counted(log: &str) -> String {
    let line = log.lines().rev().find_map(|line| line.strip_prefix("test result: ok. "));
    line.and_then(|line| line.split(';').next()).unwrap_or_default().to_owned()
}

fn head(text: &str, lines: usize) -> String {
    text.lines().take(lines).collect::<Vec<_>>().join("\n")
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_and_counts_are_read() {
        let place = cargo::root().join("crates/a.rs");
        let report =
            format!("=====\nWARNING: x\nSUMMARY: ThreadSanitizer: data race {}:3 in f\n", place.display());
        assert_eq!(summary(&report), "data race crates/a.rs:3 in f");
        assert_eq!(summary("cut short\n"), "no summary");
        let log = "running 2 tests\n..\ntest result: ok. 2 passed; 0 failed; 1 ignored\n";
        assert_eq!(counted(log), "2 passed");
    }

    #[test]
    fn reports_belong_to_one_program() {
        let folder = std::env::temp_dir().join(format!("xtask-race-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for name in ["sync__team.12", "sync__team.3", "sync__team_x.4", "sync.5"] {
            fs::write(folder.join(name), "x").unwrap();
        }
        let found = report_files(&folder, "sync__team").unwrap();
        assert_eq!(found, [folder.join("sync__team.12"), folder.join("sync__team.3")]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
