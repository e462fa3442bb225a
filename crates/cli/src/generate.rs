//! `selvedge generate`: continues a text, token by token, as it comes.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::process::ExitCode;

use anyhow::Context as _;
use selvedge_constraint::{Ahead, Constraint, Grammar, Vocabulary};
use selvedge_model::lora::peft;
use selvedge_model::{Batch, Choice, Generator, Sampler, Sampling, Sequence, StopStrings, build};
use selvedge_sync::{CancelToken, Team};
use selvedge_tensor::attention::CacheType;
use selvedge_tensor::{Context, Isa};
use selvedge_tokenizer::{Decoder, Tokenizer};
use selvedge_train::settings::Dtype;

use crate::INTERRUPTED;
use crate::args::{DtypeArg, GenerateArgs};
use crate::logprobs;
use crate::memory::Caches;
use crate::published::Published;
use crate::run_folder::{open, weights};
use crate::say::remark;

pub(crate) fn run(args: &GenerateArgs, cancel: &CancelToken) -> anyhow::Result<ExitCode> {
    let isa: Isa = args.resources.isa.parse()?;
    // Before a model is read for nothing.
    let top_logprobs = args.logprobs.map(|count| count as usize);
    let mut how = How {
        constraint: None,
        sampling: Sampling { top_logprobs, ..args.sampling.settings() },
        stop: StopStrings::new(args.sampling.stop.clone())?,
    };
    let grammar = args.constraint.grammar()?;
    how.sampling.validate()?;
    let mut cx = Context::new(Team::new(args.resources.threads())?, isa);
    let count = args.count as usize;
    if let Some(path) = &args.model {
        let dtype: Dtype = args.dtype.unwrap_or(DtypeArg::F32).into();
        cx = cx.with_precision(dtype.into());
        let published = Published::open(path, args.context as usize)?;
        let edges = Edges { before: published.tokenizer.prefix().to_vec(), ends: published.ends.clone() };
        let (tokenizer, rows) = (&published.tokenizer, published.config.vocab);
        how.constraint = grammar.map(|grammar| constrain(grammar, tokenizer, rows, &edges)).transpose()?;
        let cache = args.cache.map_or_else(|| cx.precision().into(), CacheType::from);
        let caches = Caches {
            cache_type: cache,
            sequences: count,
            remedy: "a shorter --context, a smaller --count, --cache q8_0, --weights of fewer bits",
        };
        return published.with_weights(&mut cx, args.weights, caches, |cx, model, mut weights| {
            if let Some(folder) = &args.adapter {
                let (adapters, added) = peft::load(folder, model.config())?;
                weights = weights.with_adapters(adapters, added);
            }
            let mut batch = Batch::new(model, weights, count, cache)?;
            print_texts(args, cx, &mut batch, tokenizer, &edges, how, cancel)
        });
    }
    let (folder, loaded) = open(args.run.as_deref())?;
    let file = folder.read()?;
    let tokenizer = folder.tokenizer(&file)?;
    let (edges, rows) = (Edges::trained(&tokenizer), file.model.vocab);
    how.constraint = grammar.map(|grammar| constrain(grammar, &tokenizer, rows, &edges)).transpose()?;
    let model = build::<f32>(file.model)?;
    cx = cx.with_precision(file.recipe.dtype.into());
    let cache = args.cache.map_or_else(|| cx.precision().into(), CacheType::from);
    let caches = Caches {
        cache_type: cache,
        sequences: count,
        remedy: "a smaller --count, --cache q8_0, --weights of fewer bits",
    };
    let weights = weights(&mut cx, &*model, &loaded, args.weights.into(), caches)?;
    let mut batch = Batch::new(&*model, weights, count, cache)?;
    print_texts(args, &mut cx, &mut batch, &tokenizer, &edges, how, cancel)
}

/// How a text is written.
struct How {
    sampling: Sampling,
    stop: StopStrings,
    /// What it must be.
    constraint: Option<(Vocabulary, Grammar)>,
}

/// What texts of a grammar are followed with, which some grammars are too costly for.
fn constrain(
    grammar: Grammar,
    tokenizer: &Tokenizer,
    rows: usize,
    edges: &Edges,
) -> Result<(Vocabulary, Grammar), selvedge_constraint::Error> {
    let vocabulary = vocabulary(tokenizer, rows, &edges.ends)?;
    Constraint::new(&vocabulary, &grammar)?;
    Ok((vocabulary, grammar))
}

