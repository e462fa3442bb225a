//! Texts that find mistakes, and the slow, obvious way to do what the crate does.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod gguf;

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;
use selvedge_tokenizer::{MAX_TOKEN_BYTES, Pretokenizer, Trainer};

/// Pieces of text at which the patterns' alternatives meet.
const FRAGMENTS: &[&str] = &[
    "'",
    "'s",
    "'S",
    "'ſ",
    "ſ",
    "K",
    "'t",
    "'ll",
    "'LL",
    "'lL",
    "'re",
    "'RE",
    "'ve",
    "'m",
    "'D",
    "l",
    "e",
    "s",
    " ",
    " ",
    "  ",
    "   ",
    "\n",
    "\n\n",
    "\r",
    "\r\n",
    "\t",
    "\u{b}",
    "\u{1c}",
    "\u{85}",
    "\u{a0}",
    "\u{2028}",
    "\u{200b}",
    "\u{3000}",
    "\u{feff}",
    "1",
    "12",
    "1234567",
    "٣",
    "½",
    "Ⅷ",
    "㊀",
    "𝟘",
    "a",
    "Z",
    "abc",
    "don't",
    "é",
    "e\u{301}",
    "ǅ",
    "ʰ",
    "ª",
    "Ⓐ",
    "漢字",
    "ひらがな",
    "ก็",
    "हिन्दी",
    "한국어",
    "עברית",
    "𝒳",
    "𠀋",
    "\u{32000}",
    "😀",
    "👩‍👩‍👧",
    "!",
    "...",
    "_",
    "-",
    "/",
    "//",
    "();",
    "\"",
    "\0",
    "\u{7f}",
    "€",
    "\u{e000}",
    "\u{10ffff}",
    "<|endoftext|>",
    "fn main() {",
    "    let x = 0xFF;",
];

/// Texts of every kind: built from the fragments, any characters at all, and words.
pub(crate) fn text() -> impl Strategy<Value = String> {
    let fragments =
        || prop::collection::vec(prop::sample::select(FRAGMENTS), 0..24).prop_map(|parts| parts.concat());
    let characters =
        prop::collection::vec(any::<char>(), 0..24).prop_map(|parts| parts.into_iter().collect());
    prop_oneof![4 => fragments(), 1 => characters, 1 => "[a-e '\n]{0,40}", 1 => "\\PC{0,30}"]
}

/// Any bytes, and texts with a byte changed.
pub(crate) fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let spoilt = (text(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(text, at, byte)| {
        let mut bytes = text.into_bytes();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    });
    prop_oneof![prop::collection::vec(any::<u8>(), 0..60), spoilt]
}

/// Real text: this crate's own sources, and a few sentences in many scripts.
pub(crate) fn real_text() -> String {
    let mut text = String::from(include_str!("many_scripts.txt"));
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                text += &std::fs::read_to_string(path).unwrap();
            }
        }
    }
    text
}

/// A vocabulary as the slow trainer has it: the tokens in order, and what merges into each from 256 on.
pub(crate) struct Reference {
    pub(crate) tokens: Vec<Vec<u8>>,
    pub(crate) merges: Vec<(u32, u32)>,
    pub(crate) pretokenizer: Pretokenizer,
}

impl Reference {
    /// Counts all pairs anew for each merge.
    pub(crate) fn train(trainer: &Trainer, docs: &[Vec<u8>]) -> Self {
        let mut words: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for doc in docs {
            for piece in trainer.pretokenizer.split(doc) {
                *words.entry(piece.to_vec()).or_default() += 1;
            }
        }
        let mut words: Vec<(Vec<u32>, u64)> = words
            .into_iter()
            .map(|(word, count)| (word.into_iter().map(u32::from).collect(), count))
            .collect();
        let mut reference = Self {
            tokens: (0..=255).map(|byte| vec![byte]).collect(),
            merges: Vec::new(),
            pretokenizer: trainer.pretokenizer,
        };
        let mut known: HashSet<Vec<u8>> = reference.tokens.iter().cloned().collect();
        let wanted = trainer.vocab_size - trainer.special_tokens.len();
        while reference.tokens.len() < wanted {
            let mut counts: BTreeMap<(u32, u32), u64> = BTreeMap::new();
            for (word, count) in &words {
                for pair in word.windows(2) {
                    *counts.entry((pair[0], pair[1])).or_default() += count;
                }
            }
            let bytes = |(a, b): (u32, u32)| {
                [reference.tokens[a as usize].clone(), reference.tokens[b as usize].clone()].concat()
            };
            let best = counts
                .into_iter()
                .filter(|&(pair, count)| {
                    count >= trainer.min_frequency
                        && bytes(pair).len() <= MAX_TOKEN_BYTES
                        && !known.contains(&bytes(pair))
                })
                .min_by_key(|&(pair, count)| (std::cmp::Reverse(count), pair));
            let Some((pair, _)) = best else { break };
            let merged = reference.tokens.len() as u32;
            let token = bytes(pair);
            known.insert(token.clone());
            reference.tokens.push(token);
            reference.merges.push(pair);
            for (word, _) in &mut words {
                *word = replace(word, pair, merged);
            }
        }
        reference
    }

    /// Applies the merges one after the other.
    pub(crate) fn encode(&self, text: &[u8]) -> Vec<u32> {
        let mut out = Vec::new();
        for piece in self.pretokenizer.split(text) {
            let mut word: Vec<u32> = piece.iter().map(|&byte| byte.into()).collect();
            for (&pair, merged) in self.merges.iter().zip(256..) {
                word = replace(&word, pair, merged);
            }
            out.extend(word);
        }
        out
    }
}

fn replace(word: &[u32], (left, right): (u32, u32), merged: u32) -> Vec<u32> {
    let mut out = Vec::new();
    let mut i = 0;
    while i < word.len() {
        if word[i] == left && word.get(i + 1) == Some(&right) {
            out.push(merged);
            i += 2;
        } else {
            out.push(word[i]);
            i += 1;
        }
    }
    out
}
