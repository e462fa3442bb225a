//! What users rely on: nothing is lost, nothing depends on caches, threads or the place where a stream is cut.
#![expect(clippy::unwrap_used, reason = "a test ends where something goes wrong")]

mod common;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use selvedge_tokenizer::{Cache, END_OF_TEXT, Error, Pretokenizer, Tokenizer, Trainer};

fn trained(vocab_size: usize, pretokenizer: Pretokenizer) -> Tokenizer {
    let trainer = Trainer { vocab_size, pretokenizer, ..Trainer::default() };
    trainer.train([common::real_text()], |_| {}).unwrap()
}

static SMALL: LazyLock<Tokenizer> = LazyLock::new(|| trained(500, Pretokenizer::Gpt2));
static LARGE: LazyLock<Tokenizer> = LazyLock::new(|| trained(3000, Pretokenizer::Gpt4));

fn stream(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut decoder = tokenizer.decoder();
    let mut shown = String::new();
    for &id in ids {
        decoder.push(id, &mut shown).unwrap();
    }
    decoder.finish(&mut shown);
    shown
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn decoding_gives_the_text_back(text in common::text()) {
        for tokenizer in [&*SMALL, &*LARGE] {
            let ids = tokenizer.encode(&text);
            prop_assert_eq!(tokenizer.decode_lossy(&ids).unwrap(), text.clone());
            prop_assert_eq!(stream(tokenizer, &ids), text.clone());
            prop_assert!(ids.iter().all(|id| tokenizer.special_tokens().all(|(_, special)| special != *id)));
        }
    }

    #[test]
    fn decoding_gives_any_bytes_back(bytes in common::bytes()) {
        for tokenizer in [&*SMALL, &*LARGE] {
            prop_assert_eq!(tokenizer.decode(&tokenizer.encode(&bytes)).unwrap(), bytes.clone());
        }
    }

    #[test]
    fn a_stream_shows_what_decoding_at_once_shows(ids in prop::collection::vec(0..500u32, 0..30)) {
        prop_assert_eq!(stream(&SMALL, &ids), SMALL.decode_lossy(&ids).unwrap());
    }

    #[test]
    fn a_stream_of_bytes_shows_what_decoding_at_once_shows(bytes in common::bytes()) {
        let ids: Vec<u32> = bytes.iter().map(|&byte| byte.into()).collect();
        prop_assert_eq!(stream(&SMALL, &ids), String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn a_batch_is_its_documents(docs in prop::collection::vec(common::text(), 0..12)) {
        let serial: Vec<Vec<u32>> = docs.iter().map(|doc| LARGE.encode(doc)).collect();
        prop_assert_eq!(LARGE.encode_batch(&docs), serial);
    }

    #[test]
    fn a_cache_changes_nothing(docs in prop::collection::vec(common::text(), 0..12), capacity in 0..200usize) {
        // One tiny cache, crowded, and used for two vocabularies in turn.
        let mut cache = Cache::with_capacity(capacity);
        for doc in &docs {
            for tokenizer in [&*SMALL, &*LARGE] {
                let mut ids = vec![7];
                tokenizer.encode_into(doc, &mut ids, &mut cache);
                prop_assert_eq!(&ids[1..], tokenizer.encode(doc));
                tokenizer.encode_into(doc, &mut ids, &mut cache);
                prop_assert_eq!(tokenizer.decode_lossy(&ids[1..]).unwrap(), doc.repeat(2));
            }
        }
    }
}

#[test]
fn a_large_batch_is_its_documents_on_any_number_of_threads() {
    let text = common::real_text().repeat(60);
    let docs: Vec<&str> = text.split_inclusive(";\n").collect();
    assert!(text.len() > 4 << 20, "several groups of documents");
    let serial: Vec<Vec<u32>> = docs.iter().map(|doc| LARGE.encode(doc)).collect();
    for threads in 1..=3 {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| LARGE.encode_batch(&docs)), serial, "{threads} threads");
    }
    let none: [&str; 0] = [];
    assert!(LARGE.encode_batch(&none).is_empty());
}

#[test]
fn a_cache_outlives_its_tokenizer_without_harm() {
    // A new vocabulary may come to lie where an old one was; its tokens must not be taken for the old ones'.
    let mut cache = Cache::default();
    for round in 0..40u32 {
        let words = ["abcdef", "fedcba"][round as usize % 2].repeat(2);
        let tokenizer = Trainer { vocab_size: 260, min_frequency: 1, ..Trainer::default() }
            .train([words], |_| {})
            .unwrap();
        let mut ids = Vec::new();
        tokenizer.encode_into("abcdef", &mut ids, &mut cache);
        assert_eq!(ids, tokenizer.encode("abcdef"), "round {round}");
    }
}

