//! Measures training and encoding on the Rust sources below a folder:
//! `cargo run --release -p selvedge-tokenizer --example throughput -- FOLDER`
#![expect(clippy::print_stdout, reason = "a program for people to read")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use selvedge_tokenizer::{Cache, Error, TokenId, Trainer};

/// Text to train on, and the part of it to encode; 1 MB is 10⁶ bytes.
const TRAIN_BYTES: usize = 80_000_000;
const ENCODE_BYTES: usize = 20_000_000;
/// Documents are cut to about this size for encoding.
const DOCUMENT_BYTES: usize = 10_000;

fn main() -> Result<(), Error> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let files = read(Path::new(&folder));
    let bytes: usize = files.iter().map(String::len).sum();
    println!("{} files, {:.1} MB", files.len(), bytes as f64 / 1e6);

    for vocab_size in [4096, 16384] {
        let trainer = Trainer { vocab_size, ..Trainer::default() };
        for threads in [1, 2] {
            let start = Instant::now();
            let mut counted = None;
            let tokenizer = in_pool(threads, || {
                trainer.train(&files, |_| {
                    counted.get_or_insert_with(|| start.elapsed());
                })
            })?;
            println!(
                "train {} entries, {threads} threads: {:.2?}, of which counting {:.2?}",
                tokenizer.vocab_size(),
                start.elapsed(),
                counted.unwrap_or_default(),
            );
        }
        let tokenizer = trainer.train(&files, |_| {})?;
        let docs = documents(&files);
        let docs_bytes: usize = docs.iter().map(|doc| doc.len()).sum();
        let rate = |seconds: f64| docs_bytes as f64 / 1e6 / seconds;
        let mut cache = Cache::default();
        let mut ids: Vec<TokenId> = Vec::new();
        for pass in ["first pass", "warm"] {
            let start = Instant::now();
            ids.clear();
            docs.iter().for_each(|doc| tokenizer.encode_into(doc, &mut ids, &mut cache));
            println!("encode, 1 thread, {pass}: {:.0} MB/s", rate(start.elapsed().as_secs_f64()));
        }
        for threads in [1, 2] {
            let start = Instant::now();
            let batch = in_pool(threads, || tokenizer.encode_batch(&docs));
            println!("encode_batch, {threads} threads: {:.0} MB/s", rate(start.elapsed().as_secs_f64()));
            assert!(batch.iter().flatten().eq(&ids), "a batch is its documents");
        }
        let start = Instant::now();
        let text = tokenizer.decode(&ids)?;
        println!(
            "decode: {:.0} MB/s, {:.2} bytes a token",
            rate(start.elapsed().as_secs_f64()),
            docs_bytes as f64 / ids.len() as f64
        );
        assert!(docs.iter().flat_map(|doc| doc.as_bytes()).eq(&text), "decoding gives the text back");
    }
    Ok(())
}

fn in_pool<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads to measure with").install(f)
}

/// The Rust sources below a folder, by path, up to `TRAIN_BYTES`.
fn read(folder: &Path) -> Vec<String> {
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let mut left = TRAIN_BYTES;
    paths
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .take_while(|text| {
            let fits = text.len() <= left;
            left = left.saturating_sub(text.len());
            fits
        })
        .collect()
}

/// Lines gathered into documents, up to `ENCODE_BYTES` in all.
fn documents(files: &[String]) -> Vec<&str> {
    let mut docs = Vec::new();
    let mut bytes = 0;
    for file in files {
        let mut rest = file.as_str();
        while !rest.is_empty() && bytes < ENCODE_BYTES {
            let wanted = rest.floor_char_boundary(DOCUMENT_BYTES);
            let end = rest[wanted..].find('\n').map_or(rest.len(), |at| wanted + at + 1);
            let (doc, behind) = rest.split_at(end);
            docs.push(doc);
            bytes += doc.len();
            rest = behind;
        }
    }
    docs
}
