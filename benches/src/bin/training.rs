//! Training speed and memory on the four reference jobs T1–T4, one JSON line each, to set beside
//! `benches/pytorch/train_step.py`: GPT-2 wiring, tied head, dropout 0, forward + backward + AdamW.
#![expect(clippy::print_stdout, reason = "a command-line program")]

use anyhow::Context as _;
use clap::Parser;
use selvedge_benches::reference::{Job, Work};
use selvedge_tensor::Isa;
use selvedge_train::settings::{Dtype, Recipe, Resources};
use selvedge_train::trainer::Trainer;

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
    /// f32 or bf16
    #[arg(long, default_value = "f32", value_parser = ["f32", "bf16"])]
    dtype: String,
    #[arg(long, default_value_t = 10)]
    steps: u64,
    #[arg(long, default_value_t = 2)]
    warmup: u64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let isa: Isa = args.isa.parse()?;
    let folder = tempfile::tempdir()?;
    let steps = args.warmup + args.steps;
    let Job { config, recipe, resources, mut loader } = args.work.job(args.threads, steps, folder.path())?;
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
    let mut measured = seconds.split_off(usize::try_from(args.warmup)?);
    measured.sort_by(f64::total_cmp);
    let median = measured[measured.len() / 2];
    let tokens = (batch * context) as f64;
    let (rate, best) = (tokens / median, tokens / measured[0]);
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
