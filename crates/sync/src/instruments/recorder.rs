//! A flight recorder: the last events of one thread, kept by that thread and read by anyone.

use super::versioned::Versioned;
use crate::shim::{AtomicU64, Ordering, keep};

/// Words of one event.
pub(crate) const WORDS: usize = 3;

/// A ring of events. Its thread overwrites the oldest; a reader gets each event whole, or learns that it is gone.
#[derive(Debug)]
pub(crate) struct Recorder {
    ring: Box<[Versioned<WORDS>]>,
    /// Events written: tells readers that are far behind where to go on. What is there to read, each event says itself.
    written: AtomicU64,
}

/// What a reader finds under a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The event.
    Event([u64; WORDS]),
    /// The event has been overwritten; the oldest that may be left has this number.
    Lost(u64),
    /// The event has not been written.
    NotYet,
}

impl Recorder {
    pub(crate) fn new(events: usize) -> Self {
        Self { ring: (0..events.max(1)).map(|_| Versioned::new()).collect(), written: AtomicU64::new(0) }
    }

    /// Events written so far; for the thread that writes, exact.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Event `number`, one more than the last; for the one thread that writes.
    pub(crate) fn push(&self, number: u64, event: [u64; WORDS]) {
        self.ring[number as usize % self.ring.len()].write(number + 1, event);
        self.written.store(number + 1, Ordering::Relaxed);
    }

    /// Event `number`.
    pub(crate) fn read(&self, number: u64) -> Found {
        let len = self.ring.len() as u64;
        let oldest = || self.written().saturating_sub(len);
        match self.ring[number as usize % self.ring.len()].read() {
            Some((write, event)) if write == number + 1 || !keep!("recorder_number_unchecked") => {
                Found::Event(event)
            }
            Some((write, _)) if write > number + 1 => Found::Lost(oldest().max(number + 1)),
            // Under way: this event, or the one that takes its place.
            None if oldest() > number => Found::Lost(oldest()),
            _ => Found::NotYet,
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    fn drain(recorder: &Recorder, from: &mut u64) -> (Vec<u64>, u64) {
        let (mut got, mut lost) = (Vec::new(), 0);
        loop {
            match recorder.read(*from) {
                Found::Event([word, again, _]) => {
                    assert_eq!((word, again), (*from, !*from), "a torn event");
                    got.push(word);
                    *from += 1;
                }
                Found::Lost(next) => {
                    lost += next - *from;
                    *from = next;
                }
                Found::NotYet => return (got, lost),
            }
        }
    }

    #[test]
    fn the_last_events_are_there_and_the_others_are_counted() {
        let recorder = Recorder::new(4);
        let mut at = 0;
        assert_eq!(drain(&recorder, &mut at), (vec![], 0));
        (0..3).for_each(|n| recorder.push(n, [n, !n, 0]));
        assert_eq!(drain(&recorder, &mut at), (vec![0, 1, 2], 0));
        (3..13).for_each(|n| recorder.push(n, [n, !n, 0]));
        assert_eq!(drain(&recorder, &mut at), (vec![9, 10, 11, 12], 6));
        assert_eq!(recorder.written(), 13);
    }

    #[test]
    fn a_reader_beside_the_writer_misses_nothing_it_is_not_told_of() {
        const EVENTS: u64 = 200_000;
        let recorder = Recorder::new(64);
        std::thread::scope(|scope| {
            scope.spawn(|| (0..EVENTS).for_each(|n| recorder.push(n, [n, !n, 0])));
            let (mut at, mut seen) = (0, 0);
            while at < EVENTS {
                let (got, lost) = drain(&recorder, &mut at);
                seen += got.len() as u64 + lost;
                std::hint::spin_loop();
            }
            assert_eq!(seen, EVENTS);
        });
    }
}
