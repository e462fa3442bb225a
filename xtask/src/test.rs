//! `test`: the tests of all packages, by cargo alone.

use crate::{Command, cargo};
use anyhow::Result;
use std::ffi::OsString;
use std::process::ExitCode;

pub(crate) const COMMAND: Command = Command {
    name: "test",
    summary: "run the tests of all crates and of this runner",
    help: "\
Runs `cargo test --workspace` with the arguments given.

Usage: cargo xtask test [ARGS...]

Examples:
  cargo xtask test
  cargo xtask test --package selvedge-tensor
  cargo xtask test -- matmul
",
    run: |args| run(&args).map(|()| ExitCode::SUCCESS),
};

/// Runs all tests; those of one package when `args` name it.
pub(crate) fn run(args: &[OsString]) -> Result<()> {
    cargo::run(cargo::cargo().arg("test").args(scope(args)).args(args))
}

/// `--workspace` unless the arguments choose packages themselves: cargo would ignore their choice.
fn scope(args: &[OsString]) -> Option<&'static str> {
    let chosen = args.iter().take_while(|arg| *arg != "--").any(|arg| {
        let arg = arg.to_string_lossy();
        arg == "--package" || arg.starts_with("--package=") || arg.starts_with("-p")
    });
    (!chosen).then_some("--workspace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_chosen_by_hand_are_the_only_ones() {
        let scope = |text: &str| scope(&text.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(scope("--release"), Some("--workspace"));
        assert_eq!(scope("-- -p"), Some("--workspace"));
        assert_eq!(scope("-p selvedge-sync"), None);
        assert_eq!(scope("--package=selvedge-sync"), None);
    }
}