#[test]
fn typed_special_tokens_are_plain_text() {
    for tokenizer in [&*SMALL, &*LARGE] {
        let text = format!("{END_OF_TEXT} and {END_OF_TEXT}{END_OF_TEXT}");
        let ids = tokenizer.encode(&text);
        assert!(!ids.contains(&tokenizer.end_of_text()));
        assert_eq!(tokenizer.decode(&ids).unwrap(), text.as_bytes());
        assert_eq!(tokenizer.decode(&[tokenizer.end_of_text()]).unwrap(), END_OF_TEXT.as_bytes());
    }
}

#[test]
fn unknown_ids_are_named() {
    let bad = SMALL.vocab_size() as u32;
    for id in [bad, u32::MAX] {
        let error = SMALL.decode(&[1, 2, id, id]).unwrap_err();
        assert!(
            matches!(error, Error::UnknownToken { id: found, position: 2, vocab_size: 500 } if found == id),
            "{error}"
        );
        assert_eq!(SMALL.token_bytes(id), None);
        let mut decoder = SMALL.decoder();
        let mut shown = String::new();
        decoder.push(0xC3, &mut shown).unwrap();
        assert!(matches!(decoder.push(id, &mut shown), Err(Error::UnknownToken { position: 1, .. })));
        // The stream goes on.
        decoder.push(0xA9, &mut shown).unwrap();
        assert_eq!(shown, "é");
    }
}

#[test]
fn a_decoder_is_as_new_after_finishing() {
    let mut decoder = SMALL.decoder();
    let mut shown = String::new();
    decoder.push(0xF0, &mut shown).unwrap();
    decoder.push(0x9F, &mut shown).unwrap();
    decoder.finish(&mut shown);
    decoder.push(b'a'.into(), &mut shown).unwrap();
    decoder.finish(&mut shown);
    assert_eq!(shown, "\u{fffd}a");
}

#[test]
fn long_runs_take_time_in_proportion() {
    const MEGABYTE: usize = 1 << 20;
    let mut cache = Cache::default();
    for unit in ["a", " ", "\n", "=", "1", "é", "漢", "ab", "\n ", " \n", "\r\n", "'", "'s", "\u{301}", "\0"]
    {
        let text = unit.repeat(MEGABYTE / unit.len());
        for tokenizer in [&*SMALL, &*LARGE] {
            let start = Instant::now();
            let mut ids = Vec::new();
            tokenizer.encode_into(&text, &mut ids, &mut cache);
            let elapsed = start.elapsed();
            assert!(elapsed < Duration::from_secs(2), "{unit:?}: {elapsed:?}");
            assert_eq!(tokenizer.decode_lossy(&ids).unwrap(), text);
        }
    }
}

#[test]
fn every_pretokenizer_takes_time_in_proportion() {
    const BYTES: usize = 1 << 16;
    for unit in [
        "a",
        "A",
        " ",
        "\n",
        "=",
        "1",
        "é",
        "漢",
        "aA",
        "\n ",
        " \n",
        "\r\n",
        "'",
        "'s",
        "\u{301}",
        "\0",
        "\u{3000}",
        "!a",
        " !",
        "漢A",
        "²",
        "`",
        "x ",
        "\u{200b} ",
        "1 ",
        "ʰ",
        "/\n",
    ] {
        // What a pattern looks for stands only at the very end.
        for end in ["", "a", "!"] {
            let text = unit.repeat(BYTES / unit.len()) + end;
            for pretokenizer in Pretokenizer::all() {
                let start = Instant::now();
                let bytes: usize = pretokenizer.split(&text).map(<[u8]>::len).sum();
                let elapsed = start.elapsed();
                assert!(elapsed < Duration::from_millis(500), "{pretokenizer:?}, {unit:?}: {elapsed:?}");
                assert_eq!(bytes, text.len());
            }
        }
    }
}

#[test]
fn names_of_special_tokens_stand_for_them_where_a_program_says_so() {
    let end = LARGE.end_of_text();
    let found = LARGE.encode_with_specials(format!("a{END_OF_TEXT}{END_OF_TEXT}<|endof"));
    assert_eq!(found, [LARGE.encode("a"), vec![end, end], LARGE.encode("<|endof")].concat());
    assert_eq!(LARGE.encode_with_specials("no name"), LARGE.encode("no name"));
}

#[test]
fn a_tokenizer_is_shared_between_threads() {
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    shared(&*SMALL);
    let debug = format!("{:?}", *SMALL);
    assert!(debug.contains("vocab_size: 500") && debug.len() < 200, "{debug}");
}
