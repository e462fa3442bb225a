//! GPT-2's pattern: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.

use super::Splitter;
use super::classes::{Class, class_at, run_end};
use super::spaces::white_space;

pub(crate) struct Gpt2;

impl Splitter for Gpt2 {
    #[inline]
    fn end(text: &[u8], start: usize) -> usize {
        if let Some(len) = contraction(&text[start..]) {
            return start + len;
        }
        let Some((first, len)) = class_at(text, start) else { return start };
        let next = start + len;
        if first != Class::Space {
            return run_end(text, next, first);
        }
        match class_at(text, next) {
            // A single space goes with the word, the number or the signs behind it.
            Some((class, len)) if text[start] == b' ' && class != Class::Space => {
                run_end(text, next + len, class)
            }
            _ => white_space(text, start).trailing(text),
        }
    }
}

/// Lower case only: GPT-2's pattern heeds case.
fn contraction(text: &[u8]) -> Option<usize> {
    match text {
        [b'\'', b's' | b't' | b'm' | b'd', ..] => Some(2),
        [b'\'', b'r' | b'v', b'e', ..] | [b'\'', b'l', b'l', ..] => Some(3),
        _ => None,
    }
}
