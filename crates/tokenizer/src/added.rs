//! Tokens that are found in a text before it is cut: special tokens, and those that a model's makers added by hand.

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::TokenId;
use crate::pretokenize::{space_after, space_before};

/// A token with a text of its own, which merging has no part in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Added {
    pub(crate) text: String,
    pub(crate) id: TokenId,
    /// Found only where special tokens are asked for.
    pub(crate) special: bool,
    /// White space before it belongs to it.
    pub(crate) lstrip: bool,
    /// White space behind it belongs to it.
    pub(crate) rstrip: bool,
    /// Looked for in the normalized text, after those that are not.
    pub(crate) normalized: bool,
    /// An ordinary token as well, which merging may form, and which stands for that one's bytes.
    pub(crate) ordinary: bool,
}

impl Added {
    pub(crate) fn special(text: String, id: TokenId) -> Self {
        Self { text, id, special: true, lstrip: false, rstrip: false, normalized: false, ordinary: false }
    }
}

/// The added tokens of a vocabulary, in the two groups that are looked for one after the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct AddedTokens {
    pub(crate) verbatim: Matcher,
    pub(crate) normalized: Matcher,
    /// Whether some are looked for in every text.
    always: bool,
}

impl AddedTokens {
    pub(crate) fn new(added: &[Added], nfc: bool) -> Self {
        let (normalized, verbatim): (Vec<&Added>, Vec<&Added>) =
            added.iter().partition(|token| token.normalized);
        Self {
            verbatim: Matcher::new(&verbatim, false),
            normalized: Matcher::new(&normalized, nfc),
            always: added.iter().any(|token| !token.special),
        }
    }

    /// Whether there is anything to look for.
    #[inline]
    pub(crate) fn any(&self, specials: bool) -> bool {
        specials || self.always
    }
}

#[derive(Debug, Clone)]
struct Entry {
    text: Box<[u8]>,
    id: TokenId,
    special: bool,
    lstrip: bool,
    rstrip: bool,
}

/// Finds the longest token at the first place where there is one.
#[derive(Debug, Clone)]
pub(crate) struct Matcher {
    /// In the order of their bytes.
    entries: Vec<Entry>,
    /// Which bytes some entry begins with.
    firsts: [bool; 256],
}

impl Default for Matcher {
    fn default() -> Self {
        Self { entries: Vec::new(), firsts: [false; 256] }
    }
}

/// Where a token was found, with the white space that belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) id: TokenId,
}

impl Matcher {
    fn new(added: &[&Added], nfc: bool) -> Self {
        let mut matcher = Self::default();
        for token in added {
            let text = if nfc { token.text.nfc().collect() } else { token.text.clone() };
            matcher.firsts[usize::from(text.as_bytes()[0])] = true;
            matcher.entries.push(Entry {
                text: text.into_bytes().into(),
                id: token.id,
                special: token.special,
                lstrip: token.lstrip,
                rstrip: token.rstrip,
            });
        }
        matcher.entries.sort_by(|a, b| a.text.cmp(&b.text));
        matcher
    }

    /// The first token at or behind `from`; special ones only if asked for.
    pub(crate) fn find(&self, text: &[u8], from: usize, specials: bool) -> Option<Found> {
        if self.entries.is_empty() {
            return None;
        }
        (from..text.len()).filter(|&at| self.firsts[usize::from(text[at])]).find_map(|at| {
            let entry = self.longest(&text[at..], specials)?;
            let end = at + entry.text.len();
            Some(Found {
                start: if entry.lstrip { space_before(text, from, at) } else { at },
                end: if entry.rstrip { space_after(text, end) } else { end },
                id: entry.id,
            })
        })
    }

    /// The longest token that the text begins with. Two searches for each byte of the longest token, whatever the text.
    fn longest(&self, text: &[u8], specials: bool) -> Option<&Entry> {
        let mut best = None;
        let mut left = &self.entries[..];
        for (depth, byte) in text.iter().enumerate() {
            // All that are left agree with the text so far; one that ends here is the first of them.
            let next = |entry: &Entry| entry.text.get(depth).copied();
            let start = left.partition_point(|entry| next(entry) < Some(*byte));
            let len = left[start..].partition_point(|entry| next(entry) == Some(*byte));
            left = &left[start..start + len];
            match left.first() {
                None => break,
                Some(entry) if entry.text.len() == depth + 1 && (specials || !entry.special) => {
                    best = Some(entry);
                }
                Some(_) => {}
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_longest_of_the_leftmost_is_found(
            texts in prop::collection::btree_set("[ab]{1,4}", 0..8),
            specials in prop::collection::vec(any::<bool>(), 8),
            text in "[abc]{0,12}",
            wanted in any::<bool>(),
        ) {
            let added: Vec<Added> = texts
                .into_iter()
                .zip(0..)
                .zip(specials)
                .map(|((text, id), special)| Added { special, ..Added::special(text, id) })
                .collect();
            let tokens = AddedTokens::new(&added, false);
            let expected = (0..text.len()).find_map(|at| {
                let here = added.iter().filter(|token| text[at..].starts_with(&token.text));
                let longest = here.filter(|token| wanted || !token.special).max_by_key(|token| token.text.len())?;
                Some(Found { start: at, end: at + longest.text.len(), id: longest.id })
            });
            prop_assert_eq!(tokens.verbatim.find(text.as_bytes(), 0, wanted), expected);
        }
    }

    #[test]
    fn white_space_beside_a_token_belongs_to_it_where_the_token_says_so() {
        let token = |lstrip, rstrip| {
            AddedTokens::new(&[Added { lstrip, rstrip, ..Added::special("<m>".into(), 7) }], false)
        };
        let text = "a \u{3000}<m>\n b".as_bytes();
        let bounds = |tokens: AddedTokens, from| {
            let found = tokens.verbatim.find(text, from, true).unwrap();
            (found.start, found.end)
        };
        assert_eq!(bounds(token(false, false), 0), (5, 8));
        assert_eq!(bounds(token(true, false), 0), (1, 8));
        assert_eq!(bounds(token(true, true), 0), (1, 10));
        assert_eq!(bounds(token(true, false), 2), (2, 8), "not what comes before the place of the search");
    }
}
