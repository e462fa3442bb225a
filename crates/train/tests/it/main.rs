//! Training as a whole: one result, resume, faults, leaks.
//!
//! What counts threads does so in a process of its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod adapters;
mod faults;
mod leaks;
mod one_result;
mod resume;

use std::path::Path;
use std::sync::Arc;

use selvedge_model::{Config, CounterRng};
use selvedge_sync::CancelToken;
use selvedge_train::checkpoint::Checkpoints;
use selvedge_train::loader::{Loader, LoaderConfig};
use selvedge_train::run::Run;
use selvedge_train::schedule::{Schedule, Shape};
use selvedge_train::settings::{Dtype, Recipe, Resources};
use selvedge_train::tokens::{TokenFile, TokenWriter};
use selvedge_train::trainer::Trainer;

const VOCAB: usize = 43;
const CONTEXT: usize = 12;
const BATCH: usize = 7;
const STEPS: u64 = 20;

/// A token file of `count` tokens with some regularity to learn.
fn tokens(folder: &Path, name: &str, count: u64) -> Arc<TokenFile> {
    let path = folder.join(name);
    let mut writer = TokenWriter::create(&path, VOCAB as u32, [0; 32]).unwrap();
    let rng = CounterRng::new(5, 0);
    let ids: Vec<u32> = (0..count).map(|i| ((rng.at(i) % 7 + i) % VOCAB as u64) as u32).collect();
    writer.push(&ids, count).unwrap();
    writer.finish().unwrap();
    Arc::new(TokenFile::open(&path).unwrap())
}

/// Both wirings, small.
fn configs() -> [Config; 2] {
    let llama = Config { kv_heads: 2, ..Config::llama(VOCAB, CONTEXT, 2, 4, 24) };
    [Config::gpt2(VOCAB, CONTEXT, 2, 2, 16), Config { hidden: 24, ..llama }]
}

fn recipe() -> Recipe {
    let schedule =
        Schedule { shape: Shape::Cosine, peak: 1e-2, floor: 0.1, warmup: 3, decay: 0, steps: STEPS };
    Recipe { seed: 3, ..Recipe::new(BATCH, CONTEXT, schedule) }
}

/// One thread, one worker, whole shards.
fn plain() -> Resources {
    Resources::new(1, CONTEXT)
}

/// Batches from the beginning.
fn loader(tokens: &Arc<TokenFile>, threads: usize) -> Loader {
    let config = LoaderConfig { threads, ..LoaderConfig::new(BATCH, CONTEXT, 3) };
    Loader::start(Arc::clone(tokens), config, &CancelToken::new()).unwrap()
}

/// The digest after `STEPS` steps.
fn digest(
    config: &Config,
    dtype: Dtype,
    resources: &Resources,
    tokens: &Arc<TokenFile>,
    loaders: usize,
) -> String {
    let mut loader = loader(tokens, loaders);
    let recipe = Recipe { dtype, ..recipe() };
    let mut trainer = Trainer::new(config.clone(), recipe, resources, None).unwrap();
    for _ in 0..STEPS {
        trainer.train_step(loader.next().unwrap()).unwrap();
    }
    trainer.digest()
}

/// A run over `folder`, which gets the tokens and the checkpoints.
fn run(folder: &Path, row: u64) -> Run<'static> {
    static LENGTHS: [u32; VOCAB] = [1; VOCAB];
    Run {
        train: tokens(folder, "train.tokens", 3000),
        valid: tokens(folder, "valid.tokens", 500),
        byte_lengths: &LENGTHS,
        row,
        checkpoints: Checkpoints::new(folder.join("checkpoints"), 2).unwrap(),
        evaluate_every: 5,
        save_every: 2,
        windows: 9,
        loaders: 2,
        deadline: std::time::Duration::from_secs(20),
        cancel: CancelToken::new(),
        loader_fault: None,
    }
}
