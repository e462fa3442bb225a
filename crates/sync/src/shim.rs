//! The only door to atomics, locks and threads: std's in a normal build, loom's under `cfg(loom)`, shuttle's under
//! `cfg(shuttle)`.
//!
//! Everything the crate synchronizes with passes through here, so that the model checker sees all of it. The
//! macros at the end plant the mutants of `mutants.txt`: broken variants that a loom model must catch.

#[cfg(not(loom))]
mod cell;
#[cfg(loom)]
mod loom;
#[cfg(any(loom, shuttle))]
mod once;
#[cfg(shuttle)]
mod shuttle;
#[cfg(not(any(loom, shuttle)))]
mod std;

#[cfg(loom)]
pub(crate) use self::loom::*;
#[cfg(shuttle)]
pub(crate) use self::shuttle::*;
#[cfg(not(any(loom, shuttle)))]
pub(crate) use self::std::*;

use ::std::sync::{PoisonError, TryLockError};
use ::std::time::{Duration, Instant};

/// Locks, whatever happened to an earlier holder: no code of a user ever runs under a lock of this crate, so a
/// poisoned lock guards nothing half-done.
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As [`lock`], if that needs no wait.
#[inline]
pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Waits until `blocked` says no; the predicate is the guarded state itself, re-read after every wake-up.
pub(crate) fn wait_while<'a, T>(
    condvar: &Condvar,
    mut guard: MutexGuard<'a, T>,
    mut blocked: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    while blocked(&mut guard) {
        guard = condvar.wait(guard).unwrap_or_else(PoisonError::into_inner);
    }
    guard
}

/// As [`wait_while`], until `deadline` at most; the caller re-reads the guarded state to see which it was.
///
/// The clock of loom and shuttle never moves, so there this waits for the notification alone and a lost one shows as
/// a deadlock.
pub(crate) fn wait_while_until<'a, T>(
    condvar: &Condvar,
    mut guard: MutexGuard<'a, T>,
    deadline: Option<Instant>,
    mut blocked: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    while blocked(&mut guard) {
        let Some(left) = remaining(deadline) else { break };
        guard = condvar.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
    }
    guard
}

/// As [`wait_while_until`], for a wait that is to end by its deadline as a rule: under a model checker others get on
/// first, and then the time is up.
pub(crate) fn pause_until<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    deadline: Option<Instant>,
    blocked: impl FnMut(&mut T) -> bool,
) -> Option<MutexGuard<'a, T>> {
    if cfg!(any(loom, shuttle)) {
        drop(guard);
        yield_now();
        return None;
    }
    Some(wait_while_until(condvar, guard, deadline, blocked))
}

/// The instant `after` from now, or `None` when it lies beyond what the clock can hold: wait without end.
pub(crate) fn deadline(after: Duration) -> Option<Instant> {
    Instant::now().checked_add(after)
}

/// Time left before `deadline`: `None` once it has passed.
pub(crate) fn remaining(deadline: Option<Instant>) -> Option<Duration> {
    match deadline {
        None => Some(Duration::from_secs(3600)),
        Some(at) => at.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()),
    }
}

/// Keeps a value on cache lines of its own (two of 64 bytes: the adjacent-line prefetcher pairs them).
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Line<T>(pub(crate) T);

impl<T> ::std::ops::Deref for Line<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Whether the mutant of this name is planted: by `--cfg mutant="name"`, or in a build of the models by the environment
/// variable `SELVEDGE_MUTANT`, which needs no build of its own.
macro_rules! planted {
    ($name:literal) => {
        cfg!(mutant = $name) || $crate::shim::chosen($name)
    };
}

/// `weaken!("name", Release)`: the ordering, or `Relaxed` when that mutant is planted.
macro_rules! weaken {
    ($name:literal, $ordering:ident) => {
        if $crate::shim::planted!($name) {
            $crate::shim::Ordering::Relaxed
        } else {
            $crate::shim::Ordering::$ordering
        }
    };
}

/// `keep!("name")`: true, or false when the mutant that leaves this step out is planted.
macro_rules! keep {
    ($name:literal) => {
        !$crate::shim::planted!($name)
    };
}

/// `in_order!("name", first, then)`: both, in this order, or swapped when that mutant is planted.
macro_rules! in_order {
    ($name:literal, $first:expr, $then:expr) => {
        if $crate::shim::planted!($name) {
            $then;
            $first;
        } else {
            $first;
            $then;
        }
    };
}

pub(crate) use {in_order, keep, planted, weaken};

/// Whether the environment of a model's process plants this mutant.
#[cfg(test)]
pub(crate) fn chosen(name: &str) -> bool {
    static MUTANT: ::std::sync::OnceLock<Option<String>> = ::std::sync::OnceLock::new();
    MUTANT.get_or_init(|| ::std::env::var("SELVEDGE_MUTANT").ok()).as_deref() == Some(name)
}

#[cfg(not(test))]
pub(crate) const fn chosen(_: &str) -> bool {
    false
}
