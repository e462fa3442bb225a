//! A proof, passed along a thread, of which ranks it may still take.

use super::mutex::{Mutex, MutexGuard};
use super::rank::{Above, Ground};
use super::rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::fmt;
use std::marker::PhantomData;

/// Permission to take locks above rank `R`, checked when the program is compiled.
///
/// A thread begins with one key, for all ranks. Taking a lock gives the guard and a key for the ranks above; until the
/// guard and that key are gone, the key that was used cannot be used again. A function that takes locks says in its
/// arguments what its callers may hold:
///
/// ```
/// use selvedge_sync::lock::{Key, Mutex};
///
/// selvedge_sync::lock_ranks! { Registry, Sink }
///
/// /// May be called with the registry held.
/// fn write(key: &mut Key<'_, Registry>, sink: &Mutex<String, Sink>, name: &str) {
///     key.lock(sink).0.push_str(name);
/// }
///
/// let (registry, sink) = (Mutex::<_, Registry>::new(["a", "b"]), Mutex::<_, Sink>::new(String::new()));
/// let mut key = Key::new();
/// let (names, mut key) = key.lock(&registry);
/// names.iter().for_each(|name| write(&mut key, &sink, name));
/// # drop(names);
/// # assert_eq!(*sink.lock(), "ab");
/// ```
///
/// ```compile_fail,E0277
/// # use selvedge_sync::lock::{Key, Mutex};
/// # selvedge_sync::lock_ranks! { Registry, Sink }
/// # let (registry, sink) = (Mutex::<_, Registry>::new(["a", "b"]), Mutex::<_, Sink>::new(String::new()));
/// let mut key = Key::new();
/// let (sink, mut key) = key.lock(&sink);
/// // error: a lock of rank `Registry` cannot be taken while one of rank `Sink` is held
/// let (names, _) = key.lock(&registry);
/// ```
///
/// A second new key on a thread would permit what the first does not. That is still found when it runs.
pub struct Key<'k, R = Ground> {
    /// Borrows the key it comes from, and stays on its thread.
    from: PhantomData<(&'k mut (), *const ())>,
    rank: PhantomData<fn() -> R>,
}

impl Key<'_> {
    /// The key of a thread that holds no lock.
    pub fn new() -> Self {
        Key { from: PhantomData, rank: PhantomData }
    }
}

impl Default for Key<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> Key<'_, R> {
    /// Takes the mutex, waiting for it; also a key for what may be taken while it is held.
    ///
    /// # Panics
    ///
    /// As [`Mutex::lock`]: when this thread holds a lock that this key knows nothing of.
    #[track_caller]
    pub fn lock<'k, T, H: Above<R>>(
        &'k mut self,
        mutex: &'k Mutex<T, H>,
    ) -> (MutexGuard<'k, T, H>, Key<'k, H>) {
        (mutex.lock(), Key { from: PhantomData, rank: PhantomData })
    }

    /// As [`Key::lock`], for reading.
    ///
    /// # Panics
    ///
    /// As [`RwLock::read`]: when this thread holds a lock that this key knows nothing of.
    #[track_caller]
    pub fn read<'k, T, H: Above<R>>(
        &'k mut self,
        lock: &'k RwLock<T, H>,
    ) -> (RwLockReadGuard<'k, T, H>, Key<'k, H>) {
        (lock.read(), Key { from: PhantomData, rank: PhantomData })
    }

    /// As [`Key::lock`], for writing.
    ///
    /// # Panics
    ///
    /// As [`RwLock::write`]: when this thread holds a lock that this key knows nothing of.
    #[track_caller]
    pub fn write<'k, T, H: Above<R>>(
        &'k mut self,
        lock: &'k RwLock<T, H>,
    ) -> (RwLockWriteGuard<'k, T, H>, Key<'k, H>) {
        (lock.write(), Key { from: PhantomData, rank: PhantomData })
    }
}

impl<R> fmt::Debug for Key<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}
