//! Tokenizers of published models: ids are those of Hugging Face's `tokenizers` (see `goldens/make_hf.py`), and hostile
//! files are refused.
#![expect(clippy::unwrap_used, reason = "a test ends where something goes wrong")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::sync::LazyLock;

use proptest::prelude::*;
use selvedge_tokenizer::{Cache, Error, MergeProblem, Pretokenizer, SpecialProblem, TokenProblem, Tokenizer};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Goldens {
    texts: Vec<String>,
    ids: BTreeMap<String, Ids>,
}

#[derive(Deserialize)]
struct Ids {
    /// With special tokens found in the texts.
    special: Vec<Vec<u32>>,
    /// Without.
    plain: Vec<Vec<u32>>,
    /// Of `a`, with what the model puts around a text.
    framed: Vec<u32>,
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(format!("{}/tests/goldens/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

static GOLDENS: LazyLock<Goldens> = LazyLock::new(|| serde_json::from_slice(&golden("ids.json")).unwrap());

fn load(name: &str) -> Tokenizer {
    Tokenizer::from_hugging_face(&golden(&format!("{name}.json")), None).unwrap()
}

#[test]
fn ids_are_those_of_hugging_face() {
    let mut cache = Cache::default();
    for (name, ids) in &GOLDENS.ids {
        let tokenizer = load(name);
        let saved = Tokenizer::from_json(&tokenizer.to_json().unwrap()).unwrap();
        assert_eq!(saved.to_json().unwrap(), tokenizer.to_json().unwrap());
        for (i, text) in GOLDENS.texts.iter().enumerate() {
            assert_eq!(tokenizer.encode(text), ids.plain[i], "{name}: {text:?}");
            assert_eq!(tokenizer.encode_with_specials(text), ids.special[i], "{name}: {text:?}");
            assert_eq!(saved.encode(text), ids.plain[i], "{name}, from its own file: {text:?}");
            assert_eq!(
                saved.encode_with_specials(text),
                ids.special[i],
                "{name}, from its own file: {text:?}"
            );
            let mut cached = Vec::new();
            tokenizer.encode_into(text, &mut cached, &mut cache);
            assert_eq!(cached, ids.plain[i], "{name}, with a used cache: {text:?}");
        }
        let framed = [tokenizer.prefix(), &tokenizer.encode("a"), tokenizer.suffix()].concat();
        assert_eq!(framed, ids.framed, "{name}");
        assert_eq!(tokenizer.end_of_text(), tokenizer.special("<|endoftext|>").unwrap());
        assert_eq!(saved.end_of_text(), tokenizer.end_of_text());
    }
}

#[test]
fn each_kind_is_recognized() {
    for (name, pretokenizer) in [
        ("gpt2", Pretokenizer::Gpt2),
        ("llama3", Pretokenizer::Gpt4),
        ("qwen2", Pretokenizer::Qwen2),
        ("qwen35", Pretokenizer::Qwen35),
        ("smollm", Pretokenizer::Gpt2Digits),
        ("falcon", Pretokenizer::Falcon),
        ("o200k", Pretokenizer::O200k),
        ("tekken", Pretokenizer::Tekken),
        ("deepseek-llm", Pretokenizer::DeepSeekLlm),
        ("deepseek-coder", Pretokenizer::DeepSeekCoder),
        ("deepseek-v3", Pretokenizer::DeepSeekV3),
    ] {
        assert_eq!(load(name).pretokenizer(), pretokenizer, "{name}");
    }
}

#[test]
fn decoding_gives_the_text_back_where_every_byte_has_a_token() {
    let tokenizer = load("llama3");
    assert_eq!(tokenizer.missing_bytes().count(), 0);
    // Blanks beside these two belong to them; and õ was added by its name, which is also that of a byte.
    let lossy = ["<mask>", "<r>", "õ"];
    for text in GOLDENS.texts.iter().filter(|text| !lossy.iter().any(|token| text.contains(token))) {
        for ids in [tokenizer.encode(text), tokenizer.encode_with_specials(text)] {
            assert_eq!(tokenizer.decode_lossy(&ids).unwrap(), *text);
        }
    }
    assert!(load("smollm").missing_bytes().any(|byte| byte == 0xFF));
}

#[test]
fn the_end_of_a_text_is_what_the_caller_names() {
    let json = golden("gpt2.json");
    let tokenizer = Tokenizer::from_hugging_face(&json, Some("<|im_end|>")).unwrap();
    assert_eq!(Some(tokenizer.end_of_text()), tokenizer.special("<|im_end|>"));
    let missing = Tokenizer::from_hugging_face(&json, Some("</s>")).unwrap_err();
    assert!(matches!(&missing, Error::NoEndOfText { looked_for } if looked_for == "</s>"), "{missing}");
}

/// A tokenizer with every byte, the merge of `a` and `b`, and two added tokens; changed by `change`.
fn changed(change: impl FnOnce(&mut Value)) -> Result<Tokenizer, Error> {
    let mut vocab: serde_json::Map<String, Value> = serde_json::Map::new();
    let (visible, hidden): (Vec<u32>, Vec<u32>) =
        (0..256).partition(|byte| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF));
    let characters = visible.into_iter().chain((0..).take(hidden.len()).map(|i| 256 + i));
    for (c, id) in characters.zip(0..) {
        vocab.insert(char::from_u32(c).unwrap().to_string(), json!(id));
    }
    vocab.insert("ab".into(), json!(256));
    let mut document = json!({
        "added_tokens": [
            {"id": 300, "content": "<|endoftext|>", "special": true},
            {"id": 301, "content": "<t>", "special": false, "normalized": true},
        ],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
        "post_processor": null,
        "model": {"type": "BPE", "vocab": vocab, "merges": ["a b"]},
    });
    change(&mut document);
    Tokenizer::from_hugging_face(&serde_json::to_vec(&document).unwrap(), None)
}

#[test]
fn a_gap_between_ids_stays_one() {
    let tokenizer = changed(|_| {}).unwrap();
    assert_eq!((tokenizer.vocab_size(), tokenizer.token_bytes(299)), (302, None));
    let ab = tokenizer.encode("ab");
    assert_eq!(ab, [256]);
    assert_eq!(tokenizer.encode("ab<t>ab"), [256, 301, 256]);
    assert!(!tokenizer.encode("<|endoftext|>").contains(&300));
    assert_eq!(tokenizer.encode_with_specials("ab<|endoftext|>"), [256, 300]);
}

#[test]
fn of_two_merges_alike_the_last_counts() {
    let ids = |merges: Value| {
        let tokenizer = changed(|it| {
            it["model"]["vocab"]["bc"] = json!(257);
            it["model"]["merges"] = merges;
        });
        let tokenizer = tokenizer.unwrap();
        tokenizer
            .encode("abc")
            .iter()
            .map(|&id| tokenizer.token_bytes(id).unwrap().to_vec())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(json!(["a b", "b c"])), [b"ab".to_vec(), b"c".to_vec()]);
    assert_eq!(ids(json!(["a b", "b c", "a b"])), [b"a".to_vec(), b"bc".to_vec()]);
}

#[test]
fn a_byte_without_a_token_is_left_out_or_unknown() {
    let without_x = |unknown: Value, fuse: bool| {
        changed(|it| {
            it["model"]["vocab"].as_object_mut().unwrap().remove("x");
            it["model"]["vocab"]["<unk>"] = json!(290);
            it["model"]["unk_token"] = unknown;
            it["model"]["fuse_unk"] = json!(fuse);
        })
    };
    let closed = without_x(json!(null), true).unwrap();
    assert_eq!(closed.missing_bytes().collect::<Vec<_>>(), b"x");
    assert_eq!(closed.encode("axxb"), [256], "its neighbours merge");
    assert_eq!(closed.encode("x"), [0u32; 0]);
    let [a, b] = [u32::from(b'a' - b'!'), u32::from(b'b' - b'!')];
    assert_eq!(without_x(json!("<unk>"), false).unwrap().encode("axxb"), [a, 290, 290, b]);
    let fused = without_x(json!("<unk>"), true).unwrap_err();
    assert!(matches!(&fused, Error::Unsupported { part: "option", found } if found == "fuse_unk"), "{fused}");
}

#[test]
fn other_kinds_are_refused_as_such() {
    let part = |change: fn(&mut Value)| match changed(change).unwrap_err() {
        Error::Unsupported { part, found } => format!("{part}: {found}"),
        other => panic!("{other}"),
    };
    assert_eq!(part(|it| it["model"] = json!({"type": "Unigram", "vocab": [["a", 0.5]]})), "model: Unigram");
    assert_eq!(part(|it| it["model"]["type"] = json!("WordPiece")), "model: WordPiece");
    let fallback = part(|it| it["model"]["byte_fallback"] = json!(true));
    assert_eq!(fallback, "model: BPE with byte_fallback (SentencePiece)");
    assert_eq!(part(|it| it["normalizer"] = json!({"type": "NFKC"})), "normalizer: NFKC");
    assert_eq!(part(|it| it["pre_tokenizer"] = json!(null)), "pre_tokenizer: null");
    assert_eq!(part(|it| it["pre_tokenizer"] = json!({"type": "Metaspace"})), "pre_tokenizer: Metaspace");
    assert_eq!(
        part(|it| it["pre_tokenizer"] = json!({"type": "ByteLevel"})),
        "pre_tokenizer: ByteLevel with add_prefix_space"
    );
    let unknown = json!({"type": "Split", "pattern": {"Regex": "x".repeat(500)}, "behavior": "Isolated"});
    let refused = changed(|it| it["pre_tokenizer"] = unknown).unwrap_err();
    assert!(
        matches!(&refused, Error::Unsupported { part: "pattern", found } if found.len() == 120),
        "{refused}"
    );
    assert_eq!(part(|it| it["added_tokens"][1]["single_word"] = json!(true)), "option: single_word");
    assert_eq!(part(|it| it["model"]["dropout"] = json!(0.1)), "option: dropout");
    assert_eq!(part(|it| it["model"]["end_of_word_suffix"] = json!("</w>")), "option: end_of_word_suffix");
    assert_eq!(
        part(|it| it["post_processor"] = json!({"type": "BertProcessing"})),
        "post_processor: BertProcessing"
    );
}

#[test]
fn steps_in_another_order_are_another_tokenizer() {
    let refused = |steps: Value| {
        let error = changed(|it| it["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": steps}))
            .unwrap_err();
        assert!(matches!(error, Error::Unsupported { part: "pre_tokenizer", .. }), "{error}");
    };
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true});
    let digits = json!({"type": "Digits", "individual_digits": true});
    refused(json!([bytes, digits]));
    refused(json!([digits]));
    refused(json!([bytes, bytes]));
    refused(json!([]));
    let known = changed(|it| {
        it["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [digits, bytes]});
    });
    assert_eq!(known.unwrap().pretokenizer(), Pretokenizer::Gpt2Digits);
}

