//! What can go wrong, with the data that says where.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// A thread could not be started.
#[derive(Debug)]
pub struct SpawnError {
    /// The name the thread was to have.
    pub name: String,
    /// Why the system refused.
    pub source: std::io::Error,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot start thread {}: use fewer threads, or raise the process limit", self.name)
    }
}

impl Error for SpawnError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// A [`Team`](crate::Team) could not be built; no thread of it is left behind.
#[derive(Debug)]
#[non_exhaustive]
pub enum TeamError {
    /// Zero threads were asked for; the caller alone is a team of one.
    NoThreads,
    /// More threads were asked for than a team can count.
    TooManyThreads {
        /// Threads asked for.
        asked: usize,
        /// Most threads of a team, the caller included.
        most: usize,
    },
    /// A worker could not be started.
    Spawn(SpawnError),
}

impl fmt::Display for TeamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoThreads => f.write_str("a team needs at least one thread, the caller's"),
            Self::TooManyThreads { asked, most } => {
                write!(f, "a team of {asked} threads, at most {most} are possible")
            }
            Self::Spawn(source) => source.fmt(f),
        }
    }
}

impl Error for TeamError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Spawn(source) => source.source(),
            Self::NoThreads | Self::TooManyThreads { .. } => None,
        }
    }
}

/// A parallel region did not do all its tasks. The team lives on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegionError {
    /// A task panicked; tasks not begun by then were skipped.
    TaskPanicked {
        /// Index of the task; the lowest, when several panicked.
        task: usize,
        /// The panic's message.
        message: String,
    },
    /// The team was built by another process: a fork copies the team but not its threads.
    Forked {
        /// Process that built the team.
        owner: u32,
        /// Process that used it.
        user: u32,
    },
}

impl fmt::Display for RegionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TaskPanicked { task, message } => write!(f, "task {task} panicked: {message}"),
            Self::Forked { owner, user } => write!(
                f,
                "the team's threads live in process {owner}, not in its fork {user}: build a team after the fork"
            ),
        }
    }
}

impl Error for RegionError {}

/// Threads were still running when the time given to stop them was over. They have been told to stop, own all they
/// touch, and end by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShutdownError {
    /// Names of the threads still running.
    pub running: Vec<String>,
    /// Time they were given.
    pub deadline: Duration,
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "still running {:?} after being told to stop: {}", self.deadline, self.running.join(", "))
    }
}

impl Error for ShutdownError {}

/// A thread ended by a panic, so that there is no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadPanicked {
    /// Name of the thread.
    pub name: String,
    /// The panic's message.
    pub message: String,
}

impl fmt::Display for ThreadPanicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread {} panicked: {}", self.name, self.message)
    }
}

impl Error for ThreadPanicked {}

/// A [`Reduction`](crate::Reduction) was not given exactly one gradient of each shard.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReduceError {
    /// A gradient of another step.
    WrongStep {
        /// Who brought it.
        shard: usize,
        /// Step of the reduction.
        expected: u64,
        /// Step of the gradient.
        got: u64,
    },
    /// A shard that the reduction does not have.
    UnknownShard {
        /// Who brought it.
        shard: usize,
        /// Shards of the reduction; they count from zero.
        shards: usize,
    },
    /// A second gradient of the same shard.
    Doubled {
        /// Who brought it.
        shard: usize,
    },
    /// A gradient of another length than those already there.
    WrongLength {
        /// Who brought it.
        shard: usize,
        /// Elements of those already there.
        expected: usize,
        /// Its elements.
        got: usize,
    },
    /// Shards that brought nothing.
    Missing {
        /// Step of the reduction.
        step: u64,
        /// Who is missing, ascending.
        shards: Vec<usize>,
    },
    /// The team could not do the sum.
    Region(RegionError),
}

impl fmt::Display for ReduceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongStep { shard, expected, got } => {
                write!(
                    f,
                    "shard {shard} brought a gradient of step {got} to the reduction of step {expected}"
                )
            }
            Self::UnknownShard { shard, shards } => {
                write!(f, "shard {shard} in a reduction of {shards} shards, which count from 0")
            }
            Self::Doubled { shard } => write!(f, "shard {shard} brought a second gradient"),
            Self::WrongLength { shard, expected, got } => {
                write!(f, "shard {shard} brought {got} elements where the others have {expected}")
            }
            Self::Missing { step, shards } => write!(f, "step {step}: no gradient from shards {shards:?}"),
            Self::Region(source) => source.fmt(f),
        }
    }
}

impl Error for ReduceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Region(source) => source.source(),
            _ => None,
        }
    }
}

/// The text a panic was raised with, where it was raised with text.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic payload that is not text".to_owned()
    }
}

/// Drops a panic payload whose own drop may panic, with a payload whose drop may panic in turn.
pub(crate) fn discard(mut payload: Box<dyn Any + Send>) {
    /// A chain longer than this has no end.
    const MOST: usize = 64;
    for _ in 0..MOST {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(again) => payload = again,
        }
    }
    std::mem::forget(payload);
}
