//! Hidden states: what a model makes of each token, layer by layer.

use ndarray::{Array3, Axis};
use selvedge_tensor::{Context, Real};

use crate::Error;
use crate::architecture::{Architecture, Mode};
use crate::held::Weights;

/// The hidden states (L + 2, T, C) of one sequence: the residual stream after the embeddings, after each of the L blocks, and
/// normalized as the head reads it.
///
/// transformers gives L + 1 with `output_hidden_states`, of which the last is the normalized one: it leaves the output of the last
/// block out. Row t depends on the tokens up to t alone.
///
/// ```
/// use selvedge_model::tensor::Context;
/// use selvedge_model::{Config, Storage, Weights, build, hidden_states, initialize};
///
/// let model = build::<f32>(Config::llama(64, 32, 3, 4, 16))?;
/// let params: Vec<f32> = initialize(model.layout(), 1);
/// let cx = &mut Context::solo();
/// let weights = Weights::pack(cx, model.config(), model.layout(), &params, Storage::Packed);
/// let states = hidden_states(cx, &*model, &weights, &[1, 5, 9])?;
/// assert_eq!(states.dim(), (5, 3, 16));
/// # Ok::<(), selvedge_model::Error>(())
/// ```
///
/// # Errors
/// [`Error::ContextExceeded`] or [`Error::TokenOutsideVocabulary`].
///
/// # Panics
/// If the weights are not those of the model's layout.
pub fn hidden_states<T: Real>(
    cx: &mut Context<T>,
    model: &dyn Architecture<T>,
    weights: &Weights<'_, T>,
    tokens: &[u32],
) -> Result<Array3<T>, Error> {
    weights.check(model.layout());
    let config = model.config();
    if tokens.len() > config.context {
        return Err(Error::ContextExceeded { tokens: tokens.len(), context: config.context });
    }
    if let Some(&token) = tokens.iter().find(|&&token| token as usize >= config.vocab) {
        return Err(Error::TokenOutsideVocabulary { token, vocab: config.vocab });
    }
    let mut states = Array3::from_elem((config.layers + 2, tokens.len(), config.channels), T::ZERO);
    if tokens.is_empty() {
        return Ok(states);
    }
    let mut acts = vec![T::ZERO; model.activations(1, tokens.len(), Mode::HiddenStates)];
    let found = model.hidden_states(cx, weights, &mut acts, tokens);
    for (mut to, from) in states.axis_iter_mut(Axis(0)).zip(found) {
        to.assign(&from);
    }
    Ok(states)
}
