//! `selvedge check`: the promise, checked on this machine in one command.
//!
//! A small model is trained once plainly, and again under many threads, workers, microbatches and
//! instruction sets, with random waits thrown in. All must end with the same parameters, bit for bit.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use selvedge_model::{Config, CounterRng};
use selvedge_sync::{CancelToken, Semaphore, Team, items};
use selvedge_tensor::Isa;
use selvedge_train::loader::{Loader, LoaderConfig};
use selvedge_train::schedule::{Schedule, Shape};
use selvedge_train::settings::{Dtype, Fault, Recipe, Resources};
use selvedge_train::tokens::{TokenFile, TokenWriter};
use selvedge_train::trainer::Trainer;

use crate::INTERRUPTED;
use crate::args::CheckArgs;
use crate::say::result;

const VOCAB: usize = 67;
const CONTEXT: usize = 24;

pub(crate) fn run(args: &CheckArgs, cancel: &CancelToken) -> anyhow::Result<ExitCode> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("check.tokens");
    let mut writer = TokenWriter::create(&path, VOCAB as u32, [0; 32])?;
    let rng = CounterRng::new(7, 0);
    let ids: Vec<u32> = (0..5000).map(|i| (rng.at(i) % VOCAB as u64) as u32).collect();
    writer.push(&ids, 5000)?;
    writer.finish()?;
    let tokens = Arc::new(TokenFile::open(&path)?);
    let wide = Config { kv_heads: 2, ..Config::llama(VOCAB, CONTEXT, 2, 4, 32) };
    // Many settings are of fewer threads than there are cores, and all wait now and then: several run at once, as many
    // as have a core for each of their threads.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let budget = Semaphore::new(cores);
    let team = Team::new(2 * cores)?;
    let mut compared = 0;
    let gpt2 = Config::gpt2(VOCAB, CONTEXT, 2, 2, 32);
    for (config, dtype) in
        [(&gpt2, Dtype::F32), (&wide, Dtype::F32), (&gpt2, Dtype::Bf16), (&wide, Dtype::Bf16)]
    {
        let plain = Resources { isa: Isa::detect(), ..Resources::new(1, CONTEXT) };
        let want = train(args, &tokens, config, dtype, &plain)?;
        result!("{:?}, {dtype:?}: {want}", config.arch)?;
        let settings = settings(args.delays);
        let mut outcomes: Vec<Option<anyhow::Result<String>>> = settings.iter().map(|_| None).collect();
        team.try_parallel_parts(items(&mut outcomes), |at, outcome| {
            let resources = &settings[at];
            // Nobody closes it, and nobody asks for more than there are.
            let permit = budget.acquire(resources.threads.min(cores));
            if permit.is_ok() && !cancel.is_cancelled() {
                *outcome = Some(train(args, &tokens, config, dtype, resources));
            }
        })?;
        for (resources, outcome) in settings.iter().zip(outcomes) {
            let Some(outcome) = outcome else { return Ok(ExitCode::from(INTERRUPTED)) };
            let got = outcome?;
            if got != want {
                bail!("{:?}, {dtype:?} under {resources:?} ended with other parameters: {got}", config.arch);
            }
            compared += 1;
        }
    }
    result!(
        "{compared} settings of threads, workers, microbatches and instruction sets: the same parameters"
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Threads × workers under every instruction set, with each microbatch size met on the way.
fn settings(delays: u64) -> Vec<Resources> {
    let mut settings = Vec::new();
    for isa in Isa::available() {
        for threads in [1, 2, 3, 4, 8] {
            for workers in [1, 2, 4] {
                let fault = (delays > 0).then(|| delay(delays, settings.len() as u64));
                settings.push(Resources {
                    workers,
                    microbatch: 1 + settings.len() % 3,
                    recompute: settings.len() % 4 == 3,
                    isa,
                    fault,
                    ..Resources::new(threads, CONTEXT)
                });
            }
        }
    }
    settings
}

/// Waits up to `most` microseconds before a microbatch.
fn delay(most: u64, stream: u64) -> Fault {
    let rng = CounterRng::new(stream, 1);
    Arc::new(move |point, _| {
        let key = point.step * 64 + point.shard as u64 * 8 + point.microbatch as u64;
        std::thread::sleep(Duration::from_micros(rng.at(key) % most));
    })
}

/// The digest of the parameters after training.
fn train(
    args: &CheckArgs,
    tokens: &Arc<TokenFile>,
    config: &Config,
    dtype: Dtype,
    resources: &Resources,
) -> anyhow::Result<String> {
    let schedule =
        Schedule { shape: Shape::Cosine, peak: 1e-2, floor: 0.1, warmup: 3, decay: 0, steps: args.steps };
    let recipe = Recipe { seed: 3, dtype, ..Recipe::new(9, CONTEXT, schedule) };
    let loader = LoaderConfig { threads: resources.workers, ..LoaderConfig::new(9, CONTEXT, 3) };
    let mut loader = Loader::start(Arc::clone(tokens), loader, &CancelToken::new())?;
    let mut trainer = Trainer::new(config.clone(), recipe, resources, None)?;
    for _ in 0..args.steps {
        trainer.train_step(loader.next()?)?;
    }
    Ok(trainer.digest())
}
