//! How fast a published model reads a prompt and writes tokens through the cache, so that it can be run in turn with llama.cpp's
//! programs on one file: one sequence that is written without the prompt, as `llama-bench` measures (`pp512`, `tg128`), or
//! several that each read the prompt and are then written side by side, as `llama-batched-bench` does.
#![expect(clippy::print_stdout, reason = "a command-line program")]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::ensure;
use clap::{Parser, ValueEnum};
use selvedge_model::gguf::Model;
use selvedge_model::{Batch, Sequence, Storage, Weights, build};
use selvedge_sync::Team;
use selvedge_tensor::attention::CacheType;
use selvedge_tensor::quantized::Form;
use selvedge_tensor::{Buffer, Context, Isa, Precision};

/// Measures generation with a GGUF file.
#[derive(Debug, Parser)]
struct Args {
    file: PathBuf,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// How weights are kept
    #[arg(long, value_enum, default_value_t = Kept::File)]
    weights: Kept,
    /// Tokens of the prompt
    #[arg(long, default_value_t = 512)]
    prompt: usize,
    /// Tokens written
    #[arg(long, default_value_t = 128)]
    tokens: usize,
    /// Sequences written at once
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// How keys and values are kept [default: f32, or bf16 with such weights]
    #[arg(long, value_enum)]
    cache: Option<Cache>,
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Cache {
    F32,
    Bf16,
    F16,
    #[value(name = "q8_0")]
    Q8_0,
}

impl Cache {
    fn cache_type(self) -> CacheType {
        match self {
            Cache::F32 => CacheType::F32,
            Cache::Bf16 => CacheType::Bf16,
            Cache::F16 => CacheType::F16,
            Cache::Q8_0 => CacheType::Q8_0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Kept {
    /// As the file has them
    File,
    F32,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_0")]
    Q4_0,
    #[value(name = "q4_1")]
    Q4_1,
}

impl Kept {
    fn storage(self) -> Storage {
        match self {
            Kept::File | Kept::F32 | Kept::Bf16 => Storage::Packed,
            Kept::Q8_0 => Storage::Quantized(Form::Q8_0),
            Kept::Q4_0 => Storage::Quantized(Form::Q4_0),
            Kept::Q4_1 => Storage::Quantized(Form::Q4_1),
        }
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    ensure!(args.runs > 0 && args.prompt > 0 && args.tokens > 0 && args.batch > 0, "nothing to measure");
    // Of several sequences a text goes on after its prompt.
    let before = if args.batch > 1 { args.prompt } else { 0 };
    let longest = args.prompt.max(before + args.tokens);
    let file = Model::open(&args.file)?.with_context(longest);
    let room = file.config().context;
    ensure!(room >= longest, "the model has room for {room} tokens");
    let precision = if args.weights == Kept::Bf16 { Precision::Bf16 } else { Precision::F32 };
    let cx = &mut Context::new(Team::new(args.threads)?, Isa::detect()).with_precision(precision);
    let params = if args.weights == Kept::File { Vec::new() } else { file.load()? };
    let weights = match args.weights {
        Kept::File => file.weights(cx)?,
        other => Weights::pack(cx, file.config(), file.layout(), &params, other.storage()),
    };
    let (model, bytes) = (build::<f32>(file.config().clone())?, weights.bytes());
    let cache = args.cache.map_or_else(|| precision.into(), Cache::cache_type);
    let mut batch = Batch::new(&*model, weights, args.batch, cache)?;
    let sequences = (0..args.batch).map(|_| batch.add()).collect::<Result<Vec<Sequence>, _>>()?;
    let vocab = file.config().vocab;
    // Scattered over the vocabulary; what they say does not matter.
    let text: Vec<u32> =
        (0..args.prompt.max(args.tokens)).map(|i| ((i * 7919 + 13) % vocab) as u32).collect();
    let (mut reading, mut writing) = (Vec::new(), Vec::new());
    // The first run warms up.
    for _ in 0..=args.runs {
        sequences.iter().for_each(|&sequence| batch.truncate(sequence, 0));
        let start = Instant::now();
        let feeds: Vec<_> = sequences.iter().map(|&sequence| (sequence, &text[..args.prompt])).collect();
        batch.feed(cx, &feeds)?;
        reading.push((args.prompt * args.batch) as f64 / start.elapsed().as_secs_f64());
        sequences.iter().for_each(|&sequence| batch.truncate(sequence, before));
        let start = Instant::now();
        for token in text[..args.tokens].chunks(1) {
            let feeds: Vec<_> = sequences.iter().map(|&sequence| (sequence, token)).collect();
            batch.feed(cx, &feeds)?;
        }
        writing.push((args.tokens * args.batch) as f64 / start.elapsed().as_secs_f64());
    }
    let (reading, writing) = (median(&mut reading[1..]), median(&mut writing[1..]));
    let memory = memory_speed(cx, bytes, args.runs);
    // A step reads all weights once.
    let share = writing / args.batch as f64 * bytes as f64 / memory;
    if args.json {
        let line = serde_json::json!({
            "weights": format!("{:?}", args.weights), "cache": format!("{cache:?}"), "threads": args.threads,
            "batch": args.batch, "prompt": args.prompt, "tokens": args.tokens, "weight_bytes": bytes,
            "reading": reading, "writing": writing, "memory": memory, "share_of_memory": share,
        });
        println!("{line}");
        return Ok(());
    }
    println!(
        "{:?}, {} threads, {:.0} MiB of weights: prompt {reading:.0}, writing {} sequences {writing:.1} tokens/s, \
         reads weights at {:.0} % of {:.1} GB/s",
        args.weights,
        args.threads,
        bytes as f64 / f64::from(1 << 20),
        args.batch,
        share * 100.0,
        memory / 1e9,
    );
    Ok(())
}

/// Bytes a second at which the threads read so many bytes over and over, as generation reads weights: the median of `runs`
/// tenths of a second.
fn memory_speed(cx: &Context, bytes: usize, runs: usize) -> f64 {
    const CHUNK: usize = 1 << 13;
    let mut buffer = Buffer::<u64>::zeroed(bytes / size_of::<u64>());
    buffer.fill(1);
    let mut speeds = Vec::new();
    for _ in 0..=runs {
        let (start, mut passes) = (Instant::now(), 0);
        while start.elapsed().as_secs_f64() < 0.1 {
            cx.team().parallel(buffer.len().div_ceil(CHUNK), |index| {
                let chunk = &buffer[index * CHUNK..];
                let chunk = &chunk[..chunk.len().min(CHUNK)];
                black_box(chunk.iter().fold(0, |sum, x| sum ^ x));
            });
            passes += 1;
        }
        speeds.push((passes * bytes) as f64 / start.elapsed().as_secs_f64());
    }
    median(&mut speeds[1..])
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
