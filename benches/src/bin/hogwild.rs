//! What updates without order buy and cost: sparse logistic regression by stochastic gradient descent, on one thread, in
//! synchronous batches whose sum is fixed, and as Hogwild (Niu et al. 2011) with additions that are never lost and with
//! such that may be; each run several times over.
//!
//! Time is the fastest run's. The losses and the spread of the weights show whether runs agree: on one thread and in
//! batches all runs end with the same bits, Hogwild's on several threads do not.
#![expect(clippy::print_stdout, reason = "a command-line program")]

use std::collections::BTreeSet;
use std::time::Instant;

use clap::Parser;
use selvedge_model::CounterRng;
use selvedge_sync::{AtomicF32, Team, items, tree_reduce};

/// Runs sparse logistic regression in four ways.
#[derive(Debug, Parser)]
struct Args {
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Rows of data
    #[arg(long, default_value_t = 200_000)]
    rows: usize,
    /// Weights
    #[arg(long, default_value_t = 1 << 16)]
    features: usize,
    #[arg(long, default_value_t = 3)]
    epochs: usize,
}

/// Features of a row; each is 1 / √NONZERO.
const NONZERO: usize = 24;
const X: f32 = 0.204_124_15;
const RATE: f32 = 0.5;
/// Rows of a synchronous batch, in shards: fixed, so that the sum does not depend on the threads.
const BATCH: usize = 1024;
const SHARDS: usize = 8;

struct Data {
    /// `NONZERO` features a row.
    rows: Vec<[u32; NONZERO]>,
    /// 1 or -1.
    labels: Vec<f32>,
    features: usize,
}

impl Data {
    /// Rows of features of very different frequency, labelled by hidden weights, one label in ten by chance.
    fn new(args: &Args) -> Self {
        let rng = CounterRng::new(1, 0);
        let uniform = |at: usize| (rng.at(at as u64) >> 40) as f32 / (1 << 24) as f32;
        let hidden: Vec<f32> = (0..args.features).map(|at| 8.0 * uniform(at) - 4.0).collect();
        let mut at = args.features;
        let mut draw = || {
            at += 1;
            uniform(at)
        };
        let (mut rows, mut labels) = (Vec::new(), Vec::new());
        for _ in 0..args.rows {
            let row = [(); NONZERO].map(|()| (args.features as f32 * draw().powi(2)) as u32);
            let score: f32 = row.iter().map(|&at| X * hidden[at as usize]).sum();
            let (chance, coin) = (draw(), draw());
            labels.push(if chance < 0.1 { coin - 0.5 } else { score }.signum());
            rows.push(row);
        }
        Self { rows, labels, features: args.features }
    }

    /// How far each weight of row `row` is to move, of weights that `weight` reads.
    fn step(&self, row: usize, weight: impl Fn(usize) -> f32) -> f32 {
        let score: f32 = self.rows[row].iter().map(|&at| X * weight(at as usize)).sum();
        let label = self.labels[row];
        RATE * X * label / (1.0 + (label * score).exp())
    }

    fn loss(&self, weights: &[f32]) -> f64 {
        let loss = |row: usize| {
            let score: f32 = self.rows[row].iter().map(|&at| X * weights[at as usize]).sum();
            f64::from((-self.labels[row] * score).exp().ln_1p())
        };
        (0..self.rows.len()).map(loss).sum::<f64>() / self.rows.len() as f64
    }

    /// One row after another.
    fn sequential(&self, weights: &mut [f32]) {
        for row in 0..self.rows.len() {
            let step = self.step(row, |at| weights[at]);
            self.rows[row].iter().for_each(|&at| weights[at as usize] += step);
        }
    }

