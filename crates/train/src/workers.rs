//! Data-parallel workers: each folds whole shards of the batch; shards, not workers, decide the result.

use std::sync::Arc;

use ndarray::ArrayViewMut2;
use selvedge_model::tensor::{Buffer, Context};
use selvedge_model::{Architecture, Fold, LossSum, Mode};
use selvedge_sync::mpmc::Queue;
use selvedge_sync::{CancelToken, Pulse, Reduction, RegionError, StallReport, Team, Watchdog, chunks, items};

use crate::Error;
use crate::loader::Batch;
use crate::settings::{FaultPoint, Recipe, Resources};

/// One worker's own: threads, activations, and a pulse.
struct Worker {
    cx: Context,
    acts: Buffer<f32>,
    /// Gradient of the embeddings' output for every row of a shard.
    dinput: Buffer<f32>,
    pulse: Pulse,
}

/// What one shard of the batch comes to.
struct Shard {
    index: usize,
    grads: Buffer<f32>,
    loss: LossSum,
}

/// All workers of a run, with their threads, buffers and watchdog.
pub(crate) struct Workers {
    workers: Vec<Worker>,
    shards: Vec<Shard>,
    /// All threads together, for what is not cut by worker; with one worker, its own context serves.
    whole: Option<Context>,
    resources: Resources,
    /// Cancelled when a worker stalls: the others stop at the next microbatch.
    failed: CancelToken,
    /// Cancelled when the step of a failure has ended.
    ended: CancelToken,
    stalls: Arc<Queue<StallReport>>,
    /// Last, so that the threads it watches go before it.
    _watchdog: Watchdog,
}

/// Called, on the watchdog's thread, when a stalled worker does not even heed its cancellation.
pub type OnStuck = Arc<dyn Fn(&StallReport) + Send + Sync>;