#[test]
fn hostile_vocabularies_are_refused() {
    let token = |change: fn(&mut Value)| match changed(change).unwrap_err() {
        Error::Token { id, problem } => (id, problem),
        other => panic!("{other}"),
    };
    let set = |id: Value| changed(move |it| it["model"]["vocab"]["zz"] = id);
    for bad in [json!(4_294_967_296_u64), json!(-1), json!(1.5), json!("1"), json!(null)] {
        assert!(matches!(set(bad.clone()), Err(Error::Json { .. })), "{bad}");
    }
    assert_eq!(
        token(|it| it["model"]["vocab"]["zz"] = json!(4_294_967_295_u32)),
        (u32::MAX, TokenProblem::IdTooLarge)
    );
    assert_eq!(token(|it| it["model"]["vocab"]["zz"] = json!(256)), (256, TokenProblem::IdTaken));
    assert_eq!(token(|it| it["model"]["vocab"]["z z"] = json!(256)), (256, TokenProblem::IdTaken));
    assert_eq!(token(|it| it["model"]["vocab"]["z z"] = json!(1 << 20)), (1 << 20, TokenProblem::IdTooLarge));
    let long = "z".repeat(513);
    let error = changed(|it| it["model"]["vocab"][long] = json!(290)).unwrap_err();
    assert!(matches!(error, Error::Token { id: 290, problem: TokenProblem::TooLong }), "{error}");
    // The last id of all: a table of 2^20 entries, and no more.
    let sparse = changed(|it| it["model"]["vocab"]["zz"] = json!((1 << 20) - 1)).unwrap();
    assert_eq!(sparse.vocab_size(), 1 << 20);
}

