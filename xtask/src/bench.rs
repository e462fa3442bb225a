//! `bench`: builds what measures, finds the peers, and lets the program `report` of benches run them in turn.

use crate::args::{Args, Usage};
use crate::{Command, cargo};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};

pub(crate) const COMMAND: Command = Command {
    name: "bench",
    summary: "measure everything beside its peers and write reports with charts",
    help: "\
Builds the programs that measure, runs them and those of the peers in turn, and writes a report of each part, Markdown
with SVG charts, into docs/benchmarks. A report is put in its place whole when its part is done. The parts:

  kernels   matrix products beside the crates gemm, faer and matrixmultiply and beside PyTorch, f32 and bf16, 1 and 2 threads
  training  steps of the reference works T1 to T4, f32 and bf16, beside PyTorch; with --peers beside candle and burn too
  growth    tokens a second and memory against threads, layers, channels, context and batch
  sync      the primitives of selvedge-sync beside crossbeam, rayon, arc-swap, parking_lot and std

Usage: cargo xtask bench [--smoke] [--only PART] [--rounds N] [--peers] [--large] [--python PATH] [--out FOLDER]

Options:
  --smoke        tiny sizes in less than a minute, without Python, into the target folder: what `cargo xtask ci` runs
  --only PART    that part alone
  --rounds N     times that the programs take turns [default: 3, with --smoke 1]
  --peers        build candle and burn, which takes many minutes the first time, and measure their training steps
  --large        the product of 4096 x 4096 x 4096 too
  --python PATH  a Python that has PyTorch [default: .venv-pytorch/bin/python, if it is there]
  --out FOLDER   where the reports go [default: docs/benchmarks]

All takes half an hour to an hour. Nothing else should run on the machine meanwhile; peers are run in turn with Selvedge, so that
what the machine does changes both.

Examples:
  cargo xtask bench
  cargo xtask bench --only kernels --rounds 1 --out kernels
  cargo xtask bench --only training --peers
",
    run,
};

const PARTS: [&str; 4] = ["kernels", "training", "growth", "sync"];

/// What is asked for.
#[derive(Debug, Default)]
struct Wish {
    smoke: bool,
    only: Option<String>,
    rounds: Option<u32>,
    peers: bool,
    large: bool,
    python: Option<PathBuf>,
    out: Option<PathBuf>,
}

impl Wish {
    fn wants(&self, part: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == part)
    }
}

fn run(args: Vec<OsString>) -> Result<ExitCode> {
    measure(&wish(args)?).map(|()| ExitCode::SUCCESS)
}

fn wish(args: Vec<OsString>) -> Result<Wish, Usage> {
    let mut args = Args::new("bench", args);
    let wish = Wish {
        smoke: args.flag("--smoke"),
        only: args.value("--only")?.map(|only| part(&only)).transpose()?,
        rounds: args.value("--rounds")?.map(|rounds| number(&rounds)).transpose()?,
        peers: args.flag("--peers"),
        large: args.flag("--large"),
        python: args.value("--python")?.map(PathBuf::from),
        out: args.value("--out")?.map(PathBuf::from),
    };
    args.finish()?;
    Ok(wish)
}

fn part(value: &OsString) -> Result<String, Usage> {
    let part = PARTS.into_iter().find(|part| value == part);
    let wrong = || Usage(format!("`--only` takes {}, not {value:?}", PARTS.join(", ")));
    part.map(str::to_owned).ok_or_else(wrong)
}

fn number(value: &OsString) -> Result<u32, Usage> {
    let number = value.to_str().and_then(|text| text.parse().ok()).filter(|&number| number > 0);
    number.ok_or_else(|| Usage(format!("`--rounds` takes a whole number above 0, not {value:?}")))
}

/// Every part in small, and the tests of the programs that no other command builds.
pub(crate) fn smoke() -> Result<()> {
    cargo::run(&mut outside("products", &["test", "--release"])?)?;
    measure(&Wish { smoke: true, ..Wish::default() })
}

