//! Generation of several sequences at once: a step streams the weights once for all of them.
//!
//! Sequences come and go, each at its own position; what they are fed is cut and computed together in any way, and their
//! logits are bit for bit those they have alone.

use std::fmt;

use ndarray::ArrayView2;
use selvedge_tensor::Context;
use selvedge_tensor::attention::{CacheType, KvCache, Segment};

use crate::Error;
use crate::architecture::{Architecture, Mode, Ragged, caches, row_positions};
use crate::held::Weights;

/// Rows computed at a time, or one a sequence if that is more: a whole number of register tiles of every product, and so many
/// that a prompt streams the weights seldom.
const ROWS: usize = 192;

/// A sequence of a [`Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sequence(usize);

/// Sequences being generated, at most so many at a time, over the same weights.
///
/// All room is taken when it is made, and used again: caches of a sequence that was removed are those of the next one added.
pub struct Batch<'a> {
    model: &'a dyn Architecture<f32>,
    weights: Weights<'a, f32>,
    /// One a layer.
    caches: Vec<KvCache<f32>>,
    acts: Vec<f32>,
    /// (sequences, V): rows as they were fed.
    logits: Vec<f32>,
    /// Positions filled so far; of those in use.
    positions: Vec<Option<usize>>,
    /// What is computed next, at most `rows` rows.
    tokens: Vec<u32>,
    segments: Vec<Segment>,
    /// Their positions.
    rows_at: Vec<u32>,
    wanted: Vec<usize>,
    rows: usize,
}

impl<'a> Batch<'a> {
    /// Room for `sequences` sequences of the model's context.
    ///
    /// # Errors
    /// [`Error::CacheTooLarge`] of more than can be addressed; whether there is so much memory is for the caller to ask.
    ///
    /// # Panics
    /// If the weights are not those of the model's layout.
    pub fn new(
        model: &'a dyn Architecture<f32>,
        weights: Weights<'a, f32>,
        sequences: usize,
        cache_type: CacheType,
    ) -> Result<Self, Error> {
        weights.check(model.layout());
        let config = model.config();
        let (context, d) = (config.context, config.head_size());
        let too_large = Error::CacheTooLarge { sequences, context };
        let size = KvCache::<f32>::size(sequences, context, config.kv_heads, d, cache_type);
        let logits = sequences.checked_mul(config.vocab.max(size_of::<Segment>()) * size_of::<f32>());
        if size.and(logits).is_none_or(|bytes| isize::try_from(bytes).is_err()) {
            return Err(too_large);
        }
        let rows = sequences.max(ROWS);
        Ok(Batch {
            weights,
            caches: caches(config, sequences, cache_type),
            acts: vec![0.0; model.activations(1, rows, Mode::Generate { logits: sequences })],
            logits: vec![0.0; sequences * config.vocab],
            positions: vec![None; sequences],
            tokens: Vec::with_capacity(rows),
            segments: Vec::with_capacity(sequences),
            rows_at: Vec::with_capacity(rows),
            wanted: Vec::with_capacity(sequences),
            rows,
            model,
        })
    }

    /// Bytes of keys and values that there is room for.
    pub fn cache_bytes(&self) -> usize {
        self.caches.iter().map(KvCache::bytes).sum()
    }

    /// Sequences there is room for.
    pub fn capacity(&self) -> usize {
        self.positions.len()
    }

    /// Positions a sequence has room for.
    pub fn context(&self) -> usize {
        self.model.config().context
    }

    /// Logits that follow a token, V.
    pub fn vocab(&self) -> usize {
        self.model.config().vocab
    }

    /// A new sequence, of no positions yet.
    ///
    /// # Errors
    /// [`Error::BatchFull`].
    pub fn add(&mut self) -> Result<Sequence, Error> {
        let free = self.positions.iter().position(Option::is_none);
        let free = free.ok_or(Error::BatchFull { sequences: self.positions.len() })?;
        self.positions[free] = Some(0);
        Ok(Sequence(free))
    }

    /// A new sequence that goes on where another is: its caches are copied.
    ///
    /// # Errors
    /// [`Error::BatchFull`].
    ///
    /// # Panics
    /// If there is no such sequence.
    #[track_caller]
    pub fn fork(&mut self, sequence: Sequence) -> Result<Sequence, Error> {
        let position = self.position(sequence);
        let to = self.add()?;
        for cache in &mut self.caches {
            cache.copy(sequence.0, to.0, position);
        }
        self.positions[to.0] = Some(position);
        Ok(to)
    }

