//! Scores of tokens: against transformers, against logits, and the same bits however a sequence is divided.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use selvedge_model::hf::Folder;
use selvedge_model::{
    Architecture, Config, Error, Generator, Score, Scorer, Storage, Weights, build, initialize,
};
use selvedge_sync::Team;
use selvedge_tensor::quantized::Form;
use selvedge_tensor::{Context, Isa, Precision};

use super::{configs, params, tokens};

fn weights<'a>(
    cx: &mut Context,
    model: &dyn Architecture<f32>,
    params: &'a [f32],
    storage: Storage,
) -> Weights<'a, f32> {
    Weights::pack(cx, model.config(), model.layout(), params, storage)
}

/// Scores of all tokens but the first, computed so many rows at a time.
fn scores(cx: &mut Context, config: &Config, params: &[f32], sequence: &[u32], rows: usize) -> Vec<Score> {
    let model = build::<f32>(config.clone()).unwrap();
    let weights = weights(cx, &*model, params, Storage::Packed);
    let mut scorer = Scorer::with_rows(cx, &*model, weights, rows);
    scorer.push(&sequence[..1]).unwrap();
    scorer.score(cx, &sequence[1..]).unwrap()
}

#[derive(Debug, serde::Deserialize)]
struct Golden {
    tokens: Vec<u32>,
    nll: Vec<f64>,
    likeliest: Vec<bool>,
}

#[test]
fn scores_agree_with_transformers() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let json = std::fs::read(goldens.join("scores.json")).unwrap();
    let all: BTreeMap<String, Golden> = serde_json::from_slice(&json).unwrap();
    assert_eq!(all.len(), 8);
    for (name, golden) in all {
        let folder = Folder::open(goldens.join("hf").join(&name)).unwrap();
        let got = scores(&mut Context::solo(), folder.config(), &folder.load(), &golden.tokens, 256);
        assert_eq!(got.len(), golden.nll.len(), "{name}");
        let most = golden.nll.iter().fold(0.0, |most: f64, x| most.max(*x));
        for (place, (score, want)) in got.iter().zip(&golden.nll).enumerate() {
            let off = (f64::from(-score.log_probability) - want).abs();
            // Measured: at worst 2.5e-7 of the largest, which is f32's rounding.
            assert!(off < 1e-6 * most, "{name}: token {place} is off by {off} of {most}");
        }
        let likeliest: Vec<bool> = got.iter().map(|score| score.is_likeliest).collect();
        assert_eq!(likeliest, golden.likeliest, "{name}");
        assert!(likeliest.iter().any(|&is| is) && likeliest.iter().any(|&is| !is), "{name}");
    }
}

