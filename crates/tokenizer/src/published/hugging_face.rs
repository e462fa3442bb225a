//! `tokenizer.json`, the format of Hugging Face's `tokenizers`, as far as byte-level BPE needs it.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::pretokenizer::{self, Pattern, Step};
use super::{Gap, Published, bytes};
use crate::added::Added;
use crate::file::{check_file_size, json_error};
use crate::vocab::Vocab;
use crate::{Error, Pretokenizer, TokenId, Tokenizer};

/// Names of the token that ends a text, tried in this order where the caller names none.
const END_OF_TEXT_NAMES: [&str; 6] =
    [crate::END_OF_TEXT, "<|end_of_text|>", "<｜end▁of▁sentence｜>", "</s>", "<eos>", "<|im_end|>"];

/// Most of what a file says that an error repeats, in characters.
const SHOWN: usize = 120;

/// Read first, so that a model of another kind is named as such, whatever else is in it.
#[derive(Deserialize)]
struct Header {
    model: ModelHeader,
}

#[derive(Deserialize)]
struct ModelHeader {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    merges: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    model: Model,
}

#[derive(Deserialize)]
struct AddedToken {
    id: TokenId,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Model {
    vocab: BTreeMap<String, TokenId>,
    merges: Vec<Merge>,
    dropout: Option<f64>,
    unk_token: Option<String>,
    #[serde(default)]
    fuse_unk: bool,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    ignore_merges: bool,
}

/// A merge in either spelling: `"a b"`, or `["a", "b"]`, in which tokens may have blanks.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Text(String),
    Pair(String, String),
}

impl Merge {
    fn parts(&self) -> Option<(&str, &str)> {
        match self {
            Self::Text(text) => text.split_once(' ').filter(|(_, right)| !right.contains(' ')),
            Self::Pair(left, right) => Some((left, right)),
        }
    }
}

impl Tokenizer {
    /// A tokenizer that encodes as Hugging Face's `tokenizers` does with a `tokenizer.json` of byte-level BPE: GPT-2's,
    /// Llama 3's, Qwen's, SmolLM's, StarCoder's, and many others'.
    ///
    /// Such a file does not say which token ends a text: `end_of_text` names it (`eos_token` of the model's
    /// `tokenizer_config.json`); without it the usual names are tried. Tokens in front of and behind a text are not put
    /// there by encoding: see [`prefix`](Self::prefix) and [`suffix`](Self::suffix).
    ///
    /// # Errors
    ///
    /// The content may come from anyone: whatever is wrong with it has its variant in [`Error`]. Tokenizers of other kinds
    /// (SentencePiece's, WordPiece, Unigram) and pretokenizers that are not known here are [`Error::Unsupported`].
    pub fn from_hugging_face(json: &[u8], end_of_text: Option<&str>) -> Result<Self, Error> {
        check_file_size(json.len() as u64)?;
        let header: Header = serde_json::from_slice(json).map_err(json_error)?;
        check_model(&header.model)?;
        let document: Document = serde_json::from_slice(json).map_err(json_error)?;
        let pretokenizer = pretokenizer(&document.pre_tokenizer)?;
        Ok(Self::new(Vocab::from_published(published(document, end_of_text)?)?, pretokenizer))
    }
}

fn unsupported(part: &'static str, found: &str) -> Error {
    Error::Unsupported { part, found: found.chars().take(SHOWN).collect() }
}

fn check_model(model: &ModelHeader) -> Result<(), Error> {
    match model.kind.as_deref() {
        // Early files do not name their kind, of which BPE alone has merges.
        Some("BPE") | None if model.byte_fallback => {
            Err(unsupported("model", "BPE with byte_fallback (SentencePiece)"))
        }
        Some("BPE") => Ok(()),
        None if model.merges.is_some() => Ok(()),
        other => Err(unsupported("model", other.unwrap_or("without a type"))),
    }
}

