//! Threads that begin together.

use selvedge_sync::Barrier;
use std::sync::Mutex as Shelf;
use std::time::{Duration, Instant};

/// Starts `threads` threads, lets each prepare its work by `make`, and times the works, which begin together: from
/// the first begun to the last ended.
pub(crate) fn timed<W: FnOnce()>(threads: usize, make: impl Fn(usize) -> W + Sync) -> Duration {
    let (_, parties) = Barrier::new(threads);
    let parties: Vec<_> = parties.into_iter().map(|party| Shelf::new(Some(party))).collect();
    std::thread::scope(|scope| {
        let crowd: Vec<_> = parties
            .iter()
            .enumerate()
            .map(|(at, party)| {
                let make = &make;
                scope.spawn(move || {
                    let mut party = party.lock().expect("no panic").take().expect("one thread each");
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
