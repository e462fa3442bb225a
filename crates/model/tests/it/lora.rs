//! Adapters: gradients by differences, packed documents, one result, merging, and files of PEFT.

mod files;
mod packed;

use std::sync::Arc;

use selvedge_model::lora::{Adapters, Settings, Tuned, merge, modules};
use selvedge_model::tensor::quantized::Form;
use selvedge_model::{
    Architecture, Config, CounterRng, Generator, LossSum, Mode, Rows, Storage, Weights, build, layout,
};
use selvedge_sync::Team;
use selvedge_tensor::{Context, Isa, Precision, Real, cross_entropy::IGNORE};

use super::{configs, gradient_of, params, tokens};

/// Adapters of every module.
fn adapters(config: &Config, settings: Settings) -> Adapters {
    let targets: Vec<String> = modules(config.arch).iter().map(|&module| module.to_owned()).collect();
    Adapters::new(config, settings, &targets).unwrap()
}

fn settings(dropout: f64) -> Settings {
    Settings { dropout, ..Settings::new(3, 4.0) }
}

/// Values for adapters, none of them 0.
fn noise<T: Real>(adapters: &Adapters, seed: u64) -> Vec<T> {
    let (mut noise, rng) = (vec![T::ZERO; adapters.layout().len()], CounterRng::new(seed, 5));
    for slot in adapters.layout().slots() {
        for at in slot.span.range() {
            let unit = (rng.at(at as u64) >> 11) as f64 / (1u64 << 53) as f64;
            noise[at] = T::from_f64((unit - 0.5) * 0.6);
        }
    }
    noise
}

/// A base of plain numbers, or of weights of 4 to 8 bits.
fn tuned<T: Real>(config: &Config, adapters: Adapters, form: Option<Form>) -> Tuned<T> {
    let model = build::<T>(config.clone()).unwrap();
    let params = params(&*model, 3);
    let base = match form {
        None => Weights::plain(model.layout(), &params),
        Some(form) => {
            let storage = Storage::Quantized(form);
            Weights::pack(&mut Context::solo(), config, model.layout(), params.leak(), storage)
        }
    };
    Tuned::new(config.clone(), Arc::new(base), adapters, 11).unwrap()
}

#[test]
fn gradients_of_adapters_agree_with_differences() {
    for config in configs() {
        for (form, dropout) in [(None, 0.0), (None, 0.3), (Some(Form::Q5_1), 0.0)] {
            let model = tuned::<f64>(&config, adapters(&config, settings(dropout)), form);
            let mut params = noise(model.adapters(), 4);
            let (time, batch) = (7, 2);
            let inputs = tokens(batch * time, config.vocab, 1);
            let mut targets = tokens(batch * time, config.vocab, 2);
            targets[3] = IGNORE;
            let starts = [0, 0, 0, 3, 3, 5, 5, 0, 1, 1, 1, 1, 1, 1];
            let rows = Rows { starts: &starts, first: 9, ..Rows::new(&inputs, &targets, time) };
            let cx = &mut Context::solo();
            let (sum, grads) = gradient_of(cx, &model, &params, rows, batch, Mode::Train);
            assert_eq!(sum.tokens, 13);
            let mut loss = |params: &[f64]| match dropout {
                // An evaluation drops nothing.
                0.0 => {
                    let mut acts = vec![0.0; model.activations(batch, time, Mode::Evaluate)];
                    let mut sum = LossSum::default();
                    model.loss(cx, params, &mut acts, rows, &mut sum);
                    sum.sum
                }
                _ => gradient_of(cx, &model, params, rows, batch, Mode::Train).0.sum,
            };
            for slot in model.layout().slots() {
                let step = (slot.span.len() / 5).max(1);
                for index in slot.span.range().step_by(step) {
                    const STEP: f64 = 1e-5;
                    let value = params[index];
                    params[index] = value + STEP;
                    let above = loss(&params);
                    params[index] = value - STEP;
                    let below = loss(&params);
                    params[index] = value;
                    let numeric = (above - below) / (2.0 * STEP);
                    let error = (numeric - grads[index]).abs() / grads[index].abs().max(1.0);
                    assert!(error < 1e-6, "{} of {config:?}: {} against {numeric}", slot.name, grads[index]);
                }
            }
        }
    }
}

