//! `shuttle`: the protocols of selvedge-sync under random schedules, and the broken variants that they must catch.

use crate::args::{Args, Usage};
use crate::checker::{Program, SHORT_LIMIT, Test, hunt, reason, tail};
use crate::mutants::{self, Mutant};
use crate::process::{End, cores, run_all};
use crate::{Command, cargo};
use anyhow::{Context, Result, bail};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

pub(crate) const COMMAND: Command = Command {
    name: "shuttle",
    summary: "the protocols of several primitives under random schedules",
    help: "\
Runs the protocol tests of selvedge-sync under shuttle: each under N schedules that choose the next thread at random, and
N of PCT, which change random priorities at a few random steps. A failure prints the schedule's file and the command that
runs it again. Then every broken variant of crates/sync/mutants-shuttle.txt is planted, and the test named there must fail
within 120 s; one that survives fails the command. That part always has the same seed, so that it does not depend on luck.

Usage: cargo xtask shuttle [--smoke] [--iterations N] [--seed S] [--replay SCHEDULE] [--only TEXT]

Options:
  --smoke            few schedules: what `cargo xtask ci` runs
  --iterations N     schedules of each scheduler [default: 10000, with --smoke 1000]
  --seed S           the seed of the schedules [default: from the clock, and printed]
  --replay SCHEDULE  one schedule, given as text or as a file that holds it, of the one test that --only names, with the
                     code in which it was found; no broken variant is planted but the one in SELVEDGE_MUTANT
  --only TEXT        tests and broken variants with TEXT in their names, or in the name of a variant's test

What a test printed stays in shuttle/logs in the target folder.

Examples:
  cargo xtask shuttle
  cargo xtask shuttle --iterations 1000000 --only shuttle_loader
  cargo xtask shuttle --seed 1732406400 --only shuttle_loader
  cargo xtask shuttle --only shuttle_loader_ends --replay target/shuttle/logs/shuttle_loader_ends_whatever_happens.schedule
",
    run,
};

/// Schedules of each scheduler, and of a smoke run.
const ITERATIONS: (u64, u64) = (10_000, 1_000);
/// How long a test may take: as long as the schedules that were asked for.
const LIMIT: Duration = Duration::from_secs(24 * 3600);
/// What the tests read.
const COUNT: &str = "SELVEDGE_SHUTTLE_ITERATIONS";
const SEED: &str = "SELVEDGE_SHUTTLE_SEED";
const REPLAY: &str = "SELVEDGE_SHUTTLE_REPLAY";

/// What is asked for.
#[derive(Debug, Default)]
struct Wish {
    smoke: bool,
    iterations: Option<u64>,
    seed: Option<u64>,
    replay: Option<String>,
    only: Option<String>,
}

fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let mut args = Args::new("shuttle", args);
    let wish = Wish {
        smoke: args.flag("--smoke"),
        iterations: number("--iterations", args.value("--iterations")?)?,
        seed: number("--seed", args.value("--seed")?)?,
        replay: args.value("--replay")?.map(|schedule| schedule_of(&schedule)).transpose()?,
        only: args.value("--only")?.map(|only| only.to_string_lossy().into_owned()),
    };
    args.finish()?;
    if wish.replay.is_some() && (wish.iterations.is_some() || wish.seed.is_some() || wish.smoke) {
        return Err(
            Usage("`--replay` runs one schedule: no `--iterations`, `--seed`, `--smoke`".into()).into()
        );
    }
    check(&wish).map(|()| ExitCode::SUCCESS)
}

/// Few schedules of every test, and every broken variant.
pub(crate) fn smoke() -> Result<()> {
    check(&Wish { smoke: true, ..Wish::default() })
}

fn number(option: &str, value: Option<OsString>) -> Result<Option<u64>, Usage> {
    let Some(value) = value else { return Ok(None) };
    let number = value.to_str().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| Usage(format!("`{option}` takes a whole number, not {value:?}")))
}

/// The schedule itself, or what the file of that name holds.
fn schedule_of(value: &OsStr) -> Result<String> {
    if Path::new(value).is_file() {
        return fs::read_to_string(value).with_context(|| format!("cannot read {}", value.display()));
    }
    let text = value.to_string_lossy().into_owned();
    if text.split_whitespace().all(|line| line.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return Ok(text);
    }
    Err(Usage(format!("`--replay` takes a schedule or a file that holds one, not {value:?}")).into())
}

