//! Which pairs of tokens merge, and in which order: the one table that encoding reads.

use std::hash::{BuildHasher, RandomState};

use crate::{MAX_VOCABULARY, TokenId};

/// Bits of an id: two ids and a rank share one word.
const ID_BITS: u32 = MAX_VOCABULARY.trailing_zeros();

/// Bits of a rank: of an id, or of a place in a list of up to [`MAX_MERGES`] merges.
pub(crate) const RANK_BITS: u32 = 23;
const _: () = assert!(2 * ID_BITS + RANK_BITS < 64 && MAX_VOCABULARY.is_power_of_two());

/// Most merges that a list may have: twenty times what the largest published vocabularies have.
pub(crate) const MAX_MERGES: usize = 1 << RANK_BITS;
const _: () = assert!(MAX_MERGES >= MAX_VOCABULARY);

const EMPTY: u64 = u64::MAX;

/// An open-addressing hash table from (left, right) to the rank of their merge, at most half full, eight bytes a slot.
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
    /// No merge. Larger than any rank, so the smallest of several answers is the merge to make.
    pub(crate) const NONE: u32 = u32::MAX;

    /// A table for up to `capacity` pairs.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let slots = (2 * capacity).next_power_of_two().max(2);
        let multiplier = RandomState::new().hash_one("pairs") | 1;
        Self { slots: vec![EMPTY; slots], multiplier, shift: 64 - slots.trailing_zeros() }
    }

    fn first_slot(&self, key: u64) -> usize {
        (key.wrapping_mul(self.multiplier) >> self.shift) as usize
    }

    /// Adds a pair that is not in the table yet. At most `capacity` pairs may be added, each id below `MAX_VOCABULARY`
    /// and each rank below `MAX_MERGES`.
    pub(crate) fn insert(&mut self, left: TokenId, right: TokenId, rank: u32) {
        let key = key(left, right);
        let mut slot = self.first_slot(key);
        while self.slots[slot] != EMPTY {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.slots[slot] = key << RANK_BITS | u64::from(rank);
    }

    /// The rank of the merge of `left` and `right`, or [`NONE`](Self::NONE).
    #[inline]
    pub(crate) fn get(&self, left: TokenId, right: TokenId) -> u32 {
        let key = key(left, right);
        let mut slot = self.first_slot(key);
        loop {
            let found = self.slots[slot];
            if found >> RANK_BITS == key {
                return (found & (MAX_MERGES as u64 - 1)) as u32;
            }
            if found == EMPTY {
                return Self::NONE;
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    /// Every pair with its rank, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TokenId, TokenId, u32)> {
        let id = |bits: u64| (bits & (MAX_VOCABULARY as u64 - 1)) as TokenId;
        self.slots.iter().filter(|&&slot| slot != EMPTY).map(move |slot| {
            let key = slot >> RANK_BITS;
            (id(key >> ID_BITS), id(key), (slot & (MAX_MERGES as u64 - 1)) as u32)
        })
    }
}

fn key(left: TokenId, right: TokenId) -> u64 {
    u64::from(left) << ID_BITS | u64::from(right)
}
