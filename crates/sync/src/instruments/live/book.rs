//! What is written down about one thread: by that thread alone, for anyone to read.

use super::histogram::Times;
use crate::instruments::recorder::Recorder;
use crate::instruments::status::{Board, Id};
use crate::shim::{AtomicU64, Ordering};

/// Most things one thread can owe at a time; further ones are counted and not known.
pub(crate) const MOST_OWED: usize = 16;

/// Times at one site.
#[derive(Debug)]
pub(crate) struct AtSite {
    pub(crate) waited: Times,
    pub(crate) held: Times,
}

/// The book of one thread.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) board: Board,
    /// What others may be waiting for this thread to do: locks it holds, regions it serves, its end. Zero is free.
    ///
    /// An entry is set by the thread and cleared by whoever ends what it stands for: the thread itself, or another to
    /// which it has given a lease, even after its own end. Each entry has one such end, so no two ever write one at the
    /// same time.
    pub(crate) owed: [AtomicU64; MOST_OWED],
    /// What it was last at the end of, or owed.
    pub(crate) last: AtomicU64,
    /// Nanoseconds it waited for the thread of each seat; the last element is for threads unknown.
    pub(crate) waited_for: Box<[AtomicU64]>,
    /// By site; the last element is for the sites that found no room.
    pub(crate) sites: Box<[AtSite]>,
    pub(crate) recorder: Recorder,
    /// One bit for every pair of sites: the second was asked for while the first was held.
    pub(crate) order: Box<[AtomicU64]>,
    /// Nanoseconds of life before the present thread of this seat, and when that came.
    pub(crate) lived: AtomicU64,
    pub(crate) came: AtomicU64,
    /// Nanoseconds of waits.
    pub(crate) waited: AtomicU64,
    /// Nanoseconds of rest.
    pub(crate) rested: AtomicU64,
    /// Times that something was owed beyond [`MOST_OWED`].
    pub(crate) owed_unknown: AtomicU64,
}

impl Book {
    pub(crate) fn new(threads: usize, sites: usize, events: usize) -> Self {
        let zeros = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            board: Board::new(),
            owed: std::array::from_fn(|_| AtomicU64::new(0)),
            last: AtomicU64::new(0),
            waited_for: zeros(threads + 1),
            sites: (0..=sites).map(|_| AtSite { waited: Times::new(), held: Times::new() }).collect(),
            recorder: Recorder::new(events),
            order: zeros((sites * sites).div_ceil(64)),
            lived: AtomicU64::new(0),
            came: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            rested: AtomicU64::new(0),
            owed_unknown: AtomicU64::new(0),
        }
    }

    /// What the thread owes.
    pub(crate) fn owes(&self) -> impl Iterator<Item = Id> {
        self.owed.iter().map(|entry| Id(entry.load(Ordering::Relaxed))).filter(|id| id.0 != 0)
    }

    /// Notes that `then` was asked for while `first` was held; for the book's thread.
    pub(crate) fn ordered(&self, sites: usize, first: u16, then: u16) {
        let (first, then) = (usize::from(first), usize::from(then));
        if first < sites && then < sites {
            let (bit, mask) = (first * sites + then, 1 << ((first * sites + then) % 64));
            let word = &self.order[bit / 64];
            let before = word.load(Ordering::Relaxed);
            if before & mask == 0 {
                word.store(before | mask, Ordering::Relaxed);
            }
        }
    }

    /// Whether it has been noted.
    pub(crate) fn is_ordered(&self, sites: usize, first: usize, then: usize) -> bool {
        let bit = first * sites + then;
        self.order[bit / 64].load(Ordering::Relaxed) >> (bit % 64) & 1 == 1
    }
}
