//! Sequences of a batch have the logits they have alone, bit for bit, whoever is beside them.

use proptest::prelude::*;
use selvedge_model::{Architecture, Batch, Config, Error, Generator, Sequence, Storage, Weights, build};
use selvedge_sync::Team;
use selvedge_tensor::attention::CacheType;
use selvedge_tensor::quantized::Form;
use selvedge_tensor::{Context, Isa, Precision};

use super::{configs, params, tokens};

const CACHES: [CacheType; 4] = [CacheType::F32, CacheType::Bf16, CacheType::F16, CacheType::Q8_0];

/// Weights in f32, in bf16, and in every form.
fn storages() -> impl Iterator<Item = (Storage, Precision)> {
    let packed = [Precision::F32, Precision::Bf16].map(|precision| (Storage::Packed, precision));
    packed.into_iter().chain(Form::ALL.map(|form| (Storage::Quantized(form), Precision::F32)))
}

fn weights<'a>(
    cx: &mut Context,
    model: &dyn Architecture<f32>,
    params: &'a [f32],
    storage: Storage,
) -> Weights<'a, f32> {
    Weights::pack(cx, model.config(), model.layout(), params, storage)
}

/// Logits after each token of a text that is fed alone, token by token, on one thread in plain code.
fn alone(
    model: &dyn Architecture<f32>,
    params: &[f32],
    (storage, precision): (Storage, Precision),
    cache: CacheType,
    text: &[u32],
) -> Vec<Vec<f32>> {
    let cx = &mut Context::new(Team::solo(), Isa::scalar()).with_precision(precision);
    let weights = weights(cx, model, params, storage);
    let mut generator = Generator::with_cache(model, weights, cache).unwrap();
    text.iter().map(|&token| generator.feed(cx, &[token]).unwrap().to_vec()).collect()
}

/// A text of a sequence that is in the batch, or to come.
struct Text {
    tokens: Vec<u32>,
    want: Vec<Vec<f32>>,
    sequence: Option<Sequence>,
    /// Tokens fed.
    at: usize,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn sequences_have_the_bits_they_have_alone(
        which in 0usize..6, room in 1usize..4, steps in prop::collection::vec(1usize..40, 2..7),
        lens in prop::collection::vec(1usize..30, 3..6), threads in 1usize..4, cache in 0usize..4, seed in any::<u64>(),
    ) {
        let model = build::<f32>(Config { context: 30, ..configs()[which].clone() }).unwrap();
        let (params, cache) = (params(&*model, 5), CACHES[cache]);
        for how in storages() {
            let texts = lens.iter().zip(seed..).map(|(&len, seed)| {
                let tokens = tokens(len, model.config().vocab, seed);
                let want = alone(&*model, &params, how, cache, &tokens);
                Text { tokens, want, sequence: None, at: 0 }
            });
            let mut texts: Vec<_> = texts.collect();
            for isa in Isa::available() {
                let cx = &mut Context::new(Team::new(threads).unwrap(), isa).with_precision(how.1);
                let weights = weights(cx, &*model, &params, how.0);
                let mut batch = Batch::new(&*model, weights, room, cache).unwrap();
                texts.iter_mut().for_each(|text| text.at = 0);
                // Others come when one has had all of its text: into caches that have been used.
                for call in 0.. {
                    let mut fed: Vec<_> = texts.iter_mut().filter(|text| text.at < text.tokens.len()).take(room).collect();
                    if fed.is_empty() {
                        break;
                    }
                    let mut feeds = Vec::new();
                    for (i, text) in fed.iter_mut().enumerate() {
                        let sequence = *text.sequence.get_or_insert_with(|| batch.add().unwrap());
                        // Most steps are of one token, as in earnest.
                        let step = if (call + i) % 2 == 0 { 1 } else { steps[(call + i) % steps.len()] };
                        let end = text.tokens.len().min(text.at + step);
                        feeds.push((sequence, text.at..end));
                        text.at = end;
                    }
                    // In another order than that of the caches.
                    let mut feeds: Vec<_> =
                        feeds.into_iter().zip(&fed).map(|((s, range), text)| (s, &text.tokens[range])).collect();
                    feeds.reverse();
                    let logits = batch.feed(cx, &feeds).unwrap();
                    for (row, text) in logits.rows().into_iter().zip(fed.iter().rev()) {
                        prop_assert_eq!(row.to_slice().unwrap(), &text.want[text.at - 1], "{:?}, {}", how, isa);
                    }
                    drop(feeds);
                    for text in fed.iter_mut().filter(|text| text.at == text.tokens.len()) {
                        batch.remove(text.sequence.take().unwrap());
                    }
                }
            }
        }
    }
}

