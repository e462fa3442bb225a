//! What a thread says of itself, for instruments to show.

use crate::probe;
use std::marker::PhantomData;
use std::panic::Location;

/// A phase of the calling thread's work, see [`phase`].
#[derive(Debug)]
#[must_use = "the phase ends when this is dropped"]
pub struct Phase {
    _phase: probe::Phase,
    /// Of this thread alone.
    _here: PhantomData<*const ()>,
}

/// Says that the calling thread is in this phase of its work until the result is dropped. Phases may be nested, and
/// end in the reverse order. Reports and traces show them; without the feature `instruments` it does nothing.
///
/// ```
/// let _phase = selvedge_sync::phase("read shard");
/// ```
#[track_caller]
pub fn phase(name: &'static str) -> Phase {
    Phase { _phase: probe::phase(name, Location::caller()), _here: PhantomData }
}

/// A rest of the calling thread, see [`resting`].
#[derive(Debug)]
#[must_use = "the rest ends when this is dropped"]
pub struct Resting {
    _rest: probe::Rest,
    /// Of this thread alone.
    _here: PhantomData<*const ()>,
}

/// Says that until the result is dropped the calling thread has nothing to do, or waits for something that is not of
/// this crate: a disk, a socket, another crate's queue. Reports and traces then do not count that as work; without
/// the feature `instruments` it does nothing.
///
/// ```
/// let (requests, inbox) = std::sync::mpsc::channel();
/// requests.send(7)?;
/// let request = {
///     let _resting = selvedge_sync::resting("a request");
///     inbox.recv()?
/// };
/// assert_eq!(request, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[track_caller]
pub fn resting(name: &'static str) -> Resting {
    Resting { _rest: probe::rest(name, Location::caller()), _here: PhantomData }
}
