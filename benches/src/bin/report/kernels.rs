//! Matrix products: Selvedge and other crates in one process, PyTorch in another, in turn.

use std::path::Path;
use std::process::Command;

use selvedge_benches::median;
use serde::Deserialize;

use crate::Wish;
use crate::chart::{Chart, Kind, Series};
use crate::machine::locked;
use crate::page::{Page, decimal, percent};
use crate::run::{Job, Progress};

/// M, K, N of what training and inference multiply: small and large layers, gradients, the vocabulary, one row.
const SHAPES: [[usize; 3]; 12] = [
    [384, 384, 128],
    [768, 64, 384],
    [768, 128, 512],
    [2048, 384, 384],
    [2048, 384, 1536],
    [2048, 1536, 384],
    [256, 768, 3072],
    [256, 3072, 768],
    [1024, 1024, 1024],
    [256, 768, 50257],
    [1, 768, 3072],
    [1, 768, 50257],
];
const LARGE: [usize; 3] = [4096; 3];
/// Of a smoke run: neither is a whole number of tiles.
const SMOKE: [[usize; 3]; 2] = [[50, 33, 70], [1, 33, 70]];
const LAYOUTS: [&str; 3] = ["nn", "nt", "tn"];
/// What operands, or weights, are rounded to.
const DTYPES: [&str; 5] = ["f32", "bf16", "q8_0", "q4_0", "q4_1"];
/// Peers that have f32, in the order of the columns.
const PEERS: [&str; 4] = ["gemm", "faer", "matrixmultiply", "pytorch"];

/// A line of benches/products or of products.py.
#[derive(Clone, Debug, Deserialize)]
struct Row {
    m: usize,
    k: usize,
    n: usize,
    peak: Vec<f64>,
    figures: Vec<Figure>,
    torch: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Figure {
    who: String,
    layout: String,
    gops: Vec<f64>,
}

/// What one start of a program measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    dtype: &'static str,
    threads: usize,
    /// PyTorch rather than Selvedge and the crates.
    pytorch: bool,
}

/// Programs for each round, dtype and number of threads.
pub(crate) fn jobs(wish: &Wish<'_>, products: &Path) -> Vec<Job<Key>> {
    let mut shapes = if wish.smoke { SMOKE.to_vec() } else { SHAPES.to_vec() };
    if wish.large {
        shapes.push(LARGE);
    }
    let mut jobs = Vec::new();
    for dtype in DTYPES {
        for threads in [1, 2] {
            for round in 1..=wish.rounds {
                for pytorch in [false, true] {
                    if pytorch && is_coded(dtype) {
                        continue;
                    }
                    let command = match pytorch {
                        false => Some(Command::new(products)),
                        true => wish.programs.script("products.py"),
                    };
                    let Some(mut command) = command else { continue };
                    let (turns, turn_ms) = if wish.smoke { (2, 1) } else { (5, 20) };
                    let numbers = [("--threads", threads), ("--turns", turns), ("--turn-ms", turn_ms)];
                    command.args(["--dtype", dtype]);
                    for (name, number) in numbers {
                        command.args([name, &number.to_string()]);
                    }
                    for [m, k, n] in &shapes {
                        command.args(["--shape", &format!("{m}x{k}x{n}")]);
                    }
                    let who = if pytorch { "PyTorch" } else { "Selvedge and crates" };
                    let label = format!(
                        "products, {dtype}, threads {threads}, round {round} of {}: {who}",
                        wish.rounds
                    );
                    let candidates = match dtype {
                        _ if is_coded(dtype) => 1,
                        "f32" if !pytorch => 12,
                        _ => 3,
                    };
                    let seconds = guess(&shapes, threads, candidates * (turns + 1), turn_ms);
                    jobs.push(Job { key: Key { dtype, threads, pytorch }, label, seconds, command });
                }
            }
        }
    }
    jobs
}

/// Seconds of so many turns of each shape at 80 GFLOP/s a thread, with the start of a program.
fn guess(shapes: &[[usize; 3]], threads: usize, turns: usize, turn_ms: usize) -> f64 {
    let turn = |[m, k, n]: &[usize; 3]| {
        let once = 2.0 * (m * k * n) as f64 / (80e9 * threads as f64);
        once.max(turn_ms as f64 * 1.2e-3)
    };
    2.0 + turns as f64 * shapes.iter().map(turn).sum::<f64>()
}

