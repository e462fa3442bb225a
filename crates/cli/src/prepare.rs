//! From text to token files: gather, learn a tokenizer, tokenize on all cores.

use std::path::Path;

use anyhow::{Context, bail};
use rayon::prelude::*;
use selvedge_sync::CancelToken;
use selvedge_tokenizer::{Cache, Progress, Tokenizer, Trainer};
use selvedge_train::corpus::{Corpus, Document, Group, Options, gather};
use selvedge_train::pool;
use selvedge_train::tokens::TokenWriter;

use crate::args::TrainArgs;
use crate::progress::Stage;
use crate::run_folder::{RunFolder, TOKENIZER, TRAIN_TOKENS, VALID_TOKENS, tokenizer_digest};

/// Documents tokenized before their tokens are written: bounds the memory, whatever the corpus.
const DOCUMENTS: usize = 512;

/// A tokenizer, its token files on the disk, and a line about the corpus; `None` when cancelled.
pub(crate) fn prepare(
    args: &TrainArgs,
    folder: &RunFolder,
    vocab: usize,
    seed: u64,
    cancel: &CancelToken,
) -> anyhow::Result<Option<(Tokenizer, String)>> {
    let threads = args.resources.threads();
    let (groups, options) = sources(args, seed, threads)?;
    let stage = Stage::spinner("gathering text");
    let corpus = gather(&groups, &options)?;
    let summary = summary(&corpus);
    stage.finish(&summary);
    if cancel.is_cancelled() {
        return Ok(None);
    }
    let tokenizer = learn(&corpus, vocab, threads)?;
    if cancel.is_cancelled() {
        return Ok(None);
    }
    tokenizer.save(folder.file(TOKENIZER))?;
    for (name, documents) in [(TRAIN_TOKENS, &corpus.train), (VALID_TOKENS, &corpus.valid)] {
        if !tokenize(&tokenizer, documents, &folder.file(name), threads, cancel)? {
            return Ok(None);
        }
    }
    Ok(Some((tokenizer, summary)))
}

/// The groups to gather from and how.
fn sources(args: &TrainArgs, seed: u64, threads: usize) -> anyhow::Result<(Vec<Group>, Options)> {
    if let Some(list) = &args.packages {
        return Ok((packages(list)?, Options { seed, threads, ..Options::rust() }));
    }
    if args.data.is_empty() {
        bail!("nothing to train on: give --data PATH (a file or a folder of text)");
    }
    let group = |root: &std::path::PathBuf| {
        let name = root.file_name().unwrap_or(root.as_os_str()).to_string_lossy().into_owned();
        Group { name, root: root.clone() }
    };
    Ok((args.data.iter().map(group).collect(), Options { seed, threads, ..Options::default() }))
}

/// Reads lines of a name, a tab and a folder.
fn packages(list: &Path) -> anyhow::Result<Vec<Group>> {
    let text = std::fs::read_to_string(list).with_context(|| format!("cannot read {}", list.display()))?;
    let mut groups = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let Some((name, root)) = line.split_once('\t') else {
            bail!("{}, line {}: expected NAME, a tab, and a folder", list.display(), number + 1);
        };
        groups.push(Group { name: name.to_owned(), root: root.into() });
    }
    Ok(groups)
}

fn summary(corpus: &Corpus) -> String {
    let megabytes =
        |documents: &[Document]| documents.iter().map(|d| d.text.len()).sum::<usize>() as f64 / 1e6;
    format!(
        "{} documents, {:.1} MB to train on; {} documents, {:.1} MB of {} held-out groups to validate on",
        corpus.train.len(),
        megabytes(&corpus.train),
        corpus.valid.len(),
        megabytes(&corpus.valid),
        corpus.report.valid_groups.len(),
    )
}

fn learn(corpus: &Corpus, vocab: usize, threads: usize) -> anyhow::Result<Tokenizer> {
    let stage = Stage::spinner("learning the tokenizer");
    let trainer = Trainer { vocab_size: vocab, ..Trainer::default() };
    let bar = stage.clone();
    let texts: Vec<&str> = corpus.train.iter().map(|document| document.text.as_str()).collect();
    let mut short = None;
    let tokenizer = pool::scoped(threads, || {
        trainer.train(texts, |progress| match progress {
            Progress::Merging { done, wanted } => bar.set(done as u64, wanted as u64),
            Progress::Exhausted { vocab_size, .. } => short = Some(vocab_size),
            _ => {}
        })
    })??;
    let note = short.map_or(String::new(), |size| format!(" (the text gives no more than {size})"));
    stage.finish(&format!("tokenizer of {} entries{note}", tokenizer.vocab_size()));
    Ok(tokenizer)
}

/// Writes the token file of `documents`, each followed by end-of-text; `false` when cancelled, with no file left.
fn tokenize(
    tokenizer: &Tokenizer,
    documents: &[Document],
    path: &Path,
    threads: usize,
    cancel: &CancelToken,
) -> anyhow::Result<bool> {
    let total: u64 = documents.iter().map(|document| document.text.len() as u64).sum();
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let stage = Stage::bytes(&format!("tokenizing {name}"), total);
    let mut writer =
        TokenWriter::create(path, u32::try_from(tokenizer.vocab_size())?, tokenizer_digest(tokenizer)?)?;
    let end = tokenizer.end_of_text();
    let finished = pool::scoped(threads, || -> anyhow::Result<bool> {
        for group in documents.chunks(DOCUMENTS) {
            if cancel.is_cancelled() {
                return Ok(false);
            }
            let encoded: Vec<Vec<u32>> = group
                .par_iter()
                .map_init(Cache::default, |cache, document| {
                    let mut ids = Vec::with_capacity(document.text.len() / 3);
                    tokenizer.encode_into(document.text.as_bytes(), &mut ids, cache);
                    ids.push(end);
                    ids
                })
                .collect();
            for (ids, document) in encoded.iter().zip(group) {
                writer.push(ids, document.text.len() as u64)?;
                stage.advance(document.text.len() as u64);
            }
        }
        Ok(true)
    })??;
    if finished {
        let header = writer.finish()?;
        let ratio = header.text_bytes as f64 / header.tokens as f64;
        stage.finish(&format!("{name}: {} tokens, {ratio:.2} bytes each", header.tokens));
    }
    Ok(finished)
}
