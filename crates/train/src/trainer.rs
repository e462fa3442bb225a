//! One model in training: its state, a step, and the state's way to and from a checkpoint.

use std::fmt;
use std::time::{Duration, Instant};

use selvedge_model::tensor::Buffer;
use selvedge_model::tensor::adamw::AdamW;
use selvedge_model::tensor::global_norm;
use selvedge_model::{Architecture, Config, LossSum, build, initialize, named};
use selvedge_sync::{Pool, phase};
use serde_json::json;

use crate::Error;
use crate::checkpoint::{Loaded, ManifestData, NamedTensor, SaveRequest, Values, parameters_digest};
use crate::loader::Batch;
use crate::settings::{Recipe, Resources};
pub use crate::workers::OnStuck;
use crate::workers::Workers;

/// Name of the checkpoint file that holds the parameters.
pub const PARAMETERS: &str = "parameters.safetensors";
/// Name of the checkpoint file that holds AdamW's moments.
pub const OPTIMIZER: &str = "optimizer.safetensors";
/// Prefixes of the moments' names.
const MOMENTS: [&str; 2] = ["first_moment.", "second_moment."];

/// Copies of the state there can be at once: one being saved, one waiting.
const COPIES: usize = 2;

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// The step, from 0.
    pub step: u64,
    /// Loss of the batch before the update.
    pub loss: LossSum,
    /// Norm of the mean gradient before clipping.
    pub norm: f64,
    /// Learning rate of the update.
    pub lr: f64,
    /// Duration, from the batch at hand to the parameters updated.
    pub seconds: f64,
}

/// Bytes a trainer holds, known before the first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Parameters.
    pub parameters: usize,
    /// Gradients, one set a shard.
    pub gradients: usize,
    /// Moments of the optimizer.
    pub moments: usize,
    /// Activations of all workers.
    pub activations: usize,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> usize {
        self.parameters + self.gradients + self.moments + self.activations
    }
}

/// A model, its optimizer and its position in the data.
///
/// Every bit of it is a function of (model, recipe, data): of the [`Resources`] it depends only when a
/// step is done.
pub struct Trainer {
    model: Box<dyn Architecture<f32>>,
    recipe: Recipe,
    params: Buffer<f32>,
    m: Buffer<f32>,
    v: Buffer<f32>,
    /// Updates done.
    step: u64,
    workers: Workers,
    /// Sums of squares of blocks, for the norm.
    partial: Vec<f64>,
    /// Parameters and moments of a checkpoint under way. The system takes several times as long to hand out fresh memory
    /// as the copy takes, and training waits meanwhile.
    copies: Pool<Vec<f32>>,
    deadline: Duration,
}

impl Trainer {
    /// A fresh model.
    ///
    /// `on_stuck` is called, on a thread of its own, if a worker neither progresses nor heeds its
    /// cancellation for twice the deadline: no error can be returned then, only the process ended.
    ///
    /// # Errors
    /// [`Error::Setting`] and [`Error::Model`] for settings that make no run; [`Error::Team`] or
    /// [`Error::Spawn`] where threads cannot be had.
    pub fn new(
        config: Config,
        recipe: Recipe,
        resources: &Resources,
        on_stuck: Option<OnStuck>,
    ) -> Result<Self, Error> {
        Trainer::with_model(build::<f32>(config)?, recipe, resources, on_stuck)
    }