/// Runs the programs and writes the page.
pub(crate) fn report(wish: &Wish<'_>, progress: &mut Progress, jobs: &mut [Job<Key>]) -> anyhow::Result<()> {
    let mut missing = Vec::new();
    if wish.programs.python.is_none() {
        missing.push("PyTorch is not there: no Python environment has it.".to_owned());
    }
    let mut measured: Vec<(Key, Vec<Row>)> = Vec::new();
    for job in jobs {
        match progress.lines(job) {
            Ok(rows) => measured.push((job.key, rows)),
            // A peer that fails is a gap in the page; our own programs must not fail.
            Err(error) if job.key.pytorch => missing.push(format!("{error:#}")),
            Err(error) => return Err(error),
        }
    }
    let lock = wish.programs.lock("benches/products");
    let mut versions: Vec<String> =
        ["gemm", "faer", "matrixmultiply", "ndarray"].map(|package| locked(&lock, package)).into();
    let torch = measured.iter().flat_map(|(_, rows)| rows).find_map(|row| row.torch.clone());
    versions.extend(torch.map(|version| format!("PyTorch {version}")));
    let mut page = Page::new("kernels", "Matrix products", wish.head);
    page.paragraph(format!("{} {}.", wish.rounds_text(), versions.join(", ")));
    page.paragraph(
        "G operations a second of wall time, medians of all turns. C (M, N) = A·B: `nn` as the operands lie, `nt` with B \
         transposed, as forwards have it, `tn` with A transposed and added to C, as gradients of weights have it. Ratios are \
         Selvedge's speed to the peer's, medians of the ratios of neighbours in time: of turns in one process for crates, of \
         rounds for PyTorch. The peak is of multiply-adds out of registers, taken in the same turns. In bf16 Selvedge rounds \
         operands of f32 and gives f32, which its figures include; PyTorch's operands and result are bf16. q8_0, q4_0 \
         and q4_1 are weights of 8 and 4 bits, packed before; the other operand is rounded to 8 bits meanwhile.",
    );
    for dtype in DTYPES {
        for threads in [1, 2] {
            let of = |pytorch| {
                let key = Key { dtype, threads, pytorch };
                measured.iter().filter(move |(other, _)| *other == key).map(|(_, rows)| rows.as_slice())
            };
            section(
                &mut page,
                (dtype, threads),
                &of(false).collect::<Vec<_>>(),
                &of(true).collect::<Vec<_>>(),
            );
        }
    }
    page.missing(&missing);
    page.write(wish.out)
}

/// Table and chart of one dtype and number of threads; a slice of rows a round.
fn section(page: &mut Page, (dtype, threads): (&str, usize), crates: &[&[Row]], pytorch: &[&[Row]]) {
    let Some(shapes) = crates.first() else { return };
    let plural = if threads == 1 { "" } else { "s" };
    page.heading(format!("{dtype}, {threads} thread{plural}"));
    let (peers, layouts): (&[&str], &[&str]) = match dtype {
        "f32" => (&PEERS, &LAYOUTS),
        "bf16" => (&["pytorch"], &LAYOUTS),
        _ => (&[], &["nt"]),
    };
    let peaks: Vec<f64> =
        crates.iter().flat_map(|rows| rows.iter()).flat_map(|row| row.peak.iter().copied()).collect();
    page.paragraph(match peaks.is_empty() {
        true => "The machine's peak was not measured: it is known for AVX-512 alone.".to_owned(),
        false => format!("Peak: {} G operations a second.", decimal(median(peaks), 1)),
    });
    let mut header = vec!["M × K × N", "", "Gop/s", "of peak"];
    header.extend(peers.iter().map(|peer| name(peer)));
    let (mut table, mut places) = (Vec::new(), Vec::new());
    let mut bars: Vec<Vec<f64>> = vec![Vec::new(); peers.len()];
    for shape in shapes.iter().map(|row| [row.m, row.k, row.n]) {
        let [m, k, n] = shape;
        for &layout in layouts {
            let ours = turns(crates, shape, |row| figure(row, "selvedge", layout));
            let peak = turns(crates, shape, |row| &row.peak);
            let mut cells =
                vec![format!("{m} × {k} × {n}"), layout.into(), decimal(median(ours.concat()), 1)];
            cells.push(percent(ratio(&ours, &peak)));
            for (peer, bars) in peers.iter().zip(&mut bars) {
                let ratio = match *peer {
                    "pytorch" => {
                        let theirs = turns(pytorch, shape, |row| figure(row, peer, layout));
                        let each = |turns: &[&[f64]]| -> Vec<Vec<f64>> {
                            turns.iter().map(|round| vec![median(round.to_vec())]).collect()
                        };
                        let (ours, theirs) = (each(&ours), each(&theirs));
                        ratio(&slices(&ours), &slices(&theirs))
                    }
                    _ => ratio(&ours, &turns(crates, shape, |row| figure(row, peer, layout))),
                };
                let there = *peer != "pytorch" || !pytorch.is_empty();
                cells.push(if there { decimal(ratio, 2) } else { "not there".into() });
                bars.push(ratio);
            }
            places.push(format!("{m}×{k}×{n} {layout}"));
            table.push(cells);
        }
    }
    page.table(&header, &table);
    if peers.is_empty() {
        return;
    }
    let series = peers.iter().zip(bars);
    let series = series.map(|(peer, values)| Series { name: format!("to {}", name(peer)), values }).collect();
    page.chart(
        &format!("{dtype}-{threads}"),
        &Chart {
            title: format!("Selvedge's speed to its peers', {dtype}, {threads} thread{plural}"),
            up: "times as fast".into(),
            kind: Kind::Ratios,
            places,
            series,
        },
    );
}

