//! Perplexity of a text, by the rules of llama.cpp's `llama-perplexity`, so that numbers can be compared.
//!
//! The tokens are cut into chunks of one length, each computed by itself; what is left at the end is not looked at. The first
//! tokens of a chunk are replaced by those that stand before a text, where the vocabulary has such. Scored are the tokens of
//! the second half but its first, so that each has at least half a chunk before it.

use std::ops::ControlFlow;

use selvedge_model::Scorer;
use selvedge_model::tensor::Context;

use super::{Mean, MeasureError};

/// What was found so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Perplexity {
    /// Minus the logarithms of the probabilities of scored tokens, in nats.
    pub nll: Mean,
    /// Bytes of text the scored tokens stand for.
    pub bytes: u64,
    /// Chunks that were scored.
    pub chunks: usize,
}

impl Perplexity {
    /// e to the mean of nats a token.
    pub fn value(&self) -> f64 {
        self.nll.mean().exp()
    }

    /// Standard error of [`value`](Self::value), to the first order: that of the mean, times the perplexity.
    pub fn standard_error(&self) -> Option<f64> {
        Some(self.nll.standard_error()? * self.value())
    }

    /// Bits a byte of text: comparable between tokenizers.
    pub fn bits_per_byte(&self) -> f64 {
        self.nll.sum() / std::f64::consts::LN_2 / self.bytes as f64
    }
}

/// A text cut into chunks.
#[derive(Clone, Copy, Debug)]
pub struct Chunks<'a> {
    tokens: &'a [u32],
    prefix: &'a [u32],
    context: usize,
}

impl<'a> Chunks<'a> {
    /// Chunks of `context` tokens. `tokens` are those of the whole text, after `prefix`, which is what stands before a text.
    ///
    /// # Errors
    /// [`MeasureError::ShortChunks`] or [`MeasureError::ShortText`].
    pub fn new(tokens: &'a [u32], prefix: &'a [u32], context: usize) -> Result<Self, MeasureError> {
        // Two in the second half, of which one is scored, and something before them.
        let least = prefix.len().saturating_mul(2).max(4);
        if context < least {
            return Err(MeasureError::ShortChunks { context, least });
        }
        if tokens.len() < context {
            return Err(MeasureError::ShortText { tokens: tokens.len(), context });
        }
        Ok(Chunks { tokens, prefix, context })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.tokens.len() / self.context
    }

    /// Tokens of a chunk that are scored.
    pub fn scored(&self) -> usize {
        self.context - self.context / 2 - 1
    }

