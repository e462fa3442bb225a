//! `ci`: everything that must hold before a change goes in, in one command.

use crate::args::Args;
use crate::table::table;
use crate::{Command, arm, bench, binary, cargo, loom, race, shuttle, test, tidy};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::process::{self, ExitCode};
use std::time::Instant;

pub(crate) const COMMAND: Command = Command {
    name: "ci",
    summary: "everything that must hold before a change goes in",
    help: "\
Runs, in this order, and stops at the first that fails:

  fmt      cargo fmt --all --check, in the workspaces of their own too
  clippy   cargo clippy --workspace --all-targets -- -D warnings, of selvedge-sync without its feature, and of
           benches/products
  aarch64  cargo clippy of the kernels and models for 64-bit ARM, warnings denied, and cargo xtask arm; says SKIPPED where
           the target or an emulator cannot be had
  tidy     cargo xtask tidy
  model    cargo xtask model smollm2; says SKIPPED where it cannot be fetched, and the tests that need it do; what is fetched
           and is another file is a failure
  test     cargo xtask test
  doc      cargo doc --workspace --no-deps, warnings denied
  loom     cargo xtask loom --mutants
  shuttle  cargo xtask shuttle --smoke
  race     cargo xtask race --smoke; says SKIPPED where the machine cannot have ThreadSanitizer's compiler
  check    cargo xtask check
  job      the main job in small: cargo xtask train and generate on the default corpus
  bench    cargo xtask bench --smoke

Usage: cargo xtask ci

Examples:
  cargo xtask ci
",
    run,
};

/// A step: its name and what it does, which may leave out what this machine cannot do and say so.
type Step = (&'static str, fn() -> Result<Option<String>>);

const STEPS: &[Step] = &[
    ("fmt", || {
        let manifests =
            ["Cargo.toml", "benches/products/Cargo.toml", "benches/peers/Cargo.toml", "fuzz/Cargo.toml"];
        whole(manifests.into_iter().try_for_each(|manifest| {
            cargo::run(cargo::cargo().args(["fmt", "--all", "--check", "--manifest-path", manifest]))
        }))
    }),
    ("clippy", || {
        let deny = ["--", "--deny", "warnings"];
        let all = ["clippy", "--workspace", "--all-targets"];
        cargo::run(cargo::cargo().args(all).args(deny))?;
        // The workspace's programs ask for the hooks, so that nothing above has built it without.
        cargo::run(cargo::cargo().args(["clippy", "--package", "selvedge-sync"]).args(deny))?;
        let products = ["clippy", "--all-targets"];
        whole(cargo::run(bench::outside("products", &products)?.args(deny)))
    }),
    ("aarch64", arm::smoke),
    ("tidy", || whole(tidy::check())),
    ("model", binary::fetch_model),
    ("test", || whole(test::run(&[]))),
    ("doc", || {
        let flags = cargo::flags("RUSTDOCFLAGS", "-Dwarnings");
        let mut doc = cargo::cargo();
        whole(cargo::run(doc.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", flags)))
    }),
    ("loom", || whole(loom::mutants())),
    ("shuttle", || whole(shuttle::smoke())),
    ("race", race::smoke),
    ("check", || {
        let mut check = process::Command::new(binary::build()?);
        whole(cargo::run(check.arg("check").current_dir(cargo::root())))
    }),
    ("job", || whole(binary::main_job())),
    ("bench", || whole(bench::smoke())),
];

/// A step that leaves nothing out.
fn whole(outcome: Result<()>) -> Result<Option<String>> {
    outcome.map(|()| None)
}

fn run(args: Vec<OsString>) -> Result<ExitCode> {
    Args::new("ci", args).finish()?;
    let (rows, outcome) = walk(STEPS);
    println!("\n{}", table(["step", "seconds ", "result"], &rows));
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Runs the steps until one fails; a row for each that ran, and the failure with its step's name.
fn walk(steps: &[Step]) -> (Vec<[String; 3]>, Result<()>) {
    let mut rows = Vec::new();
    for (name, step) in steps {
        println!("\n== {name}");
        let began = Instant::now();
        let outcome = step();
        let result = match &outcome {
            Ok(None) => "ok".to_owned(),
            Ok(Some(skipped)) => format!("SKIPPED: {skipped}"),
            Err(_) => "FAILED".to_owned(),
        };
        rows.push([(*name).to_owned(), format!("{:.1}", began.elapsed().as_secs_f64()), result]);
        if let Err(error) = outcome {
            return (rows, Err(error).with_context(|| format!("step `{name}`")));
        }
    }
    (rows, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_ends_the_walk_under_its_name() {
        let steps: &[Step] = &[
            ("good", || Ok(None)),
            ("half", || Ok(Some("no compiler".into()))),
            ("bad", || anyhow::bail!("broken")),
            ("never", || panic!("ran after a failure")),
        ];
        let (rows, outcome) = walk(steps);
        let results: Vec<_> = rows.iter().map(|[name, _, result]| (name.as_str(), result.as_str())).collect();
        assert_eq!(results, [("good", "ok"), ("half", "SKIPPED: no compiler"), ("bad", "FAILED")]);
        assert_eq!(format!("{:#}", outcome.unwrap_err()), "step `bad`: broken");
    }

    #[test]
    fn the_help_lists_every_step_in_order() {
        let listed = COMMAND.help.lines().filter(|line| {
            line.starts_with("  ") && !line.starts_with("   ") && !line.contains("cargo xtask ci")
        });
        let listed: Vec<_> = listed.filter_map(|line| line.split_whitespace().next()).collect();
        let steps: Vec<_> = STEPS.iter().map(|(name, _)| *name).collect();
        assert_eq!(listed, steps);
    }
}
