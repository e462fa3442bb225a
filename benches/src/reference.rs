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

/// All that a trainer needs for a [`Scale`].
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

/// A model of GPT-2's wiring, and what a step of its training takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Blocks.
    pub layers: usize,
    /// Heads a block.
    pub heads: usize,
    /// Width; a multiple of the heads.
    pub channels: usize,
    /// Tokens there are.
    pub vocab: usize,
    /// Positions that the model knows; at least `context`.
    pub positions: usize,
    /// Tokens a sequence.
    pub context: usize,
    /// Sequences a step.
    pub batch: usize,
    /// Parts of a batch that have gradients of their own.
    pub shards: usize,
}

impl Work {
    /// Its sizes.
    pub fn scale(self) -> Scale {
        // One shard: a second set of gradients of 124 M parameters would not pay.
        let gpt2 = Scale {
            layers: 12,
            heads: 12,
            channels: 768,
            vocab: 50257,
            positions: 1024,
            context: 64,
            batch: 4,
            shards: 1,
        };
        match self {
            Work::T1 => Scale {
                layers: 4,
                heads: 4,
                channels: 128,
                vocab: 65,
                positions: 64,
                context: 64,
                batch: 12,
                shards: 2,
            },
            Work::T2 => Scale {
                layers: 6,
                heads: 6,
                channels: 384,
                vocab: 256,
                positions: 256,
                context: 256,
                batch: 8,
                shards: 2,
            },
            Work::T3 => gpt2,
            Work::T4 => Scale { context: 1024, batch: 1, ..gpt2 },
        }
    }

    /// [`Scale::job`] of its sizes.
    ///
    /// # Errors
    ///
    /// As [`Scale::job`].
    pub fn job(self, threads: usize, steps: u64, folder: &Path) -> anyhow::Result<Job> {
        self.scale().job(threads, steps, folder)
    }
}

impl Scale {
    /// The job on `threads` threads for `steps` steps; its tokens lie in `folder`.
    ///
    /// # Errors
    ///
    /// When the tokens cannot be written or read, or no thread can be had for the loader.
    pub fn job(self, threads: usize, steps: u64, folder: &Path) -> anyhow::Result<Job> {
        let Scale { layers, heads, channels, vocab, positions, context, batch, shards } = self;
        let config = Config::gpt2(vocab, positions, layers, heads, channels);
        let path = folder.join("bench.tokens");
        let mut writer = TokenWriter::create(&path, u32::try_from(vocab)?, [0; 32])?;
        let rng = CounterRng::new(1, 0);
        let ids: Vec<u32> = (0..200_000).map(|i| (rng.at(i) % vocab as u64) as u32).collect();
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
