//! `selvedge train`: from text, or from a run cut short, to a trained model and samples.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use selvedge_model::{Arch, Config, Generator, Sampling};
use selvedge_sync::{CancelToken, Team};
use selvedge_tensor::{Context, Isa};
use selvedge_tokenizer::Tokenizer;
use selvedge_train::Error;
use selvedge_train::checkpoint::Checkpoints;
use selvedge_train::run::{Event, Outcome, Run};
use selvedge_train::schedule::{Schedule, Shape};
use selvedge_train::settings::{Dtype, Recipe, Resources};
use selvedge_train::trainer::{OnStuck, Trainer};

use crate::INTERRUPTED;
use crate::args::{ModelArgs, RecipeArgs, TrainArgs};
use crate::generate::{Edges, continue_text};
use crate::memory;
use crate::metrics::{Metrics, points};
use crate::plot::{Series, lines};
use crate::prepare::prepare;
use crate::progress::Stage;
use crate::run_folder::{RunFile, RunFolder, TRAIN_TOKENS, VALID_TOKENS, byte_lengths};
use crate::sampler::Sampler;
use crate::say::{remark, result};
use crate::unfinished::Unfinished;
use crate::waits::Watched;

/// Prompts of the samples after training: beginnings of Rust, since the default corpus is.
const PROMPTS: [&str; 3] = ["fn main() {", "/// Returns ", "impl"];
const SAMPLE_TOKENS: usize = 120;

pub(crate) fn run(args: TrainArgs, cancel: &CancelToken) -> anyhow::Result<ExitCode> {
    let isa: Isa = args.resources.isa.parse()?;
    let interrupted = Ok(ExitCode::from(INTERRUPTED));
    let mut watched = Watched::begin(&args)?;
    let (folder, file, tokenizer) = if args.resume {
        let folder = match &args.out {
            Some(path) => RunFolder::new(path),
            None => RunFolder::newest()?,
        };
        let file = resumed(&args, folder.read()?)?;
        let tokenizer = folder.tokenizer(&file)?;
        (folder, file, tokenizer)
    } else {
        let folder = args.out.as_ref().map_or_else(RunFolder::fresh, RunFolder::new);
        if folder.exists() {
            bail!(
                "{} already holds a run: go on with --resume, or name another --out",
                folder.path().display()
            );
        }
        let recipe = recipe(&args.recipe, &args.model)?;
        // What can be found wrong before any work is.
        let vocab = args.model.vocab.unwrap_or(4096);
        let resources = resources(&args, &recipe, isa);
        resources.validate(&recipe)?;
        memory::check_run(&model(&args.model, vocab)?, &recipe, &resources)?;
        let checkpoints = Checkpoints::new(folder.checkpoints(), args.keep)?;
        if !checkpoints.list()?.is_empty() {
            bail!("{} holds checkpoints of another run: name another --out", checkpoints.dir().display());
        }
        // What fails or is stopped from here to the last line leaves nothing behind.
        let unfinished = Unfinished::begin(&folder)?;
        let Some((tokenizer, corpus)) = prepare(&args, &folder, vocab, recipe.seed, cancel)? else {
            return interrupted;
        };
        let config = model(&args.model, tokenizer.vocab_size())?;
        let file = RunFile::new(config, recipe, &tokenizer, corpus)?;
        for name in [TRAIN_TOKENS, VALID_TOKENS] {
            folder.tokens(name, &tokenizer)?.windows(file.recipe.context)?;
        }
        folder.write(&file)?;
        unfinished.complete();
        (folder, file, tokenizer)
    };
    let resources = resources(&args, &file.recipe, isa);
    resources.validate(&file.recipe)?;
    memory::check_run(&file.model, &file.recipe, &resources)?;
    let outcome = train(&args, &folder, &file, &tokenizer, &resources, cancel, &mut watched);
    // Whoever owned threads is gone, whatever became of the run.
    if let Err(left) = watched.finish() {
        remark!("{left}");
    }
    match outcome? {
        Outcome::Finished => Ok(ExitCode::SUCCESS),
        Outcome::Cancelled => {
            remark!("stopped; go on with: selvedge train --resume --out {}", folder.path().display());
            interrupted
        }
    }
}

fn model(args: &ModelArgs, vocab: usize) -> anyhow::Result<Config> {
    let (context, layers) = (args.context.unwrap_or(256), args.layers.unwrap_or(5));
    let (heads, channels) = (args.heads.unwrap_or(6), args.channels.unwrap_or(384));
    let mut config = match args.arch.map_or(Arch::Llama, Arch::from) {
        Arch::Gpt2 => Config::gpt2(vocab, context, layers, heads, channels),
        Arch::Llama => Config::llama(vocab, context, layers, heads, channels),
    };
    config.kv_heads = args.kv_heads.unwrap_or(heads);
    config.tied = !args.untied;
    config.validate()?;
    Ok(config)
}

