//! A model whose parameters are those of its adapters: what the trainer trains.

use std::sync::Arc;

use ndarray::{ArrayView2, ArrayViewMut2};
use selvedge_tensor::attention::KvCache;
use selvedge_tensor::{Context, Init, Real, product};

use super::{Adapted, Adapters, vectors};
use crate::architecture::{Architecture, Fold, LossSum, Mode, Ragged, Rows, Tunable, build_tunable};
use crate::held::Weights;
use crate::layout::Layout;
use crate::{Config, Error};

/// A wiring over a frozen base, with adapters. Its layout is that of the adapters.
///
/// Unlike other models it holds weights, those that training does not change: all workers read the same ones.
#[derive(Debug)]
pub struct Tuned<T: Real = f32> {
    model: Box<dyn Tunable<T>>,
    base: Arc<Weights<'static, T>>,
    adapters: Adapters,
    /// Seed of dropout.
    seed: u64,
}

impl<T: Real> Tuned<T> {
    /// The model of `config` with weights `base` and `adapters`, which were made for the same configuration.
    ///
    /// # Errors
    /// [`Error::Config`] for sizes that make no model.
    ///
    /// # Panics
    /// If the weights are not those of the configuration's layout, or some are packed for generation.
    pub fn new(
        config: Config,
        base: Arc<Weights<'static, T>>,
        adapters: Adapters,
        seed: u64,
    ) -> Result<Self, Error> {
        let model = build_tunable::<T>(config)?;
        base.check(model.layout());
        assert!(base.0.iter().all(|held| !held.is_packed()), "a base that has a backward");
        Ok(Tuned { model, base, adapters, seed })
    }

    /// The adapters.
    pub fn adapters(&self) -> &Adapters {
        &self.adapters
    }

    fn adapted<'a>(&'a self, params: &'a [T]) -> Adapted<'a, T> {
        Adapted { base: &self.base, adapters: &self.adapters, params, seed: self.seed }
    }
}

impl<T: Real> Architecture<T> for Tuned<T> {
    fn config(&self) -> &Config {
        self.model.config()
    }

    fn layout(&self) -> &Layout {
        self.adapters.layout()
    }

    fn activations(&self, batch: usize, time: usize, mode: Mode) -> usize {
        let unread = if mode.has_backward() { vectors(self.model.layout()) } else { 0 };
        self.model.activations(batch, time, mode) + unread
    }

    fn loss(&self, cx: &mut Context<T>, params: &[T], acts: &mut [T], rows: Rows<'_>, sum: &mut LossSum) {
        self.model.adapted_loss(cx, self.adapted(params), acts, rows, sum);
    }

    fn loss_and_gradient(
        &self,
        cx: &mut Context<T>,
        params: &[T],
        grads: &mut [T],
        fold: Fold,
        acts: &mut [T],
        mode: Mode,
        rows: Rows<'_>,
        dinput: ArrayViewMut2<'_, T>,
        sum: &mut LossSum,
    ) {
        let adapted = self.adapted(params);
        self.model.adapted_loss_and_gradient(cx, adapted, grads, fold, acts, mode, rows, dinput, sum);
    }

    /// Embeddings are frozen.
    fn embedding_gradient(&self, _: &mut Context<T>, _: &mut [T], _: ArrayView2<'_, T>, _: Rows<'_>) {}

    fn generate(
        &self,
        cx: &mut Context<T>,
        weights: &Weights<'_, T>,
        acts: &mut [T],
        caches: &mut [KvCache<T>],
        rows: Ragged<'_>,
        logits: &mut [T],
    ) {
        self.model.generate(cx, weights, acts, caches, rows, logits);
    }

    fn hidden_states<'a>(
        &self,
        cx: &mut Context<T>,
        weights: &Weights<'_, T>,
        acts: &'a mut [T],
        tokens: &[u32],
    ) -> Vec<ArrayView2<'a, T>> {
        self.model.hidden_states(cx, weights, acts, tokens)
    }
}

/// Adds what adapters add to the weights they are for: W += scale·B·A. `weights` lies as the model's layout says, `params` as
/// that of the adapters.
///
/// # Panics
/// If a buffer is too short.
pub fn merge<T: Real>(
    cx: &mut Context<T>,
    model: &Layout,
    weights: &mut [T],
    adapters: &Adapters,
    params: &[T],
) {
    for place in adapters.places() {
        let span = model.slots()[place.slot].span;
        let scale = T::from_f64(adapters.settings().scale());
        let scaled = place.b.view(params).mapv(|x| x * scale);
        let rows = place.outputs.start * span.cols..place.outputs.end * span.cols;
        let rows = &mut weights[span.range()][rows];
        let into = ArrayViewMut2::from_shape((place.outputs.len(), span.cols), rows).expect("whole rows");
        product(cx, into, Init::Accumulate, scaled.view(), place.a.view(params));
    }
}
