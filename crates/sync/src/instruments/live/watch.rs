//! A thread that looks at the instruments from time to time and says why it hangs.

use super::diagnosis::{Diagnosis, diagnose};
use super::shared::Shared;
use crate::error::{SpawnError, discard};
use crate::kind::Kind;
use crate::latch::{Latch, Ticket};
use crate::shim::Arc;
use crate::thread::OwnedThread;
use crate::watchdog::pause;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// A watch over all registered threads, see [`Instruments::watch`](super::Instruments::watch). Dropping it ends the
/// watch, at once unless a report is being made just then.
pub struct Watch {
    /// Dropped to end the watch.
    leash: Option<Ticket>,
    thread: Option<OwnedThread<()>>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("thread", &self.thread).finish_non_exhaustive()
    }
}

impl Watch {
    #[track_caller]
    pub(super) fn start(
        shared: Arc<Shared>,
        deadline: Duration,
        on_report: impl Fn(&Diagnosis) + Send + 'static,
    ) -> Result<Self, SpawnError> {
        let (cut, mut leash) = Latch::of(Kind::Sleep, 1);
        let pause = pause(deadline);
        let thread = OwnedThread::spawn("selvedge-waits", move || {
            // Waits already reported, by thread and beat.
            let mut reported: Vec<(usize, u64)> = Vec::new();
            while !cut.wait_timeout(pause) {
                let found = diagnose(&shared, deadline);
                let waits: Vec<_> =
                    found.iter().flat_map(|found| &found.stuck).map(|one| (one.thread, one.beat)).collect();
                let news = waits.iter().any(|wait| !reported.contains(wait));
                reported = waits;
                if let Some(found) = found.filter(|_| news) {
                    // The report is the user's; what it throws must not end the watch.
                    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| on_report(&found))) {
                        discard(payload);
                    }
                }
            }
        })?;
        Ok(Self { leash: leash.pop(), thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.leash.take();
        // Joins.
        self.thread.take();
    }
}
