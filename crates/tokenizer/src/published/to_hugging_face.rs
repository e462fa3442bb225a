//! `tokenizer.json`, the format of Hugging Face's `tokenizers`, written.

use hashbrown::HashSet;
use serde_json::{Map, Value, json};

use super::pretokenizer::{self, Step};
use super::{Gap, Kind, Published};
use crate::{Error, TokenId, Tokenizer};

const FORMAT: &str = "tokenizer.json";

impl Tokenizer {
    /// A `tokenizer.json` with which Hugging Face's `tokenizers` encodes as this tokenizer does, and which
    /// [`Tokenizer::from_hugging_face`] reads.
    ///
    /// # Errors
    /// [`Error::NotWritable`] for a tokenizer of ranks, for a pretokenizer that has no description there, and for two tokens
    /// that are written alike.
    pub fn to_hugging_face(&self) -> Result<Vec<u8>, Error> {
        let not = |what: String| Error::NotWritable { format: FORMAT, what };
        let published = Published::of(self, FORMAT)?;
        let steps = pretokenizer::to_steps(self.pretokenizer()).ok_or_else(|| {
            not(format!("its pretokenizer, {}, has no description there", self.pretokenizer().name()))
        })?;
        let texts = published.texts(FORMAT)?;
        let text = |id: TokenId| {
            let at = texts.binary_search_by_key(&id, |(id, ..)| *id);
            at.map_or("", |at| texts[at].1.as_str())
        };
        let vocab = texts[..in_vocabulary(&published, &texts)].iter();
        let vocab: Map<String, Value> = vocab.map(|(id, text, _)| (text.clone(), json!(id))).collect();
        let merges: Vec<String> =
            published.merges.iter().map(|&(left, right)| [text(left), text(right)].join(" ")).collect();
        let unknown = match published.gap {
            Gap::Token(id) => json!(text(id)),
            Gap::Close | Gap::Cut => Value::Null,
        };
        let mut added: Vec<_> = published.added.iter().collect();
        added.sort_by_key(|token| token.id);
        let added: Vec<Value> = added
            .into_iter()
            .map(|token| {
                json!({
                    "id": token.id,
                    "content": token.text,
                    "single_word": false,
                    "lstrip": token.lstrip,
                    "rstrip": token.rstrip,
                    "normalized": token.normalized,
                    "special": token.special,
                })
            })
            .collect();
        let normalizer = published.nfc.then(|| json!({ "type": "NFC" }));
        let document = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer(&steps),
            "post_processor": post_processor(&published, &text),
            "decoder": byte_level(true),
            "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": unknown,
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": false,
                "byte_fallback": false,
                "ignore_merges": published.whole,
                "vocab": vocab,
                "merges": merges,
            },
        });
        let mut json = serde_json::to_vec_pretty(&document).map_err(crate::file::json_error)?;
        json.push(b'\n');
        Ok(json)
    }
}

/// How many of the tokens, lowest id first, stand in the vocabulary. Added tokens that do not get the ids after its last, one
/// after the other; so those that would get their own anyhow are left out, as files usually have it, and all others are in.
fn in_vocabulary(published: &Published, texts: &[(TokenId, String, Kind)]) -> usize {
    let apart: HashSet<TokenId> =
        published.added.iter().filter(|token| !token.ordinary).map(|token| token.id).collect();
    let tail = texts.iter().rev().take_while(|(id, ..)| apart.contains(id)).count();
    let without_gaps = texts.last().is_none_or(|(id, ..)| *id as usize + 1 == texts.len());
    if without_gaps { texts.len() - tail } else { texts.len() }
}

fn byte_level(use_regex: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex })
}

fn pre_tokenizer(steps: &[Step]) -> Value {
    let all: Vec<Value> = steps.iter().map(|&step| described(step)).collect();
    match &all[..] {
        [only] => only.clone(),
        _ => json!({ "type": "Sequence", "pretokenizers": all }),
    }
}

fn described(step: Step) -> Value {
    match step {
        Step::Gpt2 => byte_level(true),
        Step::Bytes => byte_level(false),
        Step::EachDigit => json!({ "type": "Digits", "individual_digits": true }),
        Step::DigitRuns => json!({ "type": "Digits", "individual_digits": false }),
        Step::PunctuationRuns => json!({ "type": "Punctuation", "behavior": "Contiguous" }),
        Step::Pattern(pattern) => json!({
            "type": "Split",
            "pattern": { "Regex": pattern.regex() },
            "behavior": "Isolated",
            "invert": false,
        }),
    }
}

/// What puts tokens around a text; where there are none, only offsets are trimmed.
fn post_processor<'t>(published: &Published, text: &impl Fn(TokenId) -> &'t str) -> Value {
    let Published { prefix, suffix, .. } = published;
    if prefix.is_empty() && suffix.is_empty() {
        return byte_level(true);
    }
    let special =
        |kind: usize| move |&id: &TokenId| json!({ "SpecialToken": { "id": text(id), "type_id": kind } });
    let around = |name: &str, kind: usize| {
        let sequence = json!({ "Sequence": { "id": name, "type_id": kind } });
        let before = prefix.iter().map(special(kind));
        before.chain([sequence]).chain(suffix.iter().map(special(kind))).collect::<Vec<Value>>()
    };
    let tokens = prefix
        .iter()
        .chain(suffix)
        .map(|&id| (text(id).to_owned(), json!({ "id": text(id), "ids": [id], "tokens": [text(id)] })));
    let (single, pair) = (around("A", 0), [around("A", 0), around("B", 1)].concat());
    let tokens: Map<String, Value> = tokens.collect();
    json!({ "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens })
}