fn published(document: Document, end_of_text: Option<&str>) -> Result<Published, Error> {
    let Document { added_tokens, normalizer, post_processor, model, .. } = document;
    check_options(&model)?;
    let nfc = is_nfc(&normalizer)?;
    let merges = merges(&model)?;
    let Model { vocab, unk_token, fuse_unk, ignore_merges, .. } = model;

    let mut published = Published { merges, whole: ignore_merges, nfc, ..Published::default() };
    for token in added_tokens {
        published.added.push(added(token, &vocab)?);
    }
    let gap_id = unk_token.as_ref().and_then(|text| vocab.get(text)).copied();
    let apart: HashMap<TokenId, String> = published
        .added
        .iter()
        .filter(|token| !token.ordinary)
        .map(|token| (token.id, token.text.clone()))
        .collect();
    for (text, &id) in &vocab {
        match bytes::from_text(text).filter(|bytes| !bytes.is_empty()) {
            _ if apart.get(&id) == Some(text) => {}
            Some(bytes) => published.tokens.push((bytes, id)),
            None => published.unreachable.push((text.as_bytes().into(), id)),
        }
    }
    if let Some(id) = gap_id {
        published.gap = Gap::Token(id);
        let bytes = published.tokens.iter().filter(|(bytes, _)| bytes.len() == 1).count();
        if fuse_unk && bytes < 256 {
            return Err(unsupported("option", "fuse_unk"));
        }
    }
    let find = |name: &str| {
        let added = published.added.iter().find(|token| token.text == name).map(|token| token.id);
        added.or_else(|| vocab.get(name).copied())
    };
    let found = match end_of_text {
        Some(name) => find(name),
        None => END_OF_TEXT_NAMES.into_iter().find_map(find),
    };
    published.end_of_text = found.ok_or_else(|| Error::NoEndOfText {
        looked_for: end_of_text.map_or_else(|| END_OF_TEXT_NAMES.join(", "), str::to_owned),
    })?;
    (published.prefix, published.suffix) = around(&post_processor)?;
    Ok(published)
}

/// Options that change what merging does.
fn check_options(model: &Model) -> Result<(), Error> {
    let set = |option: &Option<String>| option.as_ref().is_some_and(|text| !text.is_empty());
    if set(&model.continuing_subword_prefix) {
        return Err(unsupported("option", "continuing_subword_prefix"));
    }
    if set(&model.end_of_word_suffix) {
        return Err(unsupported("option", "end_of_word_suffix"));
    }
    if model.dropout.is_some_and(|dropout| dropout > 0.0) {
        return Err(unsupported("option", "dropout"));
    }
    Ok(())
}

/// The merges as ids. Of two alike the last counts, as it does there.
fn merges(model: &Model) -> Result<Vec<(TokenId, TokenId)>, Error> {
    let mut last = HashMap::with_capacity(model.merges.len());
    let mut merges = Vec::with_capacity(model.merges.len());
    for (index, merge) in model.merges.iter().enumerate() {
        let id = |text: &str| model.vocab.get(text).copied();
        let pair = merge.parts().and_then(|(left, right)| Some((id(left)?, id(right)?)));
        let pair = pair.ok_or_else(|| Error::MergeText {
            index,
            text: match merge {
                Merge::Text(text) => text.clone(),
                Merge::Pair(left, right) => format!("{left} {right}"),
            },
        })?;
        last.insert(pair, index);
        merges.push(pair);
    }
    let mut index = 0..;
    merges.retain(|pair| last.get(pair).copied() == index.next());
    Ok(merges)
}

/// An added token; one whose text the vocabulary has is that token, whatever its own id says.
fn added(token: AddedToken, vocab: &BTreeMap<String, TokenId>) -> Result<Added, Error> {
    let AddedToken { id, content, single_word, lstrip, rstrip, normalized, special } = token;
    if single_word {
        return Err(unsupported("option", "single_word"));
    }
    let known = vocab.get(&content).copied();
    // A token that merging may form stays one.
    let ordinary = !special && known.is_some() && bytes::from_text(&content).is_some();
    Ok(Added { text: content, id: known.unwrap_or(id), special, lstrip, rstrip, normalized, ordinary })
}

/// A part of a tokenizer by its `type`, or the members of a sequence of such parts, in order.
fn parts<'v>(
    part: &'static str,
    value: &'v Value,
    members: &str,
) -> Result<Vec<(&'v str, &'v Value)>, Error> {
    if value.is_null() {
        return Ok(Vec::new());
    }
    let kind = |value: &'v Value| value["type"].as_str().ok_or_else(|| field(part, value));
    let first = kind(value)?;
    if first != "Sequence" {
        return Ok(vec![(first, value)]);
    }
    let list = value[members].as_array().ok_or_else(|| field(part, value))?;
    list.iter().map(|member| Ok((kind(member)?, member))).collect()
}

fn field(field: &'static str, value: &Value) -> Error {
    Error::Field { field, found: value.to_string().chars().take(SHOWN).collect() }
}

fn is_nfc(normalizer: &Value) -> Result<bool, Error> {
    let parts = parts("normalizer", normalizer, "normalizers")?;
    match parts.iter().find(|(kind, _)| *kind != "NFC") {
        Some((other, _)) => Err(unsupported("normalizer", other)),
        None => Ok(!parts.is_empty()),
    }
}

