//! Stage 1: cutting text into pretokens, inside which tokens are formed.
//!
//! The published patterns are regular expressions with look-ahead. Here each is written out by hand: one look at the first
//! characters decides which alternative matches, so a text is cut in one pass, in linear time, with no engine behind it.

mod classes;
mod deepseek;
mod gpt2;
mod gpt4;
mod kinds;
mod o200k;
mod ranges;
mod spaces;
mod stages;

use std::str::FromStr;

use gpt2::Gpt2;
use gpt4::{Cl100k, Gpt4, Published, Qwen2, Qwen35, SeedCoder};
use o200k::{Gpt4o, O200k, Tekken};
pub(crate) use spaces::{space_after, space_before};

use crate::Error;

/// How text is cut into pretokens.
///
/// Bytes that are not well-formed UTF-8 count as one sign each, so any file can be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Pretokenizer {
    /// GPT-2, r50k and p50k; MPT, OLMo, Phi-2.
    Gpt2,
    /// GPT-4's pattern as first published, and as Hugging Face's conversions have it; Llama 3, GLM-4. The default for
    /// training: numbers are cut into groups of three, and indentation is kept together.
    #[default]
    Gpt4,
    /// tiktoken's `cl100k_base`: [`Gpt4`](Self::Gpt4), except that white space that ends a text is one pretoken even if
    /// it has newlines inside.
    Cl100k,
    /// Qwen2 and Qwen3: [`Gpt4`](Self::Gpt4) with numbers one by one.
    Qwen2,
    /// Qwen3.5: [`Qwen2`](Self::Qwen2), with marks counted as letters.
    Qwen35,
    /// Seed-Coder: [`Qwen2`](Self::Qwen2), with newlines apart from the signs before them.
    SeedCoder,
    /// MiniCPM5: numbers are cut out in groups of three, then [`Gpt4`](Self::Gpt4).
    MiniCpm5,
    /// GPT-4o and Llama 4, tiktoken's `o200k_base`: a word begins where lower case changes to upper.
    O200k,
    /// Mistral's Tekken: [`O200k`](Self::O200k) without contractions, and with numbers one by one.
    Tekken,
    /// SmolLM, StarCoder, Refact, Command R: numbers are cut out one by one, then [`Gpt2`](Self::Gpt2).
    Gpt2Digits,
    /// Falcon: punctuation is cut out, then [`Gpt2`](Self::Gpt2), then numbers, then groups of three digits.
    Falcon,
    /// DeepSeek LLM.
    DeepSeekLlm,
    /// DeepSeek Coder.
    DeepSeekCoder,
    /// DeepSeek V3 and R1.
    DeepSeekV3,
    /// What llama.cpp does where a file names nothing: nearly [`Falcon`](Self::Falcon).
    LlamaCppDefault,
}

/// All of them.
const ALL: [Pretokenizer; 15] = [
    Pretokenizer::Gpt2,
    Pretokenizer::Gpt4,
    Pretokenizer::Cl100k,
    Pretokenizer::Qwen2,
    Pretokenizer::Qwen35,
    Pretokenizer::SeedCoder,
    Pretokenizer::MiniCpm5,
    Pretokenizer::O200k,
    Pretokenizer::Tekken,
    Pretokenizer::Gpt2Digits,
    Pretokenizer::Falcon,
    Pretokenizer::DeepSeekLlm,
    Pretokenizer::DeepSeekCoder,
    Pretokenizer::DeepSeekV3,
    Pretokenizer::LlamaCppDefault,
];

