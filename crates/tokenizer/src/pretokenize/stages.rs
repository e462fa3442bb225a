//! Patterns that cut out what they match and leave the rest whole, for later stages to cut further.
//!
//! Some tokenizers cut a text several times over: each stage cuts the pieces of the one before. Where such a pattern
//! matches, the match is a piece; what lies between two matches is one too.

use super::Splitter;
use super::classes::{Class, char_at, class_at, run_end};
use super::kinds::{Kind, kind_at};

/// The end of the piece at `start`: of a match, or of what lies before the next one.
///
/// `matched` gives the end of a match that begins at a place. It is asked at most twice about each place, so a stage takes
/// linear time if an answer of `None` takes a constant one.
pub(crate) fn isolate(text: &[u8], start: usize, matched: impl Fn(&[u8], usize) -> Option<usize>) -> usize {
    if let Some(end) = matched(text, start) {
        return end;
    }
    let mut i = start;
    while let Some((_, len)) = char_at(text, i) {
        i += len;
        if matched(text, i).is_some() {
            break;
        }
    }
    i
}

/// `\p{N}{1,MOST}`.
pub(crate) struct Numbers<const MOST: usize>;

impl<const MOST: usize> Splitter for Numbers<MOST> {
    fn end(text: &[u8], start: usize) -> usize {
        isolate(text, start, |text, start| {
            let mut end = start;
            for _ in 0..MOST {
                match class_at(text, end) {
                    Some((Class::Number, len)) => end += len,
                    _ => break,
                }
            }
            (end > start).then_some(end)
        })
    }
}

/// `\p{N}+`.
pub(crate) struct NumberRuns;

impl Splitter for NumberRuns {
    fn end(text: &[u8], start: usize) -> usize {
        isolate(text, start, |text, start| {
            let end = run_end(text, start, Class::Number);
            (end > start).then_some(end)
        })
    }
}

/// `[0-9][0-9][0-9]`: groups of three from the left, and what is left over.
pub(crate) struct ThreeDigits;

impl Splitter for ThreeDigits {
    fn end(text: &[u8], start: usize) -> usize {
        isolate(text, start, |text, start| {
            let three = text.get(start..start + 3)?;
            three.iter().all(u8::is_ascii_digit).then_some(start + 3)
        })
    }
}

/// Falcon's second look at numbers comes after its bytes have become characters, of which these bytes are numbers: the
/// digits, and U+00B2, B3, B9 and BC to BE, though in UTF-8 they are parts of others. Runs of them are cut out.
pub(crate) struct NumberBytes;

impl Splitter for NumberBytes {
    fn end(text: &[u8], start: usize) -> usize {
        let is_number = |byte: &u8| matches!(byte, b'0'..=b'9' | 0xB2 | 0xB3 | 0xB9 | 0xBC..=0xBE);
        let first = is_number(&text[start]);
        let same = text[start..].iter().position(|byte| is_number(byte) != first);
        same.map_or(text.len(), |len| start + len)
    }
}

/// Runs of punctuation, ASCII's symbols included: ``[\p{P}$+<=>^`|~]+``. llama.cpp's default leaves out the backtick.
pub(crate) struct Punctuation<const BACKTICK: bool>;

impl<const BACKTICK: bool> Splitter for Punctuation<BACKTICK> {
    fn end(text: &[u8], start: usize) -> usize {
        isolate(text, start, |text, start| {
            let mut end = start;
            while let Some((kind, len)) = kind_at(text, end)
                && (kind == Kind::Punctuation
                    || kind == Kind::Symbol && len == 1 && (BACKTICK || text[end] != b'`'))
            {
                end += len;
            }
            (end > start).then_some(end)
        })
    }
}
