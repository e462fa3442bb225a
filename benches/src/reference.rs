//! The reference training jobs T1–T4: GPT-2 wiring, tied head, dropout 0, random tokens.

use std::path::Path;
use std::sync::Arc;

use selvedge_model::{Config, CounterRng};
use selvedge_sync::CancelToken;
use selvedge_train::loader::{Loader, LoaderConfig};
use selvedge_train::schedule::{Schedule, Shape};
use selvedge_train::settings::{Recipe, Resources};
use selvedge_train::tokens::{TokenFile, TokenWriter};

/// A reference job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum Work {
    /// 4 layers, 4 heads, C 128, T 64, B 12, V 65
    T1,
    /// 6 layers, 6 heads, C 384, T 256, B 8, V 256
    T2,
    /// GPT-2 124M, T 64, B 4, V 50257
    T3,
    /// GPT-2 124M, T 1024, B 1
    T4,
}

/// All that a trainer needs for a [`Work`].
#[derive(Debug)]
pub struct Job {
    /// The model.
    pub config: Config,
    /// How it is trained.
    pub recipe: Recipe,
    /// As many workers as threads, unless there are fewer shards.
    pub resources: Resources,
    /// Gives random tokens.
    pub loader: Loader,
}

impl Work {
    /// Model, sequences a step, tokens a sequence, shards.
    fn shape(self) -> (Config, usize, usize, usize) {
        let gpt2 = Config::gpt2(50257, 1024, 12, 12, 768);
        match self {
            Work::T1 => (Config::gpt2(65, 64, 4, 4, 128), 12, 64, 2),
            Work::T2 => (Config::gpt2(256, 256, 6, 6, 384), 8, 256, 2),
            // One shard: a second set of gradients of 124 M parameters would not pay.
            Work::T3 => (gpt2, 4, 64, 1),
            Work::T4 => (gpt2, 1, 1024, 1),
        }
    }

    /// The job on `threads` threads for `steps` steps; its tokens lie in `folder`.
    ///
    /// # Errors
    ///
    /// When the tokens cannot be written or read, or no thread can be had for the loader.
    pub fn job(self, threads: usize, steps: u64, folder: &Path) -> anyhow::Result<Job> {
        let (config, batch, context, shards) = self.shape();
        let path = folder.join("bench.tokens");
        let mut writer = TokenWriter::create(&path, u32::try_from(config.vocab)?, [0; 32])?;
        let rng = CounterRng::new(1, 0);
        let ids: Vec<u32> = (0..200_000).map(|i| (rng.at(i) % config.vocab as u64) as u32).collect();
        writer.push(&ids, 0)?;
        writer.finish()?;
        let tokens = Arc::new(TokenFile::open(&path)?);
        let loader = Loader::start(tokens, LoaderConfig::new(batch, context, 1), &CancelToken::new())?;
        let schedule =
            Schedule { shape: Shape::Constant, peak: 1e-3, floor: 1.0, warmup: 0, decay: 0, steps };
        let recipe = Recipe { shards, clip: 0.0, ..Recipe::new(batch, context, schedule) };
        let resources = Resources { workers: threads.min(shards), ..Resources::new(threads, context) };
        Ok(Job { config, recipe, resources, loader })
    }
}
