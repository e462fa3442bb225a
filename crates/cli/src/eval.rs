//! `selvedge eval`: how good a model is, by the held-out text of its run, by a text, or by questions.

pub(crate) mod args;
mod pace;
mod perplexity;
mod questions;
mod subject;

use std::process::ExitCode;

use selvedge_sync::{CancelToken, Team};
use selvedge_tensor::{Context, Isa};
use selvedge_train::evaluate::evaluate;
use selvedge_train::settings::Resources;
use selvedge_train::trainer::Trainer;
use serde::Serialize;

use crate::INTERRUPTED;
use crate::eval::args::EvalArgs;
use crate::eval::subject::Subject;
use crate::run_folder::{VALID_TOKENS, byte_lengths, open};
use crate::say::{remark, result};

pub(crate) fn run(args: &EvalArgs, cancel: &CancelToken) -> anyhow::Result<ExitCode> {
    let isa: Isa = args.resources.isa.parse()?;
    if args.has_measure() {
        measure(args, isa, cancel)?
    } else {
        held_out(args, isa)?
    }
    Ok(if cancel.is_cancelled() { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}

/// What the arguments ask for, one after the other.
fn measure(args: &EvalArgs, isa: Isa, cancel: &CancelToken) -> anyhow::Result<()> {
    let given = args.context.map(|context| context as usize);
    let for_text = args.text.as_ref().map(|_| perplexity::CHUNK);
    let for_questions = args.choices.as_ref().or(args.last_word.as_ref()).map(|_| questions::ROOM);
    let context = given.or(for_text.max(for_questions)).unwrap_or(perplexity::CHUNK);
    let cx = Context::new(Team::new(args.resources.threads())?, isa);
    let (subject, weights, mut cx) = Subject::open(args, cx, context)?;
    let scorer = &mut subject.scorer(&cx, weights);
    let (cx, subject, is_json) = (&mut cx, &subject, args.json);
    if let Some(path) = &args.text {
        let count = args.chunks.map(|count| count as usize);
        perplexity::run(cx, subject, scorer, path, (given, count), is_json, cancel)?;
    }
    if let Some(path) = args.choices.as_ref().filter(|_| !cancel.is_cancelled()) {
        questions::choices(cx, subject, scorer, path, is_json, cancel)?;
    }
    if let Some(path) = args.last_word.as_ref().filter(|_| !cancel.is_cancelled()) {
        questions::last_word(cx, subject, scorer, path, is_json, cancel)?;
    }
    Ok(())
}

#[derive(Serialize)]
struct HeldOut {
    measure: &'static str,
    model: String,
    step: u64,
    tokens: u64,
    bytes: u64,
    nll: f64,
    perplexity: f64,
    bits_per_byte: f64,
}

/// The run's own held-out text, in windows as it was trained.
fn held_out(args: &EvalArgs, isa: Isa) -> anyhow::Result<()> {
    let (folder, loaded) = open(args.run.as_deref())?;
    let file = folder.read()?;
    let tokenizer = folder.tokenizer(&file)?;
    let valid = folder.tokens(VALID_TOKENS, &tokenizer)?;
    let threads = args.resources.threads();
    let context = file.recipe.context;
    let workers = threads.min(file.recipe.shards);
    let resources = Resources { workers, isa, microbatch: 1, ..Resources::new(threads, context) };
    let mut trainer = Trainer::resume(file.model, file.recipe, &resources, None, &loaded)?;
    let found = evaluate(&mut trainer, &valid, context, args.windows, &byte_lengths(&tokenizer))?;
    let step = loaded.manifest.state.step;
    if args.json {
        return print_json(&HeldOut {
            measure: "held_out",
            model: folder.path().display().to_string(),
            step,
            tokens: found.loss.tokens,
            bytes: found.bytes,
            nll: found.loss.mean(),
            perplexity: found.loss.mean().exp(),
            bits_per_byte: found.bits_per_byte(),
        });
    }
    result!(
        "{:.4} bits/byte, loss {:.4} nats a token, perplexity {:.2}, over {} tokens of {} bytes (step {step})",
        found.bits_per_byte(),
        found.loss.mean(),
        found.loss.mean().exp(),
        found.loss.tokens,
        found.bytes,
    )
}

/// How far a result may be off, for people.
fn or_not(error: Option<f64>, places: usize) -> String {
    error.map_or_else(|| "(no error estimate)".to_owned(), |error| format!("± {error:.places$}"))
}

/// A result for machines.
fn print_json(line: &impl Serialize) -> anyhow::Result<()> {
    result!("{}", serde_json::to_string(line)?)
}

/// Says that a measurement was interrupted.
fn stopped(done: usize, of: usize, what: &str) {
    if done < of {
        remark!("interrupted after {done} of {of} {what}: the result is of those");
    }
}
