//! `arm`: the kernels on a processor that is not this machine's, 64-bit ARM, so that what is written for one does not break the
//! other, and gives its bits.

use crate::apt::{self, Step};
use crate::args::Args;
use crate::{Command, cargo};
use anyhow::{Result, bail};
use std::ffi::OsString;
use std::path::Path;
use std::process::{self, ExitCode};

pub(crate) const COMMAND: Command = Command {
    name: "arm",
    summary: "the kernels' tests, and training's bits, on 64-bit ARM by an emulator",
    help: "\
Builds tests for 64-bit ARM and runs them by qemu's emulator: those of the products, which are written by hand for it, each with
dot products, without and in plain loops; and a small training, which must end with the parameters it ends with on x86-64.
On such a processor itself, `cargo xtask test` does all that.

Takes the target with rustup, and an emulator, a linker and a C library as Debian's packages qemu-user, gcc-aarch64-linux-gnu
and libc6-dev-arm64-cross, which it installs with apt-get where it runs as root.

Usage: cargo xtask arm [--full]

Options:
  --full  all tests of the kernels, which takes the emulator some ten minutes

Examples:
  cargo xtask arm
",
    run,
};

/// Linux on 64-bit ARM.
const TARGET: &str = "aarch64-unknown-linux-gnu";
/// The crates with code for one processor, and what models are made of.
const PACKAGES: &[&str] = &["selvedge-sync", "selvedge-tensor", "selvedge-model"];
/// Debian's packages of what runs programs of the target, of what links them, and of its C library.
const DEBIAN: [&str; 3] = ["qemu-user", "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"];
const EMULATOR: &str = "qemu-aarch64";
const LINKER: &str = "aarch64-linux-gnu-gcc";
/// Where Debian puts the target's system libraries.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";

/// The tests of kernels that are run unless all are.
const KERNELS: &[&str] = &["isa::", "matmul::", "quantized::"];

fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let mut args = Args::new("arm", args);
    let full = args.flag("--full");
    args.finish()?;
    if let Some(missing) = target()?.or_else(emulator) {
        bail!("{missing}");
    }
    tests(full)?;
    Ok(ExitCode::SUCCESS)
}

/// Has clippy look through the crates for the target, warnings denied, and runs the tests; says what is missing where that cannot
/// be had.
pub(crate) fn smoke() -> Result<Option<String>> {
    if let Some(missing) = target()? {
        return Ok(Some(missing));
    }
    let mut clippy = cargo::cargo();
    clippy.args(["clippy", "--target", TARGET, "--features", "selvedge-sync/instruments"]);
    for package in PACKAGES {
        clippy.args(["--package", package]);
    }
    cargo::run(clippy.args(["--", "--deny", "warnings"]))?;
    if let Some(missing) = emulator() {
        return Ok(Some(missing));
    }
    tests(false).map(|()| None)
}

/// Those of the kernels, some or all, and the training whose result is known.
fn tests(full: bool) -> Result<()> {
    test(&["--package", "selvedge-tensor", "--lib"], if full { &[] } else { KERNELS })?;
    test(&["--package", "selvedge-train", "--test", "it"], &["digests_are_those_of_every_processor"])
}

/// The tests of a program whose names have one of these in them, or all.
fn test(program: &[&str], names: &[&str]) -> Result<()> {
    let variable = |name: &str| format!("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_{name}");
    let mut test = cargo::cargo();
    test.args(["test", "--target", TARGET]).args(program).arg("--").args(names);
    test.env(variable("LINKER"), LINKER).env(variable("RUNNER"), format!("{EMULATOR} -L {LIBRARIES}"));
    cargo::run(&mut test)
}

/// What is missing of the target's standard library, which rustup may bring.
fn target() -> Result<Option<String>> {
    if installed()? {
        return Ok(None);
    }
    let added = cargo::run(
        process::Command::new("rustup").args(["target", "add", TARGET]).current_dir(cargo::root()),
    );
    Ok(added.err().map(|error| format!("no standard library for {TARGET}: {error:#}")))
}

/// Whether the compiler has the target's standard library.
fn installed() -> Result<bool> {
    let mut rustc = process::Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--print", "target-libdir", "--target", TARGET]).current_dir(cargo::root());
    let folder = cargo::output(&mut rustc)?;
    Ok(Path::new(String::from_utf8_lossy(&folder).trim()).is_dir())
}

/// What is missing of emulator and linker, which apt-get may bring.
fn emulator() -> Option<String> {
    let there = |program: &&str| {
        let mut command = process::Command::new(program);
        command.arg("--version").output().is_ok_and(|output| output.status.success())
    };
    if [EMULATOR, LINKER].iter().all(there) && Path::new(LIBRARIES).join("lib/crt1.o").is_file() {
        return None;
    }
    let installed = apt::install(&DEBIAN, &[Step::Install, Step::Update, Step::Install]);
    installed.err().map(|error| format!("tests need {} ({error})", DEBIAN.join(", ")))
}
