//! Which pairs of tokens merge, and into what: the one table that encoding reads.

use std::hash::{BuildHasher, RandomState};

use crate::{MAX_VOCABULARY, TokenId};

/// Bits of an id: two ids and what they merge into share one word.
const ID_BITS: u32 = MAX_VOCABULARY.trailing_zeros();
const _: () = assert!(3 * ID_BITS < 64 && MAX_VOCABULARY.is_power_of_two());

const EMPTY: u64 = u64::MAX;

/// An open-addressing hash table from (left, right) to the merged token, at most half full, eight bytes a slot.
///
/// The hash is a multiplication by a random odd number, so that no file can be written to make the table slow. The number
/// decides where an entry lies and never what is found.
#[derive(Clone)]
pub(crate) struct PairTable {
    slots: Vec<u64>,
    multiplier: u64,
    shift: u32,
}

impl PairTable {
    /// No merge. Larger than any id, so the smallest of several answers is the merge to make.
    pub(crate) const NONE: TokenId = TokenId::MAX;

    /// A table for up to `capacity` pairs.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let slots = (2 * capacity).next_power_of_two().max(2);
        let multiplier = RandomState::new().hash_one("pairs") | 1;
        Self { slots: vec![EMPTY; slots], multiplier, shift: 64 - slots.trailing_zeros() }
    }

    fn first_slot(&self, key: u64) -> usize {
        (key.wrapping_mul(self.multiplier) >> self.shift) as usize
    }

    /// Adds a pair that is not in the table yet. At most `capacity` pairs may be added, each id below `MAX_VOCABULARY`.
    pub(crate) fn insert(&mut self, left: TokenId, right: TokenId, merged: TokenId) {
        let key = key(left, right);
        let mut slot = self.first_slot(key);
        while self.slots[slot] != EMPTY {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.slots[slot] = key << ID_BITS | u64::from(merged);
    }

    /// What `left` and `right` merge into, or [`NONE`](Self::NONE).
    #[inline]
    pub(crate) fn get(&self, left: TokenId, right: TokenId) -> TokenId {
        let key = key(left, right);
        let mut slot = self.first_slot(key);
        loop {
            let found = self.slots[slot];
            if found >> ID_BITS == key {
                return (found & (MAX_VOCABULARY as u64 - 1)) as TokenId;
            }
            if found == EMPTY {
                return Self::NONE;
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }
}

fn key(left: TokenId, right: TokenId) -> u64 {
    u64::from(left) << ID_BITS | u64::from(right)
}
