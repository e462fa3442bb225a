//! A whole run: batches in, steps, evaluations and checkpoints, until the last step or a cancellation.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_sync::CancelToken;

use crate::Error;
use crate::checkpoint::{CheckpointWriter, Checkpoints, Saved};
use crate::evaluate::{Evaluation, evaluate};
use crate::loader::{Fault, Loader, LoaderConfig};
use crate::tokens::TokenFile;
use crate::trainer::{StepReport, Trainer};

/// What a run reads, how often it looks up, and where it saves.
pub struct Run<'a> {
    /// Tokens to train on.
    pub train: Arc<TokenFile>,
    /// Tokens to evaluate on.
    pub valid: Arc<TokenFile>,
    /// Bytes of text each token stands for.
    pub byte_lengths: &'a [u32],
    /// Row at which the next batch begins: 0, or a checkpoint's.
    pub row: u64,
    /// Where checkpoints go.
    pub checkpoints: Checkpoints,
    /// Steps between evaluations, each followed by a checkpoint; 0 evaluates at the end alone.
    pub evaluate_every: u64,
    /// Steps between checkpoints besides; 0 for none.
    pub save_every: u64,
    /// Windows an evaluation covers.
    pub windows: u64,
    /// Loader threads.
    pub loaders: usize,
    /// Longest wait for a batch, for a save, and for threads to end.
    pub deadline: Duration,
    /// Cancelled to stop after the step at hand, with a checkpoint.
    pub cancel: CancelToken,
    /// For tests: what goes wrong in loader threads.
    pub loader_fault: Option<Fault>,
}

/// What a run says while it goes.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A step is done; the wait for its batch took so many seconds.
    Step(&'a StepReport, f64),
    /// An evaluation after so many steps, and the divergence R between workers, which is 0.
    Evaluated(u64, &'a Evaluation, f64),
    /// The parameters that were evaluated, after so many steps: for the time of the call, training waits.
    Parameters(u64, &'a [f32]),
    /// A checkpoint is on the disk.
    Saved(&'a Saved),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are done.
    Finished,
    /// It was cancelled; the state is saved.
    Cancelled,
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("train", &self.train)
            .field("valid", &self.valid)
            .field("row", &self.row)
            .field("checkpoints", &self.checkpoints)
            .finish_non_exhaustive()
    }
}

impl Run<'_> {
    /// Trains until the recipe's last step or the cancellation; saves at the end either way.
    ///
    /// # Errors
    /// Whatever goes wrong first: in a loader thread, a worker, or a save. Threads are joined by then, and the
    /// last good checkpoint is untouched.
    pub fn train(self, trainer: &mut Trainer, mut on_event: impl FnMut(Event<'_>)) -> Result<Outcome, Error> {
        let recipe = trainer.recipe().clone();
        let config = LoaderConfig {
            rows: recipe.batch,
            context: recipe.context,
            seed: recipe.seed,
            threads: self.loaders,
            depth: 2,
            start_row: self.row,
            deadline: self.deadline,
            fault: self.loader_fault.clone(),
        };
        // The loader has a token of its own: a step under way is finished after Ctrl-C.
        let mut loader = Loader::start(Arc::clone(&self.train), config, &CancelToken::new())?;
        self.checkpoints.sweep();
        let mut writer = CheckpointWriter::start(self.checkpoints.clone(), self.deadline)?;
        // What a run begins with, if it is not fresh, is on the disk already.
        let mut saved_at = (self.row > 0).then_some(trainer.steps_done());
        let mut loss = None;
        let outcome = loop {
            let step = trainer.steps_done();
            if step >= recipe.schedule.steps {
                break Outcome::Finished;
            }
            if self.cancel.is_cancelled() {
                break Outcome::Cancelled;
            }
            let waiting = Instant::now();
            let batch = loader.next()?;
            let waited = waiting.elapsed().as_secs_f64();
            let report = trainer.train_step(batch)?;
            loss = Some(report.loss.mean());
            on_event(Event::Step(&report, waited));
            let done = step + 1;
            let last = done >= recipe.schedule.steps;
            let due = |every: u64| every > 0 && done.is_multiple_of(every);
            if due(self.evaluate_every) && !last {
                let valid = self.evaluate(trainer, done, &mut on_event)?;
                writer.submit(trainer.snapshot(loader.row(), loss, Some(valid))?)?;
                saved_at = Some(done);
            } else if due(self.save_every) && !last {
                writer.submit(trainer.snapshot(loader.row(), loss, None)?)?;
                saved_at = Some(done);
            }
            for saved in writer.saved()? {
                on_event(Event::Saved(&saved));
            }
        };
        let done = trainer.steps_done();
        if outcome == Outcome::Finished {
            let valid = self.evaluate(trainer, done, &mut on_event)?;
            if saved_at != Some(done) {
                writer.submit(trainer.snapshot(loader.row(), loss, Some(valid))?)?;
            }
        } else if saved_at != Some(done) {
            writer.submit(trainer.snapshot(loader.row(), loss, None)?)?;
        }
        for saved in writer.finish()? {
            on_event(Event::Saved(&saved));
        }
        Ok(outcome)
    }

    /// Mean loss in nats a token over the validation windows.
    fn evaluate(
        &self,
        trainer: &mut Trainer,
        done: u64,
        on_event: &mut impl FnMut(Event<'_>),
    ) -> Result<f64, Error> {
        let context = trainer.recipe().context;
        let divergence = trainer.check_divergence()?;
        let found = evaluate(trainer, &self.valid, context, Some(self.windows), self.byte_lengths)?;
        on_event(Event::Evaluated(done, &found, divergence));
        on_event(Event::Parameters(done, trainer.params()));
        Ok(found.loss.mean())
    }
}
