//! `selvedge eval`: loss and bits per byte on the held-out text of a run.

use std::process::ExitCode;

use selvedge_sync::CancelToken;
use selvedge_tensor::Isa;
use selvedge_train::evaluate::evaluate;
use selvedge_train::settings::Resources;
use selvedge_train::trainer::Trainer;

use crate::INTERRUPTED;
use crate::args::EvalArgs;
use crate::run_folder::{VALID_TOKENS, byte_lengths, open};
use crate::say::result;

pub(crate) fn run(args: &EvalArgs, cancel: &CancelToken) -> anyhow::Result<ExitCode> {
    let isa: Isa = args.resources.isa.parse()?;
    let (folder, loaded) = open(args.run.as_deref())?;
    let file = folder.read()?;
    let tokenizer = folder.tokenizer(&file)?;
    let valid = folder.tokens(VALID_TOKENS, &tokenizer)?;
    let threads = args.resources.threads();
    let context = file.recipe.context;
    let workers = threads.min(file.recipe.shards);
    let resources = Resources { workers, isa, microbatch: 1, ..Resources::new(threads, context) };
    let mut trainer = Trainer::resume(file.model, file.recipe, &resources, None, &loaded)?;
    let found = evaluate(&mut trainer, &valid, context, args.windows, &byte_lengths(&tokenizer))?;
    result!(
        "{:.4} bits/byte, loss {:.4} nats a token, perplexity {:.2}, over {} tokens of {} bytes (step {})",
        found.bits_per_byte(),
        found.loss.mean(),
        found.loss.mean().exp(),
        found.loss.tokens,
        found.bytes,
        loaded.manifest.state.step,
    )?;
    Ok(if cancel.is_cancelled() { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}
