//! Files: the same bytes for the same tokenizer, all or nothing, and no damage goes unnoticed.
#![expect(clippy::unwrap_used, reason = "a test ends where something goes wrong")]

mod common;

use std::error::Error as _;
use std::fs;
use std::sync::LazyLock;

use proptest::prelude::*;
use selvedge_tokenizer::{END_OF_TEXT, Error, MAX_TOKEN_BYTES, MAX_VOCABULARY, MergeProblem, Pretokenizer};
use selvedge_tokenizer::{SpecialProblem, TokenId, TokenProblem, Tokenizer, Trainer};

static TRAINED: LazyLock<Tokenizer> = LazyLock::new(|| {
    Trainer { vocab_size: 400, ..Trainer::default() }.train([common::real_text()], |_| {}).unwrap()
});
static JSON: LazyLock<Vec<u8>> = LazyLock::new(|| TRAINED.to_json().unwrap());

/// A whole file around the given content, with the right checksum: what a hostile author would write.
fn document(content: &str) -> Vec<u8> {
    let hash = content.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!(
        r#"{{"format":"selvedge-tokenizer","version":1,"checksum":"fnv1a64:{hash:016x}","tokenizer":{content}}}"#
    )
    .into_bytes()
}

fn merges(specials: &str, merges: &str) -> Result<Tokenizer, Error> {
    Tokenizer::from_json(&document(&format!(
        r#"{{"pretokenizer":"gpt4","special_tokens":{specials},"model":{{"merges":{merges}}}}}"#
    )))
}

const EOT: &str = r#"[["<|endoftext|>",999]]"#;

#[test]
fn a_file_brings_the_tokenizer_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    TRAINED.save(&path).unwrap();
    let loaded = Tokenizer::load(&path).unwrap();
    assert_eq!(loaded.to_json().unwrap(), *JSON);
    assert_eq!(fs::read(&path).unwrap(), *JSON);
    let text = common::real_text();
    assert_eq!(loaded.encode(&text), TRAINED.encode(&text));
    assert_eq!(loaded.pretokenizer(), Pretokenizer::Gpt4);
    assert_eq!(loaded.end_of_text(), TRAINED.end_of_text());
    // Again over the old file, and nothing else is left in the folder.
    loaded.save(&path).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_layout_of_the_file_is_fixed() {
    // Files written by this release must be read by all later ones: this text may only be added to.
    let small =
        Trainer { vocab_size: 259, min_frequency: 1, ..Trainer::default() }.train(["abc"], |_| {}).unwrap();
    let json = String::from_utf8(small.to_json().unwrap()).unwrap();
    assert_eq!(
        json,
        concat!(
            r#"{"format":"selvedge-tokenizer","version":1,"checksum":"fnv1a64:c0128887587b074a","tokenizer":"#,
            r#"{"pretokenizer":"gpt4","special_tokens":[["<|endoftext|>",258]],"model":{"merges":[[97,98],[256,99]]}}}"#,
            "\n"
        )
    );
}

#[test]
fn every_truncation_and_every_flipped_byte_is_noticed() {
    for len in 0..JSON.len() - 1 {
        let error = Tokenizer::from_json(&JSON[..len]).expect_err("cut short");
        assert!(matches!(error, Error::Json { .. }), "{len}: {error}");
    }
    let text = common::real_text();
    let expected = TRAINED.encode(&text);
    for at in 0..JSON.len() {
        for flip in [0x01, 0x10, 0x80] {
            let mut bad = JSON.clone();
            bad[at] ^= flip;
            match Tokenizer::from_json(&bad) {
                Err(_) => {}
                // Only a blank for another blank changes nothing.
                Ok(same) => {
                    assert!(bad[at].is_ascii_whitespace(), "byte {at} ^ {flip:#x}");
                    assert_eq!(same.encode(&text), expected);
                }
            }
        }
    }
}

#[test]
fn errors_name_the_file_and_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let missing = Tokenizer::load(&path).unwrap_err();
    assert!(matches!(&missing, Error::Io { action: "open", path: named, .. } if *named == path), "{missing}");

    fs::write(&path, &JSON[..JSON.len() / 2]).unwrap();
    let cut = Tokenizer::load(&path).unwrap_err();
    assert!(cut.to_string().contains("tokenizer.json"), "{cut}");
    let inner = cut.source().unwrap().to_string();
    assert_eq!(inner, format!("not a whole tokenizer file: line 1, column {}", JSON.len() / 2));

    assert!(matches!(Tokenizer::load(folder.path()), Err(Error::Io { .. })), "a folder");
}

