//! The stages of DeepSeek's tokenizers: the LLM's, the coder's, and version 3's.

use super::Splitter;
use super::classes::{Class, char_at, class_at};
use super::kinds::{Kind, kind_at, within};
use super::spaces::white_space;
use super::stages::isolate;

/// `[\r\n]`: each newline alone.
pub(crate) struct Newlines;

impl Splitter for Newlines {
    fn end(text: &[u8], start: usize) -> usize {
        isolate(text, start, |text, start| matches!(text.get(start)?, b'\r' | b'\n').then_some(start + 1))
    }
}

/// The end of `\s?[class]+` at `start`.
fn spaced_run(text: &[u8], start: usize, within: impl Fn(&[u8], usize) -> Option<usize>) -> Option<usize> {
    let first = match class_at(text, start)? {
        (Class::Space, len) => start + len,
        _ => start,
    };
    // White space may be of the class itself; if nothing of the class follows, it is not in front but inside.
    let begin = if within(text, first).is_some() { first } else { start };
    let mut end = begin;
    while let Some(len) = within(text, end) {
        end += len;
    }
    (end > begin).then_some(end)
}

fn of_kind(is: impl Fn(Kind) -> bool) -> impl Fn(&[u8], usize) -> Option<usize> {
    move |text, i| kind_at(text, i).filter(|&(kind, _)| is(kind)).map(|(_, len)| len)
}

fn of_ranges(ranges: &'static [u32]) -> impl Fn(&[u8], usize) -> Option<usize> {
    move |text, i| {
        let (c, len) = char_at(text, i)?;
        within(ranges, c?).then_some(len)
    }
}

/// `\s?\p{L}+`.
pub(crate) struct Words;

impl Splitter for Words {
    fn end(text: &[u8], start: usize) -> usize {
        isolate(text, start, |text, start| spaced_run(text, start, of_kind(Kind::is_letter)))
    }
}

/// `\s?\p{P}+`.
pub(crate) struct Punctuation;

impl Splitter for Punctuation {
    fn end(text: &[u8], start: usize) -> usize {
        isolate(text, start, |text, start| spaced_run(text, start, of_kind(|kind| kind == Kind::Punctuation)))
    }
}

/// Letters with case, as the pattern of DeepSeek LLM lists them.
#[rustfmt::skip]
const CASED: &[u32] = &[
    0x41, 0x5a, 0x61, 0x7a, 0xb5, 0xb5, 0xc0, 0xd6, 0xd8, 0xf6, 0xf8, 0x1ba,
    0x1bc, 0x1bf, 0x1c4, 0x293, 0x295, 0x2af, 0x370, 0x373, 0x376, 0x377, 0x37b, 0x37d,
    0x37f, 0x37f, 0x386, 0x386, 0x388, 0x38a, 0x38c, 0x38c, 0x38e, 0x3a1, 0x3a3, 0x3f5,
    0x3f7, 0x481, 0x48a, 0x52f, 0x531, 0x556, 0x10a0, 0x10c5, 0x13a0, 0x13f5, 0x13f8, 0x13fd,
    0x1c90, 0x1cba, 0x1cbd, 0x1cbf, 0x1d00, 0x1d2b, 0x1d6b, 0x1d77, 0x1d79, 0x1d9a, 0x1e00, 0x1f15,
    0x1f18, 0x1f1d, 0x1f20, 0x1f45, 0x1f48, 0x1f4d, 0x1f50, 0x1f57, 0x1f59, 0x1f59, 0x1f5b, 0x1f5b,
    0x1f5d, 0x1f5d, 0x1f5f, 0x1f7d, 0x1f80, 0x1fb4, 0x1fb6, 0x1fbc, 0x1fbe, 0x1fbe, 0x1fc2, 0x1fc4,
    0x1fc6, 0x1fcc, 0x1fd0, 0x1fd3, 0x1fd6, 0x1fdb, 0x1fe0, 0x1fec, 0x1ff2, 0x1ff4, 0x1ff6, 0x1ffc,
    0x2102, 0x2102, 0x2107, 0x2107, 0x210a, 0x2113, 0x2115, 0x2115, 0x2119, 0x211d, 0x2124, 0x2124,
    0x2126, 0x2126, 0x2128, 0x2128, 0x212a, 0x212d, 0x212f, 0x2134, 0x2139, 0x2139, 0x213c, 0x213f,
    0x2145, 0x2149, 0x214e, 0x214e, 0x2183, 0x2184, 0x2c00, 0x2c7b, 0x2c7e, 0x2ce4, 0x2ceb, 0x2cee,
    0x2cf2, 0x2cf3, 0xa640, 0xa66d, 0xa680, 0xa69b, 0xa722, 0xa76f, 0xa771, 0xa787, 0xa78b, 0xa78e,
    0xab70, 0xabbf, 0xfb00, 0xfb06, 0xfb13, 0xfb17, 0xff21, 0xff3a, 0xff41, 0xff5a, 0x10400, 0x1044f,
    0x104b0, 0x104d3, 0x104d8, 0x104fb, 0x10c80, 0x10cb2, 0x10cc0, 0x10cf2, 0x118a0, 0x118df, 0x1e900, 0x1e943,
];

