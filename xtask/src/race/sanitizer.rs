//! The sanitizers: their names, and how they are told to run.

use std::path::Path;

/// A detector that the compiler builds into a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sanitizer {
    Thread,
    Address,
    Leak,
}

/// The exit code of a program with a report: no test program ends with it by itself.
const EXIT: u8 = 66;

impl Sanitizer {
    pub(super) const ALL: [Self; 3] = [Self::Thread, Self::Address, Self::Leak];
    /// Those of a smoke run. AddressSanitizer finds leaks too.
    pub(super) const SMOKE: &[Self] = &[Self::Thread, Self::Address];

    /// The compiler's word for it, and the value of `cfg(sanitizer)`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Thread => "thread",
            Self::Address => "address",
            Self::Leak => "leak",
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Thread => "ThreadSanitizer",
            Self::Address => "AddressSanitizer",
            Self::Leak => "LeakSanitizer",
        }
    }

    /// Its part of the target folder, which is also the short name in its run-time library's.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Thread => "tsan",
            Self::Address => "asan",
            Self::Leak => "lsan",
        }
    }

    /// The environment of a program that reports to files beginning with `reports`, its children too. All three
    /// variables are set, so that none can bring suppressions from outside.
    pub(super) fn options(self, reports: &Path) -> Vec<(&'static str, String)> {
        let more = match self {
            // A fork is tested, and its child starts a team of its own.
            Self::Thread => ":die_after_fork=0:history_size=7:second_deadlock_stack=1",
            Self::Address => ":detect_leaks=1:detect_stack_use_after_return=1",
            Self::Leak => "",
        };
        let options = format!("log_path='{}':exitcode={EXIT}{more}", reports.display());
        ["TSAN_OPTIONS", "ASAN_OPTIONS", "LSAN_OPTIONS"].map(|name| (name, options.clone())).into()
    }
}
