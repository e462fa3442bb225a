//! `selvedge finetune`: from a published model and a file of examples to an adapter, or to another model.

mod render;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use selvedge_model::lora::{Adapters, Tuned, merge, peft};
use selvedge_model::{Architecture, Config, LossSum, build, layout};
use selvedge_sync::{CancelToken, Team};
use selvedge_tensor::{Context, Isa};
use selvedge_train::chat_data::{self, Record};
use selvedge_train::checkpoint::Checkpoints;
use selvedge_train::examples::{Example, Packed};
use selvedge_train::schedule::Schedule;
use selvedge_train::settings::{Recipe, Resources};
use selvedge_train::trainer::{OnStuck, StepReport, Trainer};

use crate::INTERRUPTED;
use crate::args::{FinetuneArgs, ShapeArg};
use crate::memory::Need;
use crate::progress::Stage;
use crate::published::Published;
use crate::say::{remark, result};

/// Rows of an evaluation that are computed at a time.
const EVALUATED: usize = 16;

pub(crate) fn run(args: &FinetuneArgs, cancel: &CancelToken) -> anyhow::Result<ExitCode> {
    let isa: Isa = args.resources.isa.parse()?;
    args.settings().validate()?;
    let published = Published::open(&args.model, args.context as usize)?;
    let context = args.context as usize;
    ensure!(
        context <= published.config.context,
        "the model has {} positions; use a shorter --context than {context}",
        published.config.context
    );
    let place = |path: &Path| path.canonicalize().ok();
    ensure!(
        place(&args.out).is_none_or(|out| place(&args.model) != Some(out)),
        "--out {} is the model itself, which is still needed; name another folder",
        args.out.display()
    );
    let data = Data::read(args, &published)?;
    let recipe = recipe(args, &data);
    let resources = resources(args, &recipe, isa);
    recipe.validate()?;
    resources.validate(&recipe)?;
    let mut tuning = Tuning::start(args, &published, recipe, &resources)?;
    let outcome = tuning.train(args, &data, cancel)?;
    if outcome == ExitCode::SUCCESS {
        result!("parameters {}", tuning.trainer.digest())?;
        if args.merge {
            tuning.merge(args)?;
        }
    }
    Ok(outcome)
}

/// Examples in rows.
struct Data {
    train: Packed,
    held_out: Option<Packed>,
}

impl Data {
    fn read(args: &FinetuneArgs, published: &Published) -> anyhow::Result<Self> {
        let tokenizer = &published.tokenizer;
        // The one place where a conversation becomes a text.
        let mut template = None;
        let (mut train, mut held_out) = (Vec::new(), Vec::new());
        for path in &args.data {
            for (line, record) in chat_data::read(path)? {
                let place = || format!("{}, line {line}", path.display());
                if template.is_none() && matches!(record, Record::Chat(_)) {
                    template = Some(render::template(published).with_context(place)?);
                }
                let plain: &render::Template<'_> = &|_, _| bail!("no template");
                let template = template.as_deref().unwrap_or(plain);
                let example = render::example(tokenizer, template, &record).with_context(place)?;
                let count = train.len() + held_out.len() + 1;
                let is_held_out = args.hold_out > 0 && count.is_multiple_of(args.hold_out);
                if is_held_out { &mut held_out } else { &mut train }.push(example);
            }
        }
        let rows = |examples: &[Example]| Packed::new(examples, args.context as usize, !args.no_packing);
        let train = rows(&train)?;
        let report = train.report();
        remark!(
            "{} examples in {} rows of {}, {:.0} % filled: {} tokens, {} of answers; {} cut at the end, {} without an answer left out",
            report.kept,
            train.rows(),
            args.context,
            100.0 * report.tokens as f64 / (train.rows() * args.context as usize) as f64,
            report.tokens,
            report.targets,
            report.cut,
            report.dropped,
        );
        // Held-out examples may all be without an answer that fits.
        let held_out = rows(&held_out).ok();
        Ok(Data { train, held_out })
    }
}

fn recipe(args: &FinetuneArgs, data: &Data) -> Recipe {
    let rows = args.epochs.saturating_mul(data.train.rows() as u64);
    let steps = args.steps.unwrap_or_else(|| rows.div_ceil(args.batch.max(1) as u64)).max(1);
    let schedule = Schedule {
        shape: args.schedule.into(),
        peak: args.lr.unwrap_or(if args.full { 2e-5 } else { 2e-4 }),
        floor: 0.1,
        warmup: args.warmup.unwrap_or(steps / 20),
        decay: if args.schedule == ShapeArg::Wsd { steps / 5 } else { 0 },
        steps,
    };
    let recipe = Recipe::new(args.batch, args.context as usize, schedule);
    Recipe {
        shards: args.shards,
        seed: args.seed,
        beta2: 0.999,
        weight_decay: args.weight_decay,
        clip: args.clip,
        dtype: args.dtype.into(),
        ..recipe
    }
}