impl Pretokenizer {
    /// The name in files: `gpt2`, `gpt4`, `cl100k`, `o200k`, and so on.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gpt2 => "gpt2",
            Self::Gpt4 => "gpt4",
            Self::Cl100k => "cl100k",
            Self::Qwen2 => "qwen2",
            Self::Qwen35 => "qwen35",
            Self::SeedCoder => "seed-coder",
            Self::MiniCpm5 => "minicpm5",
            Self::O200k => "o200k",
            Self::Tekken => "tekken",
            Self::Gpt2Digits => "gpt2-digits",
            Self::Falcon => "falcon",
            Self::DeepSeekLlm => "deepseek-llm",
            Self::DeepSeekCoder => "deepseek-coder",
            Self::DeepSeekV3 => "deepseek-v3",
            Self::LlamaCppDefault => "llama.cpp-default",
        }
    }

    /// Every pretokenizer that there is.
    pub fn all() -> impl Iterator<Item = Self> {
        ALL.into_iter()
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
        Split { text: text.as_ref(), stages: self.stages(), ends: [0; MAX_STAGES], start: 0 }
    }

    /// Calls `f` with the bounds of each pretoken: [`split`](Self::split) without a choice per pretoken, where one pattern
    /// is all there is.
    #[inline]
    pub(crate) fn for_each(self, text: &[u8], mut f: impl FnMut(usize, usize)) {
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
            Self::Gpt4 => each::<Gpt4<Published>>(text, f),
            Self::Cl100k => each::<Gpt4<Cl100k>>(text, f),
            Self::Qwen2 => each::<Gpt4<Qwen2>>(text, f),
            _ => {
                let mut pieces = self.split(text);
                while let Some((start, end)) = pieces.bounds() {
                    f(start, end);
                }
            }
        }
    }

    /// The patterns that cut a text one after the other, each the pieces of the one before.
    fn stages(self) -> &'static [Stage] {
        match self {
            Self::Gpt2 => &[Gpt2::end],
            Self::Gpt4 => &[Gpt4::<Published>::end],
            Self::Cl100k => &[Gpt4::<Cl100k>::end],
            Self::Qwen2 => &[Gpt4::<Qwen2>::end],
            Self::Qwen35 => &[Gpt4::<Qwen35>::end],
            Self::SeedCoder => &[Gpt4::<SeedCoder>::end],
            Self::MiniCpm5 => &[stages::Numbers::<3>::end, Gpt4::<Published>::end],
            Self::O200k => &[O200k::<Gpt4o>::end],
            Self::Tekken => &[O200k::<Tekken>::end],
            Self::Gpt2Digits => &[stages::Numbers::<1>::end, Gpt2::end],
            Self::Falcon => &[
                stages::Punctuation::<true>::end,
                Gpt2::end,
                stages::NumberBytes::end,
                stages::ThreeDigits::end,
            ],
            Self::DeepSeekLlm => &[
                deepseek::Newlines::end,
                deepseek::CasedWords::end,
                deepseek::Signs::end,
                deepseek::Tail::end,
                deepseek::Ideographs::end,
                stages::Numbers::<1>::end,
            ],
            Self::DeepSeekCoder => &[
                deepseek::Newlines::end,
                deepseek::Words::end,
                deepseek::Punctuation::end,
                deepseek::Ideographs::end,
                stages::Numbers::<1>::end,
            ],
            Self::DeepSeekV3 => &[stages::Numbers::<3>::end, deepseek::Japanese::end, deepseek::Third::end],
            Self::LlamaCppDefault => &[
                stages::Punctuation::<false>::end,
                Gpt2::end,
                stages::NumberRuns::end,
                stages::ThreeDigits::end,
            ],
        }
    }
}

impl FromStr for Pretokenizer {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::all()
            .find(|pretokenizer| pretokenizer.name() == name)
            .ok_or_else(|| Error::Pretokenizer { name: name.into() })
    }
}

/// One pattern.
pub(crate) trait Splitter {
    /// The end of the pretoken that begins at `start`, a position inside the text.
    fn end(text: &[u8], start: usize) -> usize;
}

/// [`Splitter::end`].
type Stage = fn(&[u8], usize) -> usize;

const MAX_STAGES: usize = 6;

/// The pretokens of a text: see [`Pretokenizer::split`].
#[derive(Debug, Clone)]
pub struct Split<'t> {
    text: &'t [u8],
    stages: &'static [Stage],
    /// Where the piece of each stage that `start` lies in ends; `start` where there is none yet.
    ends: [usize; MAX_STAGES],
    start: usize,
}

impl Split<'_> {
    /// The bounds of the next pretoken.
    fn bounds(&mut self) -> Option<(usize, usize)> {
        let start = self.start;
        let mut bound = self.text.len();
        if start == bound {
            return None;
        }
        for (end, stage) in self.ends.iter_mut().zip(self.stages) {
            if *end == start {
                // A stage sees nothing of what lies behind the piece that it cuts.
                *end = stage(&self.text[..bound], start);
            }
            bound = *end;
        }
        self.start = bound;
        Some((start, bound))
    }
}

impl<'t> Iterator for Split<'t> {
    type Item = &'t [u8];

    fn next(&mut self) -> Option<&'t [u8]> {
        let (start, end) = self.bounds()?;
        Some(&self.text[start..end])
    }
}
