//! The tokens of a model as a tree over their bytes, made once and shared by all constraints.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{
    ApproximateTokEnv, INVALID_TOKEN, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie,
};
use llguidance::{ParserFactory, panic_utils};
use selvedge_tokenizer::Tokenizer;

use crate::error::Error;
use crate::limits;

/// The tokens of a model: their bytes, and which of them end a text. A clone shares the tree.
#[derive(Clone)]
pub struct Vocabulary {
    factory: Arc<ParserFactory>,
    size: usize,
    ends: Arc<[u32]>,
}

impl Vocabulary {
    /// The first `size` tokens of `tokenizer`, where `size` is the model's V, whose rows may be more: those that no token has
    /// are never allowed. Neither are special tokens: a grammar is about text, and they have none. `ends` may come where a
    /// text of the grammar may end, and nowhere else.
    ///
    /// Takes time in the order of the vocabulary's bytes: about a tenth of a second for 50,000 tokens.
    ///
    /// # Errors
    /// [`Error::EndToken`]; [`Error::Vocabulary`] if the tokens are too many or too long.
    pub fn new(tokenizer: &Tokenizer, size: usize, ends: &[u32]) -> Result<Self, Error> {
        if let Some(&token) = ends.iter().find(|&&token| token as usize >= size) {
            return Err(Error::EndToken { token, vocab: size });
        }
        let failed = |reason: String| Error::Vocabulary { vocab: size, reason };
        let rows = u32::try_from(size).map_err(|_| failed("they are too many".to_owned()))?;
        let mut words: Vec<Vec<u8>> = (0..rows)
            .map(|token| tokenizer.token_bytes(token).map(<[u8]>::to_vec).unwrap_or_default())
            // In the tree this byte begins the names of special tokens. It is in no text that is UTF-8.
            .map(
                |bytes| {
                    if bytes.first() == Some(&TokTrie::SPECIAL_TOKEN_MARKER) { Vec::new() } else { bytes }
                },
            )
            .collect();
        let specials = tokenizer.special_tokens().map(|(_, token)| token);
        for token in specials.chain(ends.iter().copied()) {
            if let Some(bytes) = words.get_mut(token as usize) {
                bytes.clear();
            }
        }
        let build = || {
            let end = ends.first().copied().unwrap_or(INVALID_TOKEN);
            let mut tree = TokTrie::from(&TokRxInfo::new(rows, end), &words);
            if !ends.is_empty() {
                tree = tree.with_eos_tokens(ends);
            }
            // Not canonical: the model may cut a text as it likes, so that what is likely stays likely.
            let tokens: TokEnv = Arc::new(ApproximateTokEnv::new(tree));
            let slices = SlicedBiasComputer::general_slices();
            let mut factory = ParserFactory::new(&tokens, InferenceCapabilities::default(), &slices)?;
            factory.quiet();
            *factory.limits_mut() = limits::of_parser();
            Ok(factory)
        };
        let factory = panic_utils::catch_unwind(AssertUnwindSafe(build))
            .map_err(|error| failed(crate::error::brief(&error)))?;
        Ok(Vocabulary { factory: Arc::new(factory), size, ends: ends.into() })
    }

    /// The model's V.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The tokens that end a text.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    pub(crate) fn factory(&self) -> &ParserFactory {
        &self.factory
    }
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vocabulary")
            .field("size", &self.size)
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}
