//! GPT-4's pattern, as first published and as tiktoken has it today.
//!
//! Published: `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|`
//! `\s+(?!\S)|\s+`.
//! tiktoken's cl100k: the same with `\s++$|\s*[\r\n]|\s+(?!\S)|\s` at the end, which differs in one case: white space
//! that ends the text is one pretoken even if a newline stands inside it.

use super::Splitter;
use super::classes::{Class, class_at, run_end};
use super::spaces::white_space;

/// `WHOLE_TAIL`: white space at the end of the text stays in one piece (tiktoken's form).
pub(crate) struct Gpt4<const WHOLE_TAIL: bool>;

impl<const WHOLE_TAIL: bool> Splitter for Gpt4<WHOLE_TAIL> {
    #[inline]
    fn end(text: &[u8], start: usize) -> usize {
        if let Some(len) = contraction(&text[start..]) {
            return start + len;
        }
        let Some((first, len)) = class_at(text, start) else { return start };
        let next = start + len;
        match first {
            Class::Letter => return run_end(text, next, Class::Letter),
            Class::Number => return three_numbers(text, next),
            Class::Space | Class::Other => {}
        }
        // Any one sign or blank but a newline goes with the word behind it.
        let byte = text[start];
        let second = class_at(text, next);
        if let Some((Class::Letter, len)) = second
            && byte != b'\r'
            && byte != b'\n'
        {
            return run_end(text, next + len, Class::Letter);
        }
        if first == Class::Other {
            return signs(text, next);
        }
        if let Some((Class::Other, len)) = second
            && byte == b' '
        {
            return signs(text, next + len);
        }
        let space = white_space(text, start);
        if WHOLE_TAIL && space.end == text.len() {
            space.end
        } else {
            space.after_newline.unwrap_or_else(|| space.trailing(text))
        }
    }
}

/// The end of `[^\s\p{L}\p{N}]*[\r\n]*` from `i`.
#[inline]
fn signs(text: &[u8], i: usize) -> usize {
    let mut end = run_end(text, i, Class::Other);
    while let Some(b'\r' | b'\n') = text.get(end) {
        end += 1;
    }
    end
}

/// The end of up to two more numbers from `i`.
fn three_numbers(text: &[u8], mut i: usize) -> usize {
    for _ in 0..2 {
        match class_at(text, i) {
            Some((Class::Number, len)) => i += len,
            _ => break,
        }
    }
    i
}

/// In either case; U+017F, the long s (`C5 BF`), is an s in another case, and no other character folds to these letters.
#[inline]
fn contraction(text: &[u8]) -> Option<usize> {
    let [b'\'', rest @ ..] = text else { return None };
    match rest {
        [b's' | b'S' | b't' | b'T' | b'm' | b'M' | b'd' | b'D', ..] => Some(2),
        [b'r' | b'R' | b'v' | b'V', b'e' | b'E', ..] | [b'l' | b'L', b'l' | b'L', ..] | [0xC5, 0xBF, ..] => {
            Some(3)
        }
        _ => None,
    }
}
