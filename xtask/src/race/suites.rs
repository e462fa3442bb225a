//! Which tests run under which sanitizer.

use crate::cargo;
use crate::race::Program;
use crate::race::sanitizer::Sanitizer;
use anyhow::{Result, bail};

/// Tests of one package.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suite {
    pub(super) package: &'static str,
    /// The package's folder, from the workspace's root.
    folder: &'static str,
    /// Its test program; all of them if none is named.
    program: Option<&'static str>,
    /// Arguments of the test program.
    args: &'static [&'static str],
    under: &'static [Sanitizer],
    smoke: bool,
}

use Sanitizer::{Address, Leak, Thread};

/// Everything that uses threads or unsafe code, as far as a few minutes go.
const SUITES: &[Suite] = &[
    Suite {
        package: "selvedge-sync",
        folder: "crates/sync",
        program: None,
        args: &[],
        under: &[Thread, Address, Leak],
        smoke: true,
    },
    Suite {
        package: "selvedge-train",
        folder: "crates/train",
        program: Some("it"),
        args: &[],
        under: &[Thread, Address, Leak],
        smoke: false,
    },
    Suite {
        package: "selvedge-train",
        folder: "crates/train",
        program: Some("loader_faults"),
        args: &[],
        under: &[Thread, Address, Leak],
        smoke: false,
    },
    // Its own tests, apart from its programs: the threads of the loader, the checkpoints and the pool.
    Suite {
        package: "selvedge-train",
        folder: "crates/train",
        program: Some("selvedge_train"),
        args: &["loader", "checkpoint::tests::writer", "pool"],
        under: &[Thread, Address, Leak],
        smoke: false,
    },
    Suite {
        package: "selvedge-tensor",
        folder: "crates/tensor",
        program: None,
        args: &[],
        under: &[Address],
        smoke: false,
    },
];

/// What runs under this sanitizer.
pub(super) fn of(sanitizer: Sanitizer, smoke: bool) -> Vec<Suite> {
    let chosen = SUITES.iter().filter(|suite| suite.under.contains(&sanitizer) && (suite.smoke || !smoke));
    chosen.copied().collect()
}

impl Suite {
    /// The suite's programs among those that were built.
    pub(super) fn programs(&self, built: &[cargo::Built]) -> Result<Vec<Program>> {
        let folder = cargo::root().join(self.folder);
        let wanted = |built: &&cargo::Built| {
            built.folder == folder
                && built.name != "planted"
                && self.program.is_none_or(|program| built.name == program)
        };
        let short = self.package.trim_start_matches("selvedge-");
        let mut programs: Vec<Program> = built
            .iter()
            .filter(wanted)
            .map(|built| Program {
                name: format!("{short}: {}", built.name),
                path: built.path.clone(),
                folder: folder.clone(),
                args: self.args.iter().map(|&arg| arg.to_owned()).collect(),
            })
            .collect();
        programs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        if programs.is_empty() {
            bail!("{} has no test program {}", self.package, self.program.unwrap_or_default());
        }
        Ok(programs)
    }
}
