//! Compiling for a processor that is not this machine's, so that what is written for one does not break the others.

use crate::cargo;
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// Linux on 64-bit ARM.
const TARGET: &str = "aarch64-unknown-linux-gnu";
/// The crates with code for one processor, and what models are made of.
const PACKAGES: &[&str] = &["selvedge-sync", "selvedge-tensor", "selvedge-model"];

/// Checks the crates for [`TARGET`], warnings denied; says what is missing where its standard library cannot be had.
pub(crate) fn check() -> Result<Option<String>> {
    if !installed()? {
        let added =
            cargo::run(Command::new("rustup").args(["target", "add", TARGET]).current_dir(cargo::root()));
        if let Err(error) = added {
            return Ok(Some(format!("no standard library for {TARGET}: {error:#}")));
        }
    }
    let mut check = cargo::cargo();
    check
        .args(["check", "--target", TARGET, "--features", "selvedge-sync/instruments"])
        .env("RUSTFLAGS", cargo::flags("RUSTFLAGS", "-Dwarnings"));
    for package in PACKAGES {
        check.args(["--package", package]);
    }
    cargo::run(&mut check).map(|()| None)
}

/// Whether the compiler has the target's standard library.
fn installed() -> Result<bool> {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--print", "target-libdir", "--target", TARGET]).current_dir(cargo::root());
    let folder = cargo::output(&mut rustc)?;
    Ok(Path::new(String::from_utf8_lossy(&folder).trim()).is_dir())
}
