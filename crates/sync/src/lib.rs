//! Concurrency primitives for training and serving, each proven by loom.
//!
#![doc = include_str!("../README.md")]

mod atomic_f32;
mod barrier;
mod cancel;
mod error;
mod event_count;
#[cfg(any(all(feature = "instruments", not(any(loom, shuttle))), all(test, loom)))]
pub mod instruments;
mod kind;
mod latch;
pub mod lock;
mod mark;
pub mod mpmc;
mod parts;
mod pipeline;
mod pool;
mod probe;
mod process;
mod reduce;
mod semaphore;
mod shim;
mod snapshot;
mod spin;
pub mod spsc;
mod stack;
mod team;
mod thread;
mod watchdog;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, shuttle))]
mod shuttle_tests;

pub use atomic_f32::AtomicF32;
pub use barrier::{Barrier, BarrierError, Crossing, Party};
pub use cancel::CancelToken;
pub use error::{ReduceError, RegionError, ShutdownError, SpawnError, TeamError, ThreadPanicked};
pub use event_count::EventCount;
pub use latch::{Latch, Ticket};
pub use mark::{Phase, Resting, phase, resting};
pub use parts::{Chunks, Items, Parts, chunks, items};
pub use pipeline::{Receiver, RecvError, SendError, Sender, TrySendError, bounded};
pub use pool::{Lease, OwnedLease, Pool};
pub use reduce::{Reduction, tree_reduce};
pub use semaphore::{AcquireError, Permit, Semaphore};
pub use snapshot::{Guard, Reader, Snapshot, Version};
pub use stack::Stack;
pub use team::Team;
pub use thread::{Joined, OwnedThread};
pub use watchdog::{Pulse, StallReport, Watchdog};
