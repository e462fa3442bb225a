//! A lock for many readers or one writer, with a rank.
#![expect(unsafe_code, reason = "lending the value to those who hold permits")]

use super::held::{Holding, Refusal, hold};
use super::rank::Rank;
use crate::semaphore::{Permit, Semaphore};
use crate::shim::{UnsafeCell, planted};
use crate::spin;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// Readers at once; a writer takes the permits of all.
const READERS: usize = u32::MAX as usize;

/// A value that many threads may read, or one may write, with a place in the order of locks; see
/// [the module](crate::lock).
///
/// Fair: whoever has to wait is served in the order of coming. Readers that wait together are let in together; a reader
/// that comes while a writer waits goes behind it. So neither can starve the other, and a writer waits at most for those
/// who were there before it.
///
/// It is a [`Semaphore`](crate::Semaphore) of which a reader takes one permit and a writer all.
pub struct RwLock<T, R> {
    permits: Semaphore,
    value: UnsafeCell<T>,
    rank: PhantomData<fn() -> R>,
}

// SAFETY: the value is reached through guards alone. Those of readers hold a permit and share it, for which `T: Sync`;
// that of a writer holds all of them and has it alone, for which `T: Send`.
unsafe impl<T: Send + Sync, R> Sync for RwLock<T, R> {}

/// Shared access to what a [`RwLock`] guards; dropping it lets a writer in.
#[must_use = "dropping the guard releases the lock"]
pub struct RwLockReadGuard<'a, T, R> {
    lock: &'a RwLock<T, R>,
    // Dropped in this order.
    _permit: Permit<'a>,
    _holding: Holding,
}

/// Access to what a [`RwLock`] guards; dropping it lets others in.
#[must_use = "dropping the guard releases the lock"]
pub struct RwLockWriteGuard<'a, T, R> {
    lock: &'a RwLock<T, R>,
    // Dropped in this order.
    _permit: Permit<'a>,
    _holding: Holding,
}

impl<T, R: Rank> RwLock<T, R> {
    /// A lock that nobody holds.
    #[track_caller]
    pub fn new(value: T) -> Self {
        Self::with_spin(value, spin::budget(spin::cores()))
    }

    #[track_caller]
    pub(crate) fn with_spin(value: T, spin: Duration) -> Self {
        Self { permits: Semaphore::for_lock(READERS, spin), value: UnsafeCell::new(value), rank: PhantomData }
    }

    /// Takes the lock for reading, waiting for it.
    ///
    /// # Panics
    ///
    /// When this thread holds a lock of this rank or a higher one, before any waiting: also when it reads this one
    /// already. The message names both and where they were taken.
    #[inline]
    #[track_caller]
    pub fn read(&self) -> RwLockReadGuard<'_, T, R> {
        match self.ranked_read() {
            Ok(guard) => guard,
            Err(refusal) => panic!("{refusal}"),
        }
    }

    /// Takes the lock for writing, waiting for it.
    ///
    /// # Panics
    ///
    /// As [`RwLock::read`].
    #[inline]
    #[track_caller]
    pub fn write(&self) -> RwLockWriteGuard<'_, T, R> {
        match self.ranked_write() {
            Ok(guard) => guard,
            Err(refusal) => panic!("{refusal}"),
        }
    }

    /// The value, for who has the lock alone.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.with_mut(|value| {
            // SAFETY: the exclusive borrow says that there is no guard.
            unsafe { &mut *value }
        })
    }

    #[inline]
    #[track_caller]
    pub(crate) fn ranked_read(&self) -> Result<RwLockReadGuard<'_, T, R>, Box<Refusal>> {
        let holding = hold::<R>(std::ptr::from_ref(self).addr())?;
        Ok(RwLockReadGuard { lock: self, _permit: self.permit(1), _holding: holding })
    }

    #[inline]
    #[track_caller]
    pub(crate) fn ranked_write(&self) -> Result<RwLockWriteGuard<'_, T, R>, Box<Refusal>> {
        let holding = hold::<R>(std::ptr::from_ref(self).addr())?;
        let permits = if planted!("rwlock_write_shared") { 1 } else { READERS };
        Ok(RwLockWriteGuard { lock: self, _permit: self.permit(permits), _holding: holding })
    }

    #[inline]
    fn permit(&self, count: usize) -> Permit<'_> {
        self.permits.acquire(count).expect("the lock is never closed, and has as many permits")
    }
}

impl<T, R> Deref for RwLockReadGuard<'_, T, R> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.lock.value.with(|value| {
            // SAFETY: the guard holds a permit, so nobody holds all of them to write.
            unsafe { &*value }
        })
    }
}

impl<T, R> Deref for RwLockWriteGuard<'_, T, R> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.lock.value.with(|value| {
            // SAFETY: the guard holds all permits, so nobody else has access.
            unsafe { &*value }
        })
    }
}

impl<T, R> DerefMut for RwLockWriteGuard<'_, T, R> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.lock.value.with_mut(|value| {
            // SAFETY: as in `deref`, and the guard itself is borrowed exclusively.
            unsafe { &mut *value }
        })
    }
}

impl<T, R: Rank> fmt::Debug for RwLock<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock").field("rank", &R::NAME).finish_non_exhaustive()
    }
}

impl<T: fmt::Debug, R> fmt::Debug for RwLockReadGuard<'_, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: fmt::Debug, R> fmt::Debug for RwLockWriteGuard<'_, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
