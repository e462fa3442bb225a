//! Vocabularies as GGUF files hold them, written.

use hashbrown::HashMap;

use super::{GgufVocabulary, Kind, Published, pretokenizer};
use crate::{Error, TokenId, Tokenizer};

const FORMAT: &str = "a GGUF vocabulary";

/// The values of the keys `tokenizer.ggml.*` for a tokenizer; see [`Tokenizer::to_gguf`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufTokens {
    /// `pre`, the name of the pretokenizer. The `model` is `gpt2`.
    pub pre: &'static str,
    /// `tokens`, by id.
    pub tokens: Vec<String>,
    /// `token_type`, by id.
    pub token_types: Vec<i32>,
    /// `merges`: two tokens with a blank between.
    pub merges: Vec<String>,
    /// `bos_token_id`: what stands before a text, if anything does.
    pub bos: Option<TokenId>,
    /// `eos_token_id`.
    pub eos: TokenId,
    /// `add_bos_token`.
    pub add_bos: bool,
    /// `add_eos_token`.
    pub add_eos: bool,
}

impl GgufTokens {
    /// The same as what is read from a file.
    #[must_use]
    pub fn vocabulary(&self) -> GgufVocabulary<'_> {
        GgufVocabulary {
            model: "gpt2",
            pre: self.pre,
            tokens: self.tokens.iter().map(String::as_str).collect(),
            token_types: self.token_types.clone(),
            merges: self.merges.iter().map(String::as_str).collect(),
            bos: self.bos,
            eos: Some(self.eos),
            add_bos: Some(self.add_bos),
            add_eos: Some(self.add_eos),
        }
    }
}

impl Tokenizer {
    /// The vocabulary of a GGUF file that makes llama.cpp encode as this tokenizer does, with padding up to `rows` tokens,
    /// which a model's table may have.
    ///
    /// Such files do not say what is normalized, that added tokens take blanks beside them, and what becomes of bytes that
    /// have no token; there llama.cpp does what it does.
    ///
    /// # Errors
    /// [`Error::NotWritable`] for a tokenizer of ranks, for a pretokenizer that llama.cpp has no name for, for more than one
    /// token before or behind a text, and for two tokens that are written alike.
    pub fn to_gguf(&self, rows: usize) -> Result<GgufTokens, Error> {
        let not = |what: &str| Error::NotWritable { format: FORMAT, what: what.into() };
        let published = Published::of(self, FORMAT)?;
        let pre = pretokenizer::to_name(self.pretokenizer(), published.whole).ok_or_else(|| {
            not(&format!("its pretokenizer, {}, has no name there", self.pretokenizer().name()))
        })?;
        let eos = published.end_of_text;
        let bos = match published.prefix[..] {
            [] => None,
            [bos] => Some(bos),
            _ => return Err(not("several tokens stand before a text")),
        };
        let add_eos = match published.suffix[..] {
            [] => false,
            [suffix] if suffix == eos => true,
            _ => return Err(not("what stands behind a text is not the token that ends one")),
        };
        let size = self.vocab_size().max(rows);
        // Padding, with what is overwritten below.
        let mut tokens: Vec<String> = (0..size).map(|id| format!("[PAD{id}]")).collect();
        let mut token_types = vec![5; size];
        for (id, text, kind) in published.texts(FORMAT)? {
            tokens[id as usize] = text;
            token_types[id as usize] = match kind {
                Kind::Ordinary => 1,
                Kind::Special => 3,
                Kind::Added => 4,
                Kind::Unreachable => 5,
            };
        }
        check_distinct(&tokens)?;
        let text = |id: TokenId| tokens[id as usize].as_str();
        let merges =
            published.merges.iter().map(|&(left, right)| [text(left), text(right)].join(" ")).collect();
        Ok(GgufTokens { pre, merges, bos, eos, add_bos: bos.is_some(), add_eos, tokens, token_types })
    }
}

/// Padding may be written as some token is.
fn check_distinct(tokens: &[String]) -> Result<(), Error> {
    let mut seen = HashMap::new();
    for (id, text) in tokens.iter().enumerate() {
        if let Some(first) = seen.insert(text.as_str(), id) {
            let what = format!("tokens {first} and {id} are both written {text:?}");
            return Err(Error::NotWritable { format: FORMAT, what });
        }
    }
    Ok(())
}
