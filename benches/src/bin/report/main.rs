//! Runs the programs that measure, those of this workspace and those of its peers in turn, and writes what they found as
//! Markdown and SVG. `cargo xtask bench` builds them and starts this.
#![expect(clippy::print_stderr, reason = "a command-line program")]

mod chart;
mod growth;
mod kernels;
mod machine;
mod page;
mod run;
mod sync;
mod training;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use clap::{Parser, ValueEnum};

use crate::run::Progress;

/// Measures and writes reports.
#[derive(Debug, Parser)]
struct Args {
    /// What to measure; all if none is named
    #[arg(long = "part", value_enum)]
    parts: Vec<Part>,
    /// Times that the programs take turns
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Sizes at which all is over in a minute; what it writes says nothing about speed
    #[arg(long)]
    smoke: bool,
    /// The products of 4096 x 4096 x 4096 too
    #[arg(long)]
    large: bool,
    /// Where the reports go
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    programs: Programs,
}

/// A report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Kernels,
    Training,
    Growth,
    Sync,
}

/// Where the programs lie.
#[derive(Debug, clap::Args)]
struct Programs {
    /// The folder of the workspace
    #[arg(long)]
    root: PathBuf,
    /// Training steps of Selvedge
    #[arg(long)]
    training: PathBuf,
    /// Products of Selvedge and other crates
    #[arg(long)]
    products: Option<PathBuf>,
    /// Criterion's benchmark of the primitives
    #[arg(long)]
    sync: Option<PathBuf>,
    /// A Python that has PyTorch
    #[arg(long)]
    python: Option<PathBuf>,
    /// Training steps of candle
    #[arg(long)]
    candle: Option<PathBuf>,
    /// Training steps of burn
    #[arg(long)]
    burn: Option<PathBuf>,
}

impl Programs {
    /// A script of benches/pytorch, if there is a Python for it.
    fn script(&self, name: &str) -> Option<Command> {
        let mut command = Command::new(self.python.as_ref()?);
        command.arg(self.root.join("benches/pytorch").join(name));
        Some(command)
    }

    /// The lock file of the workspace in a folder.
    fn lock(&self, folder: &str) -> PathBuf {
        self.root.join(folder).join("Cargo.lock")
    }
}

/// What the parts are asked for.
#[derive(Clone, Copy, Debug)]
struct Wish<'a> {
    programs: &'a Programs,
    rounds: usize,
    smoke: bool,
    large: bool,
    /// Day, machine, compiler.
    head: &'a str,
    out: &'a Path,
}

impl Wish<'_> {
    /// The rounds in words.
    fn rounds_text(&self) -> String {
        let Self { rounds, smoke, .. } = self;
        let smoke = if *smoke { " **A smoke run: its figures say nothing about speed.**" } else { "" };
        format!("{rounds} {} of all programs in turn.{smoke}", if *rounds == 1 { "round" } else { "rounds" })
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    ensure!(args.rounds > 0, "--rounds is at least 1");
    let wanted = |part: Part| args.parts.is_empty() || args.parts.contains(&part);
    let head = machine::line();
    let wish = Wish {
        programs: &args.programs,
        rounds: args.rounds,
        smoke: args.smoke,
        large: args.large,
        head: &head,
        out: &args.out,
    };
    let needed = |path: &Option<PathBuf>, name: &str| {
        path.clone().with_context(|| format!("`--{name}` must say where its program lies"))
    };
    let mut kernels = match wanted(Part::Kernels) {
        true => kernels::jobs(&wish, &needed(&args.programs.products, "products")?),
        false => Vec::new(),
    };
    let mut training = if wanted(Part::Training) { training::jobs(&wish) } else { Vec::new() };
    let mut growth = if wanted(Part::Growth) { growth::jobs(&wish) } else { Vec::new() };
    let figures = tempfile::tempdir().context("cannot make a folder for criterion's figures")?;
    let mut sync = match wanted(Part::Sync) {
        true => vec![sync::job(&wish, &needed(&args.programs.sync, "sync")?, figures.path())],
        false => Vec::new(),
    };
    let guesses: Vec<f64> = kernels
        .iter()
        .map(|job| job.seconds)
        .chain(training.iter().map(|job| job.seconds))
        .chain(growth.iter().map(|job| job.seconds))
        .chain(sync.iter().map(|job| job.seconds))
        .collect();
    let mut progress = Progress::new(&guesses);
    // A part that is measured is written before the next one begins.
    if !kernels.is_empty() {
        kernels::report(&wish, &mut progress, &mut kernels)?;
    }
    if !training.is_empty() {
        training::report(&wish, &mut progress, &mut training)?;
    }
    if !growth.is_empty() {
        growth::report(&wish, &mut progress, &mut growth)?;
    }
    for job in &mut sync {
        sync::report(&wish, &mut progress, job, figures.path())?;
    }
    Ok(())
}
