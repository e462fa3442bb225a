//! The hooks that the primitives call to say who waits, for what, and who holds it.
//!
//! They do something in a normal build with the feature `instruments`, on threads that are registered with
//! [`Instruments`](crate::instruments::Instruments). Anywhere else an unregistered thread pays one look at a
//! thread-local flag; without the feature, and under loom and shuttle, all of this is nothing at all.
//!
//! ```text
//! struct Lock { probe: Object, .. }                // Object::new(Kind::Mutex), in a #[track_caller] constructor
//! if taken { let _wait = self.probe.wait(0); .. }  // around the wait alone, on the slow path
//! Guard { held: self.probe.hold(0), .. }           // dropped just before the lock is released
//! ```

#[cfg(any(not(feature = "instruments"), loom, shuttle))]
mod inert;
#[cfg(all(feature = "instruments", not(any(loom, shuttle))))]
mod live;

#[cfg(any(not(feature = "instruments"), loom, shuttle))]
pub(crate) use inert::*;
#[cfg(all(feature = "instruments", not(any(loom, shuttle))))]
pub(crate) use live::*;

pub(crate) use crate::kind::Kind;
