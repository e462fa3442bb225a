//! `selvedge inspect`: what a run folder or a checkpoint holds.

use std::process::ExitCode;

use selvedge_model::{build, named};
use selvedge_train::checkpoint::{Checkpoints, parameters_digest};

use crate::args::InspectArgs;
use crate::run_folder::{open, parameters};
use crate::say::result;

pub(crate) fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let (folder, loaded) = open(args.run.as_deref())?;
    let file = folder.read()?;
    let model = build::<f32>(file.model.clone())?;
    let params = parameters(&*model, &loaded)?;
    // Of the parameters as they are read, not as the manifest says.
    let digest = parameters_digest(named(model.layout(), &params).map(|(_, _, values)| values));
    if args.digest {
        result!("{digest}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let (state, config, recipe) = (&loaded.manifest.state, &file.model, &file.recipe);
    result!("run         {}", folder.path().display())?;
    result!("corpus      {}", file.corpus)?;
    result!(
        "model       {:?}, {} parameters: {} layers, {} heads ({} of keys), {} channels, {} hidden, context {}, vocabulary {}{}",
        config.arch,
        model.layout().parameters(),
        config.layers,
        config.heads,
        config.kv_heads,
        config.channels,
        config.hidden,
        config.context,
        config.vocab,
        if config.tied { ", tied" } else { "" },
    )?;
    result!(
        "recipe      {} steps of {} x {} tokens, {} shards, seed {}, {:?} schedule to {}",
        recipe.schedule.steps,
        recipe.batch,
        recipe.context,
        recipe.shards,
        recipe.seed,
        recipe.schedule.shape,
        recipe.schedule.peak,
    )?;
    let loss =
        |loss: Option<f64>| loss.map_or_else(|| "not measured".to_owned(), |loss| format!("{loss:.4}"));
    result!(
        "checkpoint  {}: step {}, row {}, training loss {}, held-out loss {}",
        loaded.path.display(),
        state.step,
        state.row,
        loss(state.train_loss),
        loss(state.valid_loss),
    )?;
    for skipped in &loaded.skipped {
        result!("damaged     {skipped}")?;
    }
    for (path, manifest) in Checkpoints::new(folder.checkpoints(), 1)?.list()? {
        result!("            {}: held-out loss {}", path.display(), loss(manifest.state.valid_loss))?;
    }
    result!("digest      {digest}")?;
    for (name, shape, values) in named(model.layout(), &params) {
        let norm = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        result!("  {name:28} {shape:?} norm {norm:.4}")?;
    }
    Ok(ExitCode::SUCCESS)
}