fn resources(args: &FinetuneArgs, recipe: &Recipe, isa: Isa) -> Resources {
    let defaults = Resources::new(args.resources.threads(), recipe.context);
    Resources {
        workers: args.workers,
        microbatch: args.microbatch.unwrap_or(defaults.microbatch),
        recompute: args.recompute,
        isa,
        deadline: Duration::from_secs(600),
        ..defaults
    }
}

/// A fine-tuning under way.
struct Tuning<'a> {
    published: &'a Published,
    /// None when all parameters are trained.
    adapters: Option<Adapters>,
    trainer: Trainer,
    checkpoints: Checkpoints,
}

impl<'a> Tuning<'a> {
    fn start(
        args: &FinetuneArgs,
        published: &'a Published,
        recipe: Recipe,
        resources: &Resources,
    ) -> anyhow::Result<Self> {
        let config = published.config.clone();
        let checkpoints = Checkpoints::new(args.out.join("checkpoints"), 1)?;
        let loaded = if args.resume { Some(checkpoints.latest_good()?) } else { None };
        let (adapters, mut trainer) = if args.full {
            let model = build::<f32>(config)?;
            announce(&*model, 0, &recipe, resources)?;
            let mut trainer = Trainer::with_model(model, recipe, resources, Some(on_stuck()))?;
            trainer.set_params(published.parameters()?)?;
            (None, trainer)
        } else {
            let adapters = Adapters::new(&config, args.settings(), &args.modules(config.arch))?;
            if args.resume && !is_of(&args.out, &adapters, &config)? {
                bail!("the adapter in {} has other settings; give the same", args.out.display());
            }
            let bytes = published.frozen_bytes();
            // The base before it is loaded, with what it is merged into after hours of training; what training adds is
            // known when the model is there.
            let merged = if args.merge { size_of::<f32>() * layout(&config)?.len() } else { 0 };
            check(&Need { base: (bytes + merged) as f64, ..Need::default() })?;
            let cx = Context::new(Team::new(resources.threads)?, resources.isa);
            let base = Arc::new(published.frozen(&cx)?);
            let model = Box::new(Tuned::new(config, base, adapters.clone(), recipe.seed)?);
            announce(&*model, bytes + merged, &recipe, resources)?;
            (Some(adapters), Trainer::with_model(model, recipe, resources, Some(on_stuck()))?)
        };
        if let Some(loaded) = loaded {
            trainer.restore(&loaded)?;
            remark!("resumed from {}", loaded.path.display());
        }
        Ok(Tuning { published, adapters, trainer, checkpoints })
    }

    fn train(&mut self, args: &FinetuneArgs, data: &Data, cancel: &CancelToken) -> anyhow::Result<ExitCode> {
        let recipe = self.trainer.recipe().clone();
        let steps = recipe.schedule.steps;
        let every = args.eval_every.unwrap_or((steps / 10).max(1));
        let stage = Stage::steps(steps, self.trainer.steps_done());
        let start = Instant::now();
        if self.trainer.steps_done() == 0 {
            self.evaluate(data, &stage)?;
        }
        let (mut tokens, mut seconds) = (0, 0.0);
        while self.trainer.steps_done() < steps {
            let batch = data.train.batch(recipe.seed, self.row(), recipe.batch);
            let report = self.trainer.train_step(&batch)?;
            (tokens, seconds) = (tokens + recipe.batch * recipe.context, seconds + report.seconds);
            say(&stage, &report, steps, tokens as f64 / seconds);
            let done = self.trainer.steps_done();
            let is_cancelled = cancel.is_cancelled();
            if done == steps || done.is_multiple_of(every) || is_cancelled {
                if !is_cancelled {
                    self.evaluate(data, &stage)?;
                }
                self.save(args)?;
            }
            if is_cancelled {
                stage.clear();
                remark!("stopped after step {done}; go on with --resume");
                return Ok(ExitCode::from(INTERRUPTED));
            }
        }
        stage.clear();
        if tokens > 0 {
            let all = start.elapsed().as_secs_f64();
            remark!("{steps} steps in {all:.0} s, {:.0} tokens a second in steps", tokens as f64 / seconds);
        }
        remark!("{} in {}", if args.full { "model" } else { "adapter" }, args.out.display());
        Ok(ExitCode::SUCCESS)
    }