fn recipe(args: &RecipeArgs, model: &ModelArgs) -> anyhow::Result<Recipe> {
    let steps = args.steps.unwrap_or(550);
    let batch = args.batch.unwrap_or(4);
    let schedule = Schedule {
        shape: args.schedule.map_or(Shape::Cosine, Shape::from),
        peak: args.lr.unwrap_or(1e-3),
        floor: 0.1,
        warmup: args.warmup.unwrap_or(steps / 20),
        decay: steps / 5,
        steps,
    };
    let usual = Recipe::new(batch, model.context.unwrap_or(256), schedule);
    let recipe = Recipe {
        shards: args.shards.unwrap_or(usual.shards),
        seed: args.seed.unwrap_or(usual.seed),
        weight_decay: args.weight_decay.unwrap_or(usual.weight_decay),
        clip: args.clip.unwrap_or(usual.clip),
        dtype: args.dtype.map_or(usual.dtype, Dtype::from),
        ..usual
    };
    recipe.validate()?;
    Ok(recipe)
}

/// A choice as its flag spells it.
fn name(choice: impl std::fmt::Debug) -> String {
    format!("{choice:?}").to_lowercase()
}

/// The run's own settings, with more or fewer steps if asked; any other setting that differs is refused.
fn resumed(args: &TrainArgs, mut file: RunFile) -> anyhow::Result<RunFile> {
    fn same<T: PartialEq + std::fmt::Display>(flag: &str, asked: Option<T>, has: T) -> anyhow::Result<()> {
        match asked {
            Some(asked) if asked != has => {
                bail!(
                    "--{flag} {asked} differs from the run's {has}: leave it out to resume, or begin a new run"
                )
            }
            _ => Ok(()),
        }
    }
    if !args.data.is_empty() {
        bail!(
            "--data has no part in --resume, which goes on with the run's own tokens: leave one of the two out"
        );
    }
    let (m, r) = (&file.model, &file.recipe);
    same("arch", args.model.arch.map(Arch::from).map(name), name(m.arch))?;
    same("vocab", args.model.vocab, m.vocab)?;
    same("context", args.model.context, m.context)?;
    same("layers", args.model.layers, m.layers)?;
    same("heads", args.model.heads, m.heads)?;
    same("kv-heads", args.model.kv_heads, m.kv_heads)?;
    same("channels", args.model.channels, m.channels)?;
    same("batch", args.recipe.batch, r.batch)?;
    same("shards", args.recipe.shards, r.shards)?;
    same("seed", args.recipe.seed, r.seed)?;
    same("lr", args.recipe.lr, r.schedule.peak)?;
    same("warmup", args.recipe.warmup, r.schedule.warmup)?;
    same("weight-decay", args.recipe.weight_decay, r.weight_decay)?;
    same("clip", args.recipe.clip, r.clip)?;
    same("dtype", args.recipe.dtype.map(Dtype::from).map(name), name(r.dtype))?;
    same("schedule", args.recipe.schedule.map(Shape::from).map(name), name(r.schedule.shape))?;
    same("untied", args.model.untied.then_some(true), !m.tied)?;
    if let Some(steps) = args.recipe.steps {
        file.recipe.schedule.steps = steps;
    }
    Ok(file)
}

fn resources(args: &TrainArgs, recipe: &Recipe, isa: Isa) -> Resources {
    let threads = args.resources.threads();
    let defaults = Resources::new(threads, recipe.context);
    Resources {
        workers: args.workers.unwrap_or(threads.min(recipe.shards)),
        microbatch: args.microbatch.unwrap_or(defaults.microbatch),
        recompute: args.recompute,
        isa,
        deadline: Duration::from_secs(args.deadline.max(1)),
        ..defaults
    }
}

