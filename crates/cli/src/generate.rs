//! `selvedge generate`: continues a text, token by token, as it comes.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::process::ExitCode;

use anyhow::Context as _;
use selvedge_model::lora::peft;
use selvedge_model::{Generator, Sampler, Sampling, StopStrings, Weights, build};
use selvedge_sync::{CancelToken, Team};
use selvedge_tensor::{Context, Isa};
use selvedge_tokenizer::Tokenizer;
use selvedge_train::settings::Dtype;

use crate::INTERRUPTED;
use crate::args::{DtypeArg, GenerateArgs, WeightForm};
use crate::published::Published;
use crate::run_folder::{open, parameters};

pub(crate) fn run(args: &GenerateArgs, cancel: &CancelToken) -> anyhow::Result<ExitCode> {
    let isa: Isa = args.resources.isa.parse()?;
    // Before a model is read for nothing.
    let how = (args.sampling(), StopStrings::new(args.stop.clone())?);
    how.0.validate()?;
    let mut cx = Context::new(Team::new(args.resources.threads())?, isa);
    if let Some(path) = &args.model {
        let published = Published::open(path, args.context as usize)?;
        let dtype: Dtype = args.dtype.unwrap_or(DtypeArg::F32).into();
        cx = cx.with_precision(dtype.into());
        let model = published.model()?;
        let edges = Edges { before: published.tokenizer.prefix().to_vec(), ends: published.ends.clone() };
        let own = match args.weights {
            WeightForm::Trained => published.weights(&mut cx)?,
            _ => None,
        };
        let params = if own.is_some() { Vec::new() } else { published.parameters()? };
        let mut weights = own.unwrap_or_else(|| {
            Weights::pack(&mut cx, model.config(), model.layout(), &params, args.weights.into())
        });
        if let Some(folder) = &args.adapter {
            let (adapters, added) = peft::load(folder, model.config())?;
            weights = weights.with_adapters(adapters, added);
        }
        let mut generator = Generator::with_weights(&cx, &*model, weights);
        return print_text(args, &mut cx, &mut generator, &published.tokenizer, &edges, how, cancel);
    }
    let (folder, loaded) = open(args.run.as_deref())?;
    let file = folder.read()?;
    let tokenizer = folder.tokenizer(&file)?;
    let model = build::<f32>(file.model)?;
    let params = parameters(&*model, &loaded)?;
    cx = cx.with_precision(file.recipe.dtype.into());
    let mut generator = Generator::with_storage(&mut cx, &*model, &params, args.weights.into());
    print_text(args, &mut cx, &mut generator, &tokenizer, &Edges::trained(&tokenizer), how, cancel)
}

/// The prompt and what follows it, to the standard output.
fn print_text(
    args: &GenerateArgs,
    cx: &mut Context,
    generator: &mut Generator<'_>,
    tokenizer: &Tokenizer,
    edges: &Edges,
    how: (Sampling, StopStrings),
    cancel: &CancelToken,
) -> anyhow::Result<ExitCode> {
    let (sampling, mut stop) = how;
    let mut out = std::io::stdout().lock();
    let mut show = |text: &str| -> anyhow::Result<()> {
        write!(out, "{text}").and_then(|()| out.flush()).context("cannot write the text")
    };
    show(&args.prompt)?;
    let mut safe = String::new();
    continue_text(cx, generator, tokenizer, edges, &args.prompt, args.tokens, &sampling, cancel, |piece| {
        safe.clear();
        let stopped = stop.push(piece, &mut safe).is_some();
        show(&safe)?;
        Ok(if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    safe.clear();
    stop.finish(&mut safe);
    show(&safe)?;
    show("\n")?;
    Ok(if cancel.is_cancelled() { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}

/// What stands around a text.
#[derive(Debug)]
pub(crate) struct Edges {
    /// Tokens before it.
    before: Vec<u32>,
    /// Tokens that end it.
    ends: Vec<u32>,
}

impl Edges {
    /// Of models that were trained here: a text begins after an end-of-text, as every document of the training data does.
    pub(crate) fn trained(tokenizer: &Tokenizer) -> Self {
        Edges { before: vec![tokenizer.end_of_text()], ends: vec![tokenizer.end_of_text()] }
    }
}

/// Feeds `prompt` and hands up to `count` tokens of text to `show`, until end-of-text, cancellation, or `show` has enough.
///
/// When the context is full, generation goes on from its second half.
pub(crate) fn continue_text(
    cx: &mut Context,
    generator: &mut Generator<'_>,
    tokenizer: &Tokenizer,
    edges: &Edges,
    prompt: &str,
    count: usize,
    sampling: &Sampling,
    cancel: &CancelToken,
    mut show: impl FnMut(&str) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<()> {
    let mut ids = edges.before.clone();
    ids.extend(tokenizer.encode(prompt));
    if ids.is_empty() {
        // Something must come before the first token.
        ids.push(tokenizer.end_of_text());
    }
    // Models may have rows that no token has, of which there would be no text.
    let mut sampling = sampling.clone();
    let missing = (0..generator.vocab() as u32).filter(|&id| tokenizer.token_bytes(id).is_none());
    sampling.logit_bias.extend(missing.map(|id| (id, f32::NEG_INFINITY)));
    let mut sampler = Sampler::new(sampling, generator.vocab())?;
    sampler.prompt(&ids)?;
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
        let token = sampler.sample(logits, position as u64)?.token;
        if edges.ends.contains(&token) {
            break;
        }
        ids.push(token);
        pending = vec![token];
        text.clear();
        decoder.push(token, &mut text)?;
        if show(&text)?.is_break() {
            return Ok(());
        }
    }
    text.clear();
    decoder.finish(&mut text);
    show(&text).map(|_| ())
}

#[cfg(test)]
mod tests {
    use selvedge_model::{Config, initialize};
    use selvedge_tokenizer::Trainer;

    use super::*;

    /// As models are whose tables were rounded up to a round number of rows.
    #[test]
    fn rows_without_a_token_are_never_drawn() {
        let trainer = Trainer { vocab_size: 260, ..Trainer::default() };
        let tokenizer = trainer.train(["the cat sat on the mat"], |_| {}).unwrap();
        let model = build::<f32>(Config::gpt2(2000, 64, 1, 2, 8)).unwrap();
        let params = initialize::<f32>(model.layout(), 1);
        let cx = &mut Context::solo();
        let mut generator = Generator::new(cx, &*model, &params);
        let sampling = Sampling { temperature: 1.0, top_k: 0, seed: 3, ..Sampling::default() };
        let edges = Edges { before: vec![1], ends: Vec::new() };
        let mut pieces = 0;
        let never = CancelToken::new();
        continue_text(cx, &mut generator, &tokenizer, &edges, "the", 60, &sampling, &never, |_| {
            pieces += 1;
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        assert_eq!(pieces, 61);
    }
}
