//! Matrix products of Selvedge beside those of the crates `gemm`, `faer` and `matrixmultiply` (through ndarray), taken in
//! turn in one process, with the peak of the machine's multiply-adds between them: one line of JSON a shape.
//!
//! A loop of its own instead of criterion's, which measures one candidate to its end before it begins the next: on a
//! shared machine the speed of the moment drifts by more than what is to be told apart, so candidates have to alternate.
#![expect(clippy::print_stdout, reason = "a command-line program")]

mod candidate;
mod matrices;
mod peak;

use std::env;
use std::process::{Command, ExitCode};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::{Parser, ValueEnum};
use selvedge_tensor::quantized::Form;
use serde::Serialize;

use crate::candidate::{Candidates, Layout, Who};
use crate::matrices::Matrices;
use crate::peak::Peak;

/// Measures matrix products.
#[derive(Debug, Parser)]
struct Args {
    /// M x K x N, such as 384x384x128
    #[arg(long = "shape", required = true)]
    shapes: Vec<Shape>,
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Dtype,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Turns of each candidate
    #[arg(long, default_value_t = 5)]
    turns: usize,
    /// Least milliseconds of a turn, in which a product is repeated
    #[arg(long, default_value_t = 20)]
    turn_ms: u64,
}

/// What operands are rounded to. Of the candidates only Selvedge has others than f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Dtype {
    F32,
    Bf16,
    /// Weights of 8 bits, as the right operand
    #[value(name = "q8_0")]
    Q8_0,
    /// Weights of 4 bits with a scale
    #[value(name = "q4_0")]
    Q4_0,
    /// Weights of 4 bits with a scale and a least
    #[value(name = "q4_1")]
    Q4_1,
    /// Weights of 5 bits with a scale
    #[value(name = "q5_0")]
    Q5_0,
    /// Weights of 5 bits with a scale and a least
    #[value(name = "q5_1")]
    Q5_1,
    /// Weights of 4 bits, of whose scales and leasts eight have one
    #[value(name = "q4_k")]
    Q4K,
    /// Weights of 5 bits, of whose scales and leasts eight have one
    #[value(name = "q5_k")]
    Q5K,
    /// Weights of 6 bits, of whose scales sixteen have one
    #[value(name = "q6_k")]
    Q6K,
}

impl Dtype {
    /// How weights are coded, if they are.
    fn form(self) -> Option<Form> {
        match self {
            Self::F32 | Self::Bf16 => None,
            Self::Q8_0 => Some(Form::Q8_0),
            Self::Q4_0 => Some(Form::Q4_0),
            Self::Q4_1 => Some(Form::Q4_1),
            Self::Q5_0 => Some(Form::Q5_0),
            Self::Q5_1 => Some(Form::Q5_1),
            Self::Q4K => Some(Form::Q4_K),
            Self::Q5K => Some(Form::Q5_K),
            Self::Q6K => Some(Form::Q6_K),
        }
    }
}

/// C (M, N) = A (M, K) · B (K, N).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Shape {
    m: usize,
    k: usize,
    n: usize,
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sides: Vec<usize> = text.split('x').map_while(|side| side.parse().ok()).collect();
        match sides[..] {
            [m, k, n] if text.matches('x').count() == 2 && m * k * n > 0 => Ok(Self { m, k, n }),
            _ => Err(format!("a shape is three numbers above 0, as in 384x384x128, not {text:?}")),
        }
    }
}

/// One shape's line of output.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    shape: Shape,
    dtype: Dtype,
    threads: usize,
    /// G operations a second of the machine's multiply-adds in registers, a value a turn; none where it is not known how
    /// to reach it.
    peak: Vec<f64>,
    figures: Vec<Figure>,
}

#[derive(Debug, Serialize)]
struct Figure {
    who: Who,
    layout: Layout,
    /// G operations a second, a value a turn. Values of one turn were taken next to each other.
    gops: Vec<f64>,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    ensure!(args.threads > 0 && args.turns > 0, "--threads and --turns are at least 1");
    // Read by matrixmultiply and rayon when they first start threads.
    let threads = args.threads.to_string();
    let variables = ["MATMUL_NUM_THREADS", "RAYON_NUM_THREADS"];
    if variables.iter().any(|name| env::var(name).as_ref() != Ok(&threads)) {
        let own = env::current_exe().context("where is this program?")?;
        let envs = variables.map(|name| (name, &threads));
        let status = Command::new(own).args(env::args_os().skip(1)).envs(envs).status();
        let status = status.context("cannot start this program again with its number of threads")?;
        return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    for &shape in &args.shapes {
        println!("{}", serde_json::to_string(&measure(shape, &args)?)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(shape: Shape, args: &Args) -> anyhow::Result<Row> {
    let mut matrices = Matrices::new(shape);
    let mut candidates = Candidates::new(args.threads, args.dtype)?;
    let peak = Peak::of(args.dtype);
    let turn = Duration::from_millis(args.turn_ms);
    let whole = 2.0 * (shape.m * shape.k * shape.n) as f64;
    let mut figures = Vec::new();
    let mut repeats = Vec::new();
    for &layout in candidates.layouts() {
        for &who in candidates.who() {
            let seconds = candidates.prove(who, layout, &mut matrices)?;
            repeats.push((turn.as_secs_f64() / seconds).ceil().clamp(1.0, 1e6) as u32);
            figures.push(Figure { who, layout, gops: Vec::new() });
        }
    }
    // Wide vectors take a processor some time to come up to speed.
    if let Some(peak) = &peak {
        peak.measure(candidates.team(), turn);
    }
    let mut peaks = Vec::new();
    for _ in 0..args.turns {
        if let Some(peak) = &peak {
            peaks.push(rounded(peak.measure(candidates.team(), turn)));
        }
        for (figure, &repeats) in figures.iter_mut().zip(&repeats) {
            let mut product = || candidates.run(figure.who, figure.layout, &mut matrices);
            // Once for the caches and for sleeping threads, where that costs little.
            if repeats > 1 {
                product();
            }
            let began = Instant::now();
            (0..repeats).for_each(|_| product());
            let seconds = began.elapsed().as_secs_f64() / f64::from(repeats);
            figure.gops.push(rounded(whole / seconds / 1e9));
        }
    }
    Ok(Row { shape, dtype: args.dtype, threads: args.threads, peak: peaks, figures })
}

fn rounded(gops: f64) -> f64 {
    (gops * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_three_numbers() {
        assert_eq!("1x768x3072".parse(), Ok(Shape { m: 1, k: 768, n: 3072 }));
        for wrong in ["1x2", "1x2x3x4", "1xax3", "0x2x3", "1x2xx3", ""] {
            assert!(wrong.parse::<Shape>().unwrap_err().contains("384x384x128"), "{wrong}");
        }
    }

    #[test]
    fn every_candidate_computes_the_same_product() {
        for threads in [1, 2] {
            for &dtype in Dtype::value_variants() {
                let mut matrices = Matrices::new(Shape { m: 33, k: 70, n: 41 });
                let mut candidates = Candidates::new(threads, dtype).unwrap();
                for &layout in candidates.layouts() {
                    for &who in candidates.who() {
                        candidates.prove(who, layout, &mut matrices).unwrap();
                    }
                }
            }
        }
    }
}
