//! Places in the source where threads wait, hold and compute, numbered on first sight.

use crate::instruments::place::Place;
use crate::kind::Kind;
use crate::shim::{AtomicU64, OnceLock, Ordering};
use std::fmt;
use std::panic::Location;

/// A place where threads wait, hold or compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Site {
    /// What is there.
    pub kind: Kind,
    /// Its name, of a phase or of something outside.
    pub name: Option<&'static str>,
    /// Where it is; of a phase, where it is entered. `None` for the sites for which there was no room.
    pub place: Option<Place>,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name, self.place) {
            (Some(name), _) => write!(f, "{} {name:?}", self.kind.word()),
            (None, Some(place)) => write!(f, "{} at {place}", self.kind.word()),
            (None, None) => write!(f, "{} somewhere", self.kind.word()),
        }
    }
}

/// What is there, as the thread that comes upon it knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label {
    pub(crate) kind: Kind,
    pub(crate) name: Option<&'static str>,
    pub(crate) location: &'static Location<'static>,
}

impl Label {
    /// Equal for the same label; labels that differ in it may still be the same site.
    fn is(&self, other: &Label) -> bool {
        self.kind == other.kind
            && match (self.name, other.name) {
                (Some(a), Some(b)) => std::ptr::eq(a, b),
                (None, None) => std::ptr::eq(self.location, other.location),
                _ => false,
            }
    }

    fn hash(&self) -> usize {
        let at = self.name.map_or(std::ptr::from_ref(self.location).addr(), |name| name.as_ptr().addr());
        ((at >> 3) + self.kind as usize).wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as usize) >> 32
    }
}

/// The table of sites: of a fixed size, filled by whoever comes first, never emptied.
#[derive(Debug)]
pub(crate) struct Sites {
    table: Box<[OnceLock<Label>]>,
    /// Times that a site found no room.
    refused: AtomicU64,
}

/// Most sites: a number fits in twelve bits, with one to spare.
pub(crate) const MOST_SITES: usize = 1 << 11;

impl Sites {
    pub(crate) fn new(count: usize) -> Self {
        let count = count.clamp(16, MOST_SITES).next_power_of_two();
        Self { table: (0..count).map(|_| OnceLock::new()).collect(), refused: AtomicU64::new(0) }
    }

    /// Numbers there are; one more stands for all sites beyond.
    pub(crate) fn count(&self) -> usize {
        self.table.len()
    }

    /// The number of the site.
    pub(crate) fn number(&self, label: Label) -> usize {
        let (start, mask) = (label.hash(), self.table.len() - 1);
        for step in 0..self.table.len() {
            let at = (start + step) & mask;
            if self.table[at].get_or_init(|| label).is(&label) {
                return at;
            }
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.table.len()
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The site of a number; of one that has none, the site that stands for all others.
    pub(crate) fn site(&self, number: usize) -> Site {
        self.get(number).unwrap_or(Site { kind: Kind::Outside, name: Some("all other places"), place: None })
    }

    /// The site of a number, or `None` where there is none.
    pub(crate) fn get(&self, number: usize) -> Option<Site> {
        let Label { kind, name, location } = *self.table.get(number)?.get()?;
        Some(Site { kind, name, place: Some(Place { file: location.file(), line: location.line() }) })
    }
}
