//! With OpenAI's vocabularies, ids are those of tiktoken.
#![expect(clippy::unwrap_used, reason = "a test ends where something goes wrong")]

mod common;

use std::sync::LazyLock;

use proptest::prelude::*;
use selvedge_tokenizer::{Cache, END_OF_TEXT, Pretokenizer, Tokenizer};
use tiktoken_rs::CoreBPE;

struct Pair {
    ours: Tokenizer,
    theirs: CoreBPE,
}

fn pair(theirs: CoreBPE, specials: &[(&str, u32)], pretokenizer: Pretokenizer) -> Pair {
    let first_special = specials[0].1;
    let ranks = (0..first_special).filter_map(|id| Some((theirs.decode_bytes(&[id]).ok()?, id)));
    let ours = Tokenizer::from_ranks(ranks, specials.iter().copied(), pretokenizer).unwrap();
    Pair { ours, theirs }
}

static R50K: LazyLock<Pair> =
    LazyLock::new(|| pair(tiktoken_rs::r50k_base().unwrap(), &[(END_OF_TEXT, 50256)], Pretokenizer::Gpt2));

static CL100K: LazyLock<Pair> = LazyLock::new(|| {
    let specials = [
        (END_OF_TEXT, 100_257),
        ("<|fim_prefix|>", 100_258),
        ("<|fim_middle|>", 100_259),
        ("<|fim_suffix|>", 100_260),
        ("<|endofprompt|>", 100_276),
    ];
    pair(tiktoken_rs::cl100k_base().unwrap(), &specials, Pretokenizer::Cl100k)
});

static O200K: LazyLock<Pair> = LazyLock::new(|| {
    let specials = [(END_OF_TEXT, 199_999), ("<|endofprompt|>", 200_018)];
    pair(tiktoken_rs::o200k_base().unwrap(), &specials, Pretokenizer::O200k)
});

fn check(pair: &Pair, text: &str, cache: &mut Cache) {
    let expected = pair.theirs.encode_ordinary(text);
    assert_eq!(pair.ours.encode(text), expected, "{text:?}");
    let mut cached = Vec::new();
    pair.ours.encode_into(text, &mut cached, cache);
    assert_eq!(cached, expected, "{text:?}, with a used cache");
    assert_eq!(pair.ours.decode(&expected).unwrap(), text.as_bytes());
}

#[test]
fn real_text() {
    for pair in [&*R50K, &*CL100K, &*O200K] {
        let text = common::real_text();
        check(pair, &text, &mut Cache::default());
        for line in text.lines() {
            check(pair, line, &mut Cache::with_capacity(64));
        }
    }
}

#[test]
fn runs_and_repeats() {
    for pair in [&*R50K, &*CL100K, &*O200K] {
        let mut cache = Cache::default();
        for unit in
            ["a", "ab", "aab", " ", "=", "-", "é", "漢", "\u{301}", "\n", "\t", "0", "xX", "=-", "😀", "ACGT"]
        {
            // Around the lengths at which the way of merging changes.
            for len in [1usize, 2, 3, 15, 16, 17, 31, 63, 64, 65, 66, 127, 200, 1001] {
                check(pair, &unit.repeat(len.div_ceil(unit.len())), &mut cache);
            }
        }
    }
}

#[test]
fn published_ids() {
    assert_eq!(R50K.ours.encode("hello world"), [31373, 995]);
    assert_eq!(CL100K.ours.encode("hello world"), [15339, 1917]);
    assert_eq!(O200K.ours.encode("hello world"), [24912, 2375]);
    assert_eq!(R50K.ours.vocab_size(), 50_257);
    assert_eq!(CL100K.ours.vocab_size(), 100_277);
    assert_eq!(CL100K.ours.special("<|endofprompt|>"), Some(100_276));
    assert_eq!(CL100K.ours.token_bytes(100_256), None, "an id in the gap stands for nothing");
    assert_eq!(CL100K.ours.token_bytes(100_257), Some(END_OF_TEXT.as_bytes()));
}

#[test]
fn a_saved_published_vocabulary_is_the_same() {
    let saved = CL100K.ours.to_json().unwrap();
    let loaded = Tokenizer::from_json(&saved).unwrap();
    let text = common::real_text();
    assert_eq!(loaded.encode(&text), CL100K.ours.encode(&text));
    assert_eq!(loaded.vocab_size(), 100_277);
    assert_eq!(loaded.to_json().unwrap(), saved);
}

#[test]
fn a_token_that_merging_would_not_form() {
    // "abc" is a token, but neither "ab" nor "bc" is: only as a whole pretoken is it found, as tiktoken finds it.
    let mut ranks: Vec<(Vec<u8>, u32)> = (0..=255u8).map(|byte| (vec![byte], byte.into())).collect();
    ranks.push((b"abc".to_vec(), 256));
    let ours = Tokenizer::from_ranks(ranks.clone(), [(END_OF_TEXT, 300)], Pretokenizer::Cl100k).unwrap();
    let theirs = CoreBPE::new(ranks.into_iter().collect(), Default::default(), r"\p{L}+|\P{L}+").unwrap();
    for text in ["abc", "abcd", "abcabc", "abc\nabc"] {
        assert_eq!(ours.encode(text), theirs.encode_ordinary(text), "{text}");
    }
}

/// Small vocabularies of any tokens at all, most of which no training would give.
fn any_ranks() -> impl Strategy<Value = Vec<(Vec<u8>, u32)>> {
    prop::collection::btree_set("[ab]{2,6}|[a-d]{2,4}", 0..40).prop_map(|tokens| {
        let mut ranks: Vec<(Vec<u8>, u32)> = (0..=255u8).map(|byte| (vec![byte], byte.into())).collect();
        ranks.extend(tokens.into_iter().map(String::into_bytes).zip(256..));
        ranks
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_text(text in common::text()) {
        check(&R50K, &text, &mut Cache::default());
        check(&CL100K, &text, &mut Cache::default());
        check(&O200K, &text, &mut Cache::default());
    }

    #[test]
    fn any_vocabulary(
        ranks in any_ranks(),
        order in any::<u64>(),
        text in "[ab]{0,100}|[a-d]{0,100}",
    ) {
        // Ranks in any order, not only shorter tokens first.
        let mut ids: Vec<u32> = (256..ranks.len() as u32).collect();
        ids.sort_by_key(|id| order.wrapping_mul(2 * u64::from(*id) + 1) >> 32);
        let ranks: Vec<(Vec<u8>, u32)> = ranks
            .into_iter()
            .map(|(bytes, id)| if id < 256 { (bytes, id) } else { (bytes, ids[id as usize - 256]) })
            .collect();
        let ours = Tokenizer::from_ranks(ranks.clone(), [(END_OF_TEXT, 1000)], Pretokenizer::Cl100k).unwrap();
        let theirs = CoreBPE::new(ranks.into_iter().collect(), Default::default(), r"\p{L}+|\P{L}+").unwrap();
        prop_assert_eq!(ours.encode(&text), theirs.encode_ordinary(&text));
    }
}