#[test]
fn hostile_added_tokens_are_refused() {
    let special = |key: &'static str, value: Value| match changed(|it| it["added_tokens"][1][key] = value)
        .unwrap_err()
    {
        Error::SpecialToken { problem, .. } => problem,
        other => panic!("{other}"),
    };
    assert_eq!(special("id", json!(300)), SpecialProblem::IdTaken);
    assert_eq!(special("id", json!(u32::MAX)), SpecialProblem::IdTooLarge);
    assert_eq!(special("id", json!(7)), SpecialProblem::IdTaken);
    assert_eq!(special("content", json!("")), SpecialProblem::Empty);
    assert_eq!(special("content", json!("x".repeat(513))), SpecialProblem::TooLong);
    assert_eq!(special("content", json!("<|endoftext|>")), SpecialProblem::Duplicate);
    // A byte made special is a byte that text cannot have; it is not, all at once, a part of a merge.
    let error =
        changed(|it| it["added_tokens"][1] = json!({"id": 9, "content": "a", "special": true})).unwrap_err();
    assert!(matches!(error, Error::Merge { problem: MergeProblem::NotOrdinary, .. }), "{error}");
    let error = changed(|it| it["added_tokens"] = json!([])).unwrap_err();
    assert!(matches!(error, Error::NoEndOfText { .. }), "{error}");
}

