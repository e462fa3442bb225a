//! Training: against a slow trainer that counts everything anew, on any number of threads, in any order of documents.
#![expect(clippy::unwrap_used, reason = "a test ends where something goes wrong")]

mod common;

use common::Reference;
use proptest::prelude::*;
use rayon::prelude::*;
use selvedge_tokenizer::{Cache, END_OF_TEXT, Error, MAX_TOKEN_BYTES, MAX_VOCABULARY, Pretokenizer};
use selvedge_tokenizer::{Progress, SpecialProblem, Tokenizer, Trainer};

fn trainer(vocab_size: usize) -> Trainer {
    Trainer { vocab_size, ..Trainer::default() }
}

fn train(trainer: &Trainer, docs: &[impl AsRef<[u8]> + Sync]) -> Tokenizer {
    trainer.train(docs, |_| {}).unwrap()
}

fn in_pool<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}

fn check_against_reference(trainer: &Trainer, docs: &[Vec<u8>], other: &[u8]) {
    let tokenizer = train(trainer, docs);
    let reference = Reference::train(trainer, docs);
    let tokens: Vec<&[u8]> =
        (0..reference.tokens.len() as u32).map_while(|id| tokenizer.token_bytes(id)).collect();
    assert_eq!(tokens, reference.tokens);
    assert_eq!(tokenizer.vocab_size(), reference.tokens.len() + trainer.special_tokens.len());
    let mut cache = Cache::with_capacity(8);
    for text in docs.iter().map(Vec::as_slice).chain([other]) {
        let expected = reference.encode(text);
        assert_eq!(tokenizer.encode(text), expected);
        let mut cached = Vec::new();
        tokenizer.encode_into(text, &mut cached, &mut cache);
        assert_eq!(cached, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn agrees_with_the_slow_trainer(
        docs in prop::collection::vec(common::text(), 1..8),
        other in common::text(),
        merges in 0..60usize,
        min_frequency in 1..4u64,
        pretokenizer in prop::sample::select(vec![Pretokenizer::Gpt2, Pretokenizer::Gpt4, Pretokenizer::Cl100k]),
    ) {
        prop_assume!(docs.iter().any(|doc| !doc.is_empty()));
        let docs: Vec<Vec<u8>> = docs.into_iter().map(String::into_bytes).collect();
        let trainer = Trainer { vocab_size: 257 + merges, min_frequency, pretokenizer, ..Trainer::default() };
        check_against_reference(&trainer, &docs, other.as_bytes());
    }

    #[test]
    fn agrees_with_the_slow_trainer_on_repeats(
        docs in prop::collection::vec("[ab]{1,90}", 1..6),
        other in "[ab]{0,90}",
        merges in 0..80usize,
    ) {
        let docs: Vec<Vec<u8>> = docs.into_iter().map(String::into_bytes).collect();
        let trainer = Trainer { vocab_size: 257 + merges, min_frequency: 1, ..Trainer::default() };
        check_against_reference(&trainer, &docs, other.as_bytes());
    }
}

#[test]
fn the_same_tokenizer_whatever_the_threads_and_the_order() {
    let text = common::real_text();
    let docs: Vec<&str> = text.split_inclusive("\n\n").collect();
    let expected = train(&trainer(1000), &docs).to_json().unwrap();
    let mut reversed = docs.clone();
    reversed.reverse();
    let mut sorted = docs.clone();
    sorted.sort_unstable();
    for threads in 1..=3 {
        for order in [&docs, &reversed, &sorted] {
            let found = in_pool(threads, || train(&trainer(1000), order));
            assert_eq!(found.to_json().unwrap(), expected, "{threads} threads");
        }
        let bridged = in_pool(threads, || trainer(1000).train(docs.iter().par_bridge(), |_| {}).unwrap());
        assert_eq!(bridged.to_json().unwrap(), expected, "{threads} threads, documents from an iterator");
    }
}

#[test]
fn learns_what_is_frequent() {
    let tokenizer = train(&trainer(256 + 4 + 1), &["abab abab abab cd cd"]);
    // (a,b) 6; then (ab,ab) 3, before (' ',abab) 2 and the others with 2: ids decide.
    let learnt: Vec<&[u8]> = (256..260).map(|id| tokenizer.token_bytes(id).unwrap()).collect();
    assert_eq!(learnt, ["ab", "abab", " c", " abab"].map(str::as_bytes));
    assert_eq!(tokenizer.end_of_text(), 260);
    assert_eq!(tokenizer.vocab_size(), 261);
}

#[test]
fn reports_progress_and_that_pairs_run_out() {
    let mut reports = Vec::new();
    let tokenizer = trainer(300).train(["ab ab", "", "ab"], |progress| reports.push(progress)).unwrap();
    assert_eq!(
        reports,
        [
            Progress::Counted { documents: 3, bytes: 7, pretokens: 3, distinct: 2 },
            Progress::Exhausted { vocab_size: 258, wanted: 300 },
        ]
    );
    assert_eq!(tokenizer.vocab_size(), 258);
    assert_eq!(tokenizer.encode("ab"), [256]);

    reports.clear();
    let text = common::real_text();
    trainer(1000).train([&text], |progress| reports.push(progress)).unwrap();
    let merging = [256, 512, 743].map(|done| Progress::Merging { done, wanted: 743 });
    assert_eq!(reports[1..], merging);
}

#[test]
fn special_tokens_have_the_highest_ids_in_order() {
    let special_tokens = ["<|user|>", END_OF_TEXT, "<|assistant|>"].map(String::from).to_vec();
    let tokenizer = train(&Trainer { vocab_size: 260, special_tokens, ..Trainer::default() }, &["abab"]);
    let specials: Vec<(&str, u32)> = tokenizer.special_tokens().collect();
    assert_eq!(specials, [("<|user|>", 257), (END_OF_TEXT, 258), ("<|assistant|>", 259)]);
    assert_eq!(tokenizer.end_of_text(), 258);
    assert_eq!(tokenizer.special("<|assistant|>"), Some(259));
    assert_eq!(tokenizer.special("<|nobody|>"), None);
}

#[test]
fn no_token_grows_beyond_the_limit() {
    let docs = vec!["x".repeat(5000).into_bytes(), "xy".repeat(3000).into_bytes()];
    let trainer = Trainer { vocab_size: 300, min_frequency: 1, ..Trainer::default() };
    check_against_reference(&trainer, &docs, b"");
    let tokenizer = train(&trainer, &docs);
    let longest = (0..300).filter_map(|id| tokenizer.token_bytes(id)).map(<[u8]>::len).max();
    assert_eq!(longest, Some(MAX_TOKEN_BYTES));
}

#[test]
fn requests_that_cannot_be_met() {
    let refuse = |trainer: Trainer, docs: &[&str]| trainer.train(docs, |_| {}).unwrap_err();
    let specials = |names: &[&str]| Trainer {
        special_tokens: names.iter().map(|name| name.to_string()).collect(),
        ..Trainer::default()
    };
    assert!(matches!(refuse(trainer(256), &["ab"]), Error::VocabularyTooSmall { wanted: 256, least: 257 }));
    assert_eq!(train(&trainer(257), &["ab"]).vocab_size(), 257);
    assert!(matches!(
        refuse(trainer(MAX_VOCABULARY + 1), &["ab"]),
        Error::VocabularyTooLarge { limit: MAX_VOCABULARY, .. }
    ));
    assert!(matches!(refuse(trainer(300), &[]), Error::EmptyCorpus));
    assert!(matches!(refuse(trainer(300), &["", ""]), Error::EmptyCorpus));
    for (names, expected) in [
        (vec![], SpecialProblem::Missing),
        (vec!["<|user|>"], SpecialProblem::Missing),
        (vec![END_OF_TEXT, ""], SpecialProblem::Empty),
        (vec![END_OF_TEXT, "a", "a"], SpecialProblem::Duplicate),
        (vec![END_OF_TEXT, &"a".repeat(MAX_TOKEN_BYTES + 1)], SpecialProblem::TooLong),
    ] {
        let error = refuse(specials(&names), &["ab"]);
        assert!(
            matches!(error, Error::SpecialToken { problem, .. } if problem == expected),
            "{names:?}: {error}"
        );
    }
}

#[test]
fn one_endless_word_is_no_slower_than_others() {
    // Letters without a blank: a trainer that walks through a word for each merge would need minutes.
    let mut state = 1u32;
    let letters: String = (0..500_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'a' + (state >> 28) as u8)
        })
        .collect();
    let start = std::time::Instant::now();
    let tokenizer = train(&trainer(4000), &[letters]);
    assert_eq!(tokenizer.vocab_size(), 4000);
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}
