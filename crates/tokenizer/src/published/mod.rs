//! Vocabularies of published models: Hugging Face's `tokenizer.json`, and what a GGUF file holds.
//!
//! Both say the same things in different words: [`hugging_face`] and [`gguf`] read them into one [`Published`], and
//! [`Vocab::from_published`](crate::vocab::Vocab::from_published) checks it and puts it together.

mod bytes;
mod gguf;
mod hugging_face;
mod normalize;
mod pretokenizer;
mod to_gguf;
mod to_hugging_face;

use std::collections::BTreeMap;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

pub use gguf::GgufVocabulary;
pub(crate) use normalize::nfc;
pub use to_gguf::GgufTokens;

use crate::added::Added;
use crate::vocab::Origin;
use crate::{Error, TokenId, Tokenizer};

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
    /// The vocabulary of a tokenizer. One that was trained here expects the end of a text before a text, as between the
    /// documents that models are trained on.
    fn of(tokenizer: &Tokenizer, format: &'static str) -> Result<Self, Error> {
        let vocab = tokenizer.vocab();
        match vocab.origin() {
            Origin::Published(rest) => Ok(vocab.published(rest)),
            Origin::Merges(_) => {
                let added = tokenizer.special_tokens().map(|(name, id)| Added::special(name.to_owned(), id));
                let (added, end_of_text) = (added.collect(), tokenizer.end_of_text());
                let rest = Self { added, end_of_text, prefix: vec![end_of_text], ..Self::default() };
                Ok(vocab.published(&rest))
            }
            Origin::Ranks => {
                Err(Error::NotWritable { format, what: "it has ranks and no list of merges".into() })
            }
        }
    }

    /// Each token's text as both formats write it, and what kind of token it is; of a token that is of two kinds, as added
    /// ones may be, the last.
    fn texts(&self, format: &'static str) -> Result<Vec<(TokenId, String, Kind)>, Error> {
        let ordinary = self.tokens.iter().map(|(bytes, id)| (*id, bytes::to_text(bytes), Kind::Ordinary));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let apart = self.unreachable.iter().map(|(bytes, id)| (*id, text(bytes), Kind::Unreachable));
        let kind = |added: &Added| if added.special { Kind::Special } else { Kind::Added };
        let added = self.added.iter().map(|token| (token.id, token.text.clone(), kind(token)));
        let mut by_id = BTreeMap::new();
        for (id, text, kind) in ordinary.chain(apart).chain(added) {
            by_id.insert(id, (text, kind));
        }
        let mut seen = HashMap::new();
        for (id, (text, _)) in &by_id {
            if let Some(first) = seen.insert(text.as_str(), id) {
                let what = format!("tokens {first} and {id} are both written {text:?}");
                return Err(Error::NotWritable { format, what });
            }
        }
        drop(seen);
        Ok(by_id.into_iter().map(|(id, (text, kind))| (id, text, kind)).collect())
    }

    /// Ids that ordinary tokens do not have.
    pub(crate) fn apart(&self) -> impl Iterator<Item = TokenId> {
        let added = self.added.iter().filter(|token| !token.ordinary).map(|token| token.id);
        added.chain(self.unreachable.iter().map(|&(_, id)| id))
    }
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ordinary,
    /// Found only where special tokens are asked for.
    Special,
    /// Found in every text.
    Added,
    /// No text gives it.
    Unreachable,
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
