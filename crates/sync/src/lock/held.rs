//! Which ranks the calling thread holds.

use super::Rank;
use crate::shim::{keep, thread_local};
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::MutexGuard;

/// Locks that a thread can hold at once, far more than a program has any business with.
const MOST: usize = 16;

/// A rank at run time.
#[derive(Debug, PartialEq, Eq)]
struct Level {
    level: u16,
    name: &'static str,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    rank: &'static Level,
    /// Address of the lock.
    lock: usize,
    site: &'static Location<'static>,
}

/// By ascending level, for nothing else is let in.
struct Held {
    count: Cell<usize>,
    entries: [Cell<Option<Entry>>; MOST],
}

thread_local! {
    static HELD: Held =
        const { Held { count: Cell::new(0), entries: [const { Cell::new(None) }; MOST] } };
}

/// A rank that the calling thread holds until this is dropped.
#[derive(Debug)]
pub(super) struct Holding {
    level: u16,
    /// Of this thread alone, and others may look at it.
    here: PhantomData<MutexGuard<'static, ()>>,
}

/// Why a thread may not take a lock.
#[derive(Debug)]
pub(crate) struct Refusal {
    holding: Entry,
    asked: Entry,
    full: bool,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { holding, asked, full } = self;
        let Level { level, name } = holding.rank;
        if *full {
            return write!(f, "holding {MOST} locks, asked for {} at {}", asked.rank.name, asked.site);
        }
        write!(f, "lock order: holding {name} of rank {level} at {}, asked for ", holding.site)?;
        match (holding.lock == asked.lock, asked.rank) {
            (true, _) => write!(f, "it again at {}", asked.site),
            (false, Level { level, name }) => write!(f, "{name} of rank {level} at {}", asked.site),
        }
    }
}

/// Lets the calling thread take the lock at this address, once it has been seen that its rank is above all that the
/// thread holds.
#[inline]
#[track_caller]
pub(super) fn hold<R: Rank>(lock: usize) -> Result<Holding, Box<Refusal>> {
    let rank = const { &Level { level: R::LEVEL, name: R::NAME } };
    let asked = Entry { rank, lock, site: Location::caller() };
    HELD.with(|held| {
        let count = held.count.get();
        let highest = held.entries.get(count.wrapping_sub(1)).and_then(Cell::get);
        let refused = |highest: Entry| match () {
            () if !keep!("lock_order_unchecked") => false,
            () if !keep!("lock_order_equal") => highest.rank.level > rank.level,
            () => highest.rank.level >= rank.level,
        };
        match (highest, held.entries.get(count)) {
            (Some(highest), _) if refused(highest) => Err(refuse(held, highest, asked)),
            (Some(highest), None) => Err(refuse(held, highest, asked)),
            (_, entry) => {
                if let Some(entry) = entry {
                    entry.set(Some(asked));
                    held.count.set(count + 1);
                }
                Ok(Holding { level: rank.level, here: PhantomData })
            }
        }
    })
}

#[cold]
#[inline(never)]
fn refuse(held: &Held, highest: Entry, asked: Entry) -> Box<Refusal> {
    let same = held.entries.iter().filter_map(Cell::get).find(|entry| entry.lock == asked.lock);
    let full = highest.rank.level < asked.rank.level;
    Box::new(Refusal { holding: same.unwrap_or(highest), asked, full })
}

impl Drop for Holding {
    #[inline]
    fn drop(&mut self) {
        HELD.with(|held| {
            let count = held.count.get();
            let is_this =
                |entry: &Cell<Option<Entry>>| entry.get().is_some_and(|entry| entry.rank.level == self.level);
            if !keep!("lock_order_kept") {
                return;
            }
            match held.entries.get(count.wrapping_sub(1)) {
                Some(last) if is_this(last) => held.count.set(count - 1),
                _ => remove(held, is_this),
            }
        });
    }
}

/// Takes an entry out from under others.
#[cold]
#[inline(never)]
fn remove(held: &Held, is_this: impl Fn(&Cell<Option<Entry>>) -> bool) {
    let entries = &held.entries[..held.count.get()];
    if let Some(at) = entries.iter().position(is_this) {
        entries[at..].windows(2).for_each(|pair| pair[0].set(pair[1].get()));
        held.count.set(entries.len() - 1);
    }
}
