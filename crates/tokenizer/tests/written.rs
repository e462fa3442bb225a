//! Tokenizers in the formats of others, written: read again they encode as before. (`goldens/make_hf.py` has what Hugging
//! Face's `tokenizers` makes of the originals.)
#![expect(clippy::unwrap_used, reason = "a test ends where something goes wrong")]

use std::fs;

use selvedge_tokenizer::{END_OF_TEXT, Error, GgufTokens, Pretokenizer, Tokenizer, Trainer};
use serde_json::{Value, json};

const NAMES: [&str; 12] = [
    "deepseek-coder",
    "deepseek-llm",
    "deepseek-v3",
    "falcon",
    "gpt2",
    "llama3",
    "o200k",
    "qwen2",
    "qwen35",
    "smollm",
    "tekken",
    "trained",
];

fn golden(name: &str) -> Vec<u8> {
    fs::read(format!("{}/tests/goldens/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// One of the goldens, or one that was trained here.
fn load(name: &str) -> Tokenizer {
    if name == "trained" {
        let trainer = Trainer { vocab_size: 400, ..Trainer::default() };
        let text = include_str!("common/many_scripts.txt");
        return trainer.train([text, "the cat sat on the mat, 12345 times"], |_| {}).unwrap();
    }
    Tokenizer::from_hugging_face(&golden(&format!("{name}.json")), None).unwrap()
}

fn texts() -> Vec<String> {
    let goldens: Value = serde_json::from_slice(&golden("ids.json")).unwrap();
    let texts = goldens["texts"].as_array().unwrap().iter();
    texts.map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_written_as_hugging_face_encodes_as_before() {
    let texts = texts();
    for name in NAMES {
        let tokenizer = load(name);
        let json = tokenizer.to_hugging_face().unwrap();
        let again = Tokenizer::from_hugging_face(&json, Some(END_OF_TEXT)).unwrap();
        assert_eq!(again.to_hugging_face().unwrap(), json, "{name}");
        for text in &texts {
            assert_eq!(again.encode(text), tokenizer.encode(text), "{name}: {text:?}");
            let special = tokenizer.encode_with_specials(text);
            assert_eq!(again.encode_with_specials(text), special, "{name}: {text:?}");
        }
        for id in 0..tokenizer.vocab_size() as u32 {
            assert_eq!(again.token_bytes(id), tokenizer.token_bytes(id), "token {id} of {name}");
        }
        let before = if name == "trained" { &[tokenizer.end_of_text()] } else { tokenizer.prefix() };
        assert_eq!((again.prefix(), again.suffix()), (before, tokenizer.suffix()), "{name}");
        assert!(again.special_tokens().eq(tokenizer.special_tokens()), "{name}");
    }
}

#[test]
fn what_is_written_for_gguf_files_encodes_as_before() {
    let texts = texts();
    for name in NAMES {
        let tokenizer = load(name);
        let rows = tokenizer.vocab_size() + 3;
        let written: GgufTokens = tokenizer.to_gguf(rows).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((written.tokens.len(), written.token_types.len()), (rows, rows));
        assert_eq!(written.token_types[rows - 1], 5, "padding is unused");
        let again = Tokenizer::from_gguf(&written.vocabulary()).unwrap();
        for text in &texts {
            let want = tokenizer.encode(text);
            // Files do not say that texts are normalized, nor that the bytes of a character may be missing.
            let same = unicode_is_plain(text) && tokenizer.missing_bytes().next().is_none();
            assert!(again.encode(text) == want || !same, "{name}: {text:?}");
        }
        assert_eq!(again.end_of_text(), tokenizer.end_of_text(), "{name}");
        assert_eq!(again.special("<|im_start|>"), tokenizer.special("<|im_start|>"), "{name}");
    }
}

/// Whether normalization form C is the text itself, for sure.
fn unicode_is_plain(text: &str) -> bool {
    text.chars().all(|c| c < '\u{300}')
}

#[test]
fn what_a_format_has_no_words_for_is_named() {
    let refused = |error: Error, named: &str| {
        let text = error.to_string();
        assert!(matches!(error, Error::NotWritable { .. }) && text.contains(named), "{text}");
    };
    let ranks = (0..=255u8).map(|byte| (vec![byte], byte.into()));
    let ranks = Tokenizer::from_ranks(ranks, [(END_OF_TEXT, 256)], Pretokenizer::Cl100k).unwrap();
    refused(ranks.to_gguf(0).unwrap_err(), "ranks");
    refused(ranks.to_hugging_face().unwrap_err(), "ranks");

    let written = load("gpt2").to_gguf(0).unwrap();
    let default =
        Tokenizer::from_gguf(&selvedge_tokenizer::GgufVocabulary { pre: "", ..written.vocabulary() });
    refused(default.unwrap().to_hugging_face().unwrap_err(), "llama.cpp-default");

    // Padding is written as one of the tokens is.
    let mut json: Value = serde_json::from_slice(&golden("gpt2.json")).unwrap();
    let size = load("gpt2").vocab_size();
    json["model"]["vocab"][format!("[PAD{}]", size + 1)] = json!(size);
    let tokenizer = Tokenizer::from_hugging_face(json.to_string().as_bytes(), None).unwrap();
    tokenizer.to_gguf(size + 1).unwrap();
    refused(tokenizer.to_gguf(size + 2).unwrap_err(), "both written");
}
