//! What the flight recorders keep: finished spans of time.

use super::site::Site;
use std::time::Duration;

/// What a thread did in a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activity {
    /// Ran tasks of a region.
    Compute,
    /// Waited for another thread.
    Wait,
    /// Rested: slept, or had nothing to do.
    Rest,
    /// Held a lock or a permit.
    Hold,
    /// Was in a phase of its work.
    Phase,
}

/// A finished span of one thread's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Number of the thread, as in [`Report::threads`](super::Report::threads).
    pub thread: usize,
    /// What it did.
    pub activity: Activity,
    /// Where.
    pub site: Site,
    /// The thread that ended a wait or a rest, as far as that is known.
    pub ended_by: Option<usize>,
    /// When it began, since the instruments were made.
    pub start: Duration,
    /// How long it took.
    pub length: Duration,
}

/// As the recorder keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) activity: Activity,
    pub(crate) site: u16,
    /// Seat and one, or 0.
    pub(crate) ended_by: u16,
    pub(crate) start: u64,
    pub(crate) length: u64,
}

impl Raw {
    pub(crate) fn pack(self) -> [u64; 3] {
        let word = u64::from(self.site) << 32 | u64::from(self.ended_by) << 16 | self.activity as u64;
        [word, self.start, self.length]
    }

    pub(crate) fn unpack([word, start, length]: [u64; 3]) -> Self {
        let activity = match word & 0xFFFF {
            0 => Activity::Compute,
            1 => Activity::Wait,
            2 => Activity::Rest,
            3 => Activity::Hold,
            _ => Activity::Phase,
        };
        Self { activity, site: (word >> 32) as u16, ended_by: (word >> 16) as u16, start, length }
    }
}
