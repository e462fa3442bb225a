//! Stage 2: a bounded table of short pretokens and their tokens, one per caller.

use std::sync::{Arc, Weak};

use crate::TokenId;
use crate::merge::Scratch;
use crate::vocab::Vocab;

/// Longest pretoken kept: its bytes and its length fill one 16-byte key.
const KEY_BYTES: usize = 15;
/// Most tokens kept for one pretoken.
const IDS: usize = 4;
/// Slots looked at for one key: 64 bytes together.
const WAYS: usize = 2;

/// Working memory for encoding: remembers the tokens of short pretokens, so that a word met before costs one look-up.
///
/// A table of fixed size in which newer entries replace older ones; give one to each thread. It changes only how long
/// encoding takes, never the result, and may be used with several tokenizers in turn: it notices, and starts over.
#[derive(Debug)]
pub struct Cache {
    /// Whose tokens these are. Held, so that no other vocabulary can come to live at the same address.
    owner: Weak<Vocab>,
    sets: Vec<[Slot; WAYS]>,
    shift: u32,
    pub(crate) scratch: Scratch,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// 0 for an empty slot: a key has a length in its last byte.
    key: u128,
    /// `TokenId::MAX` behind the last.
    ids: [TokenId; IDS],
}

impl Slot {
    const EMPTY: Self = Self { key: 0, ids: [TokenId::MAX; IDS] };
}

/// A pretoken as a key, and the place to look for it.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    bytes: u128,
    set: usize,
}

impl Cache {
    /// Pretokens that [`Cache::default`] remembers: 512 KiB, about the second-level cache of one core.
    pub const DEFAULT_CAPACITY: usize = 1 << 14;

    /// A cache for at least `capacity` pretokens (rounded up to a power of two, at most 2²⁴), 32 bytes each.
    pub fn with_capacity(capacity: usize) -> Self {
        let sets = capacity.min(1 << 24).div_ceil(WAYS).next_power_of_two().max(2);
        Self {
            owner: Weak::new(),
            sets: vec![[Slot::EMPTY; WAYS]; sets],
            shift: 64 - sets.trailing_zeros(),
            scratch: Scratch::default(),
        }
    }

    /// A cache for one text: no larger than the text can fill.
    pub(crate) fn for_text(bytes: usize) -> Self {
        Self::with_capacity((bytes / 4).min(Self::DEFAULT_CAPACITY))
    }

    /// Forgets everything if it is about another vocabulary.
    pub(crate) fn adopt(&mut self, vocab: &Arc<Vocab>) {
        if self.owner.as_ptr() != Arc::as_ptr(vocab) {
            self.sets.fill([Slot::EMPTY; WAYS]);
            self.owner = Arc::downgrade(vocab);
        }
    }

    /// The key of `text[start..end]`, if it is short enough to be kept.
    #[inline]
    pub(crate) fn key(&self, text: &[u8], start: usize, end: usize) -> Option<Key> {
        let len = end - start;
        if len > KEY_BYTES || len == 0 {
            return None;
        }
        let bytes = match text.get(start..start + 16).and_then(|window| window.try_into().ok()) {
            Some(window) => u128::from_le_bytes(window) & (u128::MAX >> (128 - 8 * len)),
            None => {
                let mut padded = [0; 16];
                padded[..len].copy_from_slice(&text[start..end]);
                u128::from_le_bytes(padded)
            }
        };
        let bytes = bytes | (len as u128) << 120;
        let mixed = (bytes as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
            ^ ((bytes >> 64) as u64).wrapping_mul(0xC2B2_AE3D_27D4_EB4F);
        // The low half of a product depends on few bits; fold the high half in before taking the top bits.
        let hash = (mixed ^ mixed >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Some(Key { bytes, set: (hash >> self.shift) as usize })
    }

    /// Appends the tokens kept under the key; false if there are none.
    #[inline]
    pub(crate) fn append(&self, key: Key, out: &mut Vec<TokenId>) -> bool {
        for slot in &self.sets[key.set] {
            if slot.key == key.bytes {
                out.push(slot.ids[0]);
                for &id in slot.ids[1..].iter().take_while(|&&id| id != TokenId::MAX) {
                    out.push(id);
                }
                return true;
            }
        }
        false
    }

    /// Keeps the tokens of a pretoken, unless there are too many; the older of two entries in its place goes.
    pub(crate) fn insert(&mut self, key: Key, tokens: &[TokenId]) {
        if tokens.is_empty() || tokens.len() > IDS {
            return;
        }
        let mut ids = [TokenId::MAX; IDS];
        ids[..tokens.len()].copy_from_slice(tokens);
        let [newer, older] = &mut self.sets[key.set];
        *older = std::mem::replace(newer, Slot { key: key.bytes, ids });
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self::with_capacity(Self::DEFAULT_CAPACITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pretoken_is_found_wherever_it_stands() {
        let mut cache = Cache::with_capacity(64);
        let text = b"token tokens token";
        let key = |cache: &Cache, start, end| cache.key(text, start, end).unwrap();
        let first = key(&cache, 0, 5);
        cache.insert(first, &[1, 2]);
        let mut out = Vec::new();
        // In front of other letters, and at the end of the text.
        assert!(cache.append(key(&cache, 6, 11), &mut out) && cache.append(key(&cache, 13, 18), &mut out));
        assert_eq!(out, [1, 2, 1, 2]);
        assert!(!cache.append(key(&cache, 6, 12), &mut out), "another pretoken");
        assert!(cache.key(&[b'a'; 16], 0, 16).is_none(), "too long to be kept");
    }

    #[test]
    fn a_pretoken_of_too_many_tokens_is_not_kept() {
        let mut cache = Cache::with_capacity(0);
        let key = cache.key(b"abcde", 0, 5).unwrap();
        cache.insert(key, &[1, 2, 3, 4, 5]);
        assert!(!cache.append(key, &mut Vec::new()));
    }
}