fn pretokenizer(value: &Value) -> Result<Pretokenizer, Error> {
    let parts = parts("pre_tokenizer", value, "pretokenizers")?;
    let steps = parts.iter().map(|(kind, value)| step(kind, value)).collect::<Result<Vec<_>, _>>()?;
    pretokenizer::from_steps(&steps).ok_or_else(|| {
        unsupported("pre_tokenizer", &if value.is_null() { "null".into() } else { value.to_string() })
    })
}

fn step(kind: &str, value: &Value) -> Result<Step, Error> {
    let flag = |name: &str, default: bool| match &value[name] {
        Value::Null => Ok(default),
        Value::Bool(flag) => Ok(*flag),
        _ => Err(field("pre_tokenizer", value)),
    };
    match kind {
        "ByteLevel" if flag("add_prefix_space", true)? => {
            Err(unsupported("pre_tokenizer", "ByteLevel with add_prefix_space"))
        }
        "ByteLevel" => Ok(if flag("use_regex", true)? { Step::Gpt2 } else { Step::Bytes }),
        "Digits" => Ok(if flag("individual_digits", false)? { Step::EachDigit } else { Step::DigitRuns }),
        "Punctuation" if value["behavior"] == "Contiguous" => Ok(Step::PunctuationRuns),
        "Split" => split(value),
        other => Err(unsupported("pre_tokenizer", other)),
    }
}

/// Splitting at a known pattern. With `Removed` and `invert` the matches stay and all else goes: the same, where a pattern
/// leaves nothing out.
fn split(value: &Value) -> Result<Step, Error> {
    let pattern = value["pattern"]["Regex"]
        .as_str()
        .ok_or_else(|| unsupported("pattern", &value["pattern"].to_string()))?;
    let known = Pattern::known(pattern).ok_or_else(|| unsupported("pattern", pattern))?;
    let keeps = match (value["behavior"].as_str(), value["invert"].as_bool().unwrap_or(false)) {
        (Some("Isolated"), _) => true,
        (Some("Removed"), true) => matches!(known, Pattern::Whole(_)),
        _ => false,
    };
    if keeps { Ok(Step::Pattern(known)) } else { Err(unsupported("pre_tokenizer", &value.to_string())) }
}

/// The tokens before and behind a text.
fn around(post_processor: &Value) -> Result<(Vec<TokenId>, Vec<TokenId>), Error> {
    let (mut prefix, mut suffix) = (Vec::new(), Vec::new());
    for (kind, value) in parts("post_processor", post_processor, "processors")? {
        match kind {
            "ByteLevel" => {}
            "TemplateProcessing" => {
                let template = Template::deserialize(value).map_err(|_| field("post_processor", value))?;
                let (mut before, mut behind) =
                    template.around().ok_or_else(|| field("post_processor", value))?;
                before.append(&mut prefix);
                prefix = before;
                suffix.append(&mut behind);
                if prefix.len().max(suffix.len()) > MOST_AROUND {
                    return Err(field("post_processor", value));
                }
            }
            other => return Err(unsupported("post_processor", other)),
        }
    }
    Ok((prefix, suffix))
}

/// Most tokens before or behind a text; models have one or two.
const MOST_AROUND: usize = 64;

#[derive(Deserialize)]
struct Template {
    single: Vec<Piece>,
    #[serde(default)]
    special_tokens: BTreeMap<String, TemplateToken>,
}

#[derive(Deserialize)]
struct TemplateToken {
    ids: Vec<TokenId>,
}

#[derive(Deserialize)]
enum Piece {
    SpecialToken { id: String },
    Sequence {},
}

impl Template {
    /// `None` unless the text stands in it once, all tokens are defined, and there are no more than [`MOST_AROUND`].
    fn around(&self) -> Option<(Vec<TokenId>, Vec<TokenId>)> {
        let mut sides = [Vec::new(), Vec::new()];
        let mut side = 0;
        for piece in &self.single {
            match piece {
                Piece::SpecialToken { id } => {
                    let (around, ids) = (sides.get_mut(side)?, &self.special_tokens.get(id)?.ids);
                    // Before they are copied: a list may be long, and be named again and again.
                    if around.len() + ids.len() > MOST_AROUND {
                        return None;
                    }
                    around.extend(ids);
                }
                Piece::Sequence {} => side += 1,
            }
        }
        let [before, behind] = sides;
        (side == 1).then_some((before, behind))
    }
}