#[test]
fn hostile_merges_are_refused() {
    let text = |merges: Value| match changed(|it| it["model"]["merges"] = merges).unwrap_err() {
        Error::MergeText { index, text } => (index, text),
        other => panic!("{other}"),
    };
    assert_eq!(text(json!(["a b", "a zz"])), (1, "a zz".into()));
    assert_eq!(text(json!(["a b c"])), (0, "a b c".into()));
    assert_eq!(text(json!(["ab"])), (0, "ab".into()));
    assert_eq!(text(json!([""])), (0, String::new()));
    assert_eq!(text(json!([["a", "zz"]])), (0, "a zz".into()));
    assert_eq!(text(json!([["", "ab"]])), (0, " ab".into()));
    let error = changed(|it| it["model"]["merges"] = json!(["a b", "b a"])).unwrap_err();
    assert!(matches!(error, Error::Merge { index: 1, problem: MergeProblem::NoToken, .. }), "{error}");
    for bad in [json!(null), json!([1]), json!([["a"]]), json!([["a", "b", "c"]]), json!({})] {
        assert!(
            matches!(changed(|it| it["model"]["merges"] = bad.clone()), Err(Error::Json { .. })),
            "{bad}"
        );
    }
    // The same merge again changes nothing but its place.
    assert_eq!(changed(|it| it["model"]["merges"] = json!(["a b", "a b"])).unwrap().encode("ab"), [256]);
}

#[test]
fn hostile_frames_are_refused() {
    let field = |processor: Value| match changed(|it| it["post_processor"] = processor).unwrap_err() {
        Error::Field { field, .. } => field,
        other => panic!("{other}"),
    };
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let begin = json!({"SpecialToken": {"id": "<b>", "type_id": 0}});
    let template = |single: Value, ids: Value| json!({"type": "TemplateProcessing", "single": single, "special_tokens": {"<b>": {"id": "<b>", "ids": ids}}});
    assert_eq!(field(json!(7)), "post_processor");
    assert_eq!(field(json!({"type": "TemplateProcessing"})), "post_processor");
    assert_eq!(field(template(json!([begin]), json!([300]))), "post_processor");
    assert_eq!(field(template(json!([text, text, text]), json!([300]))), "post_processor");
    // More than any model has, in one list or by naming it again and again.
    for (pieces, ids) in [(1, 65), (33, 2)] {
        let single: Vec<Value> = std::iter::repeat_n(begin.clone(), pieces).chain([text.clone()]).collect();
        assert_eq!(field(template(single.into(), vec![300; ids].into())), "post_processor");
    }
    let many = vec![template(json!([begin, text]), json!([300])); 65];
    assert_eq!(field(json!({"type": "Sequence", "processors": many})), "post_processor");
    let undefined = json!({"type": "TemplateProcessing", "single": [begin, text]});
    assert_eq!(field(undefined), "post_processor");
    let error =
        changed(|it| it["post_processor"] = template(json!([begin, text]), json!([999]))).unwrap_err();
    assert!(matches!(error, Error::UnknownToken { id: 999, position: 0, .. }), "{error}");
    let framed =
        changed(|it| it["post_processor"] = template(json!([begin, text, begin]), json!([300]))).unwrap();
    assert_eq!((framed.prefix(), framed.suffix()), (&[300][..], &[300][..]));
}

