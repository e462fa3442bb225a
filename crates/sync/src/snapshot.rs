//! A value that is replaced while others read it: each reader keeps the version it began with.
#![expect(unsafe_code, reason = "a guard points into a version that its reader's mailbox keeps alive")]

mod mailbox;

use crate::shim::{Arc, Line, Mutex, keep, lock, planted};
use mailbox::{Mailbox, Versioned};
use std::fmt;
use std::ops::Deref;

/// The newest version of a value, for many readers and any number of publishers.
///
/// ```
/// use selvedge_sync::Snapshot;
///
/// let parameters = Snapshot::new(vec![0.0; 4]);
/// let mut reader = parameters.reader();
///
/// let before = reader.read();
/// assert_eq!(parameters.publish(vec![1.0; 4]), 1);
/// assert_eq!(before[0], 0.0, "a reader keeps what it began with");
/// // A request that takes longer names its version, and keeps it without holding the reader.
/// let pinned = before.keep();
/// drop(before);
///
/// assert_eq!(reader.read()[0], 1.0);
/// assert_eq!((pinned[0], pinned.version()), (0.0, 0));
/// ```
///
/// A read is one atomic addition and its end is one subtraction, both on a cache line that belongs to the reader: it
/// never waits and never retries, whatever publishers do. [`Snapshot::publish`] hands the new version to every reader in
/// turn and waits for none of them.
///
/// A version is dropped once, by whoever leaves it last: the publisher of the next one if nobody is reading it, else the
/// last reader, at the end of its read. An idle [`Reader`] keeps no old version alive. A read that begins after
/// `publish` has returned gets that version or a later one, and versions never go back.
///
/// What arc-swap does with one cell for all, by debts that a writer pays, this does with one word for each reader: all
/// that a reader and a publisher settle between them goes through that word, so that no order between different atomics
/// is ever needed.
pub struct Snapshot<T> {
    shared: Arc<Mutex<Shared<T>>>,
}

struct Shared<T> {
    latest: Arc<Versioned<T>>,
    readers: Vec<Arc<Line<Mailbox<T>>>>,
}

impl<T> Snapshot<T> {
    /// Publishes `value` as version 0.
    pub fn new(value: T) -> Self {
        let latest = Arc::new(Versioned { number: 0, value });
        Self { shared: Arc::new(Mutex::new(Shared { latest, readers: Vec::new() })) }
    }

    /// Publishes `value` and returns its version, one more than that of the value before.
    ///
    /// It takes a step for each [`Reader`], and another try of that step each time the reader begins or ends a read at
    /// that moment. The value before is dropped here if nobody uses it.
    pub fn publish(&self, value: T) -> u64 {
        let mut state = lock(&self.shared);
        let number = state.latest.number + 1;
        let latest = Arc::new(Versioned { number, value });
        let mut released = Vec::with_capacity(1 + 2 * state.readers.len());
        let posted = if keep!("snapshot_publish_after") { &latest } else { &state.latest };
        for reader in &state.readers {
            reader.post(posted, &mut released);
        }
        released.push(std::mem::replace(&mut state.latest, latest));
        // The drop of a user's value comes after the lock: it may publish or read itself.
        drop(state);
        number
    }

    /// The newest version, kept alive until the result is dropped.
    ///
    /// It takes a lock for a moment; a [`Reader`] does not.
    pub fn latest(&self) -> Version<T> {
        Version { version: Arc::clone(&lock(&self.shared).latest) }
    }

    /// A handle to read with, for one thread at a time.
    pub fn reader(&self) -> Reader<T> {
        Reader::join(&self.shared)
    }
}

impl<T: fmt::Debug> fmt::Debug for Snapshot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (latest, readers) = (self.latest(), lock(&self.shared).readers.len());
        f.debug_struct("Snapshot")
            .field("version", &latest.version())
            .field("value", &*latest)
            .field("readers", &readers)
            .finish()
    }
}

/// One reader of a [`Snapshot`], which may outlive it.
///
/// A clone is another reader. Each costs 128 bytes and a step of every publication: a thread makes one and keeps it.
pub struct Reader<T> {
    mailbox: Arc<Line<Mailbox<T>>>,
    shared: Arc<Mutex<Shared<T>>>,
}

