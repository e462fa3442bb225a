//! The loss curve beside PyTorch's, from the same weights on the same batches.
//!
//! `export` trains here, and writes what `benches/pytorch/loss_curve.py` needs to train there: initial
//! weights, batches, learning rates, and our losses. `compare` reads both curves and says how far apart they are. With
//! `--held-out` both also measure how long training takes to reach a loss over held-out text, which `time` compares.
#![expect(clippy::print_stdout, reason = "a command-line program")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Parser, ValueEnum};
use safetensors::tensor::{TensorView, serialize_to_file};
use selvedge_model::{Config, LossSum, named};
use selvedge_sync::CancelToken;
use selvedge_train::loader::{Batch, Loader, LoaderConfig, ValidationRows};
use selvedge_train::schedule::{Schedule, Shape};
use selvedge_train::settings::{Dtype, Recipe, Resources};
use selvedge_train::tokens::TokenFile;
use selvedge_train::trainer::Trainer;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Arch {
    Gpt2,
    Llama,
}

/// Writes and compares loss curves.
#[derive(Debug, Parser)]
enum Args {
    /// Trains here and writes weights, batches, rates and losses to a folder
    Export {
        /// Token file to train on: the train.tokens of a run folder
        #[arg(long)]
        tokens: PathBuf,
        #[arg(long)]
        out: PathBuf,
        #[arg(long, value_enum, default_value_t = Arch::Gpt2)]
        arch: Arch,
        #[arg(long, default_value_t = 200)]
        steps: u64,
        #[arg(long, default_value_t = 2)]
        threads: usize,
        #[arg(long, value_parser = ["f32", "bf16"], default_value = "f32")]
        dtype: String,
        /// Token file to evaluate on: the valid.tokens of a run folder
        #[arg(long)]
        held_out: Option<PathBuf>,
        /// Steps between evaluations
        #[arg(long, default_value_t = 25)]
        every: u64,
    },
    /// Says how long each of two trainings (step,seconds,loss over held-out text) took to the higher of their final losses
    Time { ours: PathBuf, theirs: PathBuf },
    /// Says how far two curves (step,loss) are apart; fails outside the band
    Compare {
        ours: PathBuf,
        theirs: PathBuf,
        /// Largest difference of a step's loss, in nats
        #[arg(long, default_value_t = 1e-3)]
        band: f64,
    },
}

const BATCH: usize = 8;
const CONTEXT: usize = 128;
/// Held-out windows an evaluation covers.
const WINDOWS: u64 = 64;
/// Of them, at a time.
const ROWS: usize = 16;

/// The run that is exported.
struct Run {
    arch: Arch,
    steps: u64,
    threads: usize,
    dtype: Dtype,
    every: u64,
}

fn main() -> anyhow::Result<()> {
    match Args::parse() {
        Args::Export { tokens, out, arch, steps, threads, dtype, held_out, every } => {
            let dtype = if dtype == "bf16" { Dtype::Bf16 } else { Dtype::F32 };
            export(&tokens, held_out.as_deref(), &out, &Run { arch, steps, threads, dtype, every })
        }
        Args::Time { ours, theirs } => time(&ours, &theirs),
        Args::Compare { ours, theirs, band } => compare(&ours, &theirs, band),
    }
}

fn export(tokens: &Path, held_out: Option<&Path>, out: &Path, run: &Run) -> anyhow::Result<()> {
    let &Run { arch, steps, threads, dtype, every } = run;
    std::fs::create_dir_all(out)?;
    let file = Arc::new(TokenFile::open(tokens)?);
    let vocab = file.vocab() as usize;
    let config = match arch {
        Arch::Gpt2 => Config::gpt2(vocab, CONTEXT, 4, 4, 128),
        Arch::Llama => Config { kv_heads: 2, ..Config::llama(vocab, CONTEXT, 4, 4, 128) },
    };
    let warmup = steps / 10;
    let schedule = Schedule { shape: Shape::Cosine, peak: 1e-3, floor: 0.1, warmup, decay: 0, steps };
    let recipe = Recipe { shards: 2, dtype, ..Recipe::new(BATCH, CONTEXT, schedule) };
    let resources = Resources { workers: threads.min(2), ..Resources::new(threads, CONTEXT) };
    let mut trainer = Trainer::new(config.clone(), recipe, &resources, None)?;
    let bytes = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let init: Vec<(String, Vec<usize>, Vec<u8>)> = named(trainer.model().layout(), trainer.params())
        .map(|(name, shape, values)| (name.to_owned(), shape, bytes(values)))
        .collect();
    write(&out.join("init.safetensors"), safetensors::Dtype::F32, &init)?;
    std::fs::write(out.join("config.json"), serde_json::to_vec_pretty(&config)?)?;
    let rates: Vec<f64> = (0..steps).map(|step| schedule.lr(step)).collect();
    std::fs::write(out.join("lrs.json"), serde_json::to_vec(&rates)?)?;

    let mut loader = Loader::start(file, LoaderConfig::new(BATCH, CONTEXT, 1), &CancelToken::new())?;
    let (mut inputs, mut targets) = (Vec::new(), Vec::new());
    let validation = held_out.map(|path| validation(path, out)).transpose()?;
    let mut losses = String::from("step,loss\n");
    let mut milestones = String::from("step,seconds,loss\n");
    let mut spent = 0.0;
    for step in 0..steps {
        let batch = loader.next()?;
        inputs.extend(batch.tokens.iter().flat_map(|id| id.to_le_bytes()));
        targets.extend(batch.targets.iter().flat_map(|id| id.to_le_bytes()));
        let report = trainer.train_step(batch)?;
        losses.push_str(&format!("{step},{:.9}\n", report.loss.mean()));
        spent += report.seconds;
        if let Some(validation) = &validation
            && ((step + 1).is_multiple_of(every) || step + 1 == steps)
        {
            let mut sum = LossSum::default();
            for batch in validation {
                trainer.losses(batch)?.into_iter().for_each(|row| sum += row);
            }
            milestones.push_str(&format!("{},{spent:.6},{:.9}\n", step + 1, sum.mean()));
        }
    }
    if validation.is_some() {
        std::fs::write(out.join("ours_time.csv"), milestones)?;
    }
    let shape = vec![usize::try_from(steps)?, BATCH, CONTEXT];
    let batches = [("tokens".to_owned(), shape.clone(), inputs), ("targets".to_owned(), shape, targets)];
    write(&out.join("batches.safetensors"), safetensors::Dtype::I32, &batches)?;
    std::fs::write(out.join("ours.csv"), losses)?;
    println!("{}", trainer.digest());
    Ok(())
}

