//! Documents in one row are computed as each of them alone.

use super::*;
use crate::gradient;

/// Losses and gradients of all parameters: the documents packed into one row, and each as a call of its own.
#[test]
fn a_packed_document_has_the_bits_that_it_has_alone() {
    let lens = [4usize, 10, 2];
    let time: usize = lens.iter().sum();
    for config in configs() {
        let (inputs, targets) = (tokens(time, config.vocab, 1), tokens(time, config.vocab, 2));
        let mut starts = Vec::new();
        for len in lens {
            starts.extend(std::iter::repeat_n(starts.len() as u32, len));
        }
        let model = build::<f32>(config.clone()).unwrap();
        let params = params(&*model, 3);
        for precision in [Precision::F32, Precision::Bf16] {
            let cx = &mut Context::solo().with_precision(precision);
            let rows = Rows { starts: &starts, ..Rows::new(&inputs, &targets, time) };
            let (packed, packed_grads) = gradient(cx, &config, &params, rows, 1, Mode::Train);

            let (mut alone, mut grads) = (LossSum::default(), vec![0.0; model.layout().len()]);
            let mut acts = vec![0.0; model.activations(1, time, Mode::Train)];
            let mut dinput = ndarray::Array2::zeros((time, config.channels));
            let mut at = 0;
            for len in lens {
                let of = at..at + len;
                let rows = Rows::new(&inputs[of.clone()], &targets[of.clone()], len);
                let fold = if at == 0 { selvedge_model::Fold::First } else { selvedge_model::Fold::Next };
                let dinput = dinput.slice_mut(ndarray::s![of, ..]);
                model.loss_and_gradient(
                    cx,
                    &params,
                    &mut grads,
                    fold,
                    &mut acts,
                    Mode::Train,
                    rows,
                    dinput,
                    &mut alone,
                );
                at += len;
            }
            model.embedding_gradient(cx, &mut grads, dinput.view(), rows);
            assert_eq!(packed, alone, "{config:?}");
            for slot in model.layout().slots() {
                let of = slot.span.range();
                assert_eq!(packed_grads[of.clone()], grads[of], "{} of {config:?}", slot.name);
            }

            let whole = gradient(cx, &config, &params, Rows::new(&inputs, &targets, time), 1, Mode::Train);
            assert_ne!(whole.0, packed, "one document of that length is another text");
        }
    }
}

/// What stands in a row beside a document changes nothing of its losses.
#[test]
fn neighbours_do_not_matter() {
    let config = &configs()[3];
    let model = build::<f32>(config.clone()).unwrap();
    let params = params(&*model, 3);
    let starts = [0, 0, 0, 3, 3, 3, 3, 3];
    let loss = |first: u32| {
        let mut inputs = tokens(8, config.vocab, 1);
        inputs[..3].fill(first);
        let mut targets = tokens(8, config.vocab, 2);
        targets[..3].fill(IGNORE);
        let rows = Rows { starts: &starts, ..Rows::new(&inputs, &targets, 8) };
        let mut sum = LossSum::default();
        let mut acts = vec![0.0; model.activations(1, 8, Mode::Evaluate)];
        model.loss(&mut Context::solo(), &params, &mut acts, rows, &mut sum);
        sum
    };
    assert_eq!(loss(1), loss(2));
    assert_eq!(loss(1).tokens, 5);
}