    /// Row of the run at which the next batch begins.
    fn row(&self) -> u64 {
        self.trainer.steps_done() * self.trainer.recipe().batch as u64
    }

    fn evaluate(&mut self, data: &Data, stage: &Stage) -> anyhow::Result<()> {
        let Some(held_out) = &data.held_out else { return Ok(()) };
        let mut loss = LossSum::default();
        for batch in held_out.all(EVALUATED) {
            for sum in self.trainer.losses(&batch)? {
                loss += sum;
            }
        }
        let step = self.trainer.steps_done();
        stage.line(&format!("step {step:>5}  held-out loss {:.4} over {} tokens", loss.mean(), loss.tokens));
        Ok(())
    }

    /// The state before the model or the adapter's matrices, which can be used, but not be gone on with; and before the state
    /// the settings that it is gone on with. So there is something to resume wherever this is cut off.
    fn save(&mut self, args: &FinetuneArgs) -> anyhow::Result<()> {
        let (row, config) = (self.row(), &self.published.config);
        if let Some(adapters) = &self.adapters {
            peft::save_settings(&args.out, config, adapters, &args.model.display().to_string())?;
        }
        self.checkpoints.save(&self.trainer.snapshot(row, None, None)?)?;
        match &self.adapters {
            None => self.published.save(&args.out, self.trainer.params()).map(drop),
            Some(adapters) => Ok(peft::save_weights(&args.out, adapters, self.trainer.params())?),
        }
    }

    fn merge(&self, args: &FinetuneArgs) -> anyhow::Result<()> {
        let Some(adapters) = &self.adapters else { return Ok(()) };
        let mut weights = self.published.parameters()?;
        let base = layout(&self.published.config)?;
        merge(&mut Context::solo(), &base, &mut weights, adapters, self.trainer.params());
        let path = self.published.save(&args.out.join("merged"), &weights)?;
        remark!("merged model: {}", path.display());
        Ok(())
    }
}

/// Whether a folder that is gone on with has these adapters. Of a first save that was cut off it has their settings; which
/// modules they are for is seen when the state is read.
fn is_of(folder: &Path, adapters: &Adapters, config: &Config) -> anyhow::Result<bool> {
    Ok(if folder.join(peft::WEIGHTS).exists() {
        peft::load(folder, config)?.0 == *adapters
    } else {
        peft::settings(folder)? == *adapters.settings()
    })
}

/// Says what there will be, before there is memory for it.
fn announce(
    model: &dyn Architecture<f32>,
    base: usize,
    recipe: &Recipe,
    resources: &Resources,
) -> anyhow::Result<()> {
    let need = Need { base: base as f64, ..Need::of(model, recipe, resources) };
    let mb = |bytes: f64| bytes / 1e6;
    remark!(
        "{:.2} M parameters to train, {} steps of {} x {} tokens in {} shards, on {} threads under {} workers, {}",
        model.layout().parameters() as f64 / 1e6,
        recipe.schedule.steps,
        recipe.batch,
        recipe.context,
        recipe.shards,
        resources.threads,
        resources.workers,
        resources.isa,
    );
    remark!(
        "memory: {:.0} MB (other weights {:.0}, parameters and moments {:.0}, gradients {:.0}, activations {:.0})",
        mb(need.total()),
        mb(need.base),
        mb(need.state),
        mb(need.gradients),
        mb(need.activations),
    );
    check(&need)
}

fn check(need: &Need) -> anyhow::Result<()> {
    let remedy = "use --recompute, a shorter --context, fewer --workers or --shards, adapters instead of --full, or a smaller or quantized model";
    need.check("fine-tuning", remedy)
}

fn say(stage: &Stage, report: &StepReport, steps: u64, speed: f64) {
    let StepReport { step, loss, norm, lr, .. } = report;
    let line = format!(
        "step {:>5}  loss {:.4}  norm {norm:.2}  lr {lr:.2e}  {speed:.0} tokens/s",
        step + 1,
        loss.mean()
    );
    // Elsewhere than on a terminal some fifty lines are enough.
    if !stage.is_terminal() && (step + 1).is_multiple_of((steps / 50).max(1)) {
        stage.line(&line);
    }
    stage.at(step + 1, line);
}

fn on_stuck() -> OnStuck {
    Arc::new(|report| {
        remark!(
            "error: {} does not come back from {:?}; ending the process, the last checkpoint is intact",
            report.who,
            report.phase
        );
        #[expect(clippy::exit, reason = "a thread that does not come back cannot be joined")]
        std::process::exit(1);
    })
}
