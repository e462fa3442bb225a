//! Samples while training goes on: a thread that continues a prompt with the newest parameters it has been given.
//!
//! Training publishes a copy of its parameters and goes on at once. A text is of one version from its first token to its
//! last, and says of which step; versions that come while it is written, but for the newest, are passed over.

use std::ops::ControlFlow;
use std::sync::Arc;

use selvedge_model::{Config, Generator, Sampling, build};
use selvedge_sync::{
    CancelToken, EventCount, OwnedLease, OwnedThread, Pool, Reader, Snapshot, Team, Version, resting,
};
use selvedge_tensor::{Context, Isa, Precision};
use selvedge_tokenizer::Tokenizer;

use crate::generate::{Edges, continue_text};
use crate::progress::Stage;

const TOKENS: usize = 40;
/// The newest parameters, those a text is being written with, and those being copied.
const COPIES: usize = 3;

/// Parameters after `step` steps; none before the first evaluation.
struct Weights {
    step: u64,
    params: Option<OwnedLease<Vec<f32>>>,
}

/// What training and the thread share.
struct Shared {
    published: EventCount,
    /// Nothing more will be published.
    finished: CancelToken,
    /// The text at hand is not wanted either.
    stopped: CancelToken,
}

/// The thread, and the parameters that it writes with.
pub(crate) struct Sampler {
    weights: Snapshot<Weights>,
    copies: Pool<Vec<f32>>,
    shared: Arc<Shared>,
    thread: Option<OwnedThread<()>>,
}

impl Sampler {
    /// Starts the thread, which shows on `stage` how a model continues `prompt`.
    pub(crate) fn start(
        config: Config,
        (isa, precision): (Isa, Precision),
        tokenizer: &Tokenizer,
        prompt: String,
        stage: Stage,
    ) -> anyhow::Result<Self> {
        let weights = Snapshot::new(Weights { step: 0, params: None });
        let (finished, stopped) = (CancelToken::new(), CancelToken::new());
        let shared = Arc::new(Shared { published: EventCount::new(), finished, stopped });
        let writer = Writer {
            reader: weights.reader(),
            shared: Arc::clone(&shared),
            tokenizer: tokenizer.clone(),
            prompt,
        };
        let thread = OwnedThread::spawn("sampler", move || {
            if let Err(error) = writer.run(config, (isa, precision), &stage) {
                stage.line(&format!("no more samples: {error:#}"));
            }
        })?;
        Ok(Self { weights, copies: Pool::new(COPIES, Vec::new), shared, thread: Some(thread) })
    }

    /// Gives the thread a copy of `params` to write with next.
    pub(crate) fn publish(&self, step: u64, params: &[f32]) {
        // With one reader there are never more copies in use than the pool has beside this one.
        let mut copy = self.copies.acquire();
        copy.clear();
        copy.extend_from_slice(params);
        self.weights.publish(Weights { step, params: Some(copy.into_owned()) });
        self.shared.published.notify_all();
    }

    /// Waits until the newest parameters have had their text.
    pub(crate) fn finish(mut self) {
        self.shared.finished.cancel();
        self.shared.published.notify_all();
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed, and a sample is not worth a run.
            let _ = thread.join();
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.shared.stopped.cancel();
        self.shared.finished.cancel();
        self.shared.published.notify_all();
        // Joins, after a token at most.
        self.thread.take();
    }
}

/// The thread's side.
struct Writer {
    reader: Reader<Weights>,
    shared: Arc<Shared>,
    tokenizer: Tokenizer,
    prompt: String,
}

impl Writer {
    fn run(
        mut self,
        config: Config,
        (isa, precision): (Isa, Precision),
        stage: &Stage,
    ) -> anyhow::Result<()> {
        let model = build::<f32>(config)?;
        let mut cx = Context::new(Team::new(1)?, isa).with_precision(precision);
        let sampling = Sampling { temperature: 0.7, top_k: 50, seed: 0, ..Sampling::default() };
        let mut seen = 0;
        while let Some(weights) = self.next(seen) {
            seen = weights.version();
            let Some(params) = &weights.params else { continue };
            let mut text = self.prompt.clone();
            let mut generator = Generator::new(&mut cx, &*model, params);
            continue_text(
                &mut cx,
                &mut generator,
                &self.tokenizer,
                &Edges::trained(&self.tokenizer),
                &self.prompt,
                TOKENS,
                &sampling,
                &self.shared.stopped,
                |piece| {
                    text.push_str(piece);
                    Ok(ControlFlow::Continue(()))
                },
            )?;
            if !self.shared.stopped.is_cancelled() {
                stage.line(&format!("step {}: {text:?}", weights.step));
            }
        }
        Ok(())
    }

    /// Waits for a version later than `seen`; `None` when there will be none.
    fn next(&mut self, seen: u64) -> Option<Version<Weights>> {
        let Self { reader, shared, .. } = self;
        let _resting = resting("new parameters");
        shared.published.wait(|| {
            // Looked at first: what was published before the end is then seen.
            let finished = shared.finished.is_cancelled();
            let newest = reader.read();
            if newest.version() > seen && !shared.stopped.is_cancelled() {
                Some(Some(newest.keep()))
            } else {
                finished.then_some(None)
            }
        })
    }
}
