//! Vocabularies of published models: Hugging Face's `tokenizer.json`, and what a GGUF file holds.
//!
//! Both say the same things in different words: [`hugging_face`] and [`gguf`] read them into one [`Published`], and
//! [`Vocab::from_published`](crate::vocab::Vocab::from_published) checks it and puts it together.

mod bytes;
mod gguf;
mod hugging_face;
mod normalize;
mod pretokenizer;

use serde::{Deserialize, Serialize};

pub use gguf::GgufVocabulary;
pub(crate) use normalize::nfc;

use crate::TokenId;
use crate::added::Added;

/// A vocabulary as its makers published it, not yet checked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Published {
    /// Ordinary tokens: what text is made of.
    pub(crate) tokens: Vec<(Vec<u8>, TokenId)>,
    /// Pairs of ordinary tokens, those that merge first in front. A pair makes the token with the bytes of both.
    pub(crate) merges: Vec<(TokenId, TokenId)>,
    pub(crate) added: Vec<Added>,
    /// Tokens that no text gives: padding, and entries that are not written as bytes are. They can be decoded.
    pub(crate) unreachable: Vec<(Vec<u8>, TokenId)>,
    /// Whether a whole pretoken that is a token is that token, whatever the merges make of it.
    pub(crate) whole: bool,
    pub(crate) gap: Gap,
    /// Whether texts are brought into Unicode's normalization form C.
    pub(crate) nfc: bool,
    /// Tokens that stand before a text.
    pub(crate) prefix: Vec<TokenId>,
    /// Tokens that stand behind a text.
    pub(crate) suffix: Vec<TokenId>,
    pub(crate) end_of_text: TokenId,
}

impl Published {
    /// Ids that ordinary tokens do not have.
    pub(crate) fn apart(&self) -> impl Iterator<Item = TokenId> {
        let added = self.added.iter().filter(|token| !token.ordinary).map(|token| token.id);
        added.chain(self.unreachable.iter().map(|&(_, id)| id))
    }
}

/// What becomes of bytes that have no token. (Many published vocabularies lack bytes that UTF-8 never has, and some lack a
/// few that are rare.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Gap {
    /// They are left out, and their neighbours may merge: Hugging Face's way.
    #[default]
    Close,
    /// They are left out, and nothing merges over them: llama.cpp's way.
    Cut,
    /// Each gives this token.
    Token(TokenId),
}