fn train(
    args: &TrainArgs,
    folder: &RunFolder,
    file: &RunFile,
    tokenizer: &Tokenizer,
    resources: &Resources,
    cancel: &CancelToken,
    watched: &mut Watched,
) -> anyhow::Result<Outcome> {
    let (train, valid) = (folder.tokens(TRAIN_TOKENS, tokenizer)?, folder.tokens(VALID_TOKENS, tokenizer)?);
    let checkpoints = Checkpoints::new(folder.checkpoints(), args.keep)?;
    let loaded = match args.resume.then(|| checkpoints.latest_good()) {
        None => None,
        Some(Ok(loaded)) => Some(loaded),
        // A run killed before its first checkpoint begins again.
        Some(Err(Error::NoCheckpoint { skipped, .. })) if skipped.is_empty() => None,
        Some(Err(error)) => return Err(error.into()),
    };
    watched.enter();
    let instruments = watched.instruments();
    let on_stuck: OnStuck = Arc::new(move |report| {
        remark!(
            "error: {} does not come back from {:?} after {:.0?}; ending the process, the last checkpoint is intact",
            report.who,
            report.phase,
            report.silent_for
        );
        if let Some(found) = instruments.as_ref().and_then(|seen| seen.diagnose(report.silent_for / 2)) {
            remark!("{found}");
        }
        #[expect(clippy::exit, reason = "a thread that does not come back cannot be joined")]
        std::process::exit(1);
    });
    let (config, recipe) = (file.model.clone(), file.recipe.clone());
    let (mut trainer, row) = if let Some(loaded) = loaded {
        for skipped in &loaded.skipped {
            remark!("passed over a checkpoint: {skipped}");
        }
        let trainer = Trainer::resume(config, recipe, resources, Some(on_stuck), &loaded)?;
        remark!("resumed from {}", loaded.path.display());
        (trainer, loaded.manifest.state.row)
    } else {
        (Trainer::new(config, recipe, resources, Some(on_stuck))?, 0)
    };
    let steps = file.recipe.schedule.steps;
    announce(&trainer, resources, folder);
    let byte_lengths = byte_lengths(tokenizer);
    let run = Run {
        train,
        valid,
        byte_lengths: &byte_lengths,
        row,
        checkpoints,
        evaluate_every: args.eval_every.unwrap_or((steps / 10).max(1)),
        save_every: args.save_every,
        windows: args.eval_windows,
        loaders: 1,
        deadline: resources.deadline,
        cancel: cancel.clone(),
        loader_fault: None,
    };
    let mut watch = Watch::new(folder, &trainer)?;
    watched.report_hangs(resources.deadline, watch.stage.clone())?;
    let sampler = args
        .sample
        .as_ref()
        .map(|prompt| {
            let (config, stage) = (file.model.clone(), watch.stage.clone());
            let arithmetic = (resources.isa, file.recipe.dtype.into());
            Sampler::start(config, arithmetic, tokenizer, prompt.clone(), stage)
        })
        .transpose()?;
    let start = Instant::now();
    let outcome = run.train(&mut trainer, |event| {
        watch.see(&event);
        if let (Event::Parameters(step, params), Some(sampler)) = (&event, &sampler) {
            sampler.publish(*step, params);
        }
        watch.keep(watched.look());
    });
    if let (Ok(Outcome::Finished), Some(sampler)) = (&outcome, sampler) {
        sampler.finish();
    }
    watch.stage.clear();
    // Whatever became of the run.
    let ended = watched.end(folder);
    watch.save()?;
    let outcome = outcome?;
    if let Some(error) = watch.failed.take() {
        return Err(error);
    }
    ended?;
    if outcome == Outcome::Finished {
        remark!("{} steps in {:.0} s", trainer.steps_done(), start.elapsed().as_secs_f64());
        result!("parameters {}", trainer.digest())?;
        samples(folder, &trainer, tokenizer, resources)?;
        remark!("run folder: {}", folder.path().display());
    }
    Ok(outcome)
}

fn announce(trainer: &Trainer, resources: &Resources, folder: &RunFolder) {
    let (config, recipe, memory) = (trainer.model().config(), trainer.recipe(), trainer.memory());
    let mb = |bytes: usize| bytes as f64 / 1e6;
    remark!(
        "{:?}, {:.1} M parameters: {} layers, {} heads, {} channels, context {}, vocabulary {}",
        config.arch,
        trainer.model().layout().parameters() as f64 / 1e6,
        config.layers,
        config.heads,
        config.channels,
        config.context,
        config.vocab,
    );
    remark!(
        "{} steps of {} x {} tokens in {} shards, on {} threads under {} workers, {}",
        recipe.schedule.steps,
        recipe.batch,
        recipe.context,
        recipe.shards,
        resources.threads,
        resources.workers,
        resources.isa,
    );
    remark!(
        "memory: {:.0} MB (parameters {:.0}, gradients {:.0}, moments {:.0}, activations {:.0}); run folder {}",
        mb(memory.total()),
        mb(memory.parameters),
        mb(memory.gradients),
        mb(memory.moments),
        mb(memory.activations),
        folder.path().display(),
    );
}

/// Shows and records what happens in a run.
struct Watch {
    stage: Stage,
    steps: Metrics,
    evaluations: Metrics,
    folder: RunFolder,
    tokens: usize,
    total: u64,
    valid: Option<f64>,
    started: Instant,
    first: u64,
    /// A figure that could not be written; the run is not stopped for it.
    failed: Option<anyhow::Error>,
}

