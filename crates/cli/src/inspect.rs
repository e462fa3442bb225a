//! `selvedge inspect`: what a run folder, a checkpoint or a GGUF file holds.

use std::path::Path;
use std::process::ExitCode;

use selvedge_model::gguf::{self, Value};
use selvedge_model::{build, named};
use selvedge_train::checkpoint::{Checkpoints, parameters_digest};

use crate::args::InspectArgs;
use crate::run_folder::{open, parameters};
use crate::say::result;

pub(crate) fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    if let Some(path) = args.run.as_deref().filter(|path| path.extension() == Some("gguf".as_ref())) {
        anyhow::ensure!(!args.digest, "--digest is of runs and checkpoints; {} is neither", path.display());
        return published(path);
    }
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

/// What a GGUF file holds: its keys, long lists by their length, and its tensors.
fn published(path: &Path) -> anyhow::Result<ExitCode> {
    let file = gguf::File::open(path)?;
    let header = file.header();
    result!("file        {}: GGUF version {}", path.display(), header.version())?;
    for (key, value) in header.metadata().iter() {
        result!("{} = {}", key.escape_debug(), brief(value))?;
    }
    let mut total = 0;
    for tensor in file.tensors() {
        let size = tensor.bytes()?.len();
        total += size;
        let shape: Vec<String> = tensor.shape().iter().map(usize::to_string).collect();
        let (name, kind) = (tensor.name().escape_debug(), tensor.element_type());
        result!("{name}  {kind}  {}  {size} bytes", shape.join(" x "))?;
    }
    result!("{} tensors, {total} bytes", header.tensors().len())?;
    Ok(ExitCode::SUCCESS)
}

/// A value on one line of no great length; what would steer a terminal is escaped.
fn brief(value: &Value) -> String {
    const MOST: usize = 100;
    let whole = match value {
        Value::Array(array) => return format!("{} values", array.len()),
        Value::String(text) => format!("{:?}", text.chars().take(MOST).collect::<String>()),
        Value::U8(x) => x.to_string(),
        Value::I8(x) => x.to_string(),
        Value::U16(x) => x.to_string(),
        Value::I16(x) => x.to_string(),
        Value::U32(x) => x.to_string(),
        Value::I32(x) => x.to_string(),
        Value::U64(x) => x.to_string(),
        Value::I64(x) => x.to_string(),
        Value::F32(x) => x.to_string(),
        Value::F64(x) => x.to_string(),
        Value::Bool(x) => x.to_string(),
    };
    match value {
        Value::String(text) if text.chars().nth(MOST).is_some() => {
            format!("{whole}… ({} bytes)", text.len())
        }
        _ => whole,
    }
}