    /// The perplexity over the first `count` chunks. `byte_lengths` says how many bytes each token stands for. After each
    /// chunk `each` sees what was found so far, and may end it.
    ///
    /// # Errors
    /// [`MeasureError::LongChunks`], and what the scorer says.
    pub fn perplexity(
        &self,
        cx: &mut Context,
        scorer: &mut Scorer<'_>,
        count: usize,
        byte_lengths: &[u32],
        mut each: impl FnMut(&Perplexity) -> ControlFlow<()>,
    ) -> Result<Perplexity, MeasureError> {
        let most = scorer.capacity() - 1;
        if self.context > most {
            return Err(MeasureError::LongChunks { context: self.context, most });
        }
        let mut found = Perplexity::default();
        for chunk in self.tokens.chunks_exact(self.context).take(count) {
            let (before, scored) = chunk.split_at(self.context / 2 + 1);
            scorer.clear();
            scorer.push(self.prefix)?;
            scorer.push(&before[self.prefix.len()..])?;
            for (score, &token) in scorer.score(cx, scored)?.iter().zip(scored) {
                found.nll.add(-f64::from(score.log_probability));
                found.bytes += u64::from(byte_lengths.get(token as usize).copied().unwrap_or(0));
            }
            found.chunks += 1;
            if each(&found).is_break() {
                break;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use selvedge_model::tensor::{Isa, cross_entropy::IGNORE};
    use selvedge_model::{
        Architecture, Config, CounterRng, LossSum, Mode, Rows, Storage, Weights, build, initialize,
    };
    use selvedge_sync::Team;

    use super::*;
    use crate::evaluate::{Question, Room};

    const VOCAB: usize = 50;

    fn model() -> (Box<dyn Architecture<f32>>, Vec<f32>) {
        let model = build::<f32>(Config::llama(VOCAB, 24, 2, 2, 16)).unwrap();
        let params = initialize::<f32>(model.layout(), 1).into_iter().map(|x| 8.0 * x).collect();
        (model, params)
    }

    fn tokens(count: u64) -> Vec<u32> {
        let rng = CounterRng::new(3, 0);
        (0..count).map(|i| (rng.at(i) % VOCAB as u64) as u32).collect()
    }

    /// Nats of the tokens from `first` on, by the forward of training.
    fn nats(model: &dyn Architecture<f32>, params: &[f32], tokens: &[u32], first: usize) -> LossSum {
        let time = tokens.len() - 1;
        let mut targets = tokens[1..].to_vec();
        targets[..first - 1].fill(IGNORE);
        let mut sum = LossSum::default();
        let mut acts = vec![0.0; model.activations(1, time, Mode::Evaluate)];
        let rows = Rows::new(&tokens[..time], &targets, time);
        model.loss(&mut Context::solo(), params, &mut acts, rows, &mut sum);
        sum
    }

    #[test]
    fn the_second_half_of_each_chunk_counts_after_what_stands_before_a_text() {
        let (model, params) = model();
        let text = tokens(107);
        let lengths: Vec<u32> = (0..VOCAB as u32).map(|id| id % 5).collect();
        for (context, prefix) in [(20, &[7][..]), (17, &[]), (24, &[7, 8]), (4, &[])] {
            let (mut want, mut bytes) = (LossSum::default(), 0);
            for chunk in text.chunks_exact(context) {
                let mut chunk = chunk.to_vec();
                chunk[..prefix.len()].copy_from_slice(prefix);
                want += nats(&*model, &params, &chunk, context / 2 + 1);
                bytes += chunk[context / 2 + 1..].iter().map(|&id| u64::from(id % 5)).sum::<u64>();
            }
            for threads in [1, 3] {
                let cx = &mut Context::new(Team::new(threads).unwrap(), Isa::detect());
                let weights = Weights::pack(cx, model.config(), model.layout(), &params, Storage::Packed);
                let scorer = &mut Scorer::with_rows(cx, &*model, weights, 6 + threads);
                let chunks = Chunks::new(&text, prefix, context).unwrap();
                assert_eq!(chunks.count(), 107 / context);
                let mut seen = 0;
                let go_on = |_: &Perplexity| ControlFlow::Continue(());
                let found = chunks.perplexity(cx, scorer, usize::MAX, &lengths, go_on).unwrap();
                assert_eq!((found.nll.sum(), found.nll.count(), found.bytes), (want.sum, want.tokens, bytes));
                assert_eq!(found.nll.count(), (chunks.scored() * chunks.count()) as u64);
                let some = chunks
                    .perplexity(cx, scorer, 3, &lengths, |found| {
                        seen += 1;
                        assert_eq!(found.chunks, seen);
                        if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                    })
                    .unwrap();
                assert_eq!((some.chunks, seen), (2, 2));
            }
        }
    }

    #[test]
    fn chunks_that_are_too_short_or_too_long_are_refused() {
        let (model, params) = model();
        let text = tokens(60);
        let error = |prefix: &[u32], context| Chunks::new(&text, prefix, context).unwrap_err();
        assert!(matches!(error(&[], 3), MeasureError::ShortChunks { context: 3, least: 4 }));
        assert!(matches!(error(&[1, 2, 3], 5), MeasureError::ShortChunks { least: 6, .. }));
        assert!(matches!(error(&[], 61), MeasureError::ShortText { tokens: 60, context: 61 }));
        let cx = &mut Context::solo();
        let weights = Weights::pack(cx, model.config(), model.layout(), &params, Storage::Packed);
        let scorer = &mut Scorer::new(cx, &*model, weights);
        let go_on = |_: &Perplexity| ControlFlow::Continue(());
        let error = Chunks::new(&text, &[], 25).unwrap().perplexity(cx, scorer, 9, &[], go_on).unwrap_err();
        assert!(matches!(error, MeasureError::LongChunks { context: 25, most: 24 }), "{error}");
        Chunks::new(&text, &[], 24).unwrap().perplexity(cx, scorer, 9, &[], go_on).unwrap();
    }

    #[test]
    fn answers_are_scored_as_if_each_stood_alone() {
        let (model, params) = model();
        let text = tokens(40);
        let room = Room { prefix: &[7], start: 0, context: 24 };
        let wholes = [text[..16].to_vec(), [&text[..12], &text[20..23]].concat(), text[..13].to_vec()];
        let question = Question::new(room, &text[..12], &wholes, 1).unwrap();
        for threads in [1, 2] {
            let cx = &mut Context::new(Team::new(threads).unwrap(), Isa::detect());
            let weights = Weights::pack(cx, model.config(), model.layout(), &params, Storage::Packed);
            let scorer = &mut Scorer::with_rows(cx, &*model, weights, 5);
            for (answer, whole) in question.answers(cx, scorer).unwrap().iter().zip(&wholes) {
                let alone = nats(&*model, &params, &[&[7], &whole[..]].concat(), 13);
                assert_eq!((answer.log_probability, answer.tokens as u64), (-alone.sum, alone.tokens));
            }
        }
    }
}
