//! Threads that begin together.

use selvedge_sync::Barrier;
use selvedge_sync::lock::Mutex;
use std::time::{Duration, Instant};

selvedge_sync::lock_ranks! { Shelves }

/// Where a thread finds something that is to be its own.
pub(crate) struct Shelf<T>(Mutex<Option<T>, Shelves>);

impl<T> Shelf<T> {
    pub(crate) fn new(thing: T) -> Self {
        Self(Mutex::new(Some(thing)))
    }

    /// What is there. Nobody takes twice.
    pub(crate) fn take(&self) -> T {
        self.0.lock().take().expect("one thread each")
    }
}

/// Starts `threads` threads, lets each prepare its work by `make`, and times the works, which begin together: from
/// the first begun to the last ended.
pub(crate) fn timed<W: FnOnce()>(threads: usize, make: impl Fn(usize) -> W + Sync) -> Duration {
    let (_, parties) = Barrier::new(threads);
    let parties: Vec<_> = parties.into_iter().map(Shelf::new).collect();
    std::thread::scope(|scope| {
        let crowd: Vec<_> = parties
            .iter()
            .enumerate()
            .map(|(at, party)| {
                let make = &make;
                scope.spawn(move || {
                    let mut party = party.take();
                    let work = make(at);
                    party.wait().expect("all come");
                    let began = Instant::now();
                    work();
                    (began, Instant::now())
                })
            })
            .collect();
        let times: Vec<_> = crowd.into_iter().map(|thread| thread.join().expect("no panic")).collect();
        let began = times.iter().map(|time| time.0).min();
        let ended = times.iter().map(|time| time.1).max();
        began.zip(ended).map_or(Duration::ZERO, |(began, ended)| ended - began)
    })
}