fn check(wish: &Wish) -> Result<()> {
    let program = Program::build("shuttle")?;
    let tests = program.tests()?;
    let chosen = |name: &str| wish.only.as_deref().is_none_or(|only| name.contains(only));
    let mutants = if wish.replay.is_none() { mutants::read(mutants::SHUTTLE)? } else { Vec::new() };
    let mutants: Vec<Mutant> = mutants.into_iter().filter(|m| chosen(&m.name) || chosen(&m.model)).collect();
    let hunts: Vec<_> =
        mutants.iter().map(|mutant| hunt(&tests, mutant, mutants::SHUTTLE)).collect::<Result<_>>()?;
    // A variant counts as caught only by a test that passes without it, so its test runs too.
    let picked = |test: &&Test| chosen(test.name()) || mutants.iter().any(|m| m.model == test.name());
    let picked: Vec<_> = tests.iter().filter(picked).collect();
    if picked.is_empty() {
        bail!("no test and no broken variant has {:?} in its name", wish.only.as_deref().unwrap_or_default());
    }
    if let (Some(_), [_, second, ..]) = (&wish.replay, picked.as_slice()) {
        let second = second.name();
        return Err(Usage(format!("a schedule is of one test: `--only` names also {second}")).into());
    }
    run_tests(&program, &picked, wish)?;
    let iterations = ITERATIONS.0.to_string();
    program.hunt(&hunts, &[(COUNT, iterations), (SEED, "0".into())]).map(drop)
}

fn run_tests(program: &Program, tests: &[&Test], wish: &Wish) -> Result<()> {
    let usual = if wish.smoke { ITERATIONS.1 } else { ITERATIONS.0 };
    let iterations = wish.iterations.unwrap_or(usual).to_string();
    let clock = UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    let seed = wish.seed.unwrap_or(clock).to_string();
    let envs = match &wish.replay {
        Some(schedule) => vec![(REPLAY, schedule.clone())],
        None => vec![(COUNT, iterations), (SEED, seed.clone())],
    };
    let limit = if wish.smoke { SHORT_LIMIT } else { LIMIT };
    let jobs: Vec<_> = tests.iter().map(|test| program.job(test, limit, envs.clone())).collect();
    match &wish.replay {
        Some(_) => println!("one schedule\n"),
        None => println!("seed {seed}\n"),
    }
    let width = tests.iter().map(|test| test.name().len()).max().unwrap_or(0);
    println!("{:<width$}  {:<8}  {:>7}  explored", "test", "result", "seconds");
    let mut failed = Vec::new();
    run_all(&jobs, cores(), |at, end, seconds, log| {
        let name = tests[at].name();
        let (result, detail) = match end {
            End::Passed => ("passed", explored(log)),
            End::Failed => ("FAILED", reason(log)),
            End::Undecided => ("NO END", format!("after {} s", limit.as_secs())),
        };
        println!("{name:<width$}  {result:<8}  {seconds:>7.1}  {detail}");
        if end != End::Passed {
            failed.push((name, log.to_owned()));
        }
    })?;
    println!();
    for (name, log) in &failed {
        println!("-- the end of what {name} printed\n{}\n", tail(log, 40));
        if let Some(schedule) = failing_schedule(log).filter(|_| wish.replay.is_none()) {
            let file = program.logs.join(name).with_extension("schedule");
            fs::write(&file, schedule).with_context(|| format!("cannot write {}", file.display()))?;
            let file = file.strip_prefix(cargo::root()).unwrap_or(&file);
            println!("run it again: cargo xtask shuttle --only {name} --replay {}\n", file.display());
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("{} tests failed", failed.len()) }
}

/// What a test says that it explored: its line `shuttle: NAME: …`.
fn explored(log: &str) -> String {
    let line = log.lines().find_map(|line| line.split_once("shuttle: ")?.1.split_once(": "));
    line.map(|(_, text)| text.to_owned()).unwrap_or_default()
}

/// The last schedule in a log, as shuttle prints it: in lines between two quotes.
fn failing_schedule(log: &str) -> Option<&str> {
    let (_, rest) = log.rsplit_once("failing schedule:\n\"\n")?;
    rest.split_once("\n\"").map(|(schedule, _)| schedule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_say_what_happened() {
        let log = "test x ... shuttle: shuttle_x: 20 schedules from seed 7, 0.10 s\nok\n";
        assert_eq!(explored(log), "20 schedules from seed 7, 0.10 s");
        let log =
            "failing schedule:\n\"\n91\n\"\npass\nfailing schedule:\n\"\n92ab\n00\n\"\npass that string\n";
        assert_eq!(failing_schedule(log), Some("92ab\n00"));
        assert_eq!(failing_schedule("ok\n"), None);
    }

    #[test]
    fn what_cannot_be_meant_is_a_usage_error() {
        let refused = |args: &[&str]| run(args.iter().map(OsString::from).collect()).unwrap_err();
        for args in [&["--seed", "x"], &["--iterations=-1", ""], &["--replay", "no such file"]] {
            assert!(refused(args).is::<Usage>(), "{args:?}");
        }
        assert!(refused(&["--replay", "91ab", "--seed", "3"]).is::<Usage>());
    }
}
