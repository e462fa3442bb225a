//! Text generation on one sequence: prompt in chunks, then a token at a time through a cache.
//!
//! Knows only token ids. The logits are bit for bit those of the whole sequence computed at once.

use std::fmt;

use selvedge_tensor::Context;
use selvedge_tensor::attention::KvCache;

use crate::Error;
use crate::architecture::{Architecture, Mode};
use crate::held::{Storage, Weights};

/// Rows of a prompt computed at a time.
const CHUNK: usize = 64;

/// One sequence being generated.
pub struct Generator<'a> {
    model: &'a dyn Architecture<f32>,
    weights: Weights<'a, f32>,
    caches: Vec<KvCache<f32>>,
    acts: Vec<f32>,
    logits: Vec<f32>,
    position: usize,
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

    /// The same with weights that are packed already, for contexts of the precision of this one.
    ///
    /// # Panics
    /// If the weights are not those of the model's layout.
    pub fn with_weights(cx: &Context, model: &'a dyn Architecture<f32>, weights: Weights<'a, f32>) -> Self {
        let (config, slots) = (model.config(), model.layout().slots().len());
        assert_eq!(weights.0.len(), slots, "weights for a layout of {slots}");
        // Each made anew: pages of zeros take no memory until they are written, those of a copy do.
        let cache = || KvCache::new(config.context, config.kv_heads, config.head_size(), cx.precision());
        Generator {
            weights,
            caches: (0..config.layers).map(|_| cache()).collect(),
            acts: vec![0.0; model.activations(1, CHUNK, Mode::Generate)],
            logits: vec![0.0; config.vocab],
            position: 0,
            model,
        }
    }

    /// Positions filled so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Positions there is room for.
    pub fn context(&self) -> usize {
        self.model.config().context
    }

    /// Logits that follow a token, V.
    pub fn vocab(&self) -> usize {
        self.model.config().vocab
    }

    /// Forgets the sequence; the next token is the first of a new one.
    pub fn clear(&mut self) {
        self.position = 0;
    }

    /// The logits (V) that [`Generator::feed`] returned last; zeros before that.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Forgets all but the first `position` tokens; the next one follows them. Those that are kept are not computed again:
    /// logits have the bits that the shorter sequence alone would give. Positions beyond the end change nothing.
    pub fn truncate(&mut self, position: usize) {
        self.position = self.position.min(position);
    }

    /// Appends `tokens` and returns the logits (V) that follow the last one.
    ///
    /// # Errors
    /// [`Error::ContextExceeded`] or [`Error::TokenOutsideVocabulary`]; nothing is appended then.
    pub fn feed(&mut self, cx: &mut Context, tokens: &[u32]) -> Result<&[f32], Error> {
        let config = self.model.config();
        let total = self.position + tokens.len();
        if total > config.context {
            return Err(Error::ContextExceeded { tokens: total, context: config.context });
        }
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= config.vocab) {
            return Err(Error::TokenOutsideVocabulary { token, vocab: config.vocab });
        }
        for chunk in tokens.chunks(CHUNK) {
            self.model.generate(
                cx,
                &self.weights,
                &mut self.acts,
                &mut self.caches,
                chunk,
                self.position,
                &mut self.logits,
            );
            self.position += chunk.len();
        }
        Ok(&self.logits)
    }
}

impl fmt::Debug for Generator<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator").field("position", &self.position).finish_non_exhaustive()
    }
}
