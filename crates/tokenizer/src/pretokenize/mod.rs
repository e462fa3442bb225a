//! Stage 1: cutting text into pretokens, inside which tokens are formed.
//!
//! The published patterns are regular expressions with look-ahead. Here each is written out by hand: one look at the first
//! characters decides which alternative matches, so a text is cut in one pass, in linear time, with no engine behind it.

mod classes;
mod gpt2;
mod gpt4;
mod ranges;
mod spaces;

use std::str::FromStr;

use gpt2::Gpt2;
use gpt4::Gpt4;

use crate::Error;

/// How text is cut into pretokens.
///
/// Bytes that are not well-formed UTF-8 count as one sign each, so any file can be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Pretokenizer {
    /// GPT-2, r50k and p50k.
    Gpt2,
    /// GPT-4's pattern as first published, and as Hugging Face's conversions have it. The default for training: numbers
    /// are cut into groups of three, and indentation is kept together.
    #[default]
    Gpt4,
    /// tiktoken's `cl100k_base`: [`Gpt4`](Self::Gpt4), except that white space that ends a text is one pretoken even if
    /// it has newlines inside.
    Cl100k,
}

impl Pretokenizer {
    /// The name in files: `gpt2`, `gpt4` or `cl100k`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gpt2 => "gpt2",
            Self::Gpt4 => "gpt4",
            Self::Cl100k => "cl100k",
        }
    }

    /// The pretokens of a text, in order; joined they are the text.
    ///
    /// ```
    /// use selvedge_tokenizer::Pretokenizer;
    ///
    /// let pieces: Vec<&[u8]> = Pretokenizer::Gpt4.split("let x1 = 1234;").collect();
    /// assert_eq!(pieces, ["let", " x", "1", " =", " ", "123", "4", ";"].map(str::as_bytes));
    /// ```
    pub fn split<T: AsRef<[u8]> + ?Sized>(self, text: &T) -> Split<'_> {
        Split { pretokenizer: self, text: text.as_ref(), start: 0 }
    }

    /// Calls `f` with the bounds of each pretoken: [`split`](Self::split) without a choice per pretoken.
    #[inline]
    pub(crate) fn for_each(self, text: &[u8], f: impl FnMut(usize, usize)) {
        fn each<S: Splitter>(text: &[u8], mut f: impl FnMut(usize, usize)) {
            let mut start = 0;
            while start < text.len() {
                let end = S::end(text, start);
                f(start, end);
                start = end;
            }
        }
        match self {
            Self::Gpt2 => each::<Gpt2>(text, f),
            Self::Gpt4 => each::<Gpt4<false>>(text, f),
            Self::Cl100k => each::<Gpt4<true>>(text, f),
        }
    }
}

impl FromStr for Pretokenizer {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        [Self::Gpt2, Self::Gpt4, Self::Cl100k]
            .into_iter()
            .find(|pretokenizer| pretokenizer.name() == name)
            .ok_or_else(|| Error::Pretokenizer { name: name.into() })
    }
}

/// One pattern.
pub(crate) trait Splitter {
    /// The end of the pretoken that begins at `start`, a position inside the text.
    fn end(text: &[u8], start: usize) -> usize;
}

/// The pretokens of a text: see [`Pretokenizer::split`].
#[derive(Debug, Clone)]
pub struct Split<'t> {
    pretokenizer: Pretokenizer,
    text: &'t [u8],
    start: usize,
}

impl<'t> Iterator for Split<'t> {
    type Item = &'t [u8];

    fn next(&mut self) -> Option<&'t [u8]> {
        if self.start == self.text.len() {
            return None;
        }
        let start = self.start;
        self.start = match self.pretokenizer {
            Pretokenizer::Gpt2 => Gpt2::end(self.text, start),
            Pretokenizer::Gpt4 => Gpt4::<false>::end(self.text, start),
            Pretokenizer::Cl100k => Gpt4::<true>::end(self.text, start),
        };
        Some(&self.text[start..self.start])
    }
}
