//! What a reader and the publishers of a snapshot settle between them: one atomic word, three pockets.
//!
//! ```text
//! 63          4 3     2 1     0
//! |  reads     |  OLD  |  NEW  |
//! ```
//!
//! A pocket holds a version, that is, one count of its `Arc`. `NEW` names the pocket of the newest version, `OLD` that of
//! an older one that the reader is still reading, or none; the third is the publisher's to fill.
//!
//! | word | meaning | the reader | a publisher |
//! | --- | --- | --- | --- |
//! | idle, `NEW` | nobody reads | adds one read: it reads `NEW` | puts its version in place of `NEW` |
//! | read, `NEW` | `NEW` is being read | takes its read off | makes it `OLD`, and its own version `NEW` |
//! | read, `OLD`, `NEW` | `OLD` is being read | takes its read off | puts its version in place of `NEW` |
//! | idle, `OLD`, `NEW` | the reader has left `OLD` just now | takes `OLD` out | takes both out for its version |
//!
//! Whoever takes a pocket out of the word owns what it holds, and nobody looks into a pocket that the word does not name,
//! beside a publisher. There is one at a time. The reader adds and subtracts without looking; publishers, and the reader
//! when it takes `OLD` out, compare and swap. So each step is one read-modify-write of the one word, and they have one
//! order.

use crate::shim::{Arc, AtomicU64, Ordering, UnsafeCell, keep, planted, weaken};
use std::fmt;

/// A value and its version.
pub(super) struct Versioned<T> {
    pub(super) number: u64,
    pub(super) value: T,
}

/// Pockets count from 1; 0 is none.
const NEW: u64 = 0b11;
const OLD_SHIFT: u32 = 2;
const OLD: u64 = 0b11 << OLD_SHIFT;
const READ: u64 = 1 << 4;

fn old(word: u64) -> u64 {
    (word & OLD) >> OLD_SHIFT
}

/// A pocket that the word does not name.
fn spare(word: u64) -> u64 {
    let named = 1u8 << (word & NEW) | 1 << old(word) | 1;
    u64::from((!named).trailing_zeros())
}

/// One reader's side of a snapshot; see the module text.
pub(super) struct Mailbox<T> {
    word: AtomicU64,
    pockets: [UnsafeCell<*const Versioned<T>>; 4],
}

// SAFETY: the pockets are the fields that are not `Sync`: each is written by a publisher while the word does not name it,
// and publishers come one at a time; it is read while the word names it. What the pointers lead to is an `Arc`'s, shared
// between threads and dropped by any of them.
unsafe impl<T: Send + Sync> Sync for Mailbox<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Send for Mailbox<T> {}

impl<T> Mailbox<T> {
    /// A mailbox with `version` in it, and nobody reading.
    pub(super) fn new(version: Arc<Versioned<T>>) -> Self {
        let version = Arc::into_raw(version);
        Self { word: AtomicU64::new(1), pockets: std::array::from_fn(|_| UnsafeCell::new(version)) }
    }

    /// The newest version, alive until [`Mailbox::leave`]; one at a time.
    #[inline]
    pub(super) fn pin(&self) -> *const Versioned<T> {
        loop {
            let ordering = weaken!("snapshot_pin_relaxed", Acquire);
            let before = if keep!("snapshot_pin_torn") {
                self.word.fetch_add(READ, ordering)
            } else {
                let before = self.word.load(ordering);
                self.word.store(before + READ, Ordering::Relaxed);
                before
            };
            if before & !NEW == 0 {
                // SAFETY: the word names the pocket, and does so until this read is over.
                return unsafe { self.look(before & NEW) };
            }
            self.forget(before);
        }
    }

    /// Whether there is a newer version than the one being read.
    #[inline]
    pub(super) fn behind(&self) -> bool {
        // Relaxed: what is newer is acquired by the read of it.
        self.word.load(Ordering::Relaxed) & OLD != 0
    }

    /// Ends a read, of `version`, and gives back what nobody reads any more, to be dropped.
    ///
    /// # Safety
    ///
    /// `version` is what [`Mailbox::pin`] returned to the caller, who does not use it again.
    #[inline]
    #[must_use = "its drop is code of the user"]
    pub(super) unsafe fn leave(&self, version: *const Versioned<T>) -> Option<Arc<Versioned<T>>> {
        // SAFETY: the caller's promise.
        unsafe { self.end(version, READ) }
    }

    /// Ends the read that was under way when this one began, and this one: its guard was forgotten and not dropped, for
    /// otherwise it would borrow the reader.
    #[cold]
    fn forget(&self, before: u64) {
        let read = if old(before) == 0 { before & NEW } else { old(before) };
        // SAFETY: the word names the pocket until both reads are over.
        let version = unsafe { self.look(read) };
        // SAFETY: this is the version of the one read, nobody has the guard of it, and the other got none.
        drop(unsafe { self.end(version, 2 * READ) });
    }