impl<T> Reader<T> {
    fn join(shared: &Arc<Mutex<Shared<T>>>) -> Self {
        let early = planted!("snapshot_join_early").then(|| Arc::clone(&lock(shared).latest));
        let mut state = lock(shared);
        let version = early.unwrap_or_else(|| Arc::clone(&state.latest));
        let mailbox = Arc::new(Line(Mailbox::new(version)));
        state.readers.push(Arc::clone(&mailbox));
        drop(state);
        Self { mailbox, shared: Arc::clone(shared) }
    }

    /// The newest version, until the guard is dropped.
    ///
    /// The guard borrows the reader, so that a reader reads one version at a time: keep it by [`Guard::keep`] to read on.
    #[inline]
    pub fn read(&mut self) -> Guard<'_, T> {
        Guard { version: self.mailbox.pin(), mailbox: &self.mailbox }
    }
}

impl<T> Clone for Reader<T> {
    fn clone(&self) -> Self {
        Reader::join(&self.shared)
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.shared);
        // The versions in the mailbox go with this handle's own count of it, after the lock.
        state.readers.retain(|reader| !Arc::ptr_eq(reader, &self.mailbox));
    }
}

impl<T> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("mailbox", &self.mailbox).finish_non_exhaustive()
    }
}

/// The version a [`Reader`] reads, until it is dropped.
#[must_use = "the read ends when the guard is dropped"]
pub struct Guard<'a, T> {
    mailbox: &'a Mailbox<T>,
    version: *const Versioned<T>,
}

// SAFETY: a guard is a shared borrow of a version and, on its drop, may drop that version: `T: Sync` allows the first
// and `T: Send` the second on any thread. The mailbox's word may be left from any thread.
unsafe impl<T: Send + Sync> Send for Guard<'_, T> {}
// SAFETY: a shared guard gives out shared borrows of the version, and clones of its `Arc`.
unsafe impl<T: Send + Sync> Sync for Guard<'_, T> {}

impl<T> Guard<'_, T> {
    /// The version's number: 0 for the value the snapshot began with, and one more for each published since.
    pub fn version(&self) -> u64 {
        self.versioned().number
    }

    /// The same version, kept alive beyond this read.
    pub fn keep(&self) -> Version<T> {
        // SAFETY: the pointer is of `Arc::into_raw`, and the mailbox owns a count of it until the guard is dropped.
        unsafe { Arc::increment_strong_count(self.version) };
        // SAFETY: that count, just added, is the one this takes.
        Version { version: unsafe { Arc::from_raw(self.version) } }
    }

    /// Moves on to the newest version; returns whether there was a newer one.
    ///
    /// Where there is none it costs one load, less than another read: a loop that reads all the time renews one guard.
    ///
    /// ```
    /// let parameters = selvedge_sync::Snapshot::new(1.0);
    /// let mut reader = parameters.reader();
    /// let mut current = reader.read();
    /// assert!(!current.renew());
    /// parameters.publish(2.0);
    /// assert!(current.renew() && *current == 2.0);
    /// ```
    #[inline]
    pub fn renew(&mut self) -> bool {
        let behind = self.mailbox.behind();
        if behind {
            // SAFETY: it is what `Mailbox::pin` returned, and is replaced before anything else can happen.
            let old = unsafe { self.mailbox.leave(self.version) };
            let new = self.mailbox.pin();
            if keep!("snapshot_renew_kept") {
                self.version = new;
            }
            // Last, for it is the user's code and may panic.
            drop(old);
        }
        behind
    }

    #[inline]
    fn versioned(&self) -> &Versioned<T> {
        // SAFETY: `Mailbox::pin` keeps the version alive until `Mailbox::leave`, in the guard's drop.
        unsafe { &*self.version }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.versioned().value
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: it is what `Mailbox::pin` returned, and this guard ends here.
        drop(unsafe { self.mailbox.leave(self.version) });
    }
}

impl<T: fmt::Debug> fmt::Debug for Guard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("version", &self.version()).field("value", &**self).finish()
    }
}

/// One version of a [`Snapshot`]'s value, kept alive and never changed; clones are the same version.
pub struct Version<T> {
    version: Arc<Versioned<T>>,
}

impl<T> Version<T> {
    /// The version's number, as in [`Guard::version`].
    pub fn version(&self) -> u64 {
        self.version.number
    }
}

impl<T> Clone for Version<T> {
    fn clone(&self) -> Self {
        Self { version: Arc::clone(&self.version) }
    }
}

impl<T> Deref for Version<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.version.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Version<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Version").field("version", &self.version()).field("value", &**self).finish()
    }
}
