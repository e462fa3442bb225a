//! Debian's packages that a command needs, installed where this process may.

use std::fmt;
use std::process::{Command, Stdio};

/// Why packages are not there.
#[derive(Debug, PartialEq)]
pub(crate) enum Error {
    /// The machine has no apt-get.
    Missing,
    /// apt-get would bring them, to root alone.
    NotRoot,
    /// apt-get did not bring them.
    Failed { why: String },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no apt-get"),
            Self::NotRoot => f.write_str("apt-get installs for root alone"),
            Self::Failed { why } => write!(f, "apt-get failed: {why}"),
        }
    }
}

impl std::error::Error for Error {}

/// What apt-get is to do.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Step {
    /// Fetch the list of packages. Should it fail, the installation says why.
    Update,
    /// Install Debian's packages, or the newer ones of the list.
    Install,
}

/// Takes the steps until an installation succeeds.
pub(crate) fn install(packages: &[&str], steps: &[Step]) -> Result<(), Error> {
    let said = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        command.output()
    };
    if said("apt-get", &["--version"]).is_err() {
        return Err(Error::Missing);
    }
    let is_root = said("id", &["-u"]).is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    if !is_root {
        return Err(Error::NotRoot);
    }
    println!("installing {} with apt-get", packages.join(" and "));
    let wait = ["-o", "DPkg::Lock::Timeout=120"];
    let mut args = vec!["install", "--yes", "--no-install-recommends"];
    args.extend(packages);
    args.extend(wait);
    let mut why = String::new();
    for step in steps {
        if *step == Step::Update {
            let _ = said("apt-get", &["update", wait[0], wait[1]]);
            continue;
        }
        match said("apt-get", &args) {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr).into_owned();
                let line = text.lines().find(|line| line.starts_with("E: ")).unwrap_or("no reason given");
                why = line.trim_start_matches("E: ").to_owned();
            }
            Err(error) => why = error.to_string(),
        }
    }
    Err(Error::Failed { why })
}
