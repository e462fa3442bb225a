//! `selvedge inspect`: what a run folder, a checkpoint, a file of weights or a Hugging Face folder holds.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use selvedge_model::gguf::{self, Value};
use selvedge_model::{Config, build, hf, named};
use selvedge_train::checkpoint::{Checkpoints, parameters_digest};

use crate::args::InspectArgs;
use crate::published::locate;
use crate::run_folder::{open, parameters};
use crate::say::result;

pub(crate) fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let path = args.run.as_deref().map(locate).transpose()?;
    if let Some((path, show)) = path.as_deref().and_then(|path| Some((path, published(path)?))) {
        anyhow::ensure!(!args.digest, "--digest is of runs and checkpoints; {} is neither", path.display());
        show(path)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (folder, loaded) = open(path.as_deref())?;
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
    show_model(config, model.layout().parameters())?;
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

/// What shows a path that is no run: by its name, or by a `config.json` in it.
fn published(path: &Path) -> Option<fn(&Path) -> anyhow::Result<()>> {
    match path.extension().and_then(OsStr::to_str) {
        Some("gguf") => Some(gguf_file),
        Some("safetensors") => Some(weights_file),
        _ if path.join("config.json").is_file() => Some(hugging_face),
        _ => None,
    }
}

fn show_model(config: &Config, parameters: usize) -> anyhow::Result<()> {
    result!(
        "model       {:?}, {parameters} parameters: {} layers, {} heads ({} of keys), {} channels, {} hidden, context {}, vocabulary {}{}",
        config.arch,
        config.layers,
        config.heads,
        config.kv_heads,
        config.channels,
        config.hidden,
        config.context,
        config.vocab,
        if config.tied { ", tied" } else { "" },
    )
}

/// What a GGUF file holds: its keys, long lists by their length, and its tensors.
fn gguf_file(path: &Path) -> anyhow::Result<()> {
    let file = gguf::File::open(path)?;
    let header = file.header();
    result!("file        {}: GGUF version {}", path.display(), header.version())?;
    for (key, value) in header.metadata().iter() {
        result!("{} = {}", key.escape_debug(), brief(value))?;
    }
    let mut total = Total::default();
    for tensor in file.tensors() {
        let kind = tensor.element_type().to_string();
        total.show(tensor.name(), &kind, tensor.shape(), tensor.bytes()?.len())?;
    }
    total.end()
}

/// What a file of weights holds: what it says of itself, and its tensors.
fn weights_file(path: &Path) -> anyhow::Result<()> {
    show_shards(&[hf::Shard::open(path)?])
}

/// What a folder holds: the model that its configuration describes, and its tensors, whether they fit or not.
fn hugging_face(path: &Path) -> anyhow::Result<()> {
    let shards = hf::open_shards(path)?;
    // Only a part of all models is computed here; the tensors of others can be looked at all the same.
    match hf::Folder::open(path) {
        Ok(folder) => {
            result!("folder      {}: {}", path.display(), folder.family().architecture())?;
            show_model(folder.config(), folder.layout().parameters())?;
        }
        Err(error) => {
            result!("folder      {}", path.display())?;
            result!("model       none that can be computed here: {error}")?;
        }
    }
    show_shards(&shards)
}

fn show_shards(shards: &[hf::Shard]) -> anyhow::Result<()> {
    let mut total = Total::default();
    for shard in shards {
        result!("file        {}: safetensors", shard.path().display())?;
        for (key, value) in shard.about() {
            result!("{} = {}", key.escape_debug(), brief(&Value::String(value.to_owned())))?;
        }
        for tensor in shard.tensors() {
            total.show(&tensor.name, &tensor.dtype, &tensor.shape, tensor.bytes)?;
        }
    }
    total.end()
}

/// Tensors that were shown.
#[derive(Default)]
struct Total {
    tensors: usize,
    bytes: usize,
}

impl Total {
    fn show(&mut self, name: &str, kind: &str, shape: &[usize], bytes: usize) -> anyhow::Result<()> {
        self.tensors += 1;
        self.bytes += bytes;
        let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
        let shape = if shape.is_empty() { "scalar".to_owned() } else { shape.join(" x ") };
        result!("{}  {kind}  {shape}  {bytes} bytes", name.escape_debug())
    }

    fn end(&self) -> anyhow::Result<()> {
        result!("{} tensors, {} bytes", self.tensors, self.bytes)
    }
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