#[test]
fn microbatches_threads_recomputation_and_instruction_sets_change_nothing() {
    for config in [&configs()[1], &configs()[5]] {
        let (time, batch) = (10, 4);
        let (inputs, targets) = (tokens(40, config.vocab, 1), tokens(40, config.vocab, 2));
        let starts: Vec<u32> = (0..40).map(|at| if at % 10 < 4 { 0 } else { 4 }).collect();
        let rows = Rows { starts: &starts, first: 70, ..Rows::new(&inputs, &targets, time) };
        for form in [None, Some(Form::Q4_0)] {
            let model = tuned::<f32>(config, adapters(config, settings(0.2)), form);
            let params = noise(model.adapters(), 4);
            for precision in [Precision::F32, Precision::Bf16] {
                let context =
                    |threads, isa| Context::new(Team::new(threads).unwrap(), isa).with_precision(precision);
                let cx = &mut context(1, Isa::detect());
                let whole = gradient_of(cx, &model, &params, rows, batch, Mode::Train);
                for isa in Isa::available() {
                    for (threads, micro, mode) in [(3, 1, Mode::Train), (2, 3, Mode::Recompute)] {
                        let found =
                            gradient_of(&mut context(threads, isa), &model, &params, rows, micro, mode);
                        assert_eq!(found.0, whole.0, "{isa} {threads}");
                        let same =
                            |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
                        assert!(found.1.iter().zip(&whole.1).all(same), "{isa} {threads} {precision:?}");
                    }
                }
                let elsewhere = Rows { first: 71, ..rows };
                let other = gradient_of(cx, &model, &params, elsewhere, batch, Mode::Train);
                assert_ne!(other.0, whole.0, "what is dropped depends on the row of the run");
            }
        }
    }
}

/// Greedy continuation of a prompt.
fn greedy(model: &dyn Architecture<f32>, weights: Weights<'_, f32>) -> Vec<u32> {
    let cx = &mut Context::solo();
    let mut generator = Generator::with_weights(cx, model, weights);
    let mut text = vec![1, 2, 3];
    let mut pending = text.clone();
    while text.len() < 14 {
        let logits = generator.feed(cx, &pending).unwrap();
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        pending = vec![best as u32];
        text.push(best as u32);
    }
    text
}

#[test]
fn merged_adapters_continue_a_text_as_adapters_beside_the_weights_do() {
    for config in configs() {
        let model = build::<f32>(config.clone()).unwrap();
        let (weights, cx) = (params(&*model, 3), &mut Context::solo());
        let adapters = adapters(&config, settings(0.0));
        let added = noise(&adapters, 4);
        let mut sums = weights.clone();
        merge(cx, &layout(&config).unwrap(), &mut sums, &adapters, &added);
        let pack = |cx: &mut _, weights| Weights::pack(cx, &config, model.layout(), weights, Storage::Packed);
        let alone = greedy(&*model, pack(cx, &weights));
        let beside = greedy(&*model, pack(cx, &weights).with_adapters(adapters.clone(), added.clone()));
        let merged = greedy(&*model, pack(cx, &sums));
        assert_eq!(beside, merged);
        assert_ne!(alone, merged, "the adapters do something");
    }
}

#[test]
fn what_makes_no_adapters_is_named() {
    let config = &configs()[3];
    let of = |settings, target: &str| {
        Adapters::new(config, settings, &[target.to_owned()]).unwrap_err().to_string()
    };
    for (settings, named) in [
        (Settings::new(0, 1.0), "rank = 0"),
        (Settings::new(1 << 20, 1.0), "rank"),
        (Settings::new(4, f64::NAN), "alpha"),
        (Settings { dropout: 1.0, ..Settings::new(4, 1.0) }, "dropout = 1"),
    ] {
        let error = of(settings, "q_proj");
        assert!(error.contains(named), "{error}");
    }
    let error = of(Settings::new(4, 8.0), "c_attn");
    assert!(error.contains("\"c_attn\"") && error.contains("gate_proj"), "{error}");
}
