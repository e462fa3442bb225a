//! `fuzz`: the fuzz targets of the workspace in `fuzz`, one after the other.

use crate::args::{Args, Usage};
use crate::{Command, cargo};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{self, ExitCode, Stdio};

pub(crate) const COMMAND: Command = Command {
    name: "fuzz",
    summary: "feed what reads files with inputs that were never written",
    help: "\
Runs the fuzz targets of the folder fuzz under libFuzzer, each for some seconds: GGUF files as headers, models and
vocabularies, safetensors files, config.json, tokenizer.json, this program's own tokenizer files, and chat templates. It begins
with the committed seeds, and keeps what it finds out in fuzz/found; an input that breaks a target lies in fuzz/artifacts.

Usage: cargo xtask fuzz [--seconds N] [--only TEXT]

Options:
  --seconds N  how long each target runs [default: 60]
  --only TEXT  targets with TEXT in their names

It needs cargo-fuzz (`cargo install cargo-fuzz`) and a nightly toolchain; without them it says SKIPPED and does nothing.
The same functions run over the seeds and mutations of them in `cargo xtask test`, which needs neither.

Examples:
  cargo xtask fuzz
  cargo xtask fuzz --seconds 600 --only gguf
",
    run,
};

fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let mut args = Args::new("fuzz", args);
    let seconds = args.value("--seconds")?.map(|seconds| number(&seconds)).transpose()?.unwrap_or(60);
    let only = args.value("--only")?.map(|only| only.to_string_lossy().into_owned());
    args.finish()?;
    if let Some(missing) = missing() {
        println!("SKIPPED: {missing}");
        return Ok(ExitCode::SUCCESS);
    }
    let targets: Vec<String> = targets()?
        .into_iter()
        .filter(|target| only.as_ref().is_none_or(|only| target.contains(only)))
        .collect();
    if targets.is_empty() {
        bail!("no target has {:?} in its name", only.unwrap_or_default());
    }
    for target in &targets {
        println!("\n== {target}, {seconds} s");
        cargo::run(&mut fuzz(target, seconds)?)?;
    }
    println!("\n{} targets ran for {seconds} s each", targets.len());
    Ok(ExitCode::SUCCESS)
}

fn number(value: &OsString) -> Result<u32, Usage> {
    let number = value.to_str().and_then(|text| text.parse().ok()).filter(|&number| number > 0);
    number.ok_or_else(|| Usage(format!("`--seconds` takes a whole number above 0, not {value:?}")))
}

/// What the machine lacks.
fn missing() -> Option<String> {
    let works = |program: &str, args: &[&str]| {
        let mut command = process::Command::new(program);
        command.args(args).current_dir(cargo::root());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !works("cargo", &["fuzz", "--version"]) {
        return Some("no cargo-fuzz here; `cargo install cargo-fuzz`".to_owned());
    }
    if !works("rustup", &["run", "nightly", "rustc", "--version"]) {
        return Some("no nightly toolchain here; `rustup toolchain install nightly`".to_owned());
    }
    None
}

fn folder() -> PathBuf {
    cargo::root().join("fuzz")
}

/// The names of the programs.
fn targets() -> Result<Vec<String>> {
    let folder = folder().join("fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// The run of one target: what it finds goes to its folder of `found`, and all seeds are read.
fn fuzz(target: &str, seconds: u32) -> Result<process::Command> {
    let found = folder().join("found").join(target);
    fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    // Cargo sets variables that would choose the toolchain of this runner.
    let mut command = process::Command::new("rustup");
    command.args(["run", "nightly", "cargo", "fuzz", "run", "--fuzz-dir"]).arg(folder());
    command.args([target.as_ref(), found.as_os_str()]);
    for seeds in seeds()? {
        command.arg(seeds);
    }
    command.arg("--").arg(format!("-max_total_time={seconds}"));
    command.args(["-rss_limit_mb=2048", "-timeout=120", "-max_len=65536"]);
    for variable in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN", "RUSTFLAGS"] {
        command.env_remove(variable);
    }
    command.current_dir(cargo::root());
    Ok(command)
}

/// Folders of seeds: those of every target, since an input of one kind is a good wrong one of another.
fn seeds() -> Result<Vec<PathBuf>> {
    let all = folder().join("seeds");
    let entries = fs::read_dir(&all).with_context(|| format!("cannot read {}", all.display()))?;
    let mut folders: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.push(cargo::root().join("crates/model/tests/corpus/gguf"));
    folders.sort();
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_a_number() {
        for wrong in ["0", "-1", "ten", "1.5"] {
            let error = run(vec![format!("--seconds={wrong}").into()]).unwrap_err();
            assert!(error.is::<Usage>() && error.to_string().contains(wrong), "{error}");
        }
    }

    #[test]
    fn there_are_targets_and_seeds() {
        assert!(targets().unwrap().iter().any(|target| target == "gguf_header"));
        assert!(seeds().unwrap().iter().all(|folder| folder.is_dir()));
    }
}