/// `\s?[A-Za-z...]+`, with the letters of [`CASED`].
pub(crate) struct CasedWords;

impl Splitter for CasedWords {
    fn end(text: &[u8], start: usize) -> usize {
        isolate(text, start, |text, start| spaced_run(text, start, of_ranges(CASED)))
    }
}

/// `\s?[!-/:-~！-／：-～‘-‟　-。]+`, which has all ASCII letters as well.
pub(crate) struct Signs;

impl Splitter for Signs {
    fn end(text: &[u8], start: usize) -> usize {
        const SIGNS: &[u32] =
            &[0x21, 0x2F, 0x3A, 0x7E, 0x2018, 0x201F, 0x3000, 0x3002, 0xFF01, 0xFF0F, 0xFF1A, 0xFF5E];
        isolate(text, start, |text, start| spaced_run(text, start, of_ranges(SIGNS)))
    }
}

/// `\s+$`: white space at the end of a piece.
pub(crate) struct Tail;

impl Splitter for Tail {
    fn end(text: &[u8], start: usize) -> usize {
        let blank = |text: &[u8], i| matches!(class_at(text, i), Some((Class::Space, _)));
        let mut i = start;
        while i < text.len() {
            // A whole run at a time: asking at each blank whether the run ends the piece would take the square of it.
            let run = if blank(text, i) { white_space(text, i).end } else { i };
            if run == text.len() {
                return if i == start { run } else { i };
            }
            i = run.max(i);
            while i < text.len() && !blank(text, i) {
                i += char_at(text, i).map_or(1, |(_, len)| len);
            }
        }
        i
    }
}

/// `[一-龥ࠀ-一가-퟿]+`.
pub(crate) struct Ideographs;

impl Splitter for Ideographs {
    fn end(text: &[u8], start: usize) -> usize {
        const RANGES: &[u32] = &[0x800, 0x9FA5, 0xAC00, 0xD7FF];
        isolate(text, start, |text, start| run_of(text, start, of_ranges(RANGES)))
    }
}

/// Version 3's second stage: `[一-龥぀-ゟ゠-ヿ]+`.
pub(crate) struct Japanese;

impl Splitter for Japanese {
    fn end(text: &[u8], start: usize) -> usize {
        const RANGES: &[u32] = &[0x3040, 0x30FF, 0x4E00, 0x9FA5];
        isolate(text, start, |text, start| run_of(text, start, of_ranges(RANGES)))
    }
}

fn run_of(text: &[u8], start: usize, within: impl Fn(&[u8], usize) -> Option<usize>) -> Option<usize> {
    let mut end = start;
    while let Some(len) = within(text, end) {
        end += len;
    }
    (end > start).then_some(end)
}

/// Version 3's last stage: ``[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|``
/// ` ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`.
pub(crate) struct Third;

impl Splitter for Third {
    fn end(text: &[u8], start: usize) -> usize {
        isolate(text, start, third)
    }
}

fn third(text: &[u8], start: usize) -> Option<usize> {
    let (kind, len) = kind_at(text, start)?;
    let (byte, next) = (text[start], start + len);
    if byte.is_ascii_punctuation() && text.get(next).is_some_and(u8::is_ascii_alphabetic) {
        return run_of(text, next, |text, i| text.get(i)?.is_ascii_alphabetic().then_some(1));
    }
    let is_word = |kind: Kind| kind.is_letter() || kind == Kind::Mark;
    let is_sign = |kind| matches!(kind, Kind::Punctuation | Kind::Symbol);
    if is_word(kind) {
        return run_of(text, start, of_kind(is_word));
    }
    if !is_sign(kind)
        && !matches!(byte, b'\r' | b'\n')
        && let Some(end) = run_of(text, next, of_kind(is_word))
    {
        return Some(end);
    }
    let first_sign = if byte == b' ' { next } else { start };
    if let Some(mut end) = run_of(text, first_sign, of_kind(is_sign)) {
        while let Some(b'\r' | b'\n') = text.get(end) {
            end += 1;
        }
        return Some(end);
    }
    (kind == Kind::Space).then(|| {
        let space = white_space(text, start);
        space.after_newline.unwrap_or_else(|| space.trailing(text))
    })
}