/// Whether it is weights that are rounded, to codes.
fn is_coded(dtype: &str) -> bool {
    dtype.starts_with('q')
}

/// A peer's name for people.
fn name(peer: &str) -> &str {
    match peer {
        "pytorch" => "PyTorch",
        peer => peer,
    }
}

/// The values of one shape, a slice a round.
fn turns<'a>(
    rounds: &[&'a [Row]],
    shape: [usize; 3],
    values: impl Fn(&'a Row) -> &'a [f64],
) -> Vec<&'a [f64]> {
    let row = |rows: &'a [Row]| rows.iter().find(|row| [row.m, row.k, row.n] == shape);
    rounds.iter().map(|rows| row(rows).map_or(&[][..], &values)).collect()
}

fn figure<'a>(row: &'a Row, who: &str, layout: &str) -> &'a [f64] {
    let figure = row.figures.iter().find(|figure| figure.who == who && figure.layout == layout);
    figure.map_or(&[], |figure| &figure.gops)
}

fn slices(values: &[Vec<f64>]) -> Vec<&[f64]> {
    values.iter().map(Vec::as_slice).collect()
}

/// The median of the ratios of values that stand at the same place.
fn ratio(ours: &[&[f64]], theirs: &[&[f64]]) -> f64 {
    let rounds = ours.iter().zip(theirs);
    median(rounds.flat_map(|(ours, theirs)| ours.iter().zip(*theirs)).map(|(a, b)| a / b).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_neighbours() {
        // The machine is half as fast in the second turn and the second round; the ratio is 2 all along.
        let row = |gops: [f64; 2], peer: [f64; 2]| {
            let line = format!(
                r#"{{"m": 1, "k": 2, "n": 3, "dtype": "f32", "threads": 1, "peak": [], "figures": [
                {{"who": "selvedge", "layout": "nn", "gops": {gops:?}}},
                {{"who": "gemm", "layout": "nn", "gops": {peer:?}}}]}}"#
            );
            serde_json::from_str::<Row>(&line).unwrap()
        };
        let rounds = [vec![row([100.0, 50.0], [50.0, 25.0])], vec![row([60.0, 30.0], [30.0, 15.0])]];
        let rounds: Vec<&[Row]> = rounds.iter().map(Vec::as_slice).collect();
        let of = |who: &'static str| turns(&rounds, [1, 2, 3], move |row| figure(row, who, "nn"));
        assert_eq!(ratio(&of("selvedge"), &of("gemm")), 2.0);
        assert!(ratio(&of("selvedge"), &of("faer")).is_nan());
        assert!(turns(&rounds, [9, 9, 9], |row| &row.peak).iter().all(|values| values.is_empty()));
    }
}
