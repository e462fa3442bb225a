//! `tidy`: the rules of this workspace that neither rustc nor clippy checks.

mod arrows;
mod commands;
mod links;
mod markdown;
mod marks;
mod models;
mod mutants;
mod paths;
mod primitives;
mod shape;
mod source;
pub(crate) mod tree;
mod unsafety;

use crate::args::Args;
use crate::tidy::tree::{Finding, Tree};
use crate::{Command, cargo};
use anyhow::{Result, bail};
use std::ffi::OsString;
use std::process::ExitCode;

pub(crate) const COMMAND: Command = Command {
    name: "tidy",
    summary: "the rules that neither rustc nor clippy checks",
    help: "\
Checks every file that git knows or would add, and prints each finding as `file:line: rule: what is wrong`.

  arrows      crates depend on each other only as docs/architecture.md draws it
  head        a Rust file begins with a `//!` line
  length      at most 600 lines a Rust file, tests aside
  readme      every crate has a README.md
  marks       no unfinished work: no to-do marks, no macros that stand for missing code
  reasons     an `allow` or `expect` attribute gives its reason
  primitives  atomics, locks and raw threads are named in crates/sync alone
  unsafe      a SAFETY comment stands within 6 lines above
  paths       no paths of one machine, no addresses of package registries
  links       relative links between Markdown files resolve
  commands    commands of this runner that the texts name exist
  mutants     crates/sync plants exactly the broken variants of its lists
  models      docs/loom.md and the models' texts agree with the models and with the list

Usage: cargo xtask tidy

Examples:
  cargo xtask tidy
",
    run,
};

/// A rule: looks at the tree and says what breaks it.
type Rule = fn(&Tree) -> Vec<Finding>;

const RULES: &[Rule] = &[
    arrows::arrows,
    shape::head,
    shape::length,
    shape::readme,
    marks::marks,
    marks::reasons,
    primitives::primitives,
    unsafety::unsafety,
    paths::paths,
    links::links,
    commands::commands,
    mutants::mutants,
    models::models,
];

fn run(args: Vec<OsString>) -> Result<ExitCode> {
    Args::new("tidy", args).finish()?;
    check().map(|()| ExitCode::SUCCESS)
}

/// Applies all rules to the workspace and prints what breaks them.
///
/// # Errors
/// If anything does.
pub(crate) fn check() -> Result<()> {
    let tree = Tree::read(&cargo::root())?;
    let mut findings: Vec<Finding> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    findings.sort_unstable();
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("{} rules hold over {} text files", RULES.len(), tree.files.len());
        return Ok(());
    }
    bail!("tidy has {} findings", findings.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_tree_has_no_findings() {
        let tree = Tree::of(&[
            ("crates/sync/README.md", "Run `cargo xtask tidy`, see [lib](src/lib.rs).\n"),
            ("crates/sync/src/lib.rs", "//! Text.\nuse std::sync::Mutex;\n"),
            ("crates/sync/mutants.txt", "# none\n"),
        ])
        .with_package("selvedge-sync", "crates/sync/Cargo.toml", &[]);
        let findings: Vec<_> = RULES.iter().flat_map(|rule| rule(&tree)).map(|f| f.to_string()).collect();
        assert!(findings.is_empty(), "{findings:#?}");
    }

    #[test]
    fn the_help_lists_as_many_rules_as_there_are() {
        let listed = COMMAND.help.lines().filter(|line| line.starts_with("  ") && !line.contains("xtask"));
        assert_eq!(listed.count(), RULES.len());
    }
}
