//! What a run computes (saved with it) and what it may use to do so (free to change on resume).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use selvedge_model::tensor::{Isa, Precision};
use selvedge_sync::CancelToken;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::schedule::Schedule;

/// What the operands of products are rounded to; parameters, sums and all else are f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// Nothing: f32.
    #[default]
    F32,
    /// bf16.
    Bf16,
}

impl Dtype {
    fn is_f32(&self) -> bool {
        *self == Dtype::F32
    }
}

impl From<Dtype> for Precision {
    fn from(dtype: Dtype) -> Precision {
        match dtype {
            Dtype::F32 => Precision::F32,
            Dtype::Bf16 => Precision::Bf16,
        }
    }
}

/// Everything the bits of a run depend on, besides the model's shape and the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Sequences a step.
    pub batch: usize,
    /// Tokens a sequence.
    pub context: usize,
    /// Parts of fixed size a batch is cut into; each is folded row by row, and the parts meet in a fixed tree.
    pub shards: usize,
    /// Seed of the initialization and of the sample order.
    pub seed: u64,
    /// Learning rate.
    pub schedule: Schedule,
    /// Decay of AdamW's first moment.
    pub beta1: f64,
    /// Decay of AdamW's second moment.
    pub beta2: f64,
    /// AdamW's ε.
    pub epsilon: f64,
    /// Decoupled weight decay of matrices and embeddings.
    pub weight_decay: f64,
    /// Largest norm of the gradient; 0 does not clip.
    pub clip: f64,
    /// What products are computed in. Left out of files where it is f32.
    #[serde(default, skip_serializing_if = "Dtype::is_f32")]
    pub dtype: Dtype,
}

impl Recipe {
    /// AdamW as GPT-class models are usually trained (β 0.9 and 0.95, decay 0.1, norm clipped at 1), seed 1, and as
    /// many as 4 shards.
    pub fn new(batch: usize, context: usize, schedule: Schedule) -> Self {
        Recipe {
            batch,
            context,
            shards: batch.min(4),
            seed: 1,
            schedule,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.1,
            clip: 1.0,
            dtype: Dtype::F32,
        }
    }

    /// First row and number of rows of shard `shard`: cut by the batch alone, sizes differing by one at most.
    pub fn shard(&self, shard: usize) -> (usize, usize) {
        let start = |s: usize| s * self.batch / self.shards;
        (start(shard), start(shard + 1) - start(shard))
    }

    /// Checks that the settings mean something.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the first that does not.
    pub fn validate(&self) -> Result<(), Error> {
        // Far beyond any machine, and far below what would overflow before anything else is checked.
        const MOST: usize = 1 << 28;
        if !(1..=MOST).contains(&self.batch) {
            return Err(Error::setting("batch", self.batch, "at least 1 sequence and at most 2^28"));
        }
        if self.context == 0 {
            return Err(Error::setting("context", self.context, "at least 1 token"));
        }
        if self.context > MOST {
            return Err(Error::setting("context", self.context, "at most 2^28 tokens"));
        }
        if self.dtype == Dtype::Bf16 && !self.context.is_multiple_of(2) {
            // Steps of a weight's gradient go in pairs of rows, and no pair may span two microbatches.
            return Err(Error::setting("context", self.context, "an even number of tokens, for bf16"));
        }
        if self.shards == 0 || self.shards > self.batch {
            return Err(Error::setting("shards", self.shards, "at least 1 and at most the batch"));
        }
        if self.schedule.steps == 0 {
            return Err(Error::setting("steps", self.schedule.steps, "at least 1"));
        }
        let rates = [
            ("learning rate", self.schedule.peak, 0.0..=1e3, "from 0 to 1000"),
            ("floor of the learning rate", self.schedule.floor, 0.0..=1.0, "from 0 to 1"),
            ("beta1", self.beta1, 0.0..=0.999_999, "from 0 to below 1"),
            ("beta2", self.beta2, 0.0..=0.999_999, "from 0 to below 1"),
            ("epsilon", self.epsilon, 1e-30..=1.0, "above 0"),
            ("weight decay", self.weight_decay, 0.0..=1e3, "from 0 to 1000"),
            ("clip", self.clip, 0.0..=f64::MAX, "0 (off) or more"),
        ];
        for (name, value, range, expected) in rates {
            if !range.contains(&value) {
                return Err(Error::setting(name, value, expected));
            }
        }
        Ok(())
    }
}

