//! `selvedge generate`: continues a text, token by token, as it comes.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use selvedge_model::{Generator, Sampling, build};
use selvedge_sync::{CancelToken, Team};
use selvedge_tensor::{Context, Isa};
use selvedge_tokenizer::Tokenizer;

use crate::INTERRUPTED;
use crate::args::GenerateArgs;
use crate::run_folder::{open, parameters};

pub(crate) fn run(args: &GenerateArgs, cancel: &CancelToken) -> anyhow::Result<ExitCode> {
    let isa: Isa = args.resources.isa.parse()?;
    anyhow::ensure!(
        args.temperature.is_finite() && args.temperature >= 0.0,
        "--temperature {} must be 0 or more",
        args.temperature
    );
    let (folder, loaded) = open(args.run.as_deref())?;
    let file = folder.read()?;
    let tokenizer = folder.tokenizer(&file)?;
    let model = build::<f32>(file.model)?;
    let params = parameters(&*model, &loaded)?;
    let precision = file.recipe.dtype.into();
    let mut cx = Context::new(Team::new(args.resources.threads())?, isa).with_precision(precision);
    let mut generator = Generator::with_storage(&mut cx, &*model, &params, args.weights.into());
    let sampling =
        Sampling { temperature: args.temperature, top_k: args.top_k, seed: args.seed, ..Sampling::default() };
    let mut out = std::io::stdout().lock();
    let mut show = |text: &str| -> anyhow::Result<()> {
        write!(out, "{text}").and_then(|()| out.flush()).context("cannot write the text")
    };
    show(&args.prompt)?;
    continue_text(
        &mut cx,
        &mut generator,
        &tokenizer,
        &args.prompt,
        args.tokens,
        &sampling,
        cancel,
        &mut show,
    )?;
    show("\n")?;
    Ok(if cancel.is_cancelled() { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}

/// Feeds `prompt` and hands up to `count` tokens of text to `show`, until end-of-text or cancellation.
///
/// When the context is full, generation goes on from its second half.
pub(crate) fn continue_text(
    cx: &mut Context,
    generator: &mut Generator<'_>,
    tokenizer: &Tokenizer,
    prompt: &str,
    count: usize,
    sampling: &Sampling,
    cancel: &CancelToken,
    mut show: impl FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // A text begins after an end-of-text, as every document of the training data does.
    let mut ids = vec![tokenizer.end_of_text()];
    ids.extend(tokenizer.encode(prompt));
    let context = generator.context();
    let mut pending: Vec<u32> = ids[ids.len() - ids.len().min(context)..].to_vec();
    let mut decoder = tokenizer.decoder();
    let mut text = String::new();
    for position in 0..count {
        if cancel.is_cancelled() {
            break;
        }
        if generator.position() + pending.len() > context {
            generator.clear();
            pending = ids[ids.len() - (context / 2).max(1)..].to_vec();
        }
        let logits = generator.feed(cx, &pending)?;
        let token = sampling.pick(logits, position as u64);
        if token == tokenizer.end_of_text() {
            break;
        }
        ids.push(token);
        pending = vec![token];
        text.clear();
        decoder.push(token, &mut text)?;
        show(&text)?;
    }
    text.clear();
    decoder.finish(&mut text);
    show(&text)
}
