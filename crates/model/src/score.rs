//! Log-probabilities of tokens, each given those before it: what evaluations are made of.
//!
//! Knows only token ids. However a sequence is divided into calls, the bits are those of the whole computed at once.

use std::fmt;

use selvedge_tensor::attention::{KvCache, Segment};
use selvedge_tensor::{Context, cross_entropy};

use crate::Error;
use crate::architecture::{Architecture, Mode, Ragged, caches, row_positions};
use crate::held::Weights;

/// Most logits there are at once, 32 MiB of f32.
const LOGITS: usize = 8 << 20;
/// Rows computed at a time: at least and at most.
const ROWS: (usize, usize) = (32, 256);

/// What a model makes of one token, given those before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Natural logarithm of its probability, at most 0.
    pub log_probability: f32,
    /// Whether it is the likeliest of all; of equals, the one with the lowest id is.
    pub is_likeliest: bool,
}

/// One sequence whose tokens are scored.
///
/// ```
/// use selvedge_model::tensor::Context;
/// use selvedge_model::{Config, Scorer, Storage, Weights, build, initialize};
///
/// let model = build::<f32>(Config::llama(64, 32, 2, 4, 32))?;
/// let params: Vec<f32> = initialize(model.layout(), 1);
/// let mut cx = Context::solo();
/// let weights = Weights::pack(&mut cx, model.config(), model.layout(), &params, Storage::Packed);
/// let mut scorer = Scorer::new(&cx, &*model, weights);
///
/// // Two ends of one beginning, which is computed once.
/// scorer.push(&[1, 5, 9])?;
/// let one = scorer.score(&mut cx, &[7, 8])?;
/// scorer.truncate(3);
/// let other = scorer.score(&mut cx, &[20])?;
/// assert_eq!((one.len(), other.len()), (2, 1));
/// assert!((one[0].log_probability + 64f32.ln()).abs() < 0.2, "a fresh model knows nothing");
/// # Ok::<(), selvedge_model::Error>(())
/// ```
pub struct Scorer<'a> {
    model: &'a dyn Architecture<f32>,
    weights: Weights<'a, f32>,
    caches: Vec<KvCache<f32>>,
    acts: Vec<f32>,
    logits: Vec<f32>,
    losses: Vec<f32>,
    /// Of the rows at hand.
    positions: Vec<u32>,
    wanted: Vec<usize>,
    /// Rows computed at a time.
    rows: usize,
    tokens: Vec<u32>,
    /// Tokens whose keys and values are in the caches.
    cached: usize,
}

impl<'a> Scorer<'a> {
    /// Room for a sequence as long as the model's context; for contexts of the precision of this one.
    ///
    /// # Panics
    /// If the weights are not those of the model's layout.
    pub fn new(cx: &Context, model: &'a dyn Architecture<f32>, weights: Weights<'a, f32>) -> Self {
        let vocab = model.config().vocab;
        Self::with_rows(cx, model, weights, (LOGITS / vocab.max(1)).clamp(ROWS.0, ROWS.1))
    }

    /// The same, computing so many rows at a time, which changes the time and memory it takes and no result.
    ///
    /// # Panics
    /// As [`new`](Self::new), and if there are none.
    pub fn with_rows(
        cx: &Context,
        model: &'a dyn Architecture<f32>,
        weights: Weights<'a, f32>,
        rows: usize,
    ) -> Self {
        assert!(rows > 0, "no rows at a time");
        weights.check(model.layout());
        let config = model.config();
        let (rows, cache_type) = (rows.min(config.context), cx.precision().into());
        Scorer {
            weights,
            caches: caches(config, 1, cache_type),
            acts: vec![0.0; model.activations(1, rows, Mode::Generate { logits: rows })],
            logits: vec![0.0; rows * config.vocab],
            losses: vec![0.0; rows],
            positions: Vec::with_capacity(rows),
            wanted: Vec::with_capacity(rows),
            rows,
            tokens: Vec::new(),
            cached: 0,
            model,
        }
    }

    /// Tokens of the sequence so far.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether the sequence is empty.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Tokens a sequence may have: one more than the model's context, for nothing is computed of the last.
    pub fn capacity(&self) -> usize {
        self.model.config().context + 1
    }