impl Workers {
    pub(crate) fn new(
        model: &dyn Architecture<f32>,
        recipe: &Recipe,
        resources: &Resources,
        on_stuck: Option<OnStuck>,
    ) -> Result<Self, Error> {
        let count = resources.workers;
        let failed = CancelToken::new();
        let stalls = Arc::new(Queue::new(count));
        let names: Vec<String> = (0..count).map(|w| format!("worker {w}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let ended = CancelToken::new();
        let (token, over, grace) = (failed.clone(), ended.clone(), resources.deadline);
        let reports = Arc::clone(&stalls);
        let (watchdog, pulses) = Watchdog::start(resources.deadline, &names, move |report| {
            // A full queue already holds a report of this failure.
            let _ = reports.try_push(report.clone());
            token.cancel();
            // A worker that heeds the token ends the step, with an error. One that does not cannot be taken
            // back: it reads what the step lent it. Only the end of the process is left then.
            if !over.wait_timeout(grace)
                && let Some(on_stuck) = &on_stuck
            {
                on_stuck(report);
            }
        })?;
        let rows = (0..recipe.shards).map(|s| recipe.shard(s).1).max().unwrap_or(0);
        let microbatch = resources.microbatch.min(rows);
        let mode = if resources.recompute { Mode::Recompute } else { Mode::Train };
        let acts = model.activations(microbatch, recipe.context, mode).max(model.activations(
            microbatch,
            recipe.context,
            Mode::Evaluate,
        ));
        let dinput = rows * recipe.context * model.config().channels;
        let each = (resources.threads / count).max(1);
        let context = |threads| -> Result<Context, Error> {
            Ok(Context::new(Team::new(threads)?, resources.isa).with_precision(recipe.dtype.into()))
        };
        let workers = pulses
            .into_iter()
            .map(|pulse| {
                Ok(Worker {
                    cx: context(each)?,
                    acts: Buffer::zeroed(acts),
                    dinput: Buffer::zeroed(dinput),
                    pulse,
                })
            })
            .collect::<Result<_, Error>>()?;
        let whole = match count {
            1 => None,
            // With fewer threads than workers, a thread runs several workers' shares one after another.
            _ => Some(context(resources.threads)?),
        };
        let len = model.layout().len();
        let shard = |index| Shard { index, grads: Buffer::zeroed(len), loss: LossSum::default() };
        let shards = (0..recipe.shards).map(shard).collect();
        Ok(Workers {
            workers,
            shards,
            whole,
            resources: resources.clone(),
            failed,
            ended,
            stalls,
            _watchdog: watchdog,
        })
    }

    /// Bytes of gradients and of activations held.
    pub(crate) fn memory(&self) -> (usize, usize) {
        let grads: usize = self.shards.iter().map(|s| s.grads.len()).sum();
        let acts: usize = self.workers.iter().map(|w| w.acts.len() + w.dinput.len()).sum();
        (grads * size_of::<f32>(), acts * size_of::<f32>())
    }

    /// The sum of the losses of `batch` and, in the first shard's buffer, the gradient of that sum.
    pub(crate) fn gradient(
        &mut self,
        model: &dyn Architecture<f32>,
        params: &[f32],
        recipe: &Recipe,
        batch: &Batch,
        step: u64,
    ) -> Result<LossSum, Error> {
        self.region(step, |resources, failed, worker_index, worker, shards| {
            for shard in shards {
                worker.fold(model, params, recipe, resources, batch, step, worker_index, shard, failed);
            }
        })?;
        let mut reduction = Reduction::new(step, self.shards.len());
        let mut loss = LossSum::default();
        for shard in &mut self.shards {
            loss += shard.loss;
            reduction.contribute(step, shard.index, &mut shard.grads)?;
        }
        let team = match &self.whole {
            Some(cx) => cx.team(),
            None => self.workers[0].cx.team(),
        };
        reduction.finish(team)?;
        Ok(loss)
    }

    /// The reduced gradient and the context for work on it.
    pub(crate) fn reduced(&mut self) -> (&mut [f32], &mut Context) {
        let cx = match &mut self.whole {
            Some(cx) => cx,
            None => &mut self.workers[0].cx,
        };
        (&mut self.shards[0].grads, cx)
    }

    /// Losses of the rows of `batch`, one sum for each row, so that they can be folded in the order of the rows.
    pub(crate) fn losses(
        &mut self,
        model: &dyn Architecture<f32>,
        params: &[f32],
        batch: &Batch,
        step: u64,
    ) -> Result<Vec<LossSum>, Error> {
        let mut sums = vec![LossSum::default(); batch.rows];
        let count = self.workers.len();
        let each = batch.rows.div_ceil(count).max(1);
        let used = batch.rows.div_ceil(each);
        let parts = (items(&mut self.workers[..used]), chunks(&mut sums, each));
        let failed = &self.failed;
        let run = |index: usize, (worker, sums): (&mut Worker, &mut [LossSum])| {
            for (i, sum) in sums.iter_mut().enumerate() {
                if failed.is_cancelled() {
                    break;
                }
                worker.pulse.busy("evaluation");
                let row = index * each + i;
                model.loss(&mut worker.cx, params, &mut worker.acts, batch.part(row, 1), sum);
            }
            worker.pulse.idle();
        };
        let outcome = match &self.whole {
            Some(cx) => cx.team().try_parallel_parts(parts, run),
            None => Team::solo().try_parallel_parts(parts, run),
        };
        self.settle(step, outcome)?;
        Ok(sums)
    }

    /// R = ½·Σ|xᵢ − yᵢ| between the parameters worker 0 reads and those each other worker reads, the largest
    /// over the workers: every worker copies what it sees, then the copies are compared.
    pub(crate) fn divergence(&mut self, params: &[f32], step: u64) -> Result<f64, Error> {
        let count = self.workers.len();
        self.region(step, |_, _, _, worker, shards| {
            worker.pulse.busy("divergence");
            if let Some(shard) = shards.first_mut() {
                shard.grads.copy_from_slice(params);
            }
        })?;
        let each = self.shards.len().div_ceil(count);
        let mut seen = self.shards.iter().step_by(each).map(|shard| &*shard.grads);
        let Some(first) = seen.next() else { return Ok(0.0) };
        // Not f64::max, which drops a NaN.
        let largest = |a: f64, b: f64| if b > a || b.is_nan() { b } else { a };
        Ok(seen.map(|other| divergence(first, other)).fold(0.0, largest))
    }

    /// Runs `work` on every worker with its shards: consecutive ones, so that the cut depends on counts alone.
    fn region(
        &mut self,
        step: u64,
        work: impl Fn(&Resources, &CancelToken, usize, &mut Worker, &mut [Shard]) + Sync,
    ) -> Result<(), Error> {
        let each = self.shards.len().div_ceil(self.workers.len());
        let used = self.shards.len().div_ceil(each);
        let parts = (items(&mut self.workers[..used]), chunks(&mut self.shards, each));
        let (resources, failed) = (&self.resources, &self.failed);
        let run = |index: usize, (worker, shards): (&mut Worker, &mut [Shard])| {
            work(resources, failed, index, worker, shards);
            worker.pulse.idle();
        };
        let outcome = match &self.whole {
            Some(cx) => cx.team().try_parallel_parts(parts, run),
            None => Team::solo().try_parallel_parts(parts, run),
        };
        self.settle(step, outcome)
    }

    /// Turns a stall or a panic in the region just left into this step's error.
    fn settle(&mut self, step: u64, outcome: Result<(), RegionError>) -> Result<(), Error> {
        for worker in &self.workers {
            worker.pulse.idle();
        }
        match outcome {
            Ok(()) => {}
            Err(RegionError::TaskPanicked { task, message }) => {
                return Err(Error::WorkerPanicked { step, worker: task, message });
            }
            Err(other) => return Err(Error::Region(other)),
        }
        if self.failed.is_cancelled() {
            self.ended.cancel();
            // The report is there: it was made before the cancellation, which makes it visible.
            let StallReport { who, phase, silent_for } = self.stalls.try_pop().ok_or(Error::Cancelled)?;
            return Err(Error::Stalled { step, who, phase, silent_for });
        }
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // Lets the watchdog's thread out of a wait for a stalled worker.
        self.ended.cancel();
    }
}

impl Worker {
    /// Folds one shard's rows, in order, into its gradient and loss.
    fn fold(
        &mut self,
        model: &dyn Architecture<f32>,
        params: &[f32],
        recipe: &Recipe,
        resources: &Resources,
        batch: &Batch,
        step: u64,
        worker: usize,
        shard: &mut Shard,
        failed: &CancelToken,
    ) {
        let time = batch.context;
        let channels = model.config().channels;
        let (start, rows) = recipe.shard(shard.index);
        let mode = if resources.recompute { Mode::Recompute } else { Mode::Train };
        self.pulse.busy("forward and backward");
        shard.loss = LossSum::default();
        for (microbatch, first) in (0..rows).step_by(resources.microbatch).enumerate() {
            if let Some(fault) = &resources.fault {
                fault(FaultPoint { step, worker, shard: shard.index, microbatch }, failed);
            }
            if failed.is_cancelled() {
                return;
            }
            self.pulse.busy("forward and backward");
            let count = resources.microbatch.min(rows - first);
            let part = batch.part(start + first, count);
            let dinput = &mut self.dinput[first * time * channels..][..count * time * channels];
            let dinput =
                ArrayViewMut2::from_shape((count * time, channels), dinput).expect("rows of channels");
            let (cx, acts) = (&mut self.cx, &mut self.acts);
            let fold = if microbatch == 0 { Fold::First } else { Fold::Next };
            let (grads, loss) = (&mut shard.grads, &mut shard.loss);
            model.loss_and_gradient(cx, params, grads, fold, acts, mode, part, dinput, loss);
        }
        self.pulse.busy("embedding gradient");
        let len = rows * time * channels;
        let dinput = ArrayViewMut2::from_shape((rows * time, channels), &mut self.dinput[..len]);
        let dinput = dinput.expect("rows of channels");
        model.embedding_gradient(&mut self.cx, &mut shard.grads, dinput.view(), batch.part(start, rows));
    }
}

/// R = ½·Σ|xᵢ − yᵢ|; NaN where the elements have no difference.
fn divergence(x: &[f32], y: &[f32]) -> f64 {
    0.5 * x.iter().zip(y).map(|(&x, &y)| (f64::from(x) - f64::from(y)).abs()).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergence_is_half_the_absolute_difference() {
        assert_eq!(divergence(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]), 0.0);
        assert_eq!(divergence(&[1.0, 2.0, 3.0], &[0.0, 2.0, 4.0]), 1.0);
        assert!(divergence(&[f32::NAN], &[0.0]).is_nan());
    }
}
