//! A compiler that can build with a sanitizer, and the standard library with it where that is needed.
//!
//! ThreadSanitizer knows only what it has instrumented: over the standard library as it comes it reports races that
//! its locks rule out. So the library is built anew (`-Zbuild-std`), which takes its sources and a compiler of the same
//! version. The other two work with the toolchain as it is.

use crate::apt::{self, Step};
use crate::cargo;
use crate::race::sanitizer::Sanitizer;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Debian's packages of a recent compiler and of its library's sources.
const PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];
/// Where Debian puts the compiler.
const DEBIAN: &str = "/usr/bin/rustc";

/// Why this machine cannot run a sanitizer, with the remedy.
#[derive(Debug, PartialEq)]
pub(crate) enum Unavailable {
    /// The sanitizers' run-time libraries come for few platforms.
    Platform { host: String },
    /// The toolchain does not have the run-time library.
    NoRuntime { folder: PathBuf },
    /// No sources of the standard library, and no apt-get.
    NoSources,
    /// apt-get would bring them, to root alone.
    NotRoot,
    /// apt-get did not bring them.
    Install { why: String },
    /// Compiler and sources are not of one version.
    Versions { compiler: String, sources: String },
    /// The compiler is older than this workspace needs.
    Old { found: String, needed: String },
    /// The compiler and the run-time library come from different versions of LLVM.
    Llvm { compiler: String, runtime: String },
}

impl From<apt::Error> for Unavailable {
    fn from(error: apt::Error) -> Self {
        match error {
            apt::Error::Missing => Self::NoSources,
            apt::Error::NotRoot => Self::NotRoot,
            apt::Error::Failed { why } => Self::Install { why },
        }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let install = format!("apt-get install {}", PACKAGES.join(" "));
        match self {
            Self::Platform { host } => write!(f, "works on Linux on x86-64 alone, and this is {host}"),
            Self::NoRuntime { folder } => write!(
                f,
                "the toolchain has no run-time library in {}: use one that rustup installs",
                folder.display()
            ),
            Self::NoSources => f.write_str(
                "needs the sources of the standard library: `rustup component add rust-src`, or on Debian the \
                 packages rustc-web and rust-web-src",
            ),
            Self::NotRoot => write!(
                f,
                "needs the sources of the standard library: `rustup component add rust-src`, or as root `{install}`"
            ),
            Self::Install { why } => write!(
                f,
                "`{install}` failed ({why}): try it by hand, or `rustup component add rust-src`"
            ),
            Self::Versions { compiler, sources } => write!(
                f,
                "rustc-web is {compiler} and rust-web-src is {sources}: bring them to one version, `{install}`"
            ),
            Self::Old { found, needed } => {
                write!(
                    f,
                    "the compiler beside the sources is {found}, and this workspace needs {needed}: update it, as root \
                     with `apt-get update` and `{install}`"
                )
            }
            Self::Llvm { compiler, runtime } => write!(
                f,
                "the compiler uses LLVM {compiler}, the toolchain's run-time library comes from LLVM {runtime}: \
                 update the older of the two"
            ),
        }
    }
}

impl std::error::Error for Unavailable {}

/// A compiler with what it needs.
pub(super) struct Compiler {
    rustc: OsString,
    version: Version,
    /// The sanitizer's run-time library, where the compiler does not find it by itself.
    runtime: Option<PathBuf>,
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let library = if self.runtime.is_some() { ", standard library built with it" } else { "" };
        write!(f, "rustc {}{library}", self.version.release)
    }
}

impl Compiler {
    /// The compiler for this sanitizer; installs one where it may.
    ///
    /// # Errors
    /// [`Unavailable`] where this machine cannot have one.
    pub(super) fn find(sanitizer: Sanitizer, host: &str) -> Result<Self> {
        if host != "x86_64-unknown-linux-gnu" {
            return Err(Unavailable::Platform { host: host.to_owned() }.into());
        }
        let own: OsString = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let version = Version::of(&own)?;
        let sysroot = sysroot(&own)?;
        let folder = sysroot.join("lib/rustlib").join(host).join("lib");
        let runtime = runtime(&folder, sanitizer).ok_or(Unavailable::NoRuntime { folder })?;
        if sanitizer != Sanitizer::Thread {
            return Ok(Self { rustc: own, version, runtime: None });
        }
        if has_sources(&sysroot) {
            return Ok(Self { rustc: own, version, runtime: Some(runtime) });
        }
        let debian = debian(&version.llvm)?;
        Ok(Self { rustc: DEBIAN.into(), version: debian, runtime: Some(runtime) })
    }