#[test]
fn sequences_that_fork_or_go_back_are_as_if_they_had_begun_there() {
    let model = build::<f32>(Config { context: 150, ..configs()[2].clone() }).unwrap();
    let (params, vocab) = (params(&*model, 5), model.config().vocab);
    let (prompt, ends) = (tokens(70, vocab, 1), [tokens(3, vocab, 2), tokens(3, vocab, 3)]);
    let how = (Storage::Packed, Precision::F32);
    for cache in CACHES {
        let want = ends
            .each_ref()
            .map(|end| alone(&*model, &params, how, cache, &[&prompt[..], end].concat()).pop().unwrap());
        let cx = &mut Context::new(Team::new(2).unwrap(), Isa::detect());
        let weights = weights(cx, &*model, &params, Storage::Packed);
        let mut batch = Batch::new(&*model, weights, 3, cache).unwrap();
        // Not the first caches of the batch.
        batch.add().unwrap();
        let first = batch.add().unwrap();
        batch.feed(cx, &[(first, &prompt)]).unwrap();
        let second = batch.fork(first).unwrap();
        assert_eq!((batch.position(first), batch.position(second)), (70, 70));
        let logits = batch.feed(cx, &[(first, &ends[0]), (second, &ends[1])]).unwrap();
        assert_eq!(logits.row(0).to_vec(), want[0], "{cache:?}");
        assert_eq!(logits.row(1).to_vec(), want[1], "{cache:?}");
        // Over what was there; pairs of bf16 begin at even positions, and this is within one.
        batch.truncate(first, 69);
        batch.truncate(second, 100);
        let logits = batch.feed(cx, &[(first, &[&prompt[69..], &ends[1][..]].concat())]).unwrap();
        assert_eq!(logits.row(0).to_vec(), want[1], "{cache:?}");
        assert_eq!((batch.position(first), batch.position(second)), (73, 73));
    }
}

#[test]
fn logits_come_near_those_of_a_cache_in_full() {
    for config in configs() {
        let model = build::<f32>(Config { context: 100, ..config }).unwrap();
        let (params, text) = (params(&*model, 5), tokens(90, model.config().vocab, 1));
        let how = (Storage::Packed, Precision::F32);
        let [exact, bf16, f16, q8_0] =
            CACHES.map(|cache| alone(&*model, &params, how, cache, &text).pop().unwrap());
        let largest = exact.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let off = |logits: &[f32]| {
            exact.iter().zip(logits).fold(0.0_f32, |most, (x, y)| most.max((x - y).abs())) / largest
        };
        // Elements err by 2⁻⁹, 2⁻¹² and 2⁻⁸ of the largest at most; heads are as small as 8, and models amplify.
        for (logits, bound) in [(bf16, 0.05), (f16, 0.005), (q8_0, 0.05)] {
            let off = off(&logits);
            assert!(off > 0.0 && off < bound, "off by {off} of the largest logit, {bound}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let model = build::<f32>(Config::gpt2(37, 16, 1, 2, 8)).unwrap();
    let params = params(&*model, 1);
    let cx = &mut Context::solo();
    let weights = |cx: &mut Context| weights(cx, &*model, &params, Storage::Packed);
    for sequences in [usize::MAX, usize::MAX / 64, 1 << 60] {
        let error = Batch::new(&*model, weights(cx), sequences, CacheType::Q8_0).unwrap_err();
        assert!(matches!(error, Error::CacheTooLarge { context: 16, .. }), "{error}");
    }
    let mut batch = Batch::new(&*model, weights(cx), 2, CacheType::F16).unwrap();
    let (a, b) = (batch.add().unwrap(), batch.add().unwrap());
    assert!(matches!(batch.add(), Err(Error::BatchFull { sequences: 2 })));
    assert!(matches!(batch.fork(a), Err(Error::BatchFull { sequences: 2 })));
    batch.feed(cx, &[(a, &[1, 2, 3])]).unwrap();
    let error = batch.feed(cx, &[(b, &[1]), (a, &[0; 14])]).unwrap_err();
    assert!(matches!(error, Error::ContextExceeded { tokens: 17, context: 16 }), "{error}");
    let error = batch.feed(cx, &[(b, &[1]), (a, &[37])]).unwrap_err();
    assert!(matches!(error, Error::TokenOutsideVocabulary { token: 37, .. }), "{error}");
    let error = batch.feed(cx, &[(b, &[1]), (a, &[])]).unwrap_err();
    assert!(matches!(error, Error::EmptyFeed { index: 1 }), "{error}");
    assert_eq!((batch.position(a), batch.position(b)), (3, 0));
    batch.remove(b);
    assert_eq!(batch.add().unwrap(), b);
    assert_eq!(batch.capacity(), 2);
}
