//! Reading the flight recorders.

use super::event::{Event, Raw};
use super::shared::Shared;
use crate::instruments::recorder::Found;
use crate::shim::Arc;
use std::time::Duration;

/// A reader of events: each is handed over once, or counted as lost when its thread had no room to keep it until then.
#[derive(Debug)]
pub struct Cursor {
    shared: Arc<Shared>,
    /// Number of the next event of each thread.
    next: Vec<u64>,
    lost: u64,
}

impl Cursor {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let next = vec![0; shared.seats.count()];
        Self { shared, next, lost: 0 }
    }

    /// Hands over the events since the last call, thread by thread, each thread's in the order in which they ended.
    pub fn drain(&mut self, mut take: impl FnMut(Event)) {
        for (seat, next) in self.next.iter_mut().enumerate() {
            let Some((_, book)) = self.shared.seats.get(seat) else { continue };
            // Not beyond what is there now: a busy thread must not hold the reader.
            let end = book.recorder.written();
            while *next < end {
                match book.recorder.read(*next) {
                    Found::Event(words) => {
                        take(event(&self.shared, seat, Raw::unpack(words)));
                        *next += 1;
                    }
                    Found::Lost(after) => {
                        self.lost += after - *next;
                        *next = after;
                    }
                    Found::NotYet => break,
                }
            }
        }
    }

    /// Events that were overwritten before they were read.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

fn event(shared: &Shared, thread: usize, raw: Raw) -> Event {
    Event {
        thread,
        activity: raw.activity,
        site: shared.sites.site(usize::from(raw.site)),
        ended_by: usize::from(raw.ended_by).checked_sub(1),
        start: Duration::from_nanos(raw.start),
        length: Duration::from_nanos(raw.length),
    }
}
