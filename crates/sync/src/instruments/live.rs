//! The instruments themselves.

mod book;
mod cursor;
mod diagnosis;
mod event;
mod histogram;
mod ledger;
mod lock_order;
pub(crate) mod me;
mod report;
pub(crate) mod shared;
pub(crate) mod site;
#[cfg(test)]
mod tests;
mod watch;

pub use crate::kind::Kind;
pub use cursor::Cursor;
pub use diagnosis::{Cycle, Diagnosis, Doing, Missing, Stuck, Whereabouts};
pub use event::{Activity, Event};
pub use histogram::Histogram;
pub use ledger::{Entry, ThreadsLeft};
pub use lock_order::LockOrder;
pub use report::{Dropped, Report, SiteReport, ThreadReport};
pub use site::Site;
pub use watch::Watch;

use super::place::Place;
use super::seats::Role;
use crate::probe;
use crate::shim::Arc;
use shared::Shared;
use std::panic::Location;
use std::time::Duration;

/// How much instruments hold at most. All memory of a thread is taken when it is registered: about 1 kB a site and
/// 32 bytes an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstrumentSettings {
    /// Threads, told apart by name and place of spawning. Those beyond are not seen.
    pub threads: usize,
    /// Places that are told apart, at most 2048, rounded up to a power of two. All beyond count as one.
    pub sites: usize,
    /// Events that a thread keeps: the last ones.
    pub events: usize,
    /// Spans of time shorter than this are counted, but are no events.
    pub shortest: Duration,
}

impl Default for InstrumentSettings {
    /// 64 threads, 256 sites, 4096 events of any length.
    fn default() -> Self {
        Self { threads: 64, sites: 256, events: 4096, shortest: Duration::ZERO }
    }
}

/// The instruments; clones are the same ones. See the [module](crate::instruments).
#[derive(Clone, Debug)]
pub struct Instruments {
    shared: Arc<Shared>,
}

impl Instruments {
    /// Instruments that nobody has entered.
    ///
    /// # Panics
    ///
    /// When `threads` is beyond 65534.
    pub fn new(settings: InstrumentSettings) -> Self {
        let InstrumentSettings { threads, sites, events, shortest } = settings;
        assert!(threads <= 0xFFFE, "instruments for {threads} threads, at most 65534 are possible");
        let shortest = u64::try_from(shortest.as_nanos()).unwrap_or(u64::MAX);
        Self { shared: Arc::new(Shared::new(threads, sites, events, shortest)) }
    }

    /// Registers the calling thread under a name, until the result is dropped; and every thread started meanwhile by
    /// this one, or by one so started, under its own name. Without effect when there is no seat left, which the
    /// [report](Report::dropped) says.
    #[track_caller]
    pub fn enter(&self, name: &str) -> Entered {
        let at = Location::caller();
        let role = Role { name: name.to_owned(), spawned: Place { file: at.file(), line: at.line() } };
        Entered { _registered: probe::enter(&self.shared, &role) }
    }

    /// What has been written down so far.
    pub fn report(&self) -> Report {
        Report::of(&self.shared)
    }

    /// Time since the instruments were made: what the times of events count from.
    pub fn age(&self) -> Duration {
        Duration::from_nanos(self.shared.now())
    }

    /// Every thread that is or was registered.
    pub fn ledger(&self) -> Vec<Entry> {
        ledger::entries(&self.shared)
    }

    /// Checks that every registered thread has ended. One that has been spawned and has not begun to run is not yet
    /// registered, so not seen.
    ///
    /// # Errors
    ///
    /// [`ThreadsLeft`] naming those that have not, by name and place of spawning.
    pub fn finish(&self) -> Result<(), ThreadsLeft> {
        ledger::finish(&self.shared)
    }

    /// A reader of events, which begins with the oldest that are kept.
    pub fn cursor(&self) -> Cursor {
        Cursor::new(Arc::clone(&self.shared))
    }

    /// Which threads have waited for longer than `deadline`, for what, and who keeps them waiting; `None` when there is
    /// no such thread.
    ///
    /// Reads atomics alone, and looks twice: whatever it names has held still in between.
    pub fn diagnose(&self, deadline: Duration) -> Option<Diagnosis> {
        diagnosis::diagnose(&self.shared, deadline)
    }

    /// Starts a thread that [diagnoses](Instruments::diagnose) from time to time and hands over what it finds, each
    /// wait once. It looks every quarter of the deadline (a second, for long ones).
    ///
    /// # Errors
    ///
    /// [`SpawnError`](crate::SpawnError) when the thread cannot be started.
    #[track_caller]
    pub fn watch(
        &self,
        deadline: Duration,
        on_report: impl Fn(&Diagnosis) + Send + 'static,
    ) -> Result<Watch, crate::SpawnError> {
        Watch::start(Arc::clone(&self.shared), deadline, on_report)
    }
}

/// The calling thread's registration; dropped when it is to be seen no longer.
#[derive(Debug)]
#[must_use = "the thread is registered for as long as this lives"]
pub struct Entered {
    _registered: probe::Registered,
}