    /// Takes `reads` off the word, and `version` out of it if a publisher has made it the old one.
    ///
    /// # Safety
    ///
    /// `version` is the one being read, these are all the reads of it, and it is not used again.
    #[inline]
    unsafe fn end(&self, version: *const Versioned<T>, reads: u64) -> Option<Arc<Versioned<T>>> {
        let ordering = weaken!("snapshot_leave_relaxed", Release);
        let before = if keep!("snapshot_leave_torn") {
            self.word.fetch_sub(reads, ordering)
        } else {
            let before = self.word.load(Ordering::Relaxed);
            self.word.store(before - reads, ordering);
            before
        };
        if before & OLD == 0 || planted!("snapshot_leave_old") {
            return None;
        }
        // SAFETY: the caller's promise.
        unsafe { self.take_old(version, before - reads) }
    }

    /// Takes the old version out of `word`, unless a publisher has done so meanwhile.
    ///
    /// # Safety
    ///
    /// `version` is the old one of `word`, and is not used again.
    #[cold]
    unsafe fn take_old(&self, version: *const Versioned<T>, word: u64) -> Option<Arc<Versioned<T>>> {
        // Relaxed: the swap continues the release sequence of the subtraction before it, and publishes nothing more.
        let relaxed = Ordering::Relaxed;
        let taken = if keep!("snapshot_old_blind") {
            self.word.compare_exchange(word, word & NEW, relaxed, relaxed).is_ok()
        } else {
            self.word.store(word & NEW, relaxed);
            true
        };
        // SAFETY: the word named it and does not any more, by this thread's swap, so its count is this thread's.
        taken.then(|| unsafe { Arc::from_raw(version) })
    }

    /// Makes `latest` the version of the reads that begin from now on. Adds to `released` what nobody reads any more,
    /// for the publisher to drop once it holds no lock.
    ///
    /// Publishers come one at a time, under the lock of the snapshot.
    pub(super) fn post(&self, latest: &Arc<Versioned<T>>, released: &mut Vec<Arc<Versioned<T>>>) {
        // Acquires the reader's last look into the pocket that is filled next.
        let mut word = self.word.load(weaken!("snapshot_look_relaxed", Acquire));
        // The reader names no pocket by itself, so this one stays spare whatever it does meanwhile.
        let fresh = spare(word);
        // SAFETY: the word does not name the pocket, and there is no other publisher.
        self.pockets[fresh as usize]
            .with_mut(|pocket| unsafe { *pocket = Arc::into_raw(Arc::clone(latest)) });
        loop {
            let reading =
                (word >= READ && keep!("snapshot_moves_active")) || planted!("snapshot_post_idle_kept");
            let (to, taken) = match (reading, old(word)) {
                (false, left) => (fresh, [word & NEW, left]),
                (true, 0) => (word - (word & NEW) + fresh + ((word & NEW) << OLD_SHIFT), [0, 0]),
                (true, _) => (word - (word & NEW) + fresh, [word & NEW, 0]),
            };
            let ordering = if planted!("snapshot_post_no_release") {
                Ordering::Acquire
            } else if planted!("snapshot_post_no_acquire") {
                Ordering::Release
            } else {
                Ordering::AcqRel
            };
            let posted = if keep!("snapshot_post_torn") {
                self.word.compare_exchange_weak(word, to, ordering, Ordering::Relaxed)
            } else {
                self.word.store(to, Ordering::Release);
                Ok(word)
            };
            match posted {
                Ok(_) => {
                    for pocket in taken.into_iter().filter(|&pocket| pocket != 0) {
                        // SAFETY: publishers alone write pockets.
                        let version = unsafe { self.look(pocket) };
                        // SAFETY: the word named the pocket and does not any more, so its count is the publisher's.
                        released.push(unsafe { Arc::from_raw(version) });
                    }
                    return;
                }
                Err(now) => word = now,
            }
        }
    }

    /// What is in a pocket.
    ///
    /// # Safety
    ///
    /// The word names the pocket for the time of the call, or the caller is the publisher.
    #[inline]
    unsafe fn look(&self, pocket: u64) -> *const Versioned<T> {
        // SAFETY: nobody writes a pocket that the word names, and publishers come one at a time.
        self.pockets[(pocket & NEW) as usize].with(|pocket| unsafe { *pocket })
    }
}

impl<T> Drop for Mailbox<T> {
    fn drop(&mut self) {
        // Relaxed: whoever drops the mailbox has it to itself.
        let word = self.word.load(Ordering::Relaxed);
        for pocket in [word & NEW, old(word)].into_iter().filter(|&pocket| pocket != 0) {
            // SAFETY: no reader and no publisher is left.
            let version = unsafe { self.look(pocket) };
            // SAFETY: the word names the pocket, so its count is the mailbox's.
            drop(unsafe { Arc::from_raw(version) });
        }
    }
}

impl<T> fmt::Debug for Mailbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word.load(Ordering::Relaxed);
        let (reading, behind) = (word >= READ, word & OLD != 0);
        f.debug_struct("Mailbox").field("reading", &reading).field("behind", &behind).finish()
    }
}
