//! The faults that are there on purpose, in crates/sync/tests/planted.rs, and what must be said of each.

use crate::cargo;
use crate::race::sanitizer::Sanitizer;
use anyhow::{Context, Result, bail};
use std::process::Command;

/// A planted fault: the test that commits it, and a part of the report it must lead to.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) test: &'static str,
    pub(super) report: &'static str,
}

const RACES: [Fault; 3] = [
    Fault { test: "races::race_on_a_plain_counter", report: "ThreadSanitizer: data race" },
    Fault { test: "races::race_by_a_relaxed_publication", report: "ThreadSanitizer: data race" },
    Fault { test: "races::race_between_tasks_of_a_region", report: "ThreadSanitizer: data race" },
];
const ADDRESSES: [Fault; 2] = [
    Fault { test: "addresses::use_after_free", report: "AddressSanitizer: heap-use-after-free" },
    Fault { test: "addresses::heap_overflow", report: "AddressSanitizer: heap-buffer-overflow" },
];
const LEAKS: [Fault; 1] = [Fault { test: "leaks::a_vector", report: "leak of 777 byte(s)" }];

/// What this sanitizer must find.
pub(super) fn faults(sanitizer: Sanitizer) -> Vec<Fault> {
    match sanitizer {
        Sanitizer::Thread => RACES.into(),
        Sanitizer::Address => ADDRESSES.into_iter().chain(LEAKS).collect(),
        Sanitizer::Leak => LEAKS.into(),
    }
}

/// The program that holds them.
pub(super) fn program(built: &[cargo::Built]) -> Result<&cargo::Built> {
    let program = built.iter().find(|built| built.name == "planted");
    program.context("cargo test --no-run names no test program `planted`")
}

/// Checks that the program plants these faults and no others, so that none is planted and never looked for.
pub(super) fn agree(program: &cargo::Built, faults: &[Fault]) -> Result<()> {
    let list = cargo::output(Command::new(&program.path).args(["--list", "--ignored", "--format", "terse"]))?;
    let list = String::from_utf8_lossy(&list);
    let mut there: Vec<&str> = list.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let mut known: Vec<&str> = faults.iter().map(|fault| fault.test).collect();
    there.sort_unstable();
    known.sort_unstable();
    if there == known { Ok(()) } else { bail!("planted are {there:?}, looked for are {known:?}") }
}