    /// Batches: shards take their steps from the same weights, and are summed in a fixed tree.
    fn synchronous(&self, weights: &mut [f32], team: &Team, shards: &mut [Vec<f32>]) {
        for begin in (0..self.rows.len()).step_by(BATCH) {
            let end = (begin + BATCH).min(self.rows.len());
            let each = (end - begin).div_ceil(shards.len());
            team.parallel_parts(items(shards), |index, shard| {
                shard.fill(0.0);
                for row in begin + index * each..(begin + (index + 1) * each).min(end) {
                    let step = self.step(row, |at| weights[at]);
                    self.rows[row].iter().for_each(|&at| shard[at as usize] += step);
                }
            });
            let mut views: Vec<&mut [f32]> = shards.iter_mut().map(Vec::as_mut_slice).collect();
            tree_reduce(team, &mut views);
            weights.iter_mut().zip(&shards[0]).for_each(|(weight, sum)| *weight += sum);
        }
    }

    /// Rows in any order, by all threads at once, each reading the weights and moving them by `add` as it goes.
    fn hogwild(&self, weights: &mut [f32], team: &Team, add: impl Fn(&AtomicF32, f32) + Sync) {
        const ROWS: usize = 256;
        let weights = AtomicF32::from_mut_slice(weights);
        team.parallel(self.rows.len().div_ceil(ROWS), |task| {
            for row in task * ROWS..((task + 1) * ROWS).min(self.rows.len()) {
                let step = self.step(row, |at| weights[at].load());
                self.rows[row].iter().for_each(|&at| add(&weights[at as usize], step));
            }
        });
    }
}

/// Runs `epoch` several times from the beginning, and prints a line.
fn measure(name: &str, args: &Args, data: &Data, mut epoch: impl FnMut(&mut [f32])) {
    let (mut fastest, mut losses, mut results) = (f64::INFINITY, Vec::new(), Vec::new());
    for _ in 0..args.runs {
        let mut weights = vec![0.0; data.features];
        let begin = Instant::now();
        (0..args.epochs).for_each(|_| epoch(&mut weights));
        fastest = fastest.min(begin.elapsed().as_secs_f64());
        losses.push(data.loss(&weights));
        results.push(weights);
    }
    let bits = |weights: &Vec<f32>| weights.iter().map(|weight| weight.to_bits()).collect::<Vec<_>>();
    let distinct = results.iter().map(bits).collect::<BTreeSet<_>>().len();
    let spread = (0..data.features)
        .map(|at| {
            let values = || results.iter().map(|weights| weights[at]);
            values().fold(f32::MIN, f32::max) - values().fold(f32::MAX, f32::min)
        })
        .fold(0.0, f32::max);
    let (best, worst) = losses.iter().fold((f64::MAX, f64::MIN), |(a, b), &l| (a.min(l), b.max(l)));
    println!("{name:<24} {fastest:>7.3} s  {best:.6} to {worst:.6}  {distinct:>8}  {spread:>8.5}");
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let data = Data::new(&args);
    let (one, team) = (Team::new(1)?, Team::new(args.threads)?);
    let untrained = data.loss(&vec![0.0; data.features]);
    println!(
        "{} rows, {} weights, {} epochs, {} runs each",
        args.rows, args.features, args.epochs, args.runs
    );
    println!("loss untrained {untrained:.6}\n");
    println!("{:<24} {:>9}  {:<20}  {:>8}  {:>8}", "", "time", "loss", "results", "spread");
    measure("one thread", &args, &data, |weights| data.sequential(weights));
    let mut shards = vec![vec![0.0; data.features]; SHARDS];
    let name = |what: &str| format!("{what}, {} threads", args.threads);
    measure(&name("batches"), &args, &data, |weights| data.synchronous(weights, &team, &mut shards));
    let add = |weight: &AtomicF32, step: f32| {
        weight.fetch_add(step);
    };
    // Two threads that meet lose a step: plain instructions, as in the paper.
    let lose = |weight: &AtomicF32, step: f32| weight.store(weight.load() + step);
    measure("Hogwild, 1 thread", &args, &data, |weights| data.hogwild(weights, &one, add));
    measure(&name("Hogwild"), &args, &data, |weights| data.hogwild(weights, &team, add));
    measure(&name("lossy Hogwild"), &args, &data, |weights| data.hogwild(weights, &team, lose));
    Ok(())
}
