//! The `selvedge` binary: arguments and wiring only; all that computes lives in the crates it calls.

mod args;
mod chat;
mod check;
mod convert;
mod eval;
mod eval_set;
mod fetched;
mod file;
mod finetune;
mod generate;
mod heat_map;
mod inspect;
mod logprobs;
mod memory;
mod metrics;
mod plot;
mod prepare;
mod progress;
mod published;
mod run_folder;
mod sampler;
mod say;
mod signals;
mod trace;
mod train;
mod unfinished;
mod waits;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};

/// Exit code of a command ended by Ctrl-C: 128 plus the number of SIGINT.
pub const INTERRUPTED: u8 = 130;

/// Exit code where a model cannot be fetched: `EX_UNAVAILABLE` of BSD's `sysexits.h`.
const UNAVAILABLE: u8 = 69;

fn main() -> ExitCode {
    // First of all, so that no moment of the program is without it.
    let cancel = match signals::install() {
        Ok(cancel) => cancel,
        Err(error) => return fail(&error),
    };
    let outcome = match Cli::parse().command {
        Command::Train(args) => train::run(*args, &cancel),
        Command::Finetune(args) => finetune::run(&args, &cancel),
        Command::Generate(args) => generate::run(&args, &cancel),
        Command::Chat(args) => chat::run(&args, &cancel),
        Command::Eval(args) => eval::run(&args, &cancel),
        Command::EvalSet(args) => eval_set::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Convert(args) => convert::run(&args, &cancel),
        Command::Model(args) => fetched::run(&args),
        Command::Check(args) => check::run(&args, &cancel),
    };
    match outcome {
        Ok(code) => code,
        Err(error) if say::reader_left(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// One line: what went wrong, where, and its causes.
fn fail(error: &anyhow::Error) -> ExitCode {
    say::remark!("error: {error:#}");
    if error.is::<fetched::Unavailable>() { ExitCode::from(UNAVAILABLE) } else { ExitCode::FAILURE }
}