#[test]
fn a_save_that_fails_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("missing").join("tokenizer.json");
    assert!(matches!(TRAINED.save(&nowhere), Err(Error::Io { action: "create", .. })));
    // A folder stands where the file should go: the last step fails.
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("x"), "").unwrap();
    assert!(matches!(TRAINED.save(&taken), Err(Error::Io { action: "rename a finished file to", .. })));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn savers_in_each_others_way_all_succeed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    rayon::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|_| {
                TRAINED.save(&path).unwrap();
                Tokenizer::load(&path).unwrap();
            });
        }
    });
    assert_eq!(fs::read(&path).unwrap(), *JSON);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn files_of_another_kind_are_named_as_such() {
    let parse = |json: &str| Tokenizer::from_json(json.as_bytes()).unwrap_err();
    assert!(matches!(parse(r#"{"format":"x","version":1}"#), Error::Format { found, .. } if found == "x"));
    let newer = r#"{"format":"selvedge-tokenizer","version":2,"something":"new"}"#;
    assert!(matches!(parse(newer), Error::Version { found: 2, known: 1 }));
    assert!(matches!(parse(r#"{"version":"1.0","model":{"type":"BPE"}}"#), Error::Json { .. }));
    assert!(matches!(parse(&"[".repeat(100_000)), Error::Json { .. }));
    let wrong =
        String::from_utf8(document(r#"{"pretokenizer":"gpt4","special_tokens":[],"model":{"merges":[]}}"#))
            .unwrap()
            .replace("fnv1a64:", "fnv1a64:0");
    assert!(matches!(parse(&wrong), Error::Checksum { .. }));
    let unknown = document(r#"{"pretokenizer":"gpt5","special_tokens":[],"model":{"merges":[]}}"#);
    assert!(matches!(Tokenizer::from_json(&unknown), Err(Error::Pretokenizer { name }) if name == "gpt5"));
    let huge = vec![b' '; (64 << 20) + 1];
    assert!(matches!(Tokenizer::from_json(&huge), Err(Error::FileTooLarge { limit: 67_108_864, .. })));
}

#[test]
fn hostile_merges_are_refused() {
    assert_eq!(merges(EOT, "[[97,98],[256,99]]").unwrap().encode("abc"), [257]);
    let problem = |list: &str| match merges(EOT, list).unwrap_err() {
        Error::Merge { index, problem, .. } => (index, problem),
        other => panic!("{list}: {other}"),
    };
    assert_eq!(problem("[[97,256]]"), (0, MergeProblem::Undefined));
    assert_eq!(problem("[[97,98],[4294967295,97]]"), (1, MergeProblem::Undefined));
    assert_eq!(problem("[[97,98],[97,98]]"), (1, MergeProblem::Duplicate(256)));
    assert_eq!(problem("[[97,98],[98,99],[256,99],[97,257]]"), (3, MergeProblem::Duplicate(258)));
    // Each token twice the one before: 2^k bytes.
    let doubling: Vec<String> =
        (0..40).map(|i| if i == 0 { "[97,97]".into() } else { format!("[{0},{0}]", 255 + i) }).collect();
    assert_eq!(problem(&format!("[{}]", doubling.join(","))), (9, MergeProblem::TooLong));
    for bad in ["[[-1,97]]", "[[97]]", "[[97,98,99]]", "[[4294967296,97]]", "[[1.5,2]]", "{}", "null"] {
        assert!(matches!(merges(EOT, bad), Err(Error::Json { .. })), "{bad}");
    }
    let many = format!("[{}]", vec!["[0,0]"; MAX_VOCABULARY].join(","));
    assert!(matches!(merges(EOT, &many), Err(Error::VocabularyTooLarge { .. })));
}

#[test]
fn hostile_special_tokens_are_refused() {
    let problem = |specials: &str| match merges(specials, "[[97,98]]").unwrap_err() {
        Error::SpecialToken { problem, .. } => problem,
        other => panic!("{specials}: {other}"),
    };
    assert_eq!(problem("[]"), SpecialProblem::Missing);
    assert_eq!(problem(r#"[["<|endoftext|>",256]]"#), SpecialProblem::IdTaken);
    assert_eq!(problem(r#"[["<|endoftext|>",97]]"#), SpecialProblem::IdTaken);
    assert_eq!(problem(r#"[["<|endoftext|>",300],["x",300]]"#), SpecialProblem::IdTaken);
    assert_eq!(problem(r#"[["<|endoftext|>",1048576]]"#), SpecialProblem::IdTooLarge);
    assert_eq!(problem(r#"[["<|endoftext|>",4294967295]]"#), SpecialProblem::IdTooLarge);
    assert_eq!(problem(r#"[["<|endoftext|>",300],["<|endoftext|>",301]]"#), SpecialProblem::Duplicate);
    assert_eq!(problem(r#"[["<|endoftext|>",300],["",301]]"#), SpecialProblem::Empty);
    // The last id of all, with a gap before it.
    let sparse = merges(r#"[["<|endoftext|>",1048575]]"#, "[[97,98]]").unwrap();
    assert_eq!((sparse.vocab_size(), sparse.end_of_text()), (MAX_VOCABULARY, 1_048_575));
    assert_eq!(sparse.token_bytes(300), None);
}

fn from_ranks(extra: &[(&[u8], TokenId)]) -> Result<Tokenizer, Error> {
    let bytes = (0..=255u8).map(|byte| (vec![byte], byte.into()));
    let extra = extra.iter().map(|(bytes, id)| (bytes.to_vec(), *id));
    Tokenizer::from_ranks(bytes.chain(extra), [(END_OF_TEXT, 999)], Pretokenizer::Gpt2)
}

#[test]
fn hostile_ranks_are_refused() {
    let problem = |extra: &[(&[u8], TokenId)]| match from_ranks(extra).unwrap_err() {
        Error::Token { id, problem } => (id, problem),
        other => panic!("{extra:?}: {other}"),
    };
    assert_eq!(problem(&[(b"ab", 300), (b"", 301)]), (301, TokenProblem::Empty));
    assert_eq!(problem(&[(b"ab", 300), (b"ab", 301)]), (301, TokenProblem::Duplicate(300)));
    assert_eq!(problem(&[(b"ab", 300), (b"cd", 300)]), (300, TokenProblem::IdTaken));
    assert_eq!(problem(&[(b"ab", 97)]), (97, TokenProblem::IdTaken));
    assert_eq!(problem(&[(b"ab", 1 << 20)]), (1 << 20, TokenProblem::IdTooLarge));
    assert_eq!(problem(&[(&[b'a'; MAX_TOKEN_BYTES + 1], 300)]), (300, TokenProblem::TooLong));
    assert!(matches!(
        from_ranks(&[(b"ab", 999)]),
        Err(Error::SpecialToken { problem: SpecialProblem::IdTaken, .. })
    ));
    let without_zero = (1..=255u8).map(|byte| (vec![byte], byte.into()));
    let missing = Tokenizer::from_ranks(without_zero, [(END_OF_TEXT, 999)], Pretokenizer::Gpt2);
    assert!(matches!(missing, Err(Error::MissingByte { byte: 0 })));
    for hex in ["6", "6g", "6G", "AB", "é", "0x"] {
        let ranks =
            format!(r#"{{"pretokenizer":"gpt2","special_tokens":{EOT},"model":{{"ranks":[["{hex}",5]]}}}}"#);
        let error = Tokenizer::from_json(&document(&ranks)).unwrap_err();
        assert!(matches!(error, Error::Token { id: 5, problem: TokenProblem::NotHex }), "{hex}: {error}");
    }
}

#[test]
fn ranks_survive_their_file() {
    let tokenizer = from_ranks(&[(b"ab", 5000), (b"cd", 300), (b"abcd", 998)]).unwrap();
    let loaded = Tokenizer::from_json(&tokenizer.to_json().unwrap()).unwrap();
    assert_eq!(loaded.to_json().unwrap(), tokenizer.to_json().unwrap());
    assert_eq!(loaded.encode("abcd ab"), [998, 32, 5000]);
    assert_eq!(loaded.vocab_size(), 5001);
    assert_eq!(loaded.token_bytes(999), Some(END_OF_TEXT.as_bytes()));
}

/// The file of a published model with two merges, its content changed by `change`.
fn published(change: impl FnOnce(&mut serde_json::Value)) -> Result<Tokenizer, Error> {
    let mut tokens: Vec<(String, u32)> = (0..=255u32).map(|byte| (format!("{byte:02x}"), byte)).collect();
    tokens.extend([("6162".into(), 400), ("616263".into(), 300)]);
    let mut content = serde_json::json!({
        "pretokenizer": "tekken",
        "special_tokens": [],
        "model": {"published": {
            "tokens": tokens,
            "merges": [[97, 98], [400, 99]],
            "added": [
                {"text": "<e>", "id": 500, "special": true, "lstrip": false, "rstrip": false, "normalized": false,
                 "ordinary": false},
                {"text": "abc", "id": 300, "special": false, "lstrip": false, "rstrip": true, "normalized": true,
                 "ordinary": true},
            ],
            "unreachable": [["7a7a", 450]],
            "whole": true,
            "gap": "cut",
            "nfc": true,
            "prefix": [500],
            "suffix": [],
            "end_of_text": 500,
        }},
    });
    change(&mut content["model"]["published"]);
    // The checksum is of the fields in the order of the format.
    let model = &content["model"]["published"];
    let fields = [
        "tokens",
        "merges",
        "added",
        "unreachable",
        "whole",
        "gap",
        "nfc",
        "prefix",
        "suffix",
        "end_of_text",
    ];
    let order = |fields: &[&str], value: &serde_json::Value| {
        let fields: Vec<String> = fields.iter().map(|field| format!("{field:?}:{}", value[field])).collect();
        format!("{{{}}}", fields.join(","))
    };
    let added = ["text", "id", "special", "lstrip", "rstrip", "normalized", "ordinary"];
    let added: Vec<String> =
        model["added"].as_array().unwrap().iter().map(|token| order(&added, token)).collect();
    let model = order(&fields, model)
        .replace(&format!("\"added\":{}", model["added"]), &format!("\"added\":[{}]", added.join(",")));
    Tokenizer::from_json(&document(&format!(
        r#"{{"pretokenizer":"tekken","special_tokens":[],"model":{{"published":{model}}}}}"#
    )))
}

#[test]
fn a_published_model_survives_its_file() {
    let tokenizer = published(|_| {}).unwrap();
    assert_eq!(tokenizer.encode("abc  xab"), [300, 120, 400]);
    assert_eq!(tokenizer.encode_with_specials("<e>e\u{301}"), [500, 195, 169]);
    assert_eq!((tokenizer.end_of_text(), tokenizer.prefix()), (500, &[500][..]));
    assert_eq!(tokenizer.decode(&[450, 500]).unwrap(), b"zz<e>");
    let saved = tokenizer.to_json().unwrap();
    let loaded = Tokenizer::from_json(&saved).unwrap();
    assert_eq!(loaded.to_json().unwrap(), saved);
    assert_eq!(loaded.encode("abc  xab"), [300, 120, 400]);
}

#[test]
fn hostile_published_models_are_refused() {
    use serde_json::json;
    let refuse = |change: fn(&mut serde_json::Value)| published(change).unwrap_err().to_string();
    assert!(refuse(|it| it["merges"][1] = json!([400, 1_000_000])).contains("not an ordinary token"));
    assert!(refuse(|it| it["merges"][1] = json!([99, 97])).contains("not a token"));
    assert!(refuse(|it| it["merges"][1] = json!([500, 97])).contains("not an ordinary token"));
    assert!(refuse(|it| it["added"][0]["ordinary"] = json!(true)).contains("no ordinary token has its id"));
    assert!(refuse(|it| it["added"][1]["id"] = json!(301)).contains("no ordinary token has its id"));
    assert!(refuse(|it| it["added"][1]["special"] = json!(true)).contains("no ordinary token has its id"));
    assert!(refuse(|it| it["added"][1]["ordinary"] = json!(false)).contains("an id that another token has"));
    assert!(refuse(|it| it["unreachable"][0][1] = json!(300)).contains("listed twice"));
    assert!(refuse(|it| it["unreachable"][0][1] = json!(u32::MAX)).contains("an id of 1048576 or more"));
    assert!(refuse(|it| it["end_of_text"] = json!(301)).contains("token 301"));
    assert!(refuse(|it| it["suffix"] = json!([7, 301])).contains("token 301"));
    assert!(refuse(|it| it["gap"] = json!("open")).contains("not a whole tokenizer file"));
    assert!(refuse(|it| it["tokens"][3][0] = json!("zz")).contains("hexadecimal"));
    // A byte less, and one token for all that are missing.
    let gap = published(|it| {
        it["tokens"][7] = json!(["7878", 7]);
        it["gap"] = json!({"token": 500});
    });
    assert_eq!(gap.unwrap().encode("\u{7}"), [500]);
    let gap = published(|it| {
        it["tokens"][7] = json!(["7878", 7]);
        it["gap"] = json!({"token": 501});
    });
    assert!(matches!(gap, Err(Error::UnknownToken { id: 501, .. })));
}

proptest! {
    #[test]
    fn any_content_is_read_or_refused_without_panic(
        list in prop::collection::vec((0..300u32, 0..300u32), 0..60),
        special in 0..400u32,
    ) {
        let list = serde_json::to_string(&list).unwrap();
        if let Ok(tokenizer) = merges(&format!(r#"[["<|endoftext|>",{special}]]"#), &list) {
            let ids = tokenizer.encode("some text");
            prop_assert_eq!(tokenizer.decode(&ids).unwrap(), b"some text");
        }
    }

    #[test]
    fn any_bytes_are_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Tokenizer::from_json(&bytes).is_err());
    }
}
