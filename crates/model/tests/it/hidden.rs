//! Hidden states: those of a model with fewer blocks, of a shorter sequence, and of other threads, and the logits made of the last.

use ndarray::{Array2, Array3, ArrayView2, Axis, s};
use selvedge_model::{
    Architecture, Config, Error, Generator, Storage, Weights, build, hidden_states, initialize,
};
use selvedge_sync::Team;
use selvedge_tensor::{Context, Isa, linear};

use super::{configs, params, tokens};

fn states(cx: &mut Context, config: &Config, params: &[f32], tokens: &[u32]) -> Array3<f32> {
    let model = build::<f32>(config.clone()).unwrap();
    let weights = Weights::pack(cx, config, model.layout(), params, Storage::Packed);
    hidden_states(cx, &*model, &weights, tokens).unwrap()
}

/// The logits (T, V) that the head makes of normalized states: nothing is packed, and no cache is there.
pub(crate) fn logits(
    cx: &mut Context,
    model: &dyn Architecture<f32>,
    params: &[f32],
    normed: ArrayView2<'_, f32>,
) -> Array2<f32> {
    let name = if model.config().tied { "token_embedding" } else { "head.weight" };
    let head = model.layout().slots().iter().find(|slot| slot.name == name).unwrap();
    let mut logits = Array2::zeros((normed.nrows(), model.config().vocab));
    linear::forward(cx, logits.view_mut(), normed, head.span.view(params).reversed_axes(), None);
    logits
}

#[test]
fn the_last_states_give_the_logits_of_generation_bit_for_bit() {
    for config in configs() {
        let model = build::<f32>(config.clone()).unwrap();
        let params = params(&*model, 5);
        let sequence = tokens(config.context, config.vocab, 1);
        for isa in Isa::available() {
            let cx = &mut Context::new(Team::new(3).unwrap(), isa);
            let states = states(cx, &config, &params, &sequence);
            let logits = logits(cx, &*model, &params, states.index_axis(Axis(0), config.layers + 1));
            let mut generator = Generator::new(cx, &*model, &params);
            for (token, row) in sequence.iter().zip(logits.rows()) {
                assert_eq!(generator.feed(cx, &[*token]).unwrap(), row.as_slice().unwrap(), "{isa}");
            }
        }
    }
}

#[test]
fn states_are_those_of_a_model_that_ends_there_and_of_a_sequence_that_does() {
    for config in configs() {
        let model = build::<f32>(config.clone()).unwrap();
        let all = params(&*model, 5);
        let sequence = tokens(config.context, config.vocab, 1);
        let whole = states(&mut Context::solo(), &config, &all, &sequence);
        assert_eq!(whole.dim(), (config.layers + 2, config.context, config.channels));
        assert_eq!(states(&mut Context::solo(), &config, &all, &sequence[..5]), whole.slice(s![.., ..5, ..]));
        let short = Config { layers: 1, ..config.clone() };
        let ended = build::<f32>(short.clone()).unwrap();
        let mut some = vec![0.0; ended.layout().len()];
        for slot in ended.layout().slots() {
            let of = model.layout().slots().iter().find(|of| of.name == slot.name).unwrap();
            some[slot.span.range()].copy_from_slice(&all[of.span.range()]);
        }
        let ended = states(&mut Context::solo(), &short, &some, &sequence);
        assert_eq!(ended.slice(s![..2, .., ..]), whole.slice(s![..2, .., ..]));
        // The first block does something, and the norm too.
        assert!((0..2).all(|at| ended.index_axis(Axis(0), at) != ended.index_axis(Axis(0), at + 1)));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let config = Config::llama(37, 16, 2, 4, 32);
    let model = build::<f32>(config.clone()).unwrap();
    let params = initialize(model.layout(), 1);
    let cx = &mut Context::solo();
    let weights = Weights::pack(cx, &config, model.layout(), &params, Storage::Packed);
    let of = |cx: &mut Context, tokens: &[u32]| hidden_states(cx, &*model, &weights, tokens);
    assert_eq!(of(cx, &[]).unwrap().dim(), (4, 0, 32));
    let long = of(cx, &[0; 17]).unwrap_err();
    assert!(matches!(long, Error::ContextExceeded { tokens: 17, context: 16 }), "{long}");
    let outside = of(cx, &[36, 37]).unwrap_err();
    assert!(matches!(outside, Error::TokenOutsideVocabulary { token: 37, vocab: 37 }), "{outside}");
}
