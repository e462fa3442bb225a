//! Text generation on one sequence: prompt in chunks, then a token at a time through a cache.
//!
//! Knows only token ids. The logits are bit for bit those of the whole sequence computed at once, if the cache is of the
//! context's precision.

use std::fmt;

use selvedge_tensor::Context;
use selvedge_tensor::attention::CacheType;

use crate::Error;
use crate::architecture::Architecture;
use crate::batch::{Batch, Sequence};
use crate::held::{Storage, Weights};

/// One sequence being generated: a [`Batch`] of one.
pub struct Generator<'a> {
    batch: Batch<'a>,
    sequence: Sequence,
}

impl<'a> Generator<'a> {
    /// Packs the weights and makes room for the model's context.
    pub fn new(cx: &mut Context, model: &'a dyn Architecture<f32>, params: &'a [f32]) -> Self {
        Self::with_storage(cx, model, params, Storage::Packed)
    }

    /// The same with weights kept as told. Embeddings that are looked up, norms and biases stay f32.
    pub fn with_storage(
        cx: &mut Context,
        model: &'a dyn Architecture<f32>,
        params: &'a [f32],
        storage: Storage,
    ) -> Self {
        let weights = Weights::pack(cx, model.config(), model.layout(), params, storage);
        Self::with_weights(cx, model, weights)
    }

    /// The same with weights that are packed already, and keys and values in the precision of the context.
    ///
    /// # Panics
    /// If the weights are not those of the model's layout.
    pub fn with_weights(cx: &Context, model: &'a dyn Architecture<f32>, weights: Weights<'a, f32>) -> Self {
        Self::with_cache(model, weights, cx.precision().into())
            .expect("one sequence of a validated model can be addressed")
    }

    /// The same with keys and values kept as told.
    ///
    /// # Errors
    /// [`Error::CacheTooLarge`].
    ///
    /// # Panics
    /// If the weights are not those of the model's layout.
    pub fn with_cache(
        model: &'a dyn Architecture<f32>,
        weights: Weights<'a, f32>,
        cache_type: CacheType,
    ) -> Result<Self, Error> {
        let mut batch = Batch::new(model, weights, 1, cache_type)?;
        let sequence = batch.add()?;
        Ok(Generator { batch, sequence })
    }

    /// The batch, and which sequence of it this is.
    pub fn as_batch(&mut self) -> (&mut Batch<'a>, Sequence) {
        (&mut self.batch, self.sequence)
    }

    /// Positions filled so far.
    pub fn position(&self) -> usize {
        self.batch.position(self.sequence)
    }

    /// Positions there is room for.
    pub fn context(&self) -> usize {
        self.batch.context()
    }

    /// Logits that follow a token, V.
    pub fn vocab(&self) -> usize {
        self.batch.vocab()
    }

    /// Forgets the sequence; the next token is the first of a new one.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// The logits (V) that [`Generator::feed`] returned last; zeros before that.
    pub fn logits(&self) -> &[f32] {
        self.batch.last_logits()
    }

    /// Forgets the positions from `position` on; what is fed next comes there. Nothing, if there are none.
    pub fn truncate(&mut self, position: usize) {
        self.batch.truncate(self.sequence, position);
    }

    /// Appends `tokens` and returns the logits (V) that follow the last one; those before, if there are no tokens.
    ///
    /// # Errors
    /// [`Error::ContextExceeded`] or [`Error::TokenOutsideVocabulary`]; nothing is appended then.
    pub fn feed(&mut self, cx: &mut Context, tokens: &[u32]) -> Result<&[f32], Error> {
        if !tokens.is_empty() {
            self.batch.feed(cx, &[(self.sequence, tokens)])?;
        }
        Ok(self.batch.last_logits())
    }
}

impl fmt::Debug for Generator<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator").field("position", &self.position()).finish_non_exhaustive()
    }
}
