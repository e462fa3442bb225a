//! A few words that one thread writes and any thread reads whole, without a lock: a sequence lock without fences.
//!
//! The usual sequence lock keeps the reader's second look at the version behind its reads by a fence, which neither
//! loom nor ThreadSanitizer can follow. Here every word is stored with release and loaded with acquire instead: a reader
//! that got a word of a later write has thereby acquired that write's odd version, so its second look cannot miss it.

use crate::shim::{AtomicU64, Ordering, keep, weaken};

/// `N` words under one version: odd while they are being written, twice the number of the write when they are whole.
#[derive(Debug)]
pub(crate) struct Versioned<const N: usize> {
    version: AtomicU64,
    words: [AtomicU64; N],
}

impl<const N: usize> Versioned<N> {
    /// Zeros, as written by write number 0.
    pub(crate) fn new() -> Self {
        Self { version: AtomicU64::new(0), words: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// Write `number`, higher than all before; only one thread may write at a time.
    pub(crate) fn write(&self, number: u64, words: [u64; N]) {
        if keep!("versioned_unmarked") {
            self.version.store(2 * number - 1, Ordering::Relaxed);
        }
        for (slot, word) in self.words.iter().zip(words) {
            slot.store(word, weaken!("versioned_word_relaxed", Release));
        }
        self.version.store(2 * number, weaken!("versioned_publish_relaxed", Release));
    }

    /// The number and the words of one write, or `None` when a write was under way.
    pub(crate) fn read(&self) -> Option<(u64, [u64; N])> {
        let before = self.version.load(weaken!("versioned_look_relaxed", Acquire));
        let words = std::array::from_fn(|at| self.words[at].load(weaken!("versioned_read_relaxed", Acquire)));
        let after = if keep!("versioned_unchecked") { self.version.load(Ordering::Relaxed) } else { before };
        (before == after && before.is_multiple_of(2)).then_some((before / 2, words))
    }

    /// Number of the last write; for the thread that writes.
    pub(crate) fn number(&self) -> u64 {
        self.version.load(Ordering::Relaxed) / 2
    }
}
