//! The pattern of GPT-4o and of Mistral's Tekken, in which upper case begins a word.
//!
//! With `U` for `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]` and `L` for `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`:
//! `[^\r\n\p{L}\p{N}]?U*L+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?U+L*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|`
//! ` ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`. Tekken has no contractions, and numbers one by one.

use std::marker::PhantomData;

use super::Splitter;
use super::classes::{Class, class_at};
use super::gpt4::{Form, blanks, contraction, numbers, signs};
use super::kinds::{Kind, kind_at};

/// What GPT-4o's pattern and Tekken's differ in.
pub(crate) trait Cased: Form {
    /// Whether a contraction goes with the word before it.
    const CONTRACTIONS: bool;
}

pub(crate) struct Gpt4o;

impl Form for Gpt4o {
    #[inline]
    fn follows_signs(byte: u8) -> bool {
        matches!(byte, b'\r' | b'\n' | b'/')
    }
}

impl Cased for Gpt4o {
    const CONTRACTIONS: bool = true;
}

pub(crate) struct Tekken;

impl Form for Tekken {
    const NUMBERS: usize = 1;

    #[inline]
    fn follows_signs(byte: u8) -> bool {
        Gpt4o::follows_signs(byte)
    }
}

impl Cased for Tekken {
    const CONTRACTIONS: bool = false;
}

pub(crate) struct O200k<C>(PhantomData<C>);

impl<C: Cased> Splitter for O200k<C> {
    #[inline]
    fn end(text: &[u8], start: usize) -> usize {
        if let Some(end) = word(text, start) {
            let tail = if C::CONTRACTIONS { contraction(&text[end..]) } else { None };
            return end + tail.unwrap_or(0);
        }
        let Some((first, len)) = class_at(text, start) else { return start };
        let next = start + len;
        match first {
            Class::Number => numbers::<C>(text, next),
            Class::Space => blanks::<C>(text, start, next, class_at(text, next)),
            // Every letter begins a word: none comes here.
            Class::Other | Class::Letter => signs::<C>(text, next),
        }
    }
}

/// The end of the word at `start`, without a contraction.
fn word(text: &[u8], start: usize) -> Option<usize> {
    let (kind, len) = kind_at(text, start)?;
    let takes_prefix = !(kind.is_letter() || kind == Kind::Number || matches!(text[start], b'\r' | b'\n'));
    // Only a mark can be both the sign in front of a word and the beginning of one; as the former it is tried first.
    let after = start + len;
    let prefixed = if takes_prefix { Cases::at(text, after) } else { Cases::default() };
    if let Some(end) = prefixed.lower {
        return Some(end);
    }
    let bare = Cases::at(text, start);
    bare.lower.or(prefixed.upper).or(bare.upper)
}

/// Where the two kinds of words that begin at one place end.
#[derive(Default)]
struct Cases {
    /// `U*L+`.
    lower: Option<usize>,
    /// `U+L*`; meaningful where `lower` is not.
    upper: Option<usize>,
}

impl Cases {
    fn at(text: &[u8], start: usize) -> Self {
        let (mut i, mut caseless) = (start, None);
        while let Some((kind @ (Kind::Upper | Kind::Letter | Kind::Mark), len)) = kind_at(text, i) {
            i += len;
            if kind != Kind::Upper {
                // Letters without case and marks are in both classes: should nothing in lower case follow, the last of
                // them is given back to end the word.
                caseless = Some(i);
            }
        }
        let upper = (i > start).then_some(i);
        let mut end = i;
        while let Some((Kind::Lower | Kind::Letter | Kind::Mark, len)) = kind_at(text, end) {
            end += len;
        }
        Self { lower: if end > i { Some(end) } else { caseless }, upper }
    }
}
