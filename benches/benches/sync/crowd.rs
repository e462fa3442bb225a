//! Threads that begin together.

use selvedge_sync::Latch;
use std::time::{Duration, Instant};

/// Starts `threads` threads, lets each prepare its work by `make`, and times the works, which begin together.
pub(crate) fn timed<W: FnOnce()>(threads: usize, make: impl Fn(usize) -> W + Sync) -> Duration {
    let (start, mut gate) = Latch::new(1);
    let (ready, tickets) = Latch::new(u32::try_from(threads).expect("few threads"));
    std::thread::scope(|scope| {
        let crowd: Vec<_> = tickets
            .into_iter()
            .enumerate()
            .map(|(at, ticket)| {
                let (make, start) = (&make, start.clone());
                scope.spawn(move || {
                    let work = make(at);
                    drop(ticket);
                    start.wait();
                    work();
                })
            })
            .collect();
        ready.wait();
        let began = Instant::now();
        drop(gate.pop());
        crowd.into_iter().for_each(|thread| thread.join().expect("no panic"));
        began.elapsed()
    })
}
