//! `selvedge eval --text`: perplexity of a text.

use std::ops::ControlFlow;
use std::path::Path;

use selvedge_model::Scorer;
use selvedge_sync::CancelToken;
use selvedge_tensor::Context;
use selvedge_train::evaluate::{Chunks, Perplexity};
use serde::Serialize;

use crate::eval::pace::Pace;
use crate::eval::subject::Subject;
use crate::eval::{or_not, print_json, stopped};
use crate::file::read_text;
use crate::progress::Stage;
use crate::say::result;

/// Tokens of a chunk unless `--context` says otherwise.
pub(crate) const CHUNK: usize = 512;

#[derive(Serialize)]
struct Line<'a> {
    measure: &'static str,
    model: &'a str,
    text: String,
    context: usize,
    chunks: usize,
    tokens: u64,
    bytes: u64,
    nll: f64,
    nll_standard_error: Option<f64>,
    perplexity: f64,
    perplexity_standard_error: Option<f64>,
    bits_per_byte: f64,
}

/// Measures the text of a file, in chunks of `context` tokens, or of 512 where the model has as many.
pub(crate) fn run(
    cx: &mut Context,
    subject: &Subject,
    scorer: &mut Scorer<'_>,
    path: &Path,
    (context, count): (Option<usize>, Option<usize>),
    is_json: bool,
    cancel: &CancelToken,
) -> anyhow::Result<()> {
    let mut text = read_text(path)?;
    // llama.cpp takes one end of line off a file's end.
    if text.ends_with('\n') {
        text.pop();
    }
    let stage = Stage::spinner("tokenizing");
    let mut tokens = subject.prefix.clone();
    tokens.extend(subject.tokenizer.encode(&text));
    stage.finish(&format!("{} tokens of {} bytes", tokens.len(), text.len()));
    let context = context.unwrap_or(CHUNK.min(subject.context()));
    let chunks = Chunks::new(&tokens, &subject.prefix, context)?;
    let count = count.unwrap_or(usize::MAX).min(chunks.count());
    let mut pace = Pace::new("chunk", count as u64);
    let each = |found: &Perplexity| {
        let done = found.chunks as u64;
        let so_far = format!("perplexity {:.4}", found.value());
        pace.at(done, done * context as u64, "tokens", &so_far, true);
        if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let found = chunks.perplexity(cx, scorer, count, &subject.byte_lengths, each)?;
    drop(pace);
    stopped(found.chunks, count, "chunks");
    if is_json {
        return print_json(&Line {
            measure: "perplexity",
            model: &subject.name,
            text: path.display().to_string(),
            context,
            chunks: found.chunks,
            tokens: found.nll.count(),
            bytes: found.bytes,
            nll: found.nll.mean(),
            nll_standard_error: found.nll.standard_error(),
            perplexity: found.value(),
            perplexity_standard_error: found.standard_error(),
            bits_per_byte: found.bits_per_byte(),
        });
    }
    result!(
        "perplexity {:.4} {} (loss {:.5} {} nats a token), {:.4} bits/byte, over {} tokens of {} bytes in {} chunks of {context}",
        found.value(),
        or_not(found.standard_error(), 4),
        found.nll.mean(),
        or_not(found.nll.standard_error(), 5),
        found.bits_per_byte(),
        found.nll.count(),
        found.bytes,
        found.chunks,
    )
}
