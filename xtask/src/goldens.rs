//! `goldens`: run the scripts that make the reference numbers of the tests.

use crate::args::Args;
use crate::{Command, cargo};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};

pub(crate) const COMMAND: Command = Command {
    name: "goldens",
    summary: "make the reference numbers of the tests anew with PyTorch",
    help: "\
Runs every crates/*/tests/goldens/make*.py, which writes its files beside itself. The Python must have the packages of
benches/pytorch/requirements.txt. `git diff --stat` shows afterwards whether a number has changed.

Usage: cargo xtask goldens [--python PATH]

Options:
  --python PATH   the Python to run the scripts with [default: python3]

Examples:
  cargo xtask goldens --python .venv/bin/python
",
    run,
};

fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let mut args = Args::new("goldens", args);
    let python = args.value("--python")?;
    args.finish()?;
    let python = python.map_or_else(|| Ok("python3".into()), |path| program(Path::new(&path)))?;
    let scripts = scripts(&cargo::root())?;
    if scripts.is_empty() {
        bail!("no crates/*/tests/goldens/make*.py in {}", cargo::root().display());
    }
    for script in scripts {
        println!("{}", script.display());
        cargo::run(
            process::Command::new(&python).arg(cargo::root().join(&script)).current_dir(cargo::root()),
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The program as it must be named from another folder: a bare name is looked up, a path starts where the user is.
fn program(path: &Path) -> Result<PathBuf> {
    if path.components().count() < 2 {
        return Ok(path.into());
    }
    std::path::absolute(path).with_context(|| format!("no such Python: {}", path.display()))
}

/// The scripts, relative to `root`, sorted.
fn scripts(root: &Path) -> Result<Vec<PathBuf>> {
    let mut scripts = Vec::new();
    for entry in fs::read_dir(root.join("crates")).context("cannot list crates/")? {
        let folder = Path::new("crates").join(entry?.file_name()).join("tests/goldens");
        let known = ["make.py", "make_hf.py", "make_scores.py"].map(|name| folder.join(name));
        scripts.extend(known.into_iter().filter(|script| root.join(script).is_file()));
    }
    scripts.sort_unstable();
    Ok(scripts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_are_found_in_order() {
        let scripts = scripts(&cargo::root()).unwrap();
        assert!(scripts.is_sorted());
        assert!(scripts.contains(&PathBuf::from("crates/tensor/tests/goldens/make.py")), "{scripts:?}");
    }
}
