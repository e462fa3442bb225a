//! What a thread can wait for.

/// What is waited for, held or computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[cfg_attr(
    any(not(feature = "instruments"), loom, shuttle),
    allow(dead_code, unreachable_pub, reason = "the probes that tell them apart are not built")
)]
pub enum Kind {
    /// A parallel region, named by the call that opened it.
    Region,
    /// A team's next region, for which its workers idle; named by the call that built the team.
    Team,
    /// A lock, named by the call that built it, as are all below.
    Mutex,
    /// A lock for many readers or one writer.
    RwLock,
    /// A barrier.
    Barrier,
    /// A latch.
    Latch,
    /// A condition.
    Condition,
    /// Permits of a semaphore.
    Semaphore,
    /// Items in a channel or queue, or room for them.
    Channel,
    /// Buffers of a pool.
    Pool,
    /// The end of a thread.
    Thread,
    /// A sleep that others may end early.
    Sleep,
    /// A phase of a thread's work, named by the thread.
    Phase,
    /// Something outside of this crate, named by the thread that waits for it.
    Outside,
}

#[cfg(all(feature = "instruments", not(any(loom, shuttle))))]
impl Kind {
    /// Nobody owes what such a wait is for: it is rest, not a wait.
    pub(crate) fn is_rest(self) -> bool {
        matches!(self, Kind::Team | Kind::Sleep | Kind::Outside)
    }

    /// Such a wait, or rest, is for a thread: it counts in the wait matrix.
    pub(crate) fn is_owed(self) -> bool {
        self == Kind::Team || !self.is_rest()
    }

    /// Held by one thread against others: its order matters.
    pub(crate) fn is_lock(self) -> bool {
        matches!(self, Kind::Mutex | Kind::RwLock)
    }

    /// Any one of several holders can end the wait.
    pub(crate) fn any_ends(self) -> bool {
        matches!(self, Kind::Semaphore | Kind::Pool | Kind::Condition | Kind::Channel)
    }

    /// One thread is at each end of it.
    pub(crate) fn has_ends(self) -> bool {
        matches!(self, Kind::Channel)
    }

    /// How reports call it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Region => "region",
            Kind::Team => "next region of team",
            Kind::Mutex => "mutex",
            Kind::RwLock => "rwlock",
            Kind::Barrier => "barrier",
            Kind::Latch => "latch",
            Kind::Condition => "condition",
            Kind::Semaphore => "semaphore",
            Kind::Channel => "channel",
            Kind::Pool => "pool",
            Kind::Thread => "end of thread",
            Kind::Sleep => "sleep",
            Kind::Phase => "phase",
            Kind::Outside => "outside",
        }
    }
}