/// A point of a step at which a test can interfere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultPoint {
    /// The step, from 0.
    pub step: u64,
    /// The worker, from 0.
    pub worker: usize,
    /// The shard it is at.
    pub shard: usize,
    /// The microbatch of the shard.
    pub microbatch: usize,
}

/// A test's way into the workers: called before each microbatch. It may sleep, panic, or wait on the token it
/// is given, which is cancelled when the step has failed elsewhere.
pub type Fault = Arc<dyn Fn(FaultPoint, &CancelToken) + Send + Sync>;

/// What a run may use. Changes when things happen and how much memory they take, never a bit of the result.
#[derive(Clone)]
pub struct Resources {
    /// Threads in all.
    pub threads: usize,
    /// Data-parallel workers; each has an equal part of the threads. At most one a shard.
    pub workers: usize,
    /// Sequences a worker computes at a time.
    pub microbatch: usize,
    /// Keep only the blocks' outputs and compute the rest again in the backward.
    pub recompute: bool,
    /// Instruction set.
    pub isa: Isa,
    /// Longest silence of a worker before the run fails.
    pub deadline: Duration,
    /// For tests: what goes wrong, and where. `None` outside of them.
    pub fault: Option<Fault>,
}

impl Resources {
    /// `threads` threads under one worker, best instruction set, microbatches of about 512 tokens: larger ones are no faster, and take more memory.
    pub fn new(threads: usize, context: usize) -> Self {
        Resources {
            threads,
            workers: 1,
            microbatch: (512 / context.max(1)).max(1),
            recompute: false,
            isa: Isa::detect(),
            deadline: Duration::from_secs(300),
            fault: None,
        }
    }

    /// Checks the settings against a recipe.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the first that does not fit.
    pub fn validate(&self, recipe: &Recipe) -> Result<(), Error> {
        const MOST: usize = 4096;
        if !(1..=MOST).contains(&self.threads) {
            return Err(Error::setting("threads", self.threads, "from 1 to 4096"));
        }
        if self.workers == 0 || self.workers > recipe.shards {
            return Err(Error::setting(
                "workers",
                self.workers,
                "from 1 to the number of shards; use more shards",
            ));
        }
        if self.microbatch == 0 {
            return Err(Error::setting("microbatch", self.microbatch, "at least 1 sequence"));
        }
        Ok(())
    }
}

impl fmt::Debug for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resources")
            .field("threads", &self.threads)
            .field("workers", &self.workers)
            .field("microbatch", &self.microbatch)
            .field("recompute", &self.recompute)
            .field("isa", &self.isa)
            .field("deadline", &self.deadline)
            .field("fault", &self.fault.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Shape;

    pub(crate) fn recipe(batch: usize, shards: usize) -> Recipe {
        let schedule =
            Schedule { shape: Shape::Constant, peak: 1e-3, floor: 0.1, warmup: 0, decay: 0, steps: 1 };
        Recipe { shards, ..Recipe::new(batch, 8, schedule) }
    }

    #[test]
    fn shards_cover_the_batch_once_in_order() {
        for batch in 1..20 {
            for shards in 1..=batch {
                let recipe = recipe(batch, shards);
                let mut at = 0;
                for shard in 0..shards {
                    let (start, rows) = recipe.shard(shard);
                    assert_eq!(start, at);
                    assert!(rows > 0);
                    at += rows;
                }
                assert_eq!(at, batch);
            }
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let error = recipe(4, 5).validate().unwrap_err().to_string();
        assert!(error.contains("shards is 5"), "{error}");
        let mut resources = Resources::new(2, 8);
        resources.workers = 3;
        let error = resources.validate(&recipe(4, 2)).unwrap_err().to_string();
        assert!(error.contains("workers is 3"), "{error}");
        for batch in [0, usize::MAX] {
            assert!(Recipe { batch, ..recipe(4, 2) }.validate().is_err());
        }
        let nan = Recipe { clip: f64::NAN, ..recipe(4, 2) };
        assert!(nan.validate().is_err());
    }
}
