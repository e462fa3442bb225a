//! The ledger: every thread with its name, where it was spawned, and what it is doing.

use super::diagnosis::Whereabouts;
use super::shared::Shared;
use crate::instruments::place::Place;
use std::error::Error;
use std::fmt;

/// A thread of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name; of several threads of one name all but the first have a number.
    pub name: String,
    /// Where it was spawned, or registered.
    pub spawned: Place,
    /// What it is doing.
    pub whereabouts: Whereabouts,
}

/// Threads are still registered that were to be gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadsLeft {
    /// The threads.
    pub left: Vec<Entry>,
}

impl fmt::Display for ThreadsLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("threads left: ")?;
        for (at, Entry { name, spawned, whereabouts }) in self.left.iter().enumerate() {
            let comma = if at == 0 { "" } else { "; " };
            write!(f, "{comma}{name} (spawned at {spawned}), {whereabouts}")?;
        }
        Ok(())
    }
}

impl Error for ThreadsLeft {}

/// Names of all seats taken, those of several threads told apart by numbers.
pub(super) fn names(shared: &Shared) -> Vec<(String, Place)> {
    let mut names: Vec<(String, Place)> = Vec::new();
    // Up to a seat that is just being taken.
    for (role, _) in (0..shared.seats.count()).map_while(|seat| shared.seats.get(seat)) {
        let mut name = role.name.clone();
        let mut number = 1;
        while names.iter().any(|(other, _)| *other == name) {
            number += 1;
            name = format!("{} ({number})", role.name);
        }
        names.push((name, role.spawned));
    }
    names
}

pub(super) fn entries(shared: &Shared) -> Vec<Entry> {
    let now = shared.now();
    let whereabouts = |seat| Whereabouts::of(shared, seat, now);
    let entry = |(seat, (name, spawned))| Entry { name, spawned, whereabouts: whereabouts(seat) };
    names(shared).into_iter().enumerate().map(entry).collect()
}

pub(super) fn finish(shared: &Shared) -> Result<(), ThreadsLeft> {
    let entries = entries(shared).into_iter().enumerate();
    let left: Vec<Entry> =
        entries.filter(|(seat, _)| !shared.seats.has_left(*seat)).map(|(_, entry)| entry).collect();
    if left.is_empty() { Ok(()) } else { Err(ThreadsLeft { left }) }
}