    /// Starts a new sequence.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Forgets all but the first `len` tokens; what was computed of those is kept.
    pub fn truncate(&mut self, len: usize) {
        self.tokens.truncate(len);
        // The row of the last one is computed again: its logits say what follows.
        self.cached = self.cached.min(self.tokens.len().saturating_sub(1));
    }

    /// Appends tokens without a score. They are computed when one after them is scored.
    ///
    /// # Errors
    /// [`Error::ContextExceeded`] or [`Error::TokenOutsideVocabulary`]; nothing is appended then.
    pub fn push(&mut self, tokens: &[u32]) -> Result<(), Error> {
        let config = self.model.config();
        let total = self.tokens.len().saturating_add(tokens.len());
        if total > self.capacity() {
            return Err(Error::ContextExceeded { tokens: total, context: config.context });
        }
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= config.vocab) {
            return Err(Error::TokenOutsideVocabulary { token, vocab: config.vocab });
        }
        self.tokens.extend_from_slice(tokens);
        Ok(())
    }

    /// Appends `tokens` and gives the score of each.
    ///
    /// # Errors
    /// Those of [`push`](Self::push); [`Error::NothingBefore`] for a first token; [`Error::Score`] where parameters are
    /// damaged. Nothing is appended then.
    pub fn score(&mut self, cx: &mut Context, tokens: &[u32]) -> Result<Vec<Score>, Error> {
        let first = self.tokens.len();
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        if first == 0 {
            return Err(Error::NothingBefore);
        }
        self.push(tokens)?;
        let scores = self.compute(cx, first);
        if scores.is_err() {
            self.truncate(first);
        }
        scores
    }

    /// The scores of the tokens from `first` on.
    fn compute(&mut self, cx: &mut Context, first: usize) -> Result<Vec<Score>, Error> {
        let vocab = self.model.config().vocab;
        let end = self.tokens.len() - 1;
        let mut scores = Vec::with_capacity(self.tokens.len() - first);
        while self.cached < end {
            // In equal parts: a few rows take nearly as long as many.
            let (start, rest) = (self.cached, end - self.cached);
            let rows = rest.div_ceil(rest.div_ceil(self.rows));
            // Row r says what token r + 1 is.
            let head = (first - 1).saturating_sub(start).min(rows)..rows;
            let (chunk, targets) = (&self.tokens[start..], &self.tokens[start + head.start + 1..]);
            let (chunk, targets) = (&chunk[..rows], &targets[..head.len()]);
            let logits = &mut self.logits[..head.len() * vocab];
            let segment = Segment { sequence: 0, position: start, rows };
            self.positions.clear();
            self.positions.extend(row_positions(&segment));
            self.wanted.clear();
            self.wanted.extend(head.clone());
            let rows_of = Ragged {
                tokens: chunk,
                segments: &[segment],
                positions: &self.positions,
                wanted: &self.wanted,
            };
            self.model.generate(cx, &self.weights, &mut self.acts, &mut self.caches, rows_of, logits);
            let likeliest = targets.iter().zip(logits.chunks_exact(vocab));
            let likeliest: Vec<bool> = likeliest.map(|(&target, row)| is_likeliest(row, target)).collect();
            let losses = &mut self.losses[..head.len()];
            let rows_of = ndarray::ArrayViewMut2::from_shape((head.len(), vocab), logits);
            cross_entropy::forward(cx, losses, rows_of.expect("whole rows of logits"), targets);
            self.cached += rows;
            for ((&loss, is_likeliest), &token) in losses.iter().zip(likeliest).zip(targets) {
                if !loss.is_finite() {
                    return Err(Error::Score { token, position: first + scores.len() });
                }
                scores.push(Score { log_probability: -loss, is_likeliest });
            }
        }
        Ok(scores)
    }
}

/// Whether no logit is above that of `target`, nor one before it as high.
fn is_likeliest(logits: &[f32], target: u32) -> bool {
    let (before, rest) = logits.split_at(target as usize);
    before.iter().all(|&x| x < rest[0]) && rest.iter().all(|&x| x <= rest[0])
}

impl fmt::Debug for Scorer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scorer").field("tokens", &self.tokens.len()).finish_non_exhaustive()
    }
}
