//! Training speed and memory on the four reference jobs T1–T4, one JSON line each, to set beside
//! `benches/pytorch/train_step.py`: GPT-2 wiring, tied head, dropout 0, forward + backward + AdamW.
#![expect(clippy::print_stdout, reason = "a command-line program")]

use std::sync::Arc;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use selvedge_model::{Config, CounterRng};
use selvedge_sync::CancelToken;
use selvedge_tensor::Isa;
use selvedge_train::loader::{Loader, LoaderConfig};
use selvedge_train::schedule::{Schedule, Shape};
use selvedge_train::settings::{Recipe, Resources};
use selvedge_train::tokens::{TokenFile, TokenWriter};
use selvedge_train::trainer::Trainer;

/// The reference jobs.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "UPPER")]
enum Work {
    /// 4 layers, 4 heads, C 128, T 64, B 12, V 65
    T1,
    /// 6 layers, 6 heads, C 384, T 256, B 8, V 256
    T2,
    /// GPT-2 124M, T 64, B 4, V 50257
    T3,
    /// GPT-2 124M, T 1024, B 1
    T4,
}

impl Work {
    /// Model, sequences a step, tokens a sequence, shards.
    fn job(self) -> (Config, usize, usize, usize) {
        let gpt2 = Config::gpt2(50257, 1024, 12, 12, 768);
        match self {
            Work::T1 => (Config::gpt2(65, 64, 4, 4, 128), 12, 64, 2),
            Work::T2 => (Config::gpt2(256, 256, 6, 6, 384), 8, 256, 2),
            // One shard: a second set of gradients of 124 M parameters would not pay.
            Work::T3 => (gpt2, 4, 64, 1),
            Work::T4 => (gpt2, 1, 1024, 1),
        }
    }
}

/// Measures training steps.
#[derive(Debug, Parser)]
struct Args {
    #[arg(long, value_enum)]
    work: Work,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[arg(long)]
    workers: Option<usize>,
    #[arg(long)]
    microbatch: Option<usize>,
    #[arg(long, default_value = "auto")]
    isa: String,
    #[arg(long, default_value_t = 10)]
    steps: u64,
    #[arg(long, default_value_t = 2)]
    warmup: u64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let isa: Isa = args.isa.parse()?;
    let (config, batch, context, shards) = args.work.job();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("bench.tokens");
    let mut writer = TokenWriter::create(&path, u32::try_from(config.vocab)?, [0; 32])?;
    let rng = CounterRng::new(1, 0);
    let ids: Vec<u32> = (0..200_000).map(|i| (rng.at(i) % config.vocab as u64) as u32).collect();
    writer.push(&ids, 0)?;
    writer.finish()?;
    let tokens = Arc::new(TokenFile::open(&path)?);
    let mut loader = Loader::start(tokens, LoaderConfig::new(batch, context, 1), &CancelToken::new())?;
    let steps = args.warmup + args.steps;
    let schedule = Schedule { shape: Shape::Constant, peak: 1e-3, floor: 1.0, warmup: 0, decay: 0, steps };
    let recipe = Recipe { shards, clip: 0.0, ..Recipe::new(batch, context, schedule) };
    let defaults = Resources::new(args.threads, context);
    let resources = Resources {
        workers: args.workers.unwrap_or(args.threads.min(shards)),
        microbatch: args.microbatch.unwrap_or(defaults.microbatch),
        isa,
        ..defaults
    };
    let flops = config.training_flops_per_token(context);
    let mut trainer = Trainer::new(config, recipe, &resources, None)?;
    let mut seconds = Vec::new();
    for _ in 0..steps {
        seconds.push(trainer.train_step(loader.next()?)?.seconds);
    }
    let mut measured = seconds.split_off(usize::try_from(args.warmup)?);
    measured.sort_by(f64::total_cmp);
    let median = measured[measured.len() / 2];
    let rate = (batch * context) as f64 / median;
    println!(
        "{}",
        serde_json::json!({
            "work": format!("{:?}", args.work),
            "dtype": "f32",
            "isa": isa.to_string(),
            "threads": args.threads,
            "workers": resources.workers,
            "microbatch": resources.microbatch,
            "tokens_per_s": (rate * 10.0).round() / 10.0,
            "gflops": (rate * flops / 1e8).round() / 10.0,
            "peak_rss_mib": peak_rss_mib()?,
            "planned_mib": trainer.memory().total() >> 20,
        })
    );
    Ok(())
}

/// Most memory this process has held.
fn peak_rss_mib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM")).context("no VmHWM line")?;
    let kib: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kib / 1024)
}
