//! The vocabulary of a GGUF file, as whoever reads such files hands it over.
//!
//! Source: the keys `tokenizer.ggml.*` of the GGUF specification, and what llama.cpp does with them.

use hashbrown::{HashMap, HashSet};

use super::{Gap, Published, bytes, pretokenizer};
use crate::added::Added;
use crate::vocab::Vocab;
use crate::{Error, TokenId, Tokenizer};

/// The values of the keys `tokenizer.ggml.*` of a GGUF file; see [`Tokenizer::from_gguf`].
#[derive(Debug, Clone, Default)]
pub struct GgufVocabulary<'f> {
    /// `model`: `gpt2` for byte-level BPE.
    pub model: &'f str,
    /// `pre`, the name of the pretokenizer; empty if the file has none, which llama.cpp takes for `default`.
    pub pre: &'f str,
    /// `tokens`, by id.
    pub tokens: Vec<&'f str>,
    /// `token_type`, by id: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte. Empty if the file has none:
    /// all tokens are normal then.
    pub token_types: Vec<i32>,
    /// `merges`: two tokens with a blank between.
    pub merges: Vec<&'f str>,
    /// `bos_token_id`.
    pub bos: Option<TokenId>,
    /// `eos_token_id`.
    pub eos: Option<TokenId>,
    /// `add_bos_token`; what it is by default depends on `pre`.
    pub add_bos: Option<bool>,
    /// `add_eos_token`; not by default.
    pub add_eos: Option<bool>,
}

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

impl Tokenizer {
    /// A tokenizer that encodes as llama.cpp does with the vocabulary of a GGUF file.
    ///
    /// Control tokens are special; user-defined ones are found in every text. The end of a text is `eos`. What llama.cpp
    /// approximates of a model's pattern is here as the model's own tokenizer has it (see [`Pretokenizer`]); of added
    /// tokens that overlap, the first in the text counts, not the longest of all.
    ///
    /// [`Pretokenizer`]: crate::Pretokenizer
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for another model than `gpt2` or a pretokenizer that is not known here;
    /// [`Error::NoEndOfText`] without `eos`; and whatever is wrong with tokens, their types or merges.
    pub fn from_gguf(file: &GgufVocabulary<'_>) -> Result<Self, Error> {
        check_model(file.model)?;
        // Before anything is copied.
        if file.tokens.len() > crate::MAX_VOCABULARY {
            return Err(Error::VocabularyTooLarge {
                wanted: file.tokens.len(),
                limit: crate::MAX_VOCABULARY,
            });
        }
        let named = pretokenizer::from_name(file.pre)
            .ok_or_else(|| Error::Unsupported { part: "pretokenizer", found: file.pre.into() })?;
        if !file.token_types.is_empty() && file.token_types.len() != file.tokens.len() {
            return Err(Error::TokenTypes { tokens: file.tokens.len(), types: file.token_types.len() });
        }
        let end_of_text = file.eos.ok_or_else(|| Error::NoEndOfText { looked_for: "eos".into() })?;
        let mut published =
            Published { whole: named.whole, gap: Gap::Cut, end_of_text, ..Published::default() };
        let merges = Merges::parse(file)?;
        published.merges = merges.pairs;
        for (id, text) in (0..).zip(&file.tokens) {
            let kind = file.token_types.get(id as usize).copied().unwrap_or(NORMAL);
            add_token(&mut published, text, id, kind, merges.tokens.contains(&id));
        }
        if file.add_bos.unwrap_or(named.add_bos) {
            published.prefix.extend(file.bos);
        }
        if file.add_eos.unwrap_or(false) {
            published.suffix.push(end_of_text);
        }
        Ok(Self::new(Vocab::from_published(published)?, named.pretokenizer))
    }
}

fn check_model(model: &str) -> Result<(), Error> {
    let found = match model {
        "gpt2" => return Ok(()),
        "llama" | "gemma4" => format!("{model} (SentencePiece)"),
        "bert" => "bert (WordPiece)".into(),
        "t5" => "t5 (Unigram)".into(),
        other => other.into(),
    };
    Err(Error::Unsupported { part: "model", found })
}

/// `merged`: whether the token is part of a merge, or what one makes.
fn add_token(published: &mut Published, text: &str, id: TokenId, kind: i32, merged: bool) {
    let bytes = || bytes::from_text(text).filter(|bytes| !bytes.is_empty());
    let ordinary = match kind {
        NORMAL => bytes(),
        USER_DEFINED if merged => bytes(),
        _ => None,
    };
    match kind {
        UNKNOWN | CONTROL => published.added.push(Added::special(text.into(), id)),
        USER_DEFINED => {
            let ordinary = ordinary.is_some();
            published.added.push(Added { special: false, ordinary, ..Added::special(text.into(), id) });
        }
        // Padding, and entries that are not written as bytes are: nothing that a text is made of.
        _ if ordinary.is_none() => published.unreachable.push((text.as_bytes().into(), id)),
        _ => {}
    }
    published.tokens.extend(ordinary.map(|bytes| (bytes, id)));
}

struct Merges {
    pairs: Vec<(TokenId, TokenId)>,
    /// All tokens that are part of a merge, or what one makes.
    tokens: HashSet<TokenId>,
}

impl Merges {
    fn parse(file: &GgufVocabulary<'_>) -> Result<Self, Error> {
        let ids: HashMap<&str, TokenId> = file.tokens.iter().copied().zip(0..).collect();
        let mut merges = Self { pairs: Vec::with_capacity(file.merges.len()), tokens: HashSet::new() };
        for (index, text) in file.merges.iter().enumerate() {
            let error = || Error::MergeText { index, text: (*text).into() };
            let (left, right) = split_merge(text).ok_or_else(error)?;
            let id = |text: &str| ids.get(text).copied();
            let (first, second) = id(left).zip(id(right)).ok_or_else(error)?;
            merges.pairs.push((first, second));
            merges.tokens.extend([first, second].into_iter().chain(id(&[left, right].concat())));
        }
        Ok(merges)
    }
}

/// The two tokens of a merge. The first has at least one character, so a blank in front belongs to it.
fn split_merge(text: &str) -> Option<(&str, &str)> {
    let first = text.chars().next()?.len_utf8();
    let at = first + text[first..].find(' ')?;
    Some((&text[..at], &text[at + 1..]))
}