    /// Sets the flags and the environment of a cargo command.
    pub(super) fn prepare(&self, command: &mut Command, sanitizer: Sanitizer) {
        let word = sanitizer.word();
        let mut flags: Vec<String> =
            vec![format!("-Zsanitizer={word}"), "--cfg".into(), format!("sanitizer=\"{word}\"")];
        if let Some(runtime) = &self.runtime {
            command.arg("-Zbuild-std").env("RUSTC", &self.rustc);
            flags.push("-Zexternal-clangrt".into());
            // Before the libraries that it needs itself.
            let runtime = runtime.display().to_string();
            for arg in ["-Wl,--whole-archive", &runtime, "-Wl,--no-whole-archive"] {
                flags.push(format!("-Zpre-link-arg={arg}"));
            }
        }
        let before = std::env::var("RUSTFLAGS").unwrap_or_default();
        let flags: Vec<&str> = before.split_whitespace().chain(flags.iter().map(String::as_str)).collect();
        // Unlike RUSTFLAGS, takes paths with spaces.
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}")).env_remove("RUSTFLAGS");
        // A released compiler takes `-Z` flags when it builds the standard library, which is what this does.
        command.env("RUSTC_BOOTSTRAP", "1");
    }
}

/// What a compiler says of itself.
#[derive(Debug, PartialEq)]
struct Version {
    release: String,
    llvm: String,
}

impl Version {
    fn of(rustc: &OsString) -> Result<Self> {
        let text = cargo::output(Command::new(rustc).arg("-vV").current_dir(cargo::root()))?;
        Self::parse(&String::from_utf8_lossy(&text))
            .with_context(|| format!("{} -vV names no release or no LLVM", rustc.to_string_lossy()))
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| Some(text.lines().find_map(|line| line.strip_prefix(name))?.to_owned());
        Some(Self { release: value("release: ")?, llvm: value("LLVM version: ")? })
    }
}

/// The numbers of a version, to compare: `1.96.0-beta.1` is `[1, 96, 0]`.
fn numbers(version: &str) -> Vec<u32> {
    let plain = version.split(|c: char| c != '.' && !c.is_ascii_digit()).next().unwrap_or_default();
    plain.split('.').filter_map(|part| part.parse().ok()).collect()
}

fn sysroot(rustc: &OsString) -> Result<PathBuf> {
    let text = cargo::output(Command::new(rustc).args(["--print", "sysroot"]).current_dir(cargo::root()))?;
    Ok(PathBuf::from(String::from_utf8_lossy(&text).trim()))
}

fn has_sources(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/Cargo.lock").is_file()
}

/// The sanitizer's run-time library in the folder: `librustc-CHANNEL_rt.tsan.a`.
fn runtime(folder: &Path, sanitizer: Sanitizer) -> Option<PathBuf> {
    let end = format!("_rt.{}.a", sanitizer.folder());
    let named = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with("librustc-") && name.ends_with(&end)
    };
    fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).find(named)
}

/// Debian's compiler, with the sources beside it; installed if it is not there, and brought up to date if it is old.
fn debian(llvm: &str) -> Result<Version> {
    let sysroot = Path::new("/usr");
    if !(Path::new(DEBIAN).is_file() && has_sources(sysroot)) {
        apt::install(&PACKAGES, &[Step::Install, Step::Update, Step::Install]).map_err(Unavailable::from)?;
    }
    let needed = needed()?;
    let installed = || {
        let [compiler, sources] = PACKAGES.map(package_version);
        if compiler != sources {
            let said = |version: Option<String>| version.unwrap_or_else(|| "not installed".into());
            return Err(Unavailable::Versions { compiler: said(compiler), sources: said(sources) }.into());
        }
        let version = Version::of(&DEBIAN.into())?;
        fits(&version, &needed, llvm)?;
        Ok(version)
    };
    updated(installed, || Ok(apt::install(&PACKAGES, &[Step::Update, Step::Install])?))
}

/// What `find` finds, after one `update` where that may help: the packages may be of an old list of them.
fn updated<T>(find: impl Fn() -> Result<T>, update: impl FnOnce() -> Result<(), Unavailable>) -> Result<T> {
    let found = find();
    let outdated = |error: &anyhow::Error| {
        matches!(error.downcast_ref(), Some(Unavailable::Old { .. } | Unavailable::Versions { .. }))
    };
    match &found {
        // If there can be no update, what was found says what to do.
        Err(error) if outdated(error) && update().is_ok() => find(),
        _ => found,
    }
}

