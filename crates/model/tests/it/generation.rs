//! Generation through a cache gives the bits of the whole sequence computed at once.

use selvedge_model::{Config, Error, Generator, Mode, Rows, Sampling, Storage, build};
use selvedge_sync::Team;
use selvedge_tensor::quantized::Form;
use selvedge_tensor::{Context, Isa, Precision, cross_entropy::IGNORE};

use super::{configs, params, tokens};

/// −ln softmax(logits)[target], by the same kernel that scores whole sequences.
fn loss_of(logits: &[f32], target: u32) -> f32 {
    let mut row = ndarray::Array2::from_shape_vec((1, logits.len()), logits.to_vec()).unwrap();
    let mut loss = [0.0];
    selvedge_tensor::cross_entropy::forward(&mut Context::solo(), &mut loss, row.view_mut(), &[target]);
    loss[0]
}

#[test]
fn any_split_of_the_prompt_gives_the_bits_of_the_whole() {
    for config in configs() {
        let config = Config { context: 150, ..config };
        let model = build::<f32>(config.clone()).unwrap();
        let params = params(&*model, 5);
        let sequence = tokens(140, config.vocab, 1);
        // The loss at one position sees the logits of that position alone.
        let at_once = |position: usize, target: u32| {
            let mut targets = vec![IGNORE; sequence.len()];
            targets[position] = target;
            let mut acts = vec![0.0; model.activations(1, sequence.len(), Mode::Evaluate)];
            let mut sum = Default::default();
            let rows = Rows::new(&sequence, &targets, sequence.len());
            model.loss(&mut Context::solo(), &params, &mut acts, rows, &mut sum);
            sum.sum
        };
        for isa in Isa::available() {
            let cx = &mut Context::new(Team::new(3).unwrap(), isa);
            for steps in [vec![140], vec![1, 63, 64, 12], vec![70, 1, 1, 1, 67]] {
                let mut generator = Generator::new(cx, &*model, &params);
                let mut at = 0;
                for step in steps {
                    let logits = generator.feed(cx, &sequence[at..at + step]).unwrap();
                    at += step;
                    for target in [0, 7, 36] {
                        let got = f64::from(loss_of(logits, target));
                        assert_eq!(got, at_once(at - 1, target), "{isa}, position {at}");
                    }
                }
            }
        }
    }
}

#[test]
fn quantized_weights_give_the_same_bits_however_they_are_fed_and_logits_near_the_exact_ones() {
    for config in configs() {
        let model = build::<f32>(Config { context: 150, ..config.clone() }).unwrap();
        let params = params(&*model, 5);
        let sequence = tokens(70, config.vocab, 1);
        let feed = |isa: Isa, threads: usize, storage: Storage, steps: &[usize]| {
            let cx = &mut Context::new(Team::new(threads).unwrap(), isa);
            let mut generator = Generator::with_storage(cx, &*model, &params, storage);
            let mut at = 0;
            steps.iter().for_each(|step| {
                generator.feed(cx, &sequence[at..at + step]).unwrap();
                at += step;
            });
            generator.feed(cx, &sequence[at..]).unwrap().to_vec()
        };
        let exact = feed(Isa::detect(), 1, Storage::Packed, &[60]);
        let spread = exact.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        // Models this small, with parameters this large, suffer: at worst by 0.036, 0.35, 0.25, 0.172, 0.121, 0.273, 0.099
        // and 0.088 of the largest logit.
        let bounds = [0.045, 0.45, 0.32, 0.22, 0.16, 0.35, 0.13, 0.115];
        for (form, bound) in Form::ALL.into_iter().zip(bounds) {
            let storage = Storage::Quantized(form);
            let want = feed(Isa::scalar(), 1, storage, &[60]);
            for isa in Isa::available() {
                for steps in [&[][..], &[1, 1, 1, 40], &[69]] {
                    assert_eq!(feed(isa, 3, storage, steps), want, "{isa}, {form:?}, {steps:?}");
                }
            }
            let off = exact.iter().zip(&want).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max) / spread;
            assert!(off > 0.0 && off < bound, "{form:?} is off by {off} of the largest logit");
        }
    }
}

#[test]
fn what_was_taken_back_leaves_no_trace() {
    for config in configs() {
        let model = build::<f32>(Config { context: 150, ..config.clone() }).unwrap();
        let params = params(&*model, 5);
        let (kept, other) = (tokens(140, config.vocab, 1), tokens(140, config.vocab, 2));
        for precision in [Precision::F32, Precision::Bf16] {
            let cx = &mut Context::solo().with_precision(precision);
            let fresh = |cx: &mut Context, first: usize, rest: &[u32]| {
                let mut generator = Generator::new(cx, &*model, &params);
                let sequence = [&kept[..first], rest].concat();
                generator.feed(cx, &sequence).unwrap().to_vec()
            };
            let mut generator = Generator::new(cx, &*model, &params);
            generator.feed(cx, &kept).unwrap();
            // Less and less of the first text, each time with another behind it: within blocks of 64 and at their ends.
            for (position, count) in
                [(139, 1), (130, 20), (128, 1), (65, 70), (64, 64), (63, 2), (1, 140), (0, 5)]
            {
                generator.truncate(position);
                assert_eq!(generator.position(), position);
                generator.truncate(position + 1000);
                let rest = &other[..count];
                let found = generator.feed(cx, rest).unwrap().to_vec();
                assert_eq!(found, fresh(cx, position, rest), "{position}, {count}, {precision:?}");
            }
        }
    }
}

#[test]
fn too_long_and_unknown_tokens_are_refused_and_change_nothing() {
    let config = Config::gpt2(37, 16, 1, 2, 8);
    let model = build::<f32>(config).unwrap();
    let params = params(&*model, 1);
    let cx = &mut Context::solo();
    let mut generator = Generator::new(cx, &*model, &params);
    generator.feed(cx, &[1, 2, 3]).unwrap();
    let error = generator.feed(cx, &[0; 14]).unwrap_err();
    assert!(matches!(error, Error::ContextExceeded { tokens: 17, context: 16 }), "{error}");
    let error = generator.feed(cx, &[37]).unwrap_err();
    assert!(matches!(error, Error::TokenOutsideVocabulary { token: 37, .. }), "{error}");
    assert_eq!(generator.position(), 3);
}

#[test]
fn sampling_is_a_function_of_seed_and_position() {
    let logits: Vec<f32> = (0..50).map(|i| (i as f32 * 0.7).sin()).collect();
    let greedy = Sampling { temperature: 0.0, top_k: 0, seed: 1, ..Sampling::default() };
    let best = (0..50).max_by(|&a, &b| logits[a as usize].total_cmp(&logits[b as usize])).unwrap();
    assert_eq!(greedy.pick(&logits, 9), best);
    let some = Sampling { temperature: 1.0, top_k: 5, seed: 1, ..Sampling::default() };
    let draws: Vec<u32> = (0..200).map(|n| some.pick(&logits, n)).collect();
    assert_eq!(draws, (0..200).map(|n| some.pick(&logits, n)).collect::<Vec<_>>());
    let mut kinds = draws.clone();
    kinds.sort_unstable();
    kinds.dedup();
    assert!(kinds.len() > 1 && kinds.len() <= 5, "{kinds:?}");
}
