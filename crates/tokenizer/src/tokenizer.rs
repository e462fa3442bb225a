//! The tokenizer: a vocabulary and a way to cut text.

use std::fmt;
use std::sync::Arc;

use crate::vocab::{NO_TOKEN, Vocab};
use crate::{Error, Pretokenizer, TokenId};

/// Byte-level BPE: turns bytes into token ids and back.
///
/// Immutable and shared freely between threads; a clone shares the vocabulary.
#[derive(Clone)]
pub struct Tokenizer {
    vocab: Arc<Vocab>,
    pretokenizer: Pretokenizer,
}

impl Tokenizer {
    pub(crate) fn new(vocab: Vocab, pretokenizer: Pretokenizer) -> Self {
        Self { vocab: Arc::new(vocab), pretokenizer }
    }

    /// A tokenizer that encodes as tiktoken does with the same ranks (the content of a `.tiktoken` file).
    ///
    /// Two neighbours merge if their bytes together are a token, lowest rank first; a pretoken that is a token is that
    /// token. Ranks are the ids; gaps between them are allowed. `<|endoftext|>` must be among the special tokens.
    ///
    /// ```
    /// use selvedge_tokenizer::{END_OF_TEXT, Pretokenizer, Tokenizer};
    ///
    /// let mut ranks: Vec<(Vec<u8>, u32)> = (0..=255u8).map(|byte| (vec![byte], byte.into())).collect();
    /// ranks.push((b"ab".to_vec(), 256));
    /// let tokenizer = Tokenizer::from_ranks(ranks, [(END_OF_TEXT, 300)], Pretokenizer::Cl100k)?;
    /// assert_eq!(tokenizer.encode("abba"), [256, 98, 97]);
    /// # Ok::<(), selvedge_tokenizer::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A missing byte, an empty, overlong or repeated token, an id that is too large or taken, a special token that is
    /// missing or cannot be used: each has its variant in [`Error`].
    pub fn from_ranks<S: Into<String>>(
        ranks: impl IntoIterator<Item = (Vec<u8>, TokenId)>,
        special_tokens: impl IntoIterator<Item = (S, TokenId)>,
        pretokenizer: Pretokenizer,
    ) -> Result<Self, Error> {
        let specials = special_tokens.into_iter().map(|(name, id)| (name.into(), id)).collect();
        Ok(Self::new(Vocab::from_ranks(ranks.into_iter().collect(), specials)?, pretokenizer))
    }

    pub(crate) fn vocab(&self) -> &Arc<Vocab> {
        &self.vocab
    }

    /// How text is cut.
    pub fn pretokenizer(&self) -> Pretokenizer {
        self.pretokenizer
    }

    /// One more than the largest id: the rows an embedding needs. (Published vocabularies may leave ids unused.)
    pub fn vocab_size(&self) -> usize {
        self.vocab.size()
    }

    /// What a token stands for; a special token stands for its name. `None` for an id that is not in use.
    #[inline]
    pub fn token_bytes(&self, id: TokenId) -> Option<&[u8]> {
        self.vocab.bytes(id)
    }

    /// The id of a special token.
    pub fn special(&self, name: &str) -> Option<TokenId> {
        self.special_tokens().find(|&(found, _)| found == name).map(|(_, id)| id)
    }

    /// The special tokens and their ids, lowest id first.
    pub fn special_tokens(&self) -> impl Iterator<Item = (&str, TokenId)> {
        self.vocab.specials().iter().map(|(name, id)| (name.as_str(), *id))
    }

    /// The token that ends a text and stands between documents: `<|endoftext|>`, or what a published model has instead.
    pub fn end_of_text(&self) -> TokenId {
        self.vocab.end_of_text()
    }

    /// The tokens that a published model expects before a text, such as one that marks the beginning. Encoding does not put
    /// them there.
    pub fn prefix(&self) -> &[TokenId] {
        self.vocab.prefix()
    }

    /// The tokens that a published model expects behind a text; seldom any. Encoding does not put them there.
    pub fn suffix(&self) -> &[TokenId] {
        self.vocab.suffix()
    }

    /// Bytes that the vocabulary has no token for: encoding leaves them out, or gives the token for what is unknown. Many
    /// published vocabularies lack bytes that UTF-8 never has, some a few control characters; others have none.
    pub fn missing_bytes(&self) -> impl Iterator<Item = u8> {
        (0..=255).filter(|&byte| self.vocab.byte(byte) == NO_TOKEN)
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .field("pretokenizer", &self.pretokenizer)
            .field("special_tokens", &self.vocab.specials())
            .finish_non_exhaustive()
    }
}