/// Whether a compiler is new enough and agrees with the run-time library.
fn fits(version: &Version, needed: &str, llvm: &str) -> Result<(), Unavailable> {
    if numbers(&version.release) < numbers(needed) {
        return Err(Unavailable::Old { found: version.release.clone(), needed: needed.to_owned() });
    }
    if numbers(&version.llvm).first() != numbers(llvm).first() {
        return Err(Unavailable::Llvm { compiler: version.llvm.clone(), runtime: llvm.to_owned() });
    }
    Ok(())
}

/// The oldest compiler that this workspace takes.
fn needed() -> Result<String> {
    let metadata = cargo::metadata(&["--no-deps"])?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let versions = packages.iter().filter_map(|package| package["rust_version"].as_str());
    Ok(versions.max_by_key(|version| numbers(version)).unwrap_or("0").to_owned())
}

fn package_version(package: &str) -> Option<String> {
    let mut command = Command::new("dpkg-query");
    command.args(["--show", "--showformat", "${Version}", package]).stdin(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()).filter(|version| !version.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn version(release: &str, llvm: &str) -> Version {
        Version { release: release.into(), llvm: llvm.into() }
    }

    #[test]
    fn versions_are_read_and_compared_by_number() {
        let said = "rustc 1.96.0 (x 2026-05-25)\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(Version::parse(said), Some(version("1.96.0", "22.1.8")));
        assert_eq!(Version::parse("rustc 1.0\n"), None);
        assert!(numbers("1.100.0") > numbers("1.95"));
        assert_eq!(numbers("1.97.0-beta.3"), [1, 97, 0]);
    }

    #[test]
    fn a_compiler_that_does_not_fit_is_refused_with_the_remedy() {
        assert_eq!(fits(&version("1.96.0", "22.1.8"), "1.95", "22.1.2"), Ok(()));
        let old = fits(&version("1.63.0", "14.0.6"), "1.95", "22.1.2").unwrap_err();
        assert!(old.to_string().contains("1.63.0") && old.to_string().contains("1.95"), "{old}");
        let llvm = fits(&version("1.97.0", "23.1.0"), "1.95", "22.1.2").unwrap_err();
        assert_eq!(llvm, Unavailable::Llvm { compiler: "23.1.0".into(), runtime: "22.1.2".into() });
    }

    #[test]
    fn an_old_compiler_is_brought_up_to_date_once() {
        let looks = Cell::new(0);
        let old = || Unavailable::Old { found: "1.85.0".into(), needed: "1.95".into() };
        let find = |good: u32| {
            looks.set(looks.get() + 1);
            if looks.get() >= good { Ok(looks.get()) } else { Err(old().into()) }
        };
        assert_eq!(updated(|| find(2), || Ok(())).unwrap(), 2);
        looks.set(0);
        let still = updated(|| find(3), || Ok(())).unwrap_err();
        assert_eq!((still.downcast_ref(), looks.get()), (Some(&old()), 2));
        looks.set(0);
        let stays = updated(|| find(2), || Err(Unavailable::NotRoot)).unwrap_err();
        assert_eq!((stays.downcast_ref(), looks.get()), (Some(&old()), 1));
    }

    #[test]
    fn what_an_update_cannot_help_is_not_updated() {
        let fails = || -> Result<()> { anyhow::bail!("no compiler") };
        assert!(updated(fails, || panic!("updated for nothing")).is_err());
        assert!(updated(|| Ok(()), || panic!("updated for nothing")).is_ok());
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        let remedies = [
            (Unavailable::NoSources, "rustup component add rust-src"),
            (Unavailable::NotRoot, "apt-get install rustc-web rust-web-src"),
            (Unavailable::Install { why: "Unable to locate package rustc-web".into() }, "Unable to locate"),
            (Unavailable::NoRuntime { folder: "lib".into() }, "rustup"),
            (Unavailable::Old { found: "1.85.0".into(), needed: "1.95".into() }, "apt-get update"),
        ];
        for (unavailable, remedy) in remedies {
            assert!(unavailable.to_string().contains(remedy), "{unavailable}");
        }
        let refused = Compiler::find(Sanitizer::Thread, "aarch64-apple-darwin").err();
        let refused = refused.and_then(|error| error.downcast::<Unavailable>().ok());
        assert_eq!(refused, Some(Unavailable::Platform { host: "aarch64-apple-darwin".into() }));
    }
}
