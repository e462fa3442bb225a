//! A mutex with a rank.

use super::held::{Holding, Refusal, hold};
use super::rank::Rank;
use crate::probe::{self, Kind, Object};
use crate::shim;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;

/// A value that one thread at a time has access to, with a place in the order of locks; see [the module](crate::lock).
///
/// It is std's mutex, with a check of the rank in front and without poisoning.
pub struct Mutex<T, R> {
    inner: shim::Mutex<T>,
    probe: Object,
    rank: PhantomData<fn() -> R>,
}

/// Access to what a [`Mutex`] guards; dropping it releases the mutex.
#[must_use = "dropping the guard releases the mutex"]
pub struct MutexGuard<'a, T, R> {
    // Dropped in this order.
    _held: probe::Held,
    inner: shim::MutexGuard<'a, T>,
    _holding: Holding,
    rank: PhantomData<fn() -> R>,
}

impl<T, R: Rank> Mutex<T, R> {
    /// A mutex that nobody holds.
    #[inline]
    #[track_caller]
    pub fn new(value: T) -> Self {
        Self { inner: shim::Mutex::new(value), probe: Object::new(Kind::Mutex), rank: PhantomData }
    }

    /// Takes the mutex, waiting for it.
    ///
    /// # Panics
    ///
    /// When this thread holds a lock of this rank or a higher one, this one among them, before any waiting; the message
    /// names both and where they were taken. Also when it holds 16 locks.
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T, R> {
        match self.ranked() {
            Ok(guard) => guard,
            Err(refusal) => panic!("{refusal}"),
        }
    }

    /// Takes the mutex if nobody holds it.
    ///
    /// # Panics
    ///
    /// As [`Mutex::lock`]: out of order is out of order, though this could not wait.
    #[inline]
    #[track_caller]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T, R>> {
        match self.hold() {
            Ok(holding) => shim::try_lock(&self.inner).map(|inner| self.guard(inner, holding)),
            Err(refusal) => panic!("{refusal}"),
        }
    }

    /// The value, for who has the mutex alone.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.inner.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    #[track_caller]
    pub(crate) fn ranked(&self) -> Result<MutexGuard<'_, T, R>, Box<Refusal>> {
        let holding = self.hold()?;
        let inner = match shim::try_lock(&self.inner) {
            Some(inner) => inner,
            None => self.wait(),
        };
        Ok(self.guard(inner, holding))
    }

    #[cold]
    #[inline(never)]
    fn wait(&self) -> shim::MutexGuard<'_, T> {
        let _wait = self.probe.wait(0);
        shim::lock(&self.inner)
    }

    #[inline]
    #[track_caller]
    fn hold(&self) -> Result<Holding, Box<Refusal>> {
        hold::<R>(std::ptr::from_ref(self).addr())
    }

    #[inline]
    fn guard<'a>(&'a self, inner: shim::MutexGuard<'a, T>, holding: Holding) -> MutexGuard<'a, T, R> {
        MutexGuard { _held: self.probe.hold(0), inner, _holding: holding, rank: PhantomData }
    }
}

impl<T, R> Deref for MutexGuard<'_, T, R> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T, R> DerefMut for MutexGuard<'_, T, R> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T, R: Rank> fmt::Debug for Mutex<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").field("rank", &R::NAME).finish_non_exhaustive()
    }
}

impl<T: fmt::Debug, R> fmt::Debug for MutexGuard<'_, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
