//! What all holders of the same instruments share.

use super::book::Book;
use super::site::Sites;
use crate::instruments::seats::{Role, Seats};
use crate::shim::{AtomicU64, Ordering};
use std::time::Instant;

/// The state behind an [`Instruments`](super::Instruments).
#[derive(Debug)]
pub(crate) struct Shared {
    epoch: Instant,
    pub(crate) seats: Seats<Book>,
    pub(crate) sites: Sites,
    events: usize,
    /// Spans shorter than this, in nanoseconds, are counted but not recorded.
    pub(crate) shortest: u64,
    /// Threads that found no seat.
    pub(crate) refused: AtomicU64,
}

impl Shared {
    pub(crate) fn new(threads: usize, sites: usize, events: usize, shortest: u64) -> Self {
        Self {
            epoch: Instant::now(),
            seats: Seats::new(threads),
            sites: Sites::new(sites),
            events,
            shortest,
            refused: AtomicU64::new(0),
        }
    }

    /// Nanoseconds since the instruments were made.
    pub(crate) fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// A seat for a thread of this role.
    pub(crate) fn take(&self, role: &Role) -> Option<usize> {
        let (threads, sites) = (self.seats.count(), self.sites.count());
        let seat = self.seats.take(role, || Book::new(threads, sites, self.events));
        if seat.is_none() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        seat
    }

    /// The book of a seat that is taken.
    pub(crate) fn book(&self, seat: usize) -> &Book {
        self.seats.get(seat).map(|(_, book)| book).expect("the seat of a registered thread")
    }

    /// Tells these instruments from others that live at the same time, almost surely, by 32 bits.
    pub(crate) fn short_tag(&self) -> u64 {
        (std::ptr::from_ref(self).addr() as u64 >> 4) & 0xFFFF_FFFF
    }

    /// Marks what threads of these instruments leave in primitives: bits above the sixteen of a seat.
    pub(crate) fn tag(&self) -> u64 {
        (std::ptr::from_ref(self).addr() as u64) << 16
    }
}