    /// The same for any model: one with adapters, whose layout is what is trained.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn with_model(
        model: Box<dyn Architecture<f32>>,
        recipe: Recipe,
        resources: &Resources,
        on_stuck: Option<OnStuck>,
    ) -> Result<Self, Error> {
        recipe.validate()?;
        resources.validate(&recipe)?;
        if recipe.context > model.config().context {
            return Err(Error::setting("context", recipe.context, "at most the model's context"));
        }
        let params = Buffer::from(&*initialize::<f32>(model.layout(), recipe.seed));
        let workers = Workers::new(&*model, &recipe, resources, on_stuck)?;
        let room = 3 * params.len();
        Ok(Trainer {
            m: Buffer::zeroed(params.len()),
            v: Buffer::zeroed(params.len()),
            model,
            recipe,
            params,
            step: 0,
            workers,
            partial: Vec::new(),
            copies: Pool::new(COPIES, move || Vec::with_capacity(room)),
            deadline: resources.deadline,
        })
    }

    /// The state of a checkpoint. The rows the next step reads begin at `loaded.manifest.state.row`.
    ///
    /// # Errors
    /// As [`Trainer::new`]; [`Error::CheckpointConfig`] where the checkpoint is of another model or recipe.
    /// The number of steps may differ: a run can be prolonged, or cut short.
    pub fn resume(
        config: Config,
        recipe: Recipe,
        resources: &Resources,
        on_stuck: Option<OnStuck>,
        loaded: &Loaded,
    ) -> Result<Self, Error> {
        let mut trainer = Trainer::new(config, recipe, resources, on_stuck)?;
        trainer.restore(loaded)?;
        Ok(trainer)
    }

    /// Takes over the state of a checkpoint of the same model and recipe.
    ///
    /// # Errors
    /// [`Error::CheckpointConfig`] where they are others, and what loading can fail with; the state is of no use then.
    pub fn restore(&mut self, loaded: &Loaded) -> Result<(), Error> {
        let state = &loaded.manifest.state;
        let differs =
            |field, found: &serde_json::Value, expected: &serde_json::Value| Error::CheckpointConfig {
                path: loaded.path.clone(),
                field,
                found: found.to_string(),
                expected: expected.to_string(),
            };
        let model = json!(self.model.config());
        if state.model != model {
            return Err(differs("model", &state.model, &model));
        }
        let recipe = json!(self.recipe);
        if without_steps(&state.training) != without_steps(&recipe) {
            return Err(differs("recipe", &state.training, &recipe));
        }
        let parameters = loaded.file(PARAMETERS)?;
        let optimizer = loaded.file(OPTIMIZER)?;
        for slot in self.model.layout().slots() {
            let (range, shape) = (slot.span.range(), slot.shape());
            parameters.copy_into(&slot.name, &shape, &mut self.params[range.clone()])?;
            for (prefix, moment) in MOMENTS.iter().zip([&mut self.m, &mut self.v]) {
                optimizer.copy_into(&format!("{prefix}{}", slot.name), &shape, &mut moment[range.clone()])?;
            }
        }
        self.step = state.step;
        Ok(())
    }

    /// The model's shape and wiring.
    pub fn model(&self) -> &dyn Architecture<f32> {
        &*self.model
    }

    /// What the run computes.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The parameters, laid out as the model says.
    pub fn params(&self) -> &[f32] {
        &self.params
    }

    /// Replaces the parameters, for a run that starts from given ones.
    ///
    /// # Errors
    /// [`Error::Setting`] if the length is another.
    pub fn set_params(&mut self, params: Vec<f32>) -> Result<(), Error> {
        if params.len() != self.params.len() {
            return Err(Error::setting("number of parameters", params.len(), "that of the model's layout"));
        }
        self.params.copy_from_slice(&params);
        Ok(())
    }

    /// Updates done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// Bytes held.
    pub fn memory(&self) -> Memory {
        let (gradients, activations) = self.workers.memory();
        let parameters = size_of_val(&*self.params);
        Memory { parameters, gradients, moments: 2 * parameters, activations }
    }

    /// The digest of all parameters, padding not included.
    pub fn digest(&self) -> String {
        parameters_digest(named(self.model.layout(), &self.params).map(|(_, _, values)| values))
    }

    /// One update from one batch.
    ///
    /// # Errors
    /// [`Error::WorkerPanicked`], [`Error::Stalled`], [`Error::NonFinite`]; parameters and moments are those
    /// from before the step then.
    pub fn train_step(&mut self, batch: &Batch) -> Result<StepReport, Error> {
        let start = Instant::now();
        if batch.rows != self.recipe.batch || batch.context != self.recipe.context {
            return Err(Error::setting("rows of the batch", batch.rows, "those of the recipe"));
        }
        let step = self.step;
        let loss = {
            let _phase = phase("gradient");
            self.workers.gradient(&*self.model, &self.params, &self.recipe, batch, step)?
        };
        let (grads, cx) = self.workers.reduced();
        let norm = {
            let _phase = phase("norm");
            global_norm::global_norm(cx, grads, &mut self.partial) / loss.tokens as f64
        };
        if !norm.is_finite() || !loss.sum.is_finite() {
            let layout = self.model.layout();
            let name = |at: usize| layout.slot_at(at).map_or_else(String::new, |slot| slot.name.clone());
            let bad_params =
                global_norm::first_non_finite(cx, &self.params).map(|at| ("parameter", name(at)));
            let bad_grads = || global_norm::first_non_finite(cx, grads).map(|at| ("gradient", name(at)));
            let (what, tensor) =
                bad_params.or_else(bad_grads).unwrap_or_else(|| ("loss", "the sum of losses".to_owned()));
            return Err(Error::NonFinite { step, what, tensor, loss: loss.mean() });
        }
        let _phase = phase("update");
        let clip = match self.recipe.clip {
            0.0 => 1.0,
            most => global_norm::clip_coefficient(norm, most),
        };
        let lr = self.recipe.schedule.lr(step);
        let Recipe { beta1, beta2, epsilon, weight_decay, .. } = self.recipe;
        let adamw = AdamW { lr, beta1, beta2, epsilon, weight_decay };
        // The gradient is that of a sum: the one division by the number of tokens happens here.
        let scale = clip / loss.tokens as f64;
        for (range, decay) in self.model.layout().decay_ranges() {
            let (p, m) = (&mut self.params[range.clone()], &mut self.m[range.clone()]);
            let (v, g) = (&mut self.v[range.clone()], &grads[range]);
            adamw.update(cx, p, m, v, g, scale, step + 1, decay);
        }
        self.step += 1;
        Ok(StepReport { step, loss, norm, lr, seconds: start.elapsed().as_secs_f64() })
    }

    /// Losses of the rows of `batch`, one sum a row.
    ///
    /// # Errors
    /// [`Error::WorkerPanicked`] or [`Error::Stalled`].
    pub fn losses(&mut self, batch: &Batch) -> Result<Vec<LossSum>, Error> {
        self.workers.losses(&*self.model, &self.params, batch, self.step)
    }

    /// Checks that all workers read the same parameters: R = ½·Σ|xᵢ − yᵢ| must be 0, and is returned.
    ///
    /// # Errors
    /// [`Error::Diverged`] if it is not.
    pub fn check_divergence(&mut self) -> Result<f64, Error> {
        let divergence = self.workers.divergence(&self.params, self.step)?;
        if divergence != 0.0 {
            return Err(Error::Diverged { step: self.step, divergence });
        }
        Ok(divergence)
    }

    /// An update can overflow where its gradient was finite; the next step would see it, a checkpoint must not.
    fn check_finite(&mut self) -> Result<(), Error> {
        let (_, cx) = self.workers.reduced();
        match global_norm::first_non_finite(cx, &self.params) {
            None => Ok(()),
            Some(at) => {
                let slot = self.model.layout().slot_at(at);
                let tensor = slot.map_or_else(String::new, |slot| slot.name.clone());
                Err(Error::NonFinite { step: self.step, what: "parameter", tensor, loss: f64::NAN })
            }
        }
    }

    /// A copy of the state, ready to be saved by another thread while training goes on. `row` is where the
    /// next batch begins.
    ///
    /// There are two copies at most, in memory that is used again: a third waits until one of them has been dropped.
    ///
    /// # Errors
    /// [`Error::NonFinite`] naming the first weight that is not a number: such a state is not worth keeping.
    /// [`Error::CheckpointStalled`] if neither copy has been dropped within the deadline of the [`Resources`].
    pub fn snapshot(
        &mut self,
        row: u64,
        train_loss: Option<f64>,
        valid_loss: Option<f64>,
    ) -> Result<SaveRequest, Error> {
        let _phase = phase("snapshot");
        self.check_finite()?;
        let parts = [&self.params, &self.m, &self.v];
        let mut copy = self
            .copies
            .acquire_timeout(self.deadline)
            .ok_or(Error::CheckpointStalled { deadline: self.deadline })?;
        copy.clear();
        parts.into_iter().for_each(|part| copy.extend_from_slice(part));
        let data = Values::from(copy.into_owned());
        let tensors = |prefix: &str, part: usize| {
            let begin = part * self.params.len();
            let slots = self.model.layout().slots().iter();
            slots
                .map(|slot| NamedTensor {
                    name: format!("{prefix}{}", slot.name),
                    shape: slot.shape(),
                    data: data.clone(),
                    range: begin + slot.span.range().start..begin + slot.span.range().end,
                })
                .collect::<Vec<_>>()
        };
        let mut moments = tensors(MOMENTS[0], 1);
        moments.extend(tensors(MOMENTS[1], 2));
        Ok(SaveRequest {
            manifest: ManifestData {
                step: self.step,
                row,
                seed: self.recipe.seed,
                model: json!(self.model.config()),
                training: json!(self.recipe),
                parameters: self.digest(),
                train_loss,
                valid_loss,
            },
            files: vec![(PARAMETERS.into(), tensors("", 0)), (OPTIMIZER.into(), moments)],
        })
    }
}

impl fmt::Debug for Trainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trainer")
            .field("model", &self.model.config())
            .field("recipe", &self.recipe)
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

/// A recipe as JSON without its number of steps.
fn without_steps(recipe: &serde_json::Value) -> serde_json::Value {
    let mut recipe = recipe.clone();
    if let Some(schedule) = recipe.get_mut("schedule").and_then(|s| s.as_object_mut()) {
        schedule.remove("steps");
    }
    recipe
}
