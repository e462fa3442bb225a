//! What the peers' programs share: sizes of a training job, its random tokens, the clock, and the line of JSON.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::Parser;

/// Model and batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub struct Shape {
    #[arg(long)]
    pub layers: usize,
    #[arg(long)]
    pub heads: usize,
    #[arg(long)]
    pub channels: usize,
    /// Tokens a sequence
    #[arg(long)]
    pub context: usize,
    /// Sequences a step
    #[arg(long)]
    pub batch: usize,
    #[arg(long)]
    pub vocab: usize,
}

/// Measures training steps in f32: forward, backward and AdamW.
#[derive(Debug, Parser)]
pub struct Args {
    #[command(flatten)]
    pub shape: Shape,
    /// Must be the value of RAYON_NUM_THREADS too, which is read when threads start
    #[arg(long, default_value_t = 2)]
    pub threads: usize,
    #[arg(long, default_value_t = 10)]
    pub steps: usize,
    #[arg(long, default_value_t = 2)]
    pub warmup: usize,
}

/// The arguments, checked.
///
/// # Errors
/// If there are no steps, a size is 0, heads do not divide channels, or the environment says another number of threads.
pub fn args() -> anyhow::Result<Args> {
    let args = Args::parse();
    ensure!(args.threads > 0 && args.steps > 0, "--threads and --steps are at least 1");
    let Shape { layers, heads, channels, context, batch, vocab } = args.shape;
    ensure!(layers * heads * channels * context * batch * vocab > 0, "sizes are at least 1");
    ensure!(channels.is_multiple_of(heads), "{heads} heads do not divide {channels} channels");
    let said = std::env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.parse().ok());
    ensure!(said == Some(args.threads), "set RAYON_NUM_THREADS={}: the value of --threads", args.threads);
    Ok(args)
}

/// Runs `step` on batch after batch of random tokens, each of `batch` rows of `context + 1`, and prints the median speed
/// and the peak memory. `step` gives the loss.
///
/// # Errors
/// That of `step`; if the loss becomes NaN.
pub fn measure(args: &Args, mut step: impl FnMut(&[u32]) -> anyhow::Result<f32>) -> anyhow::Result<()> {
    let shape = args.shape;
    let mut state = 1_u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % shape.vocab as u64) as u32
    };
    let mut seconds = Vec::new();
    for _ in 0..args.warmup + args.steps {
        let tokens: Vec<u32> = (0..shape.batch * (shape.context + 1)).map(|_| draw()).collect();
        let began = Instant::now();
        let loss = step(&tokens)?;
        seconds.push(began.elapsed().as_secs_f64());
        ensure!(loss.is_finite(), "the loss became {loss}");
    }
    let mut measured = seconds.split_off(args.warmup);
    measured.sort_by(f64::total_cmp);
    let rate = (shape.batch * shape.context) as f64 / measured[measured.len() / 2];
    let line = serde_json::json!({
        "dtype": "f32",
        "threads": args.threads,
        "tokens_per_s": (rate * 10.0).round() / 10.0,
        "peak_rss_mib": peak_rss_mib()?,
    });
    #[expect(clippy::print_stdout, reason = "this is what the programs are for")]
    {
        println!("{line}");
    }
    Ok(())
}

/// Inputs and targets of a batch: rows without their last and without their first token.
pub fn split(tokens: &[u32], context: usize) -> (Vec<u32>, Vec<u32>) {
    let rows = || tokens.chunks_exact(context + 1);
    (
        rows().flat_map(|row| &row[..context]).copied().collect(),
        rows().flat_map(|row| &row[1..]).copied().collect(),
    )
}

fn peak_rss_mib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM")).context("no VmHWM line")?;
    let kib: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kib / 1024)
}