/// The batches of an evaluation, written for the other side too.
fn validation(held_out: &Path, out: &Path) -> anyhow::Result<Vec<Batch>> {
    let file = Arc::new(TokenFile::open(held_out)?);
    let batches = ValidationRows::new(file, ROWS, CONTEXT, Some(WINDOWS))?.collect::<Result<Vec<_>, _>>()?;
    let bytes =
        |ids: fn(&Batch) -> &[u32]| batches.iter().flat_map(ids).flat_map(|id| id.to_le_bytes()).collect();
    let shape = vec![batches.len(), ROWS, CONTEXT];
    let both = [
        ("tokens".to_owned(), shape.clone(), bytes(|batch| &batch.tokens)),
        ("targets".to_owned(), shape, bytes(|batch| &batch.targets)),
    ];
    write(&out.join("validation.safetensors"), safetensors::Dtype::I32, &both)?;
    Ok(batches)
}

fn write(
    path: &Path,
    dtype: safetensors::Dtype,
    tensors: &[(String, Vec<usize>, Vec<u8>)],
) -> anyhow::Result<()> {
    let mut views = Vec::new();
    for (name, shape, bytes) in tensors {
        views.push((name.as_str(), TensorView::new(dtype, shape.clone(), bytes)?));
    }
    serialize_to_file(views, None, path).with_context(|| format!("cannot write {}", path.display()))
}

fn compare(ours: &Path, theirs: &Path, band: f64) -> anyhow::Result<()> {
    let (ours, theirs) = (curve(ours)?, curve(theirs)?);
    if ours.len() != theirs.len() || ours.is_empty() {
        bail!("the curves have {} and {} steps", ours.len(), theirs.len());
    }
    let mut worst = (0, 0.0);
    let mut sum = 0.0;
    for (step, loss) in &ours {
        let other = theirs.get(step).with_context(|| format!("no step {step} in the other curve"))?;
        let off = (loss - other).abs();
        sum += off;
        if off > worst.1 || off.is_nan() {
            worst = (*step, off);
        }
    }
    let mean = sum / ours.len() as f64;
    println!("{} steps: mean difference {mean:.2e}, largest {:.2e} (step {})", ours.len(), worst.1, worst.0);
    if worst.1 <= band { Ok(()) } else { bail!("outside the band of {band}") }
}

fn time(ours: &Path, theirs: &Path) -> anyhow::Result<()> {
    let (ours, theirs) = (milestones(ours)?, milestones(theirs)?);
    let last = |points: &[(f64, f64)]| points.last().map_or(f64::NAN, |point| point.1);
    let goal = last(&ours).max(last(&theirs));
    let (ours, theirs) = (reached(&ours, goal)?, reached(&theirs, goal)?);
    println!("loss {goal:.4}: ours {ours:.1} s, theirs {theirs:.1} s, {:.3} of theirs", ours / theirs);
    Ok(())
}

/// When the loss was first `goal` or lower, on straight lines between the points (seconds, loss).
fn reached(points: &[(f64, f64)], goal: f64) -> anyhow::Result<f64> {
    let at =
        points.iter().position(|point| point.1 <= goal).context("never as low as the other's last loss")?;
    let (seconds, loss) = points[at];
    let Some(&(earlier, higher)) = at.checked_sub(1).and_then(|before| points.get(before)) else {
        return Ok(seconds);
    };
    Ok(earlier + (seconds - earlier) * (higher - goal) / (higher - loss))
}

fn milestones(path: &Path) -> anyhow::Result<Vec<(f64, f64)>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let point = |line: &str| -> anyhow::Result<(f64, f64)> {
        let fields: Vec<&str> = line.split(',').collect();
        let [_, seconds, loss] = fields[..] else { bail!("not three fields") };
        Ok((seconds.parse()?, loss.parse()?))
    };
    text.lines()
        .skip(1)
        .map(|line| point(line).with_context(|| format!("{}: {line:?}", path.display())))
        .collect()
}

fn curve(path: &Path) -> anyhow::Result<BTreeMap<u64, f64>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let point = |line: &str| -> anyhow::Result<(u64, f64)> {
        let (step, loss) = line.split_once(',').context("no comma")?;
        Ok((step.parse()?, loss.parse()?))
    };
    text.lines()
        .skip(1)
        .map(|line| point(line).with_context(|| format!("{}: {line:?}", path.display())))
        .collect()
}
