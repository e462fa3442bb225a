//! How good a model is: its loss over held-out windows, every one counted exactly once and folded in the order of the file;
//! perplexity over any text; and questions whose answers it scores.

mod error;
mod perplexity;
mod questions;
mod statistics;

use std::sync::Arc;

use selvedge_model::LossSum;
use selvedge_sync::phase;

pub use error::MeasureError;
pub use perplexity::{Chunks, Perplexity};
pub use questions::{
    Answer, CHOICES_EXAMPLE, ChoiceResult, Choices, LAST_WORDS_EXAMPLE, LastWord, LastWordResult, Question,
    Room, make_choices, make_last_words, read_choices, read_last_words,
};
pub use statistics::{Mean, Share};

use crate::Error;
use crate::loader::ValidationRows;
use crate::tokens::TokenFile;
use crate::trainer::Trainer;

/// What an evaluation found. The same bits for any number of workers and any batch size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Sum of losses in nats, and tokens.
    pub loss: LossSum,
    /// Bytes of text the predicted tokens stand for.
    pub bytes: u64,
}

impl Evaluation {
    /// Bits a byte of text: comparable between tokenizers.
    pub fn bits_per_byte(&self) -> f64 {
        self.loss.sum / std::f64::consts::LN_2 / self.bytes as f64
    }
}

/// Evaluates the first `windows` windows of `context` tokens of a file, or all. `byte_lengths` says how many
/// bytes each token stands for.
///
/// # Errors
/// [`Error::ContextTooLong`] where the file holds no window, and what workers and token files can fail with.
pub fn evaluate(
    trainer: &mut Trainer,
    tokens: &Arc<TokenFile>,
    context: usize,
    windows: Option<u64>,
    byte_lengths: &[u32],
) -> Result<Evaluation, Error> {
    // Enough rows at a time to feed every worker; the result does not depend on it.
    const ROWS: usize = 16;
    let _phase = phase("evaluation");
    let mut found = Evaluation { loss: LossSum::default(), bytes: 0 };
    for batch in ValidationRows::new(Arc::clone(tokens), ROWS, context, windows)? {
        let batch = batch?;
        for sum in trainer.losses(&batch)? {
            found.loss += sum;
        }
        for &target in &batch.targets {
            found.bytes += u64::from(byte_lengths.get(target as usize).copied().unwrap_or(0));
        }
    }
    Ok(found)
}