#[test]
fn any_rows_threads_and_instruction_sets_give_the_same_scores() {
    for config in configs() {
        let config = Config { context: 150, ..config };
        let params = params(&*build::<f32>(config.clone()).unwrap(), 5);
        let sequence = tokens(151, config.vocab, 1);
        let run = |isa: Isa, threads: usize, rows: usize| {
            let cx = &mut Context::new(Team::new(threads).unwrap(), isa);
            scores(cx, &config, &params, &sequence, rows)
        };
        let want = run(Isa::scalar(), 1, 150);
        assert_eq!(want.len(), 150);
        for isa in Isa::available() {
            for (threads, rows) in [(1, 1), (3, 7), (2, 64), (1, 1000)] {
                assert_eq!(run(isa, threads, rows), want, "{isa}, {threads} threads, {rows} rows");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]
    #[test]
    fn a_sequence_divided_anyhow_gives_the_bits_of_the_whole(
        which in 0usize..6,
        quantized: bool,
        is_bf16: bool,
        rows in 1usize..40,
        parts in prop::collection::vec((1usize..30, any::<bool>()), 1..8),
        back in 0usize..20,
    ) {
        let config = Config { context: 240, ..configs().swap_remove(which) };
        let model = build::<f32>(config.clone()).unwrap();
        let params = params(&*model, 5);
        let storage = if quantized { Storage::Quantized(Form::Q8_0) } else { Storage::Packed };
        let sequence = tokens(1 + parts.iter().map(|(len, _)| len).sum::<usize>(), config.vocab, 3);
        let precision = if is_bf16 { Precision::Bf16 } else { Precision::F32 };
        let cx = &mut Context::solo().with_precision(precision);
        let packed = weights(cx, &*model, &params, storage);
        let mut whole = Scorer::new(cx, &*model, packed);
        whole.push(&sequence[..1]).unwrap();
        let want = whole.score(cx, &sequence[1..]).unwrap();
        let packed = weights(cx, &*model, &params, storage);
        let mut scorer = Scorer::with_rows(cx, &*model, packed, rows);
        scorer.push(&sequence[..1]).unwrap();
        let mut at = 1;
        for (len, is_scored) in parts {
            if is_scored {
                // Another end first, which leaves nothing behind.
                scorer.score(cx, &tokens(back, config.vocab, 9)).unwrap();
                scorer.truncate(at);
                let got = scorer.score(cx, &sequence[at..at + len]).unwrap();
                prop_assert_eq!(&got[..], &want[at - 1..at - 1 + len]);
            } else {
                scorer.push(&sequence[at..at + len]).unwrap();
            }
            at += len;
        }
        prop_assert_eq!(scorer.len(), at);
    }
}

#[test]
fn a_score_is_that_of_the_logits() {
    let config = configs().swap_remove(2);
    let model = build::<f32>(config.clone()).unwrap();
    let params = params(&*model, 5);
    let sequence = tokens(12, config.vocab, 1);
    let cx = &mut Context::solo();
    let got = scores(cx, &config, &params, &sequence, 5);
    let mut generator = Generator::new(cx, &*model, &params);
    for (place, pair) in sequence.windows(2).enumerate() {
        let logits = generator.feed(cx, &pair[..1]).unwrap();
        let highest = logits.iter().fold(f32::NEG_INFINITY, |most, &x| most.max(x));
        let sum: f64 = logits.iter().map(|&x| f64::from(x - highest).exp()).sum();
        let want = f64::from(logits[pair[1] as usize] - highest) - sum.ln();
        assert!((f64::from(got[place].log_probability) - want).abs() < 1e-5);
        let best = logits.iter().position(|&x| x == highest).unwrap();
        assert_eq!(got[place].is_likeliest, best == pair[1] as usize);
    }
}

#[test]
fn of_equally_likely_tokens_the_lowest_is_the_likeliest() {
    let config = Config::llama(37, 16, 1, 2, 16);
    let model = build::<f32>(config.clone()).unwrap();
    let zeros = vec![0.0; model.layout().len()];
    let got = scores(&mut Context::solo(), &config, &zeros, &[5, 0, 1, 0, 36], 4);
    assert_eq!(got.iter().map(|score| score.is_likeliest).collect::<Vec<_>>(), [true, false, true, false]);
    assert!(got.iter().all(|score| (score.log_probability + 37f32.ln()).abs() < 1e-6));
}

#[test]
fn what_cannot_be_scored_is_refused_and_changes_nothing() {
    let config = Config::gpt2(37, 16, 1, 2, 8);
    let model = build::<f32>(config).unwrap();
    let mut params: Vec<f32> = initialize(model.layout(), 1);
    let cx = &mut Context::solo();
    let packed = weights(cx, &*model, &params, Storage::Packed);
    let mut scorer = Scorer::new(cx, &*model, packed);
    assert!(scorer.score(cx, &[]).unwrap().is_empty());
    assert!(matches!(scorer.score(cx, &[1]), Err(Error::NothingBefore)));
    scorer.push(&[1, 2, 3]).unwrap();
    let error = scorer.score(cx, &[0; 15]).unwrap_err();
    assert!(matches!(error, Error::ContextExceeded { tokens: 18, context: 16 }), "{error}");
    let error = scorer.push(&[4, 37]).unwrap_err();
    assert!(matches!(error, Error::TokenOutsideVocabulary { token: 37, .. }), "{error}");
    assert_eq!(scorer.len(), 3);
    // The last token needs no row.
    assert_eq!(scorer.score(cx, &[0; 14]).unwrap().len(), 14);
    assert_eq!(scorer.len(), scorer.capacity());

    // A position whose row is no number: nothing after it is one.
    let table = model.layout().slots().iter().find(|slot| slot.name == "position_embedding").unwrap();
    params[table.span.range()][5 * 8] = f32::NAN;
    let packed = weights(cx, &*model, &params, Storage::Packed);
    let mut scorer = Scorer::with_rows(cx, &*model, packed, 3);
    scorer.push(&[1]).unwrap();
    let error = scorer.score(cx, &[2, 3, 4, 5, 6, 7, 8]).unwrap_err();
    assert!(matches!(error, Error::Score { token: 7, position: 6 }), "{error}");
    assert_eq!(scorer.len(), 1);
    assert_eq!(scorer.score(cx, &[2, 3]).unwrap().len(), 2);
}
