//! How fast a published model reads a prompt and writes tokens: one sequence, through the cache, as `llama-bench` measures
//! (`pp512`, `tg128`), so that both can be run on one file in turn.
#![expect(clippy::print_stdout, reason = "a command-line program")]

use std::path::PathBuf;
use std::time::Instant;

use anyhow::ensure;
use clap::{Parser, ValueEnum};
use selvedge_model::gguf::Model;
use selvedge_model::{Generator, Storage, Weights, build};
use selvedge_sync::Team;
use selvedge_tensor::quantized::Form;
use selvedge_tensor::{Context, Isa, Precision};

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
    #[arg(long, default_value_t = 5)]
    runs: usize,
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
    ensure!(args.runs > 0 && args.prompt > 0 && args.tokens > 0, "nothing to measure");
    let file = Model::open(&args.file)?.with_context(args.prompt.max(args.tokens));
    let room = file.config().context;
    ensure!(room >= args.prompt.max(args.tokens), "the model has room for {room} tokens");
    let precision = if args.weights == Kept::Bf16 { Precision::Bf16 } else { Precision::F32 };
    let cx = &mut Context::new(Team::new(args.threads)?, Isa::detect()).with_precision(precision);
    let params = if args.weights == Kept::File { Vec::new() } else { file.load()? };
    let weights = match args.weights {
        Kept::File => file.weights(cx)?,
        other => Weights::pack(cx, file.config(), file.layout(), &params, other.storage()),
    };
    let (model, bytes) = (build::<f32>(file.config().clone())?, weights.bytes());
    let mut generator = Generator::with_weights(cx, &*model, weights);
    let vocab = file.config().vocab;
    // Scattered over the vocabulary; what they say does not matter.
    let text: Vec<u32> =
        (0..args.prompt.max(args.tokens)).map(|i| ((i * 7919 + 13) % vocab) as u32).collect();
    let (mut reading, mut writing) = (Vec::new(), Vec::new());
    // The first run warms up.
    for _ in 0..=args.runs {
        generator.clear();
        let start = Instant::now();
        generator.feed(cx, &text[..args.prompt])?;
        reading.push(args.prompt as f64 / start.elapsed().as_secs_f64());
        generator.clear();
        let start = Instant::now();
        for token in &text[..args.tokens] {
            generator.feed(cx, std::slice::from_ref(token))?;
        }
        writing.push(args.tokens as f64 / start.elapsed().as_secs_f64());
    }
    println!(
        "{:?}, {} threads, {:.0} MiB of weights: prompt {:.0}, writing {:.1} tokens/s",
        args.weights,
        args.threads,
        bytes as f64 / f64::from(1 << 20),
        median(&mut reading[1..]),
        median(&mut writing[1..]),
    );
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