    /// Gives up a sequence; its room is free for another.
    ///
    /// # Panics
    /// If there is no such sequence.
    #[track_caller]
    pub fn remove(&mut self, sequence: Sequence) {
        self.position(sequence);
        self.positions[sequence.0] = None;
    }

    /// Positions of a sequence filled so far.
    ///
    /// # Panics
    /// If there is no such sequence.
    #[track_caller]
    pub fn position(&self, sequence: Sequence) -> usize {
        match self.positions.get(sequence.0) {
            Some(&Some(position)) => position,
            _ => panic!("{sequence:?} is not in the batch"),
        }
    }

    /// Forgets the positions of a sequence from `position` on; what is fed next comes there. Nothing, if there are none.
    ///
    /// # Panics
    /// If there is no such sequence.
    #[track_caller]
    pub fn truncate(&mut self, sequence: Sequence, position: usize) {
        let filled = self.position(sequence);
        self.positions[sequence.0] = Some(filled.min(position));
    }

    /// Appends tokens to sequences, as many as each is given, and returns the logits (feeds, V) that follow the last of each.
    ///
    /// # Errors
    /// [`Error::ContextExceeded`], [`Error::TokenOutsideVocabulary`] or [`Error::EmptyFeed`]; nothing is appended then.
    ///
    /// # Panics
    /// If there is no such sequence, or one is named twice.
    #[track_caller]
    pub fn feed(
        &mut self,
        cx: &mut Context,
        feeds: &[(Sequence, &[u32])],
    ) -> Result<ArrayView2<'_, f32>, Error> {
        let (context, vocab) = (self.context(), self.vocab());
        for (index, &(sequence, tokens)) in feeds.iter().enumerate() {
            let total = self.position(sequence) + tokens.len();
            let twice = feeds[..index].iter().any(|&(before, _)| before == sequence);
            assert!(!twice, "{sequence:?} is fed twice");
            if tokens.is_empty() {
                return Err(Error::EmptyFeed { index });
            }
            if total > context {
                return Err(Error::ContextExceeded { tokens: total, context });
            }
            if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocab) {
                return Err(Error::TokenOutsideVocabulary { token, vocab });
            }
        }
        let mut done = 0;
        for &(sequence, mut tokens) in feeds {
            while !tokens.is_empty() {
                let (now, later) = tokens.split_at(tokens.len().min(self.rows - self.tokens.len()));
                tokens = later;
                self.push(sequence, now, later.is_empty());
                if self.tokens.len() == self.rows {
                    done = self.run(cx, done);
                }
            }
        }
        self.run(cx, done);
        let logits = &self.logits[..feeds.len() * vocab];
        Ok(ArrayView2::from_shape((feeds.len(), vocab), logits).expect("logits for each feed"))
    }

    /// Logits (V) of the first of the sequences fed last; zeros before.
    pub(crate) fn last_logits(&self) -> &[f32] {
        &self.logits[..self.vocab()]
    }

    /// Puts rows of a sequence beside those that are computed next.
    fn push(&mut self, sequence: Sequence, tokens: &[u32], last: bool) {
        let position = self.position(sequence);
        let segment = Segment { sequence: sequence.0, position, rows: tokens.len() };
        self.segments.push(segment);
        self.rows_at.extend(row_positions(&segment));
        self.tokens.extend_from_slice(tokens);
        self.positions[sequence.0] = Some(position + tokens.len());
        if last {
            self.wanted.push(self.tokens.len() - 1);
        }
    }

    /// Computes the rows at hand, whose logits go after `done` rows of others. Returns how many there are then.
    fn run(&mut self, cx: &mut Context, done: usize) -> usize {
        let end = done + self.wanted.len();
        if !self.tokens.is_empty() {
            let logits = &mut self.logits[done * self.model.config().vocab..end * self.model.config().vocab];
            let rows = Ragged {
                tokens: &self.tokens,
                segments: &self.segments,
                positions: &self.rows_at,
                wanted: &self.wanted,
            };
            self.model.generate(cx, &self.weights, &mut self.acts, &mut self.caches, rows, logits);
        }
        self.tokens.clear();
        self.segments.clear();
        self.rows_at.clear();
        self.wanted.clear();
        end
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("positions", &self.positions).finish_non_exhaustive()
    }
}
