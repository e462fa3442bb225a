//! Vocabularies as GGUF files hold them; llama.cpp's own are compared in `llama_vocabs.rs`.
#![expect(clippy::unwrap_used, reason = "a test ends where something goes wrong")]

mod common;

use std::fs;

use proptest::prelude::*;
use selvedge_tokenizer::{Error, GgufVocabulary, MergeProblem, Pretokenizer, SpecialProblem};
use selvedge_tokenizer::{TokenProblem, Tokenizer};
use serde_json::Value;

const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// The vocabulary of one of the goldens, as a GGUF file would hold it.
struct Owned {
    tokens: Vec<String>,
    types: Vec<i32>,
    merges: Vec<String>,
}

impl Owned {
    fn golden(name: &str) -> Self {
        let path = format!("{}/tests/goldens/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let document: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let model = &document["model"];
        let vocab = model["vocab"].as_object().unwrap().iter();
        let mut tokens: Vec<(u64, String, i32)> =
            vocab.map(|(text, id)| (id.as_u64().unwrap(), text.clone(), NORMAL)).collect();
        for token in document["added_tokens"].as_array().unwrap() {
            let kind = if token["special"] == true { CONTROL } else { USER_DEFINED };
            let id = token["id"].as_u64().unwrap();
            match tokens.iter_mut().find(|known| known.0 == id) {
                Some(known) => known.2 = kind,
                None => tokens.push((id, token["content"].as_str().unwrap().into(), kind)),
            }
        }
        tokens.sort();
        let merge = |merge: &Value| match merge {
            Value::String(text) => text.clone(),
            pair => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
        };
        Self {
            merges: model["merges"].as_array().unwrap().iter().map(merge).collect(),
            types: tokens.iter().map(|token| token.2).collect(),
            tokens: tokens.into_iter().map(|token| token.1).collect(),
        }
    }

    fn file<'f>(&'f self, pre: &'f str) -> GgufVocabulary<'f> {
        GgufVocabulary {
            model: "gpt2",
            pre,
            tokens: self.tokens.iter().map(String::as_str).collect(),
            token_types: self.types.clone(),
            merges: self.merges.iter().map(String::as_str).collect(),
            bos: Some(0),
            eos: Some(0),
            add_bos: None,
            add_eos: None,
        }
    }
}

/// Every byte, the merge of `a` and `b`, and a control token; changed by `change`.
fn changed(change: impl FnOnce(&mut GgufVocabulary<'_>)) -> Result<Tokenizer, Error> {
    let mut owned = Owned { tokens: Vec::new(), types: Vec::new(), merges: vec!["a b".into()] };
    for c in (0x21..=0x7E).chain(0xA1..=0xAC).chain(0xAE..=0xFF).chain(0x100..=0x143) {
        owned.tokens.push(char::from_u32(c).unwrap().into());
    }
    owned.tokens.extend(["ab".into(), "<end>".into(), "[pad]".into()]);
    owned.types = vec![NORMAL; 257];
    owned.types.extend([CONTROL, UNUSED]);
    let mut file = owned.file("gpt-2");
    file.eos = Some(257);
    file.bos = None;
    change(&mut file);
    Tokenizer::from_gguf(&file)
}

#[test]
fn the_same_vocabulary_gives_the_same_ids_in_either_format() {
    for (name, pre) in
        [("gpt2", "gpt-2"), ("tekken", "tekken"), ("o200k", "gpt-4o"), ("deepseek-v3", "deepseek-v3")]
    {
        let owned = Owned::golden(name);
        let path = format!("{}/tests/goldens/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let other = Tokenizer::from_hugging_face(&fs::read(path).unwrap(), None).unwrap();
        let tokenizer = Tokenizer::from_gguf(&owned.file(pre)).unwrap();
        assert_eq!(tokenizer.pretokenizer(), other.pretokenizer());
        let text = common::real_text();
        assert_eq!(tokenizer.encode(&text), other.encode(&text), "{name}");
        let prompt = "<|im_start|>user\nzqx  quick<tool_call>\n<|im_end|>";
        assert_eq!(tokenizer.encode_with_specials(prompt), other.encode_with_specials(prompt), "{name}");
    }
}

#[test]
fn what_a_file_leaves_open_is_as_in_llama_cpp() {
    let tokenizer = changed(|_| {}).unwrap();
    assert_eq!((tokenizer.end_of_text(), tokenizer.special("<end>")), (257, Some(257)));
    assert_eq!(tokenizer.prefix(), [0u32; 0]);
    assert_eq!(tokenizer.token_bytes(258), Some(b"[pad]".as_slice()));
    assert!(!tokenizer.encode_with_specials("[pad]").contains(&258), "an unused token is not looked for");
    let prefix = |change: fn(&mut GgufVocabulary<'_>)| changed(change).unwrap().prefix().to_vec();
    assert_eq!(prefix(|file| file.bos = Some(257)), [0u32; 0]);
    assert_eq!(prefix(|file| (file.bos, file.add_bos) = (Some(257), Some(true))), [257]);
    assert_eq!(prefix(|file| (file.bos, file.pre) = (Some(257), "llama-bpe")), [257]);
    assert_eq!(
        prefix(|file| (file.bos, file.pre, file.add_bos) = (Some(257), "llama-bpe", Some(false))),
        [0u32; 0]
    );
    assert_eq!(changed(|file| file.add_eos = Some(true)).unwrap().suffix(), [257]);
    assert_eq!(changed(|file| file.pre = "").unwrap().pretokenizer(), Pretokenizer::LlamaCppDefault);
    // Without types all tokens are ordinary ones, if they are written as bytes are.
    let untyped = changed(|file| file.token_types.clear()).unwrap();
    assert_eq!(untyped.special_tokens().count(), 0);
    assert_eq!(untyped.encode_with_specials("ab"), [256]);
}

#[test]
fn a_byte_without_a_token_is_left_out_and_nothing_merges_over_it() {
    let tokenizer = changed(|file| file.tokens[usize::from(b'-' - b'!')] = "xxx").unwrap();
    assert_eq!(tokenizer.missing_bytes().collect::<Vec<_>>(), b"-");
    let apart = changed(|file| {
        file.tokens[usize::from(b'-' - b'!')] = "xxx";
        file.tokens[256] = "*+";
        file.merges = vec!["* +"];
    });
    let (star, plus) = (u32::from(b'*' - b'!'), u32::from(b'+' - b'!'));
    assert_eq!(apart.unwrap().encode("*+*-+"), [256, star, plus]);
}

#[test]
fn a_token_added_by_hand_may_be_one_that_merging_forms() {
    let tokenizer = changed(|file| {
        file.token_types[256] = USER_DEFINED;
        file.tokens[258] = "abc";
        file.token_types[258] = NORMAL;
        file.merges = vec!["a b", "ab c"];
    })
    .unwrap();
    let c = u32::from(b'c' - b'!');
    // In a text it is found before anything is cut, so what could be made of it is not.
    assert_eq!(tokenizer.encode("abc"), [256, c]);
    assert_eq!(tokenizer.decode(&[258, 256]).unwrap(), b"abcab");
}

#[test]
fn other_models_are_refused_as_such() {
    for (model, shown) in [
        ("llama", "SentencePiece"),
        ("gemma4", "SentencePiece"),
        ("bert", "WordPiece"),
        ("t5", "Unigram"),
        ("", ""),
    ] {
        let error = changed(|file| file.model = model).unwrap_err();
        assert!(
            matches!(&error, Error::Unsupported { part: "model", found } if found.contains(shown)),
            "{error}"
        );
    }
    let error = changed(|file| file.pre = "gpt-5").unwrap_err();
    assert!(
        matches!(&error, Error::Unsupported { part: "pretokenizer", found } if found == "gpt-5"),
        "{error}"
    );
}

#[test]
fn hostile_vocabularies_are_refused() {
    let error = |change: fn(&mut GgufVocabulary<'_>)| changed(change).unwrap_err();
    assert!(matches!(error(|file| file.eos = None), Error::NoEndOfText { .. }));
    assert!(matches!(error(|file| file.eos = Some(259)), Error::UnknownToken { id: 259, .. }));
    assert!(matches!(
        error(|file| (file.bos, file.add_bos) = (Some(u32::MAX), Some(true))),
        Error::UnknownToken { id: u32::MAX, position: 0, .. }
    ));
    assert!(matches!(
        error(|file| file.token_types.truncate(3)),
        Error::TokenTypes { tokens: 259, types: 3 }
    ));
    assert!(matches!(
        error(|file| file.tokens[7] = "ab"),
        Error::Token { id: 256, problem: TokenProblem::Duplicate(7) }
    ));
    assert!(matches!(
        error(|file| {
            file.merges.clear();
            (file.token_types[256], file.tokens[256]) = (CONTROL, "<end>");
        }),
        Error::SpecialToken { problem: SpecialProblem::Duplicate, .. }
    ));
    assert!(matches!(
        error(|file| file.tokens[257] = ""),
        Error::SpecialToken { problem: SpecialProblem::Empty, .. }
    ));
    for merge in ["", " ", "a", "a ", "a  b", "a zz", "  "] {
        let refused = changed(|file| file.merges.push(merge)).unwrap_err();
        assert!(matches!(refused, Error::MergeText { index: 1, .. }), "{merge:?}: {refused}");
    }
    let merge = |change: fn(&mut GgufVocabulary<'_>)| match changed(change).unwrap_err() {
        Error::Merge { problem, .. } => problem,
        other => panic!("{other}"),
    };
    assert_eq!(merge(|file| file.merges = vec!["b a"]), MergeProblem::NoToken);
    assert_eq!(merge(|file| file.merges = vec!["<end> a"]), MergeProblem::NotOrdinary);
    assert_eq!(merge(|file| file.merges = vec!["ab ab"]), MergeProblem::NoToken);
    assert_eq!(merge(|file| file.token_types[256] = CONTROL), MergeProblem::NoToken);
    let many = vec!["x"; (1 << 20) + 1];
    let error = changed(|file| (file.tokens, file.token_types) = (many, Vec::new())).unwrap_err();
    assert!(matches!(error, Error::MergeText { .. } | Error::VocabularyTooLarge { .. }), "{error}");
}

proptest! {
    #[test]
    fn any_vocabulary_is_taken_or_refused_without_panic(
        tokens in prop::collection::vec("[abĠÿ<é ]{0,3}", 0..40),
        types in prop::collection::vec(-1..8i32, 40),
        merges in prop::collection::vec("[abĠÿ<é ]{0,5}", 0..10),
        eos in 0..50u32,
        bos in prop::option::of(0..50u32),
        text in common::bytes(),
    ) {
        let file = GgufVocabulary {
            model: "gpt2",
            pre: "llama-bpe",
            token_types: types[..tokens.len()].to_vec(),
            tokens: tokens.iter().map(String::as_str).collect(),
            merges: merges.iter().map(String::as_str).collect(),
            bos,
            eos: Some(eos),
            ..GgufVocabulary::default()
        };
        if let Ok(tokenizer) = Tokenizer::from_gguf(&file) {
            prop_assert!(tokenizer.decode(&tokenizer.encode_with_specials(&text)).is_ok());
            let saved = tokenizer.to_json().unwrap();
            prop_assert_eq!(Tokenizer::from_json(&saved).unwrap().to_json().unwrap(), saved);
        }
    }
}