#[test]
fn what_is_no_json_is_refused() {
    let parse = |bytes: &[u8]| Tokenizer::from_hugging_face(bytes, None).unwrap_err();
    for bytes in [&b""[..], b"{}", b"[]", b"\xFF", b"{\"model\":7}", "[".repeat(100_000).as_bytes()] {
        assert!(matches!(parse(bytes), Error::Json { .. }), "{bytes:?}");
    }
    let deep =
        format!(r#"{{"model":{{"type":"BPE","vocab":{{}},"merges":[]}},"normalizer":{}}}"#, "[".repeat(9999));
    assert!(matches!(parse(deep.as_bytes()), Error::Json { .. }));
    assert!(matches!(parse(&vec![b' '; (64 << 20) + 1]), Error::FileTooLarge { .. }));
    let empty = br#"{"model":{"type":"BPE","vocab":{},"merges":[]},"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false}}"#;
    assert!(matches!(parse(empty), Error::NoEndOfText { .. }));
}

#[test]
fn no_mutation_of_a_file_makes_it_panic() {
    let json = golden("llama3.json");
    for len in 0..json.len() - 2 {
        assert!(Tokenizer::from_hugging_face(&json[..len], None).is_err(), "cut at {len}");
    }
    let mut loaded = 0;
    for at in 0..json.len() {
        for flip in [0x01, 0x80] {
            let mut bad = json.clone();
            bad[at] ^= flip;
            if let Ok(tokenizer) = Tokenizer::from_hugging_face(&bad, None) {
                loaded += 1;
                let ids = tokenizer.encode_with_specials("quick zqx <|im_end|> é 12");
                assert!(tokenizer.decode(&ids).is_ok());
            }
        }
    }
    assert!(loaded > 0, "names of tokens may change");
}

proptest! {
    /// With a merge list in any order, ids are those of applying the first merge of the list that applies anywhere, again
    /// and again.
    #[test]
    fn merges_go_by_their_place_in_the_list(
        tokens in prop::collection::btree_set("[abc]{2,5}", 1..24),
        picks in prop::collection::vec((any::<prop::sample::Index>(), 1..5usize), 1..60),
        text in "[abc]{0,90}",
    ) {
        let mut merges: Vec<(String, String)> = Vec::new();
        let list: Vec<&String> = tokens.iter().collect();
        for (token, cut) in picks {
            let token = list[token.index(list.len())];
            let (left, right) = token.split_at(cut.min(token.len() - 1));
            let known = |part: &str| part.len() == 1 || tokens.contains(part);
            let pair = (left.to_string(), right.to_string());
            if known(left) && known(right) && !merges.contains(&pair) {
                merges.push(pair);
            }
        }
        let tokenizer = changed(|it| {
            // Ids that fall as the tokens grow: nothing may depend on them.
            for (token, id) in tokens.iter().zip((400..500).rev()) {
                it["model"]["vocab"][token] = json!(id);
            }
            it["model"]["merges"] = json!(merges);
            it["added_tokens"] = json!([{"id": 300, "content": "<|endoftext|>", "special": true}]);
        });
        let tokenizer = tokenizer.unwrap();
        let mut word: Vec<String> = text.chars().map(String::from).collect();
        while let Some(merge) = merges.iter().find(|(l, r)| word.windows(2).any(|w| w[0] == *l && w[1] == *r)) {
            let at = word.windows(2).position(|w| w[0] == merge.0 && w[1] == merge.1).unwrap();
            let right = word.remove(at + 1);
            word[at] += &right;
        }
        let ids = tokenizer.encode(&text);
        let found: Vec<&[u8]> = ids.iter().map(|&id| tokenizer.token_bytes(id).unwrap()).collect();
        prop_assert_eq!(found, word.iter().map(String::as_bytes).collect::<Vec<_>>());
    }

    #[test]
    fn any_bytes_can_be_encoded(bytes in common::bytes()) {
        static TOKENIZERS: LazyLock<Vec<Tokenizer>> =
            LazyLock::new(|| ["qwen2", "falcon", "smollm", "tekken"].map(load).into());
        for tokenizer in &*TOKENIZERS {
            let ids = tokenizer.encode(&bytes);
            prop_assert!(tokenizer.decode(&ids).is_ok());
            let again = tokenizer.encode_with_specials(&bytes);
            prop_assert!(tokenizer.decode(&again).is_ok());
        }
    }
}
