//! Every gradient of whole models by central differences in f64.

use selvedge_model::{Mode, Rows, build};
use selvedge_tensor::{Context, cross_entropy::IGNORE};

use super::{configs, gradient, params, tokens};

#[test]
fn every_parameter_agrees_with_differences() {
    for config in configs() {
        let model = build::<f64>(config.clone()).unwrap();
        let mut params = params(&*model, 3);
        let (time, batch) = (5, 2);
        let inputs = tokens(batch * time, config.vocab, 1);
        let mut targets = tokens(batch * time, config.vocab, 2);
        targets[3] = IGNORE;
        let rows = Rows::new(&inputs, &targets, time);
        let cx = &mut Context::solo();
        let (sum, grads) = gradient(cx, &config, &params, rows, batch, Mode::Train);
        assert_eq!(sum.tokens, 9);
        let mut acts = vec![0.0; model.activations(batch, time, Mode::Evaluate)];
        let mut loss = |params: &[f64]| {
            let mut sum = Default::default();
            model.loss(cx, params, &mut acts, rows, &mut sum);
            sum.sum
        };
        for slot in model.layout().slots() {
            // A few elements of each weight: rows of embeddings that occur and some of every matrix.
            let step = (slot.span.len() / 7).max(1);
            for index in slot.span.range().step_by(step) {
                let value = params[index];
                const STEP: f64 = 1e-5;
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
        for range in gaps(model.layout()) {
            assert!(grads[range].iter().all(|&g| g == 0.0), "padding has no gradient");
        }
    }
}

/// The padding between weights.
fn gaps(layout: &selvedge_model::Layout) -> Vec<std::ops::Range<usize>> {
    let mut at = 0;
    let mut gaps = Vec::new();
    for slot in layout.slots() {
        gaps.push(at..slot.span.offset);
        at = slot.span.range().end;
    }
    gaps.push(at..layout.len());
    gaps
}
