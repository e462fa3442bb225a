//! Training speed and memory on the four reference jobs T1–T4, or on others near them, one JSON line each, to set beside
//! `benches/pytorch/train_step.py`: GPT-2 wiring, tied head, dropout 0, forward + backward + AdamW.
#![expect(clippy::print_stdout, reason = "a command-line program")]

use anyhow::{Context as _, ensure};
use clap::Parser;
use selvedge_benches::median;
use selvedge_benches::reference::{Job, Scale, Work};
use selvedge_tensor::Isa;
use selvedge_train::settings::{Dtype, Recipe, Resources};
use selvedge_train::trainer::Trainer;

/// Measures training steps.
#[derive(Debug, Parser)]
struct Args {
    /// Where sizes begin
    #[arg(long, value_enum)]
    work: Work,
    #[command(flatten)]
    sizes: Sizes,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[arg(long)]
    workers: Option<usize>,
    #[arg(long)]
    microbatch: Option<usize>,
    #[arg(long, default_value = "auto")]
    isa: String,
    /// f32 or bf16
    #[arg(long, default_value = "f32", value_parser = ["f32", "bf16"])]
    dtype: String,
    #[arg(long, default_value_t = 10)]
    steps: u64,
    #[arg(long, default_value_t = 2)]
    warmup: u64,
}

/// Sizes that are not those of the work.
#[derive(Debug, clap::Args)]
struct Sizes {
    #[arg(long)]
    layers: Option<usize>,
    #[arg(long)]
    heads: Option<usize>,
    #[arg(long)]
    channels: Option<usize>,
    /// Tokens a sequence
    #[arg(long)]
    context: Option<usize>,
    /// Sequences a step
    #[arg(long)]
    batch: Option<usize>,
    #[arg(long)]
    vocab: Option<usize>,
}

impl Sizes {
    /// Those of `scale` where there are none here.
    fn of(&self, scale: Scale) -> anyhow::Result<Scale> {
        let context = self.context.unwrap_or(scale.context);
        let batch = self.batch.unwrap_or(scale.batch);
        let sized = Scale {
            layers: self.layers.unwrap_or(scale.layers),
            heads: self.heads.unwrap_or(scale.heads),
            channels: self.channels.unwrap_or(scale.channels),
            vocab: self.vocab.unwrap_or(scale.vocab),
            positions: scale.positions.max(context),
            context,
            batch,
            shards: scale.shards.min(batch),
        };
        let Scale { layers, heads, channels, vocab, .. } = sized;
        let all = [layers, heads, channels, context, batch, vocab];
        ensure!(all.iter().all(|size| *size > 0), "sizes are at least 1, not {all:?}");
        // The data are 200,000 tokens.
        ensure!(context < 100_000, "--context is below 100000, not {context}");
        Ok(sized)
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    ensure!(args.steps > 0, "--steps is at least 1");
    let isa: Isa = args.isa.parse()?;
    let folder = tempfile::tempdir()?;
    let steps = args.warmup + args.steps;
    let scale = args.sizes.of(args.work.scale())?;
    let Job { config, recipe, resources, mut loader } = scale.job(args.threads, steps, folder.path())?;
    let (batch, context) = (recipe.batch, recipe.context);
    let resources = Resources {
        workers: args.workers.unwrap_or(resources.workers),
        microbatch: args.microbatch.unwrap_or(resources.microbatch),
        isa,
        ..resources
    };
    let recipe = Recipe { dtype: if args.dtype == "bf16" { Dtype::Bf16 } else { Dtype::F32 }, ..recipe };
    let flops = config.training_flops_per_token(context);
    let mut trainer = Trainer::new(config, recipe, &resources, None)?;
    let mut seconds = Vec::new();
    for _ in 0..steps {
        seconds.push(trainer.train_step(loader.next()?)?.seconds);
    }
    let measured = seconds.split_off(usize::try_from(args.warmup)?);
    let fastest = measured.iter().copied().fold(f64::INFINITY, f64::min);
    let tokens = (batch * context) as f64;
    let (rate, best) = (tokens / median(measured), tokens / fastest);
    println!(
        "{}",
        serde_json::json!({
            "work": format!("{:?}", args.work),
            "dtype": args.dtype,
            "isa": isa.to_string(),
            "threads": args.threads,
            "workers": resources.workers,
            "microbatch": resources.microbatch,
            "tokens_per_s": (rate * 10.0).round() / 10.0,
            // Of the fastest step, from which other programs on the machine took least.
            "best_tokens_per_s": (best * 10.0).round() / 10.0,
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
