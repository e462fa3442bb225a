//! The loss curve beside PyTorch's, from the same weights on the same batches.
//!
//! `export` trains here, and writes what `benches/pytorch/loss_curve.py` needs to train there: initial
//! weights, batches, learning rates, and our losses. `compare` reads both curves and says how far apart they are.
#![expect(clippy::print_stdout, reason = "a command-line program")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Parser, ValueEnum};
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize_to_file};
use selvedge_model::{Config, named};
use selvedge_sync::CancelToken;
use selvedge_train::loader::{Loader, LoaderConfig};
use selvedge_train::schedule::{Schedule, Shape};
use selvedge_train::settings::{Recipe, Resources};
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
    },
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

fn main() -> anyhow::Result<()> {
    match Args::parse() {
        Args::Export { tokens, out, arch, steps, threads } => export(&tokens, &out, arch, steps, threads),
        Args::Compare { ours, theirs, band } => compare(&ours, &theirs, band),
    }
}

fn export(tokens: &Path, out: &Path, arch: Arch, steps: u64, threads: usize) -> anyhow::Result<()> {
    std::fs::create_dir_all(out)?;
    let file = Arc::new(TokenFile::open(tokens)?);
    let vocab = file.vocab() as usize;
    let config = match arch {
        Arch::Gpt2 => Config::gpt2(vocab, CONTEXT, 4, 4, 128),
        Arch::Llama => Config { kv_heads: 2, ..Config::llama(vocab, CONTEXT, 4, 4, 128) },
    };
    let warmup = steps / 10;
    let schedule = Schedule { shape: Shape::Cosine, peak: 1e-3, floor: 0.1, warmup, decay: 0, steps };
    let recipe = Recipe { shards: 2, ..Recipe::new(BATCH, CONTEXT, schedule) };
    let resources = Resources { workers: threads.min(2), ..Resources::new(threads, CONTEXT) };
    let mut trainer = Trainer::new(config.clone(), recipe, &resources, None)?;
    let bytes = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let init: Vec<(String, Vec<usize>, Vec<u8>)> = named(trainer.model().layout(), trainer.params())
        .map(|(name, shape, values)| (name.to_owned(), shape, bytes(values)))
        .collect();
    write(&out.join("init.safetensors"), Dtype::F32, &init)?;
    std::fs::write(out.join("config.json"), serde_json::to_vec_pretty(&config)?)?;
    let rates: Vec<f64> = (0..steps).map(|step| schedule.lr(step)).collect();
    std::fs::write(out.join("lrs.json"), serde_json::to_vec(&rates)?)?;

    let mut loader = Loader::start(file, LoaderConfig::new(BATCH, CONTEXT, 1), &CancelToken::new())?;
    let (mut inputs, mut targets) = (Vec::new(), Vec::new());
    let mut losses = String::from("step,loss\n");
    for step in 0..steps {
        let batch = loader.next()?;
        inputs.extend(batch.tokens.iter().flat_map(|id| id.to_le_bytes()));
        targets.extend(batch.targets.iter().flat_map(|id| id.to_le_bytes()));
        let loss = trainer.train_step(batch)?.loss.mean();
        losses.push_str(&format!("{step},{loss:.9}\n"));
    }
    let shape = vec![usize::try_from(steps)?, BATCH, CONTEXT];
    let batches = [("tokens".to_owned(), shape.clone(), inputs), ("targets".to_owned(), shape, targets)];
    write(&out.join("batches.safetensors"), Dtype::I32, &batches)?;
    std::fs::write(out.join("ours.csv"), losses)?;
    println!("{}", trainer.digest());
    Ok(())
}

fn write(path: &Path, dtype: Dtype, tensors: &[(String, Vec<usize>, Vec<u8>)]) -> anyhow::Result<()> {
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