impl Watch {
    fn new(folder: &RunFolder, trainer: &Trainer) -> anyhow::Result<Self> {
        let (recipe, done) = (trainer.recipe(), trainer.steps_done());
        let last = recipe.schedule.steps.saturating_sub(1);
        let header = "step,loss,gradient_norm,learning_rate,seconds,seconds_waited";
        let header_valid = "step,loss,bits_per_byte,tokens,bytes,divergence";
        Ok(Watch {
            stage: Stage::steps(recipe.schedule.steps, done),
            steps: Metrics::open(&folder.file("steps.csv"), header, done)?,
            // A finished run that is resumed evaluates its last step again.
            evaluations: Metrics::open(&folder.file("evaluations.csv"), header_valid, done.min(last))?,
            folder: folder.clone(),
            tokens: recipe.batch * recipe.context,
            total: recipe.schedule.steps,
            valid: None,
            started: Instant::now(),
            first: done,
            failed: None,
        })
    }

    fn see(&mut self, event: &Event<'_>) {
        let recorded = self.record(event);
        self.keep(recorded);
    }

    /// Remembers the first thing that could not be written.
    fn keep(&mut self, outcome: anyhow::Result<()>) {
        if let Err(error) = outcome {
            self.failed.get_or_insert(error);
        }
    }

    fn record(&mut self, event: &Event<'_>) -> anyhow::Result<()> {
        match event {
            Event::Step(report, waited) => {
                let (done, loss) = (report.step + 1, report.loss.mean());
                self.steps.line(&format!(
                    "{done},{loss:.6},{:.6},{:.3e},{:.4},{waited:.4}",
                    report.norm, report.lr, report.seconds
                ))?;
                let rate = self.rate(done);
                let valid = self.valid.map_or(String::new(), |bpb| format!(", held out {bpb:.3} bits/byte"));
                self.stage.at(done, format!("loss {loss:.3}{valid}, {rate:.0} tokens/s"));
                if !self.stage.is_terminal() && done.is_multiple_of((self.total / 20).max(1)) {
                    remark!("step {done}/{}: loss {loss:.3}, {rate:.0} tokens/s", self.total);
                }
            }
            Event::Evaluated(done, found, divergence) => {
                let bpb = found.bits_per_byte();
                self.valid = Some(bpb);
                let (loss, tokens, bytes) = (found.loss.mean(), found.loss.tokens, found.bytes);
                self.evaluations.line(&format!("{done},{loss:.6},{bpb:.6},{tokens},{bytes},{divergence}"))?;
                self.stage.line(&format!(
                    "step {done}/{}: held out {bpb:.3} bits/byte (loss {loss:.3} over {tokens} tokens), R = {divergence}",
                    self.total
                ));
                self.save()?;
            }
            Event::Saved(saved) => {
                for skipped in &saved.not_removed {
                    self.stage.line(&format!("could not remove an old checkpoint: {skipped}"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn rate(&self, done: u64) -> f64 {
        (done - self.first) as f64 * self.tokens as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
    }

    /// Brings the figures and the plot on the disk up to date.
    fn save(&mut self) -> anyhow::Result<()> {
        let training = points(&self.folder.file("steps.csv"), 0, 1);
        let valid = points(&self.folder.file("evaluations.csv"), 0, 1);
        let series = [
            Series { name: "training", color: "#8ab", points: training },
            Series { name: "held out", color: "#c33", points: valid },
        ];
        let svg = lines("step", "loss, nats a token", &series);
        Ok(selvedge_train::fs_atomic::write(&self.folder.file("loss.svg"), svg.as_bytes())?)
    }
}

/// Prints and keeps a few continuations.
fn samples(
    folder: &RunFolder,
    trainer: &Trainer,
    tokenizer: &Tokenizer,
    resources: &Resources,
) -> anyhow::Result<()> {
    let precision = trainer.recipe().dtype.into();
    let mut cx = Context::new(Team::new(resources.threads)?, resources.isa).with_precision(precision);
    let mut all = String::new();
    for (i, prompt) in PROMPTS.iter().enumerate() {
        let mut generator = Generator::new(&mut cx, trainer.model(), trainer.params());
        let sampling = Sampling { temperature: 0.7, top_k: 50, seed: i as u64, ..Sampling::default() };
        let mut text = (*prompt).to_owned();
        let never = CancelToken::new();
        continue_text(
            &mut cx,
            &mut generator,
            tokenizer,
            &Edges::trained(tokenizer),
            prompt,
            SAMPLE_TOKENS,
            &sampling,
            &never,
            |piece| {
                text.push_str(piece);
                Ok(ControlFlow::Continue(()))
            },
        )?;
        all.push_str(&format!("--- sample {} ---\n{text}\n", i + 1));
    }
    selvedge_train::fs_atomic::write(&folder.file("samples.txt"), all.as_bytes())?;
    result!("{}", all.trim_end_matches('\n'))
}