/// The prompt and what follows it, to the standard output: the first text as it comes, others after it.
fn print_texts(
    args: &GenerateArgs,
    cx: &mut Context,
    batch: &mut Batch<'_>,
    tokenizer: &Tokenizer,
    edges: &Edges,
    how: How,
    cancel: &CancelToken,
) -> anyhow::Result<ExitCode> {
    let How { sampling, stop, constraint } = how;
    // The first is what it is alone.
    let seeds = (0..batch.capacity() as u64).map(|index| sampling.seed.wrapping_add(index));
    let samplings: Vec<_> = seeds.map(|seed| Sampling { seed, ..sampling.clone() }).collect();
    let mut stops = vec![stop; samplings.len()];
    let mut later = vec![String::new(); samplings.len() - 1];
    let mut out = std::io::stdout().lock();
    let mut show = |text: &str| -> anyhow::Result<()> {
        write!(out, "{text}").and_then(|()| out.flush()).context("cannot write the text")
    };
    let header = |index: usize| match &samplings[..] {
        [_] => String::new(),
        _ => format!("--- sample {}, seed {} ---\n", index + 1, samplings[index].seed),
    };
    show(&header(0))?;
    show(&args.prompt)?;
    let mut safe = String::new();
    let first = batch.add()?;
    let of = Asked {
        tokenizer,
        edges,
        prompt: &args.prompt,
        count: args.tokens,
        samplings: &samplings,
        constraint: constraint.as_ref(),
    };
    let mut choices = vec![Vec::new(); samplings.len()];
    let ends = continue_texts(cx, batch, first, &of, cancel, |index, piece, choice| {
        if let Some(choice) = choice
            && args.logprobs.is_some()
        {
            choices[index].push(logprobs::line(choice, tokenizer));
        }
        safe.clear();
        let stopped = stops[index].push(piece, &mut safe).is_some();
        match index.checked_sub(1) {
            None => show(&safe)?,
            Some(index) => later[index].push_str(&safe),
        }
        Ok(if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    for (index, stop) in stops.iter_mut().enumerate() {
        if let Some(index) = index.checked_sub(1) {
            show(&header(index + 1))?;
            show(&args.prompt)?;
            show(&later[index])?;
        }
        safe.clear();
        stop.finish(&mut safe);
        show(&safe)?;
        show("\n")?;
        for line in &choices[index] {
            remark!("{line}");
        }
        if let TextEnd::Incomplete = ends[index] {
            remark!(
                "cut off after {} tokens, before it was what it must be: --tokens N makes more room",
                args.tokens
            );
        }
    }
    let of = |index: usize| match samplings.len() {
        1 => String::new(),
        _ => format!("sample {}: ", index + 1),
    };
    let mut failed = ends.into_iter().enumerate().filter_map(|(index, end)| match end {
        TextEnd::Failed(error) => Some(format!("{}{error:#}", of(index))),
        _ => None,
    });
    if let Some(first) = failed.next() {
        return Err(match failed.count() {
            0 => anyhow::anyhow!("{first}"),
            more => anyhow::anyhow!("{first}; {more} more of the texts failed"),
        });
    }
    Ok(if cancel.is_cancelled() { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}

/// How a text came to its end.
enum TextEnd {
    /// As it should.
    Whole,
    /// It was cut off before it was of its grammar.
    Incomplete,
    /// No token could be chosen or gone on with.
    Failed(anyhow::Error),
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

/// What is to be written.
struct Asked<'a> {
    tokenizer: &'a Tokenizer,
    edges: &'a Edges,
    prompt: &'a str,
    /// Tokens of a text at most.
    count: usize,
    /// One a text.
    samplings: &'a [Sampling],
    /// What every text must be.
    constraint: Option<&'a (Vocabulary, Grammar)>,
}

/// One text that is being written.
struct Text {
    sequence: Sequence,
    sampler: Sampler,
    decoder: Decoder,
    ids: Vec<u32>,
    /// Tokens that have not been fed.
    pending: Vec<u32>,
    /// Nothing more is to come.
    ended: bool,
    end: TextEnd,
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
    let samplings = std::slice::from_ref(sampling);
    let of = Asked { tokenizer, edges, prompt, count, samplings, constraint: None };
    let (batch, sequence) = generator.as_batch();
    let ends = continue_texts(cx, batch, sequence, &of, cancel, |_, piece, _| show(piece))?;
    ends.into_iter().try_for_each(|end| match end {
        TextEnd::Failed(error) => Err(error),
        TextEnd::Whole | TextEnd::Incomplete => Ok(()),
    })
}

/// The same for a text a sampling, side by side: the first in `first`, others in sequences that fork from it after the prompt.
/// `show` is told which text a piece is of, and of which choice it came. A text ends as well where its grammar has no more to
/// come. Returns how each came to its end: where no token can be chosen for one, the others go on.
fn continue_texts(
    cx: &mut Context,
    batch: &mut Batch<'_>,
    first: Sequence,
    asked: &Asked<'_>,
    cancel: &CancelToken,
    mut show: impl FnMut(usize, &str, Option<&Choice>) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<Vec<TextEnd>> {
    let Asked { tokenizer, edges, prompt, count, samplings, constraint } = *asked;
    let mut ids = edges.before.clone();
    ids.extend(tokenizer.encode(prompt));
    if ids.is_empty() {
        // Something must come before the first token.
        ids.push(tokenizer.end_of_text());
    }
    let context = batch.context();
    let mut texts = Vec::new();
    for sampling in samplings {
        let sampling = without_missing(sampling.clone(), tokenizer, batch.vocab());
        let mut sampler = Sampler::new(sampling, batch.vocab())?;
        sampler.prompt(&ids)?;
        let pending = ids[ids.len() - ids.len().min(context)..].to_vec();
        let (decoder, ids) = (tokenizer.decoder(), ids.clone());
        texts.push(Text {
            sequence: first,
            sampler,
            decoder,
            ids,
            pending,
            ended: false,
            end: TextEnd::Whole,
        });
    }
    // From here on masks are computed beside what the model computes.
    let mut masks = match constraint {
        Some((vocabulary, grammar)) => {
            // Each its own, so that one that fails leaves the others alone.
            let each = texts.iter().map(|_| Constraint::new(vocabulary, grammar));
            Some(Ahead::start(each.collect::<Result<_, _>>()?)?)
        }
        None => None,
    };
    let mut piece = String::new();
    for position in 0..count {
        if cancel.is_cancelled() || texts.iter().all(|text| text.ended) {
            break;
        }
        let mut live: Vec<_> = texts.iter_mut().enumerate().filter(|(_, text)| !text.ended).collect();
        for (_, text) in &mut live {
            if batch.position(text.sequence) + text.pending.len() > context {
                batch.truncate(text.sequence, 0);
                text.pending = text.ids[text.ids.len() - (context / 2).max(1)..].to_vec();
            }
        }
        // All begin with the same prompt, which is read once.
        let fed = if position == 0 { 1 } else { live.len() };
        let feeds: Vec<_> = live[..fed].iter().map(|(_, text)| (text.sequence, &text.pending[..])).collect();
        let logits = batch.feed(cx, &feeds)?;
        for (at, (index, text)) in live.iter_mut().enumerate() {
            let logits = logits.row(at % fed);
            let logits = logits.as_slice().context("logits lie side by side")?;
            let choice = match choose(text, *index, masks.as_mut(), logits, position as u64, &edges.ends) {
                Ok(choice) => choice,
                Err(error) => {
                    text.end = TextEnd::Failed(error);
                    None
                }
            };
            let next = choice.as_ref().filter(|choice| !edges.ends.contains(&choice.token));
            let Some(next) = next else {
                text.ended = true;
                piece.clear();
                text.decoder.finish(&mut piece);
                // Whether there is enough does not matter now.
                let _ = show(*index, &piece, choice.as_ref())?;
                continue;
            };
            text.ids.push(next.token);
            text.pending = vec![next.token];
            piece.clear();
            text.decoder.push(next.token, &mut piece)?;
            text.ended = show(*index, &piece, Some(next))?.is_break();
        }
        if position == 0 {
            for text in &mut texts[1..] {
                text.sequence = batch.fork(first)?;
            }
        }
    }
    for (index, text) in texts.iter_mut().enumerate().filter(|(_, text)| !text.ended) {
        piece.clear();
        text.decoder.finish(&mut piece);
        let _ = show(index, &piece, None)?;
        let Some(masks) = masks.as_mut().filter(|_| !cancel.is_cancelled()) else { continue };
        text.end = match masks.may_end(index) {
            Ok(true) => TextEnd::Whole,
            Ok(false) => TextEnd::Incomplete,
            Err(error) => TextEnd::Failed(error.into()),
        };
    }
    Ok(texts.into_iter().map(|text| text.end).collect())
}

/// The next token of a text, with which its masks go on; none where what must be written is written.
fn choose(
    text: &mut Text,
    index: usize,
    masks: Option<&mut Ahead>,
    logits: &[f32],
    position: u64,
    ends: &[u32],
) -> anyhow::Result<Option<Choice>> {
    let Some(masks) = masks else { return Ok(Some(text.sampler.sample(logits, position)?)) };
    let Some(mask) = masks.open(index)? else { return Ok(None) };
    let choice = text.sampler.sample_among(logits, mask.words(), position)?;
    if !ends.contains(&choice.token) {
        masks.accept(index, choice.token)?;
    }
    Ok(Some(choice))
}

/// The tokens of a model of `rows` rows, of which those of `ends` that it has end a text.
pub(crate) fn vocabulary(
    tokenizer: &Tokenizer,
    rows: usize,
    ends: &[u32],
) -> Result<Vocabulary, selvedge_constraint::Error> {
    let ends: Vec<u32> = ends.iter().copied().filter(|&end| (end as usize) < rows).collect();
    Vocabulary::new(tokenizer, rows, &ends)
}

/// The settings without the rows that no token has, which models may have, and of which there would be no text.
pub(crate) fn without_missing(mut sampling: Sampling, tokenizer: &Tokenizer, vocab: usize) -> Sampling {
    let missing = (0..vocab as u32).filter(|&id| tokenizer.token_bytes(id).is_none());
    sampling.logit_bias.extend(missing.map(|id| (id, f32::NEG_INFINITY)));
    sampling
}

#[cfg(test)]
mod tests {
    use selvedge_model::{Config, Storage, Weights, initialize};
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

    /// The context is too short, so that each forgets and goes on from the second half.
    #[test]
    fn texts_written_side_by_side_are_those_of_their_seeds() {
        let trainer = Trainer { vocab_size: 260, ..Trainer::default() };
        let tokenizer = trainer.train(["the cat sat on the mat"], |_| {}).unwrap();
        let model = build::<f32>(Config::gpt2(260, 24, 1, 2, 8)).unwrap();
        let params = initialize::<f32>(model.layout(), 1);
        let cx = &mut Context::solo();
        let of_seed = |seed| Sampling { temperature: 1.0, top_k: 0, seed, ..Sampling::default() };
        let edges = Edges { before: vec![1], ends: vec![2] };
        let (never, prompt, count) = (CancelToken::new(), "the cat", 50);
        let alone: Vec<String> = [4, 5, 6]
            .map(|seed| {
                let mut generator = Generator::new(cx, &*model, &params);
                let mut text = String::new();
                let sampling = of_seed(seed);
                continue_text(
                    cx,
                    &mut generator,
                    &tokenizer,
                    &edges,
                    prompt,
                    count,
                    &sampling,
                    &never,
                    |piece| {
                        text.push_str(piece);
                        Ok(ControlFlow::Continue(()))
                    },
                )
                .unwrap();
                text
            })
            .into();
        assert_ne!(alone[0], alone[1]);
        let weights = Weights::pack(cx, model.config(), model.layout(), &params, Storage::Packed);
        let mut batch = Batch::new(&*model, weights, 3, CacheType::F32).unwrap();
        let first = batch.add().unwrap();
        let samplings = [4, 5, 6].map(of_seed);
        let of = Asked {
            tokenizer: &tokenizer,
            edges: &edges,
            prompt,
            count,
            samplings: &samplings,
            constraint: None,
        };
        let mut texts = vec![String::new(); 3];
        continue_texts(cx, &mut batch, first, &of, &never, |index, piece, _| {
            texts[index].push_str(piece);
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        assert_eq!(texts, alone);
    }
}
