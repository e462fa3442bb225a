//! GPT-4's pattern, as first published, as tiktoken has it today, and as other models changed it.
//!
//! Published: `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|`
//! `\s+(?!\S)|\s+`. A [`Form`] says what differs.

use std::marker::PhantomData;

use super::Splitter;
use super::classes::{Class, class_at};
use super::kinds::class_with_marks;
use super::spaces::white_space;

/// How a pattern of this family differs from the published one.
pub(crate) trait Form {
    /// Most numbers in one pretoken.
    const NUMBERS: usize = 3;
    /// White space at the end of the text stays in one piece.
    const WHOLE_TAIL: bool = false;

    /// Whether a byte behind signs goes with them.
    #[inline]
    fn follows_signs(byte: u8) -> bool {
        matches!(byte, b'\r' | b'\n')
    }

    /// What counts as a letter, a number, a sign.
    #[inline]
    fn class_at(text: &[u8], i: usize) -> Option<(Class, usize)> {
        class_at(text, i)
    }
}

/// As first published; Llama 3 and many others have it.
pub(crate) struct Published;

impl Form for Published {}

/// tiktoken's cl100k: `\s++$|\s*[\r\n]|\s+(?!\S)|\s` at the end, which differs in one case: white space that ends the text
/// is one pretoken even if a newline stands inside it.
pub(crate) struct Cl100k;

impl Form for Cl100k {
    const WHOLE_TAIL: bool = true;
}

/// Qwen2: `\p{N}`.
pub(crate) struct Qwen2;

impl Form for Qwen2 {
    const NUMBERS: usize = 1;
}

/// Qwen3.5: `[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*`. A mark that the first class takes is one
/// that the second would take as well, so marks are simply letters.
pub(crate) struct Qwen35;

impl Form for Qwen35 {
    const NUMBERS: usize = 1;

    #[inline]
    fn class_at(text: &[u8], i: usize) -> Option<(Class, usize)> {
        class_with_marks(text, i)
    }
}

/// Seed-Coder: `\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+`.
pub(crate) struct SeedCoder;

impl Form for SeedCoder {
    const NUMBERS: usize = 1;

    #[inline]
    fn follows_signs(_: u8) -> bool {
        false
    }
}

pub(crate) struct Gpt4<F>(PhantomData<F>);

impl<F: Form> Splitter for Gpt4<F> {
    #[inline]
    fn end(text: &[u8], start: usize) -> usize {
        if let Some(len) = contraction(&text[start..]) {
            return start + len;
        }
        let Some((first, len)) = F::class_at(text, start) else { return start };
        let next = start + len;
        match first {
            Class::Letter => return run_end::<F>(text, next, Class::Letter),
            Class::Number => return numbers::<F>(text, next),
            Class::Space | Class::Other => {}
        }
        // Any one sign or blank but a newline goes with the word behind it.
        let byte = text[start];
        let second = F::class_at(text, next);
        if let Some((Class::Letter, len)) = second
            && byte != b'\r'
            && byte != b'\n'
        {
            return run_end::<F>(text, next + len, Class::Letter);
        }
        if first == Class::Other { signs::<F>(text, next) } else { blanks::<F>(text, start, next, second) }
    }
}

/// The end of what begins with white space at `start` and is no word: ` [^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`.
/// `second` is the character at `next`, behind the first.
#[inline]
pub(crate) fn blanks<F: Form>(
    text: &[u8],
    start: usize,
    next: usize,
    second: Option<(Class, usize)>,
) -> usize {
    if let Some((Class::Other, len)) = second
        && text[start] == b' '
    {
        return signs::<F>(text, next + len);
    }
    let space = white_space(text, start);
    if F::WHOLE_TAIL && space.end == text.len() {
        space.end
    } else {
        space.after_newline.unwrap_or_else(|| space.trailing(text))
    }
}

#[inline]
fn run_end<F: Form>(text: &[u8], mut i: usize, class: Class) -> usize {
    while let Some((found, len)) = F::class_at(text, i)
        && found == class
    {
        i += len;
    }
    i
}

/// The end of `[^\s\p{L}\p{N}]*[\r\n]*` from `i`.
#[inline]
pub(crate) fn signs<F: Form>(text: &[u8], i: usize) -> usize {
    let mut end = run_end::<F>(text, i, Class::Other);
    while text.get(end).is_some_and(|&byte| F::follows_signs(byte)) {
        end += 1;
    }
    end
}

/// The end of as many more numbers from `i` as go with the one before.
pub(crate) fn numbers<F: Form>(text: &[u8], mut i: usize) -> usize {
    for _ in 1..F::NUMBERS {
        match F::class_at(text, i) {
            Some((Class::Number, len)) => i += len,
            _ => break,
        }
    }
    i
}

/// In either case; U+017F, the long s (`C5 BF`), is an s in another case, and no other character folds to these letters.
#[inline]
pub(crate) fn contraction(text: &[u8]) -> Option<usize> {
    let [b'\'', rest @ ..] = text else { return None };
    match rest {
        [b's' | b'S' | b't' | b'T' | b'm' | b'M' | b'd' | b'D', ..] => Some(2),
        [b'r' | b'R' | b'v' | b'V', b'e' | b'E', ..] | [b'l' | b'L', b'l' | b'L', ..] | [0xC5, 0xBF, ..] => {
            Some(3)
        }
        _ => None,
    }
}