fn measure(wish: &Wish) -> Result<()> {
    let programs =
        ["build", "--release", "--package", "selvedge-benches", "--bin", "report", "--bin", "training"];
    let built = cargo::build(cargo::cargo().args(programs))?;
    let find = |built: &[cargo::Built], name: &str| {
        let program = built.iter().find(|built| built.name == name);
        let path = program.map(|built| built.path.clone());
        path.with_context(|| format!("cargo build names no executable `{name}`"))
    };
    let out = folder(wish)?;
    let mut report = process::Command::new(find(&built, "report")?);
    report.arg("--root").arg(cargo::root()).arg("--out").arg(&out);
    report.arg("--training").arg(find(&built, "training")?);
    report.args(["--rounds", &wish.rounds.unwrap_or(if wish.smoke { 1 } else { 3 }).to_string()]);
    for part in wish.only.iter() {
        report.args(["--part", part]);
    }
    for (flag, there) in [("--smoke", wish.smoke), ("--large", wish.large)] {
        report.args(there.then_some(flag));
    }
    if wish.wants("kernels") {
        let built = cargo::build(&mut outside("products", &["build", "--release"])?)?;
        report.arg("--products").arg(find(&built, "products")?);
    }
    if wish.wants("sync") {
        let bench = ["bench", "--package", "selvedge-benches", "--bench", "sync", "--no-run"];
        let built = cargo::build(cargo::cargo().args(bench))?;
        report.arg("--sync").arg(find(&built, "sync")?);
    }
    if wish.wants("training") && wish.peers {
        let built = cargo::build(&mut outside("peers", &["build", "--release"])?)?;
        report.arg("--candle").arg(find(&built, "peer-candle")?);
        report.arg("--burn").arg(find(&built, "peer-burn")?);
    }
    if let Some(python) = python(wish)? {
        report.arg("--python").arg(python);
    }
    cargo::run(&mut report)?;
    for part in PARTS.into_iter().filter(|part| wish.wants(part)) {
        let page = out.join(part).with_extension("md");
        fs::metadata(&page).with_context(|| format!("there is no {} after all", page.display()))?;
    }
    println!("reports are in {}", out.display());
    Ok(())
}

/// A building command for a workspace of its own in benches, whose lock file must fit.
pub(crate) fn outside(folder: &str, args: &[&str]) -> Result<process::Command> {
    let manifest = cargo::root().join("benches").join(folder).join("Cargo.toml");
    let mut command = cargo::cargo();
    command.args(args).args(["--locked", "--manifest-path"]).arg(manifest);
    command.arg("--target-dir").arg(cargo::target()?);
    Ok(command)
}

/// Where the reports go; for a smoke run an empty folder.
fn folder(wish: &Wish) -> Result<PathBuf> {
    match &wish.out {
        Some(out) => Ok(out.clone()),
        None if wish.smoke => {
            let out = cargo::target()?.join("selvedge/bench-smoke");
            if out.exists() {
                fs::remove_dir_all(&out).with_context(|| format!("cannot remove {}", out.display()))?;
            }
            Ok(out)
        }
        None => Ok(cargo::root().join("docs/benchmarks")),
    }
}

/// The Python to run PyTorch with, if there is one; says how to get one where it is missed.
fn python(wish: &Wish) -> Result<Option<PathBuf>> {
    if wish.smoke || !(wish.wants("kernels") || wish.wants("training")) {
        return Ok(None);
    }
    if let Some(python) = &wish.python {
        return if Path::new(python).is_file() {
            Ok(Some(python.clone()))
        } else {
            bail!("there is no {} (--python)", python.display())
        };
    }
    let usual = cargo::root().join(".venv-pytorch/bin/python");
    if usual.is_file() {
        return Ok(Some(usual));
    }
    println!(
        "PyTorch is left out: there is no .venv-pytorch. This makes it:\n  python3 -m venv .venv-pytorch && \
         .venv-pytorch/bin/pip install -r benches/pytorch/requirements.txt"
    );
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<Wish, Usage> {
        wish(text.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn a_part_can_be_chosen() {
        let all = asked("--rounds 2 --peers").unwrap();
        assert!(PARTS.iter().all(|part| all.wants(part)) && all.rounds == Some(2) && all.peers && !all.smoke);
        let one = asked("--only=growth --smoke").unwrap();
        assert!(one.wants("growth") && !one.wants("sync") && one.smoke);
    }

    #[test]
    fn what_cannot_be_meant_is_a_usage_error() {
        let parts = asked("--only kernel").unwrap_err().to_string();
        assert!(parts.contains("kernels, training, growth, sync") && parts.contains("\"kernel\""), "{parts}");
        for text in ["--rounds 0", "--rounds x", "--rounds", "--round 3"] {
            assert!(asked(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_help_explains_every_part() {
        for part in PARTS {
            assert!(COMMAND.help.contains(&format!("\n  {part} ")), "{part}");
        }
    }
}
