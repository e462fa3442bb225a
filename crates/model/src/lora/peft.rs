//! Adapters in the files of the library [PEFT](https://github.com/huggingface/peft): `adapter_config.json` and
//! `adapter_model.safetensors`.
//!
//! A tensor is called as the module it is for, with `base_model.model.` before and `.lora_A.weight` or `.lora_B.weight`
//! after it; A is (r, in) and B is (out, r), also of GPT-2, whose own weights lie as (in, out) there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use safetensors::tensor::TensorView;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Adapters, Error, Settings, last};
use crate::hf::Dtype;
use crate::hf::shard::{Shard, read_json};
use crate::layout::Slot;
use crate::weights::named;
use crate::{Arch, Config};

/// What adapters are like.
const CONFIG: &str = "adapter_config.json";
/// The file of their matrices.
pub const WEIGHTS: &str = "adapter_model.safetensors";
/// What the names of all tensors begin with.
const PREFIX: &str = "base_model.model.";
/// Longest `adapter_config.json`.
const LONGEST_CONFIG: u64 = 1 << 20;

/// The fields that decide what is computed; PEFT writes others.
#[derive(Debug, Deserialize)]
struct Fields {
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// Fields of what is not computed, and all they may be besides null, false and empty.
const UNSUPPORTED: [(&str, &str); 12] = [
    ("bias", "none"),
    ("use_dora", ""),
    ("lora_bias", ""),
    ("modules_to_save", ""),
    ("rank_pattern", ""),
    ("alpha_pattern", ""),
    ("layer_replication", ""),
    ("trainable_token_indices", ""),
    ("target_parameters", ""),
    ("alora_invocation_tokens", ""),
    ("use_qalora", ""),
    ("arrow_config", ""),
];

/// Writes adapters into `folder`, which is made if need be: [`save_settings`], then [`save_weights`]. Files that are there are
/// replaced, each at once; a reader never sees a part of one. `base` is what they say they are for.
///
/// # Errors
/// [`Error::Io`] of the system.
///
/// # Panics
/// If `params` has another length than the layout of the adapters.
pub fn save(
    folder: impl AsRef<Path>,
    config: &Config,
    adapters: &Adapters,
    params: &[f32],
    base: &str,
) -> Result<(), Error> {
    save_settings(&folder, config, adapters, base)?;
    save_weights(folder, adapters, params)
}

/// Writes the matrices alone.
///
/// # Errors
/// [`Error::Io`] of the system.
///
/// # Panics
/// If `params` has another length than the layout of the adapters.
pub fn save_weights(folder: impl AsRef<Path>, adapters: &Adapters, params: &[f32]) -> Result<(), Error> {
    let folder = folder.as_ref();
    fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = named(adapters.layout(), params)
        .map(|(name, shape, values)| (format!("{PREFIX}{name}"), shape, Dtype::F32.encode(values, None)))
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        (name.as_str(), view.expect("values of the shape"))
    });
    let about = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let file = safetensors::serialize(views, Some(about)).expect("tensors with names of their own");
    replace(&folder.join(WEIGHTS), &file)
}

/// Writes what [`settings`] reads alone.
///
/// # Errors
/// [`Error::Io`] of the system.
pub fn save_settings(
    folder: impl AsRef<Path>,
    config: &Config,
    adapters: &Adapters,
    base: &str,
) -> Result<(), Error> {
    let folder = folder.as_ref();
    let targets: BTreeSet<&str> = adapters.modules().filter_map(last).collect();
    let settings = adapters.settings();
    let fields = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "target_modules": targets,
        "bias": "none",
        "fan_in_fan_out": config.arch == Arch::Gpt2,
        "use_rslora": settings.rank_stabilized,
        "use_dora": false,
        "modules_to_save": null,
        "inference_mode": true,
    });
    fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
    replace(&folder.join(CONFIG), format!("{fields:#}\n").as_bytes())
}

/// The file `path` has the old content or the new one, and the new one when this returns.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|source| {
        // What is left of it is of no use.
        let _ = fs::remove_file(&temporary);
        Error::io("write", path)(source)
    })
}

/// What the adapters in `folder` are like.
///
/// # Errors
/// An error that names the file, and the field where it is damaged or asks for something that is not computed.
pub fn settings(folder: impl AsRef<Path>) -> Result<Settings, Error> {
    read_settings(&folder.as_ref().join(CONFIG))
}

/// The adapters in `folder`, for a model of the configuration, and their parameters.
///
/// # Errors
/// An error that names the file, and the field or tensor, where they are damaged, ask for something that is not computed,
/// or do not fit the model.
pub fn load(folder: impl AsRef<Path>, config: &Config) -> Result<(Adapters, Vec<f32>), Error> {
    let folder = folder.as_ref();
    let settings = read_settings(&folder.join(CONFIG))?;
    let path = folder.join(WEIGHTS);
    let shard = Shard::open(path.clone())?;
    let name = |slot: &str| format!("{PREFIX}{slot}");
    let has = |module: &str| shard.info(&name(&format!("{module}.lora_A.weight"))).is_some();
    let adapters = Adapters::of_modules(config, settings, has)?;
    let mut left: BTreeSet<String> = shard.names().into_iter().collect();
    // All are looked at before there is memory for any.
    for slot in adapters.layout().slots() {
        let tensor = name(&slot.name);
        check(&path, &shard, &tensor, slot)?;
        left.remove(&tensor);
    }
    if let Some(tensor) = left.pop_first() {
        return Err(Error::Tensor { path, what: "no place for tensor", tensor });
    }
    if adapters.layout().is_empty() {
        return Err(Error::Malformed { path, what: "it holds no adapter".to_owned() });
    }
    let mut params = vec![0.0; adapters.layout().len()];
    for slot in adapters.layout().slots() {
        let tensor = name(&slot.name);
        let info = shard.info(&tensor).expect("it was looked at");
        let dtype = Dtype::from_file(info.dtype).expect("it was looked at");
        let params = &mut params[slot.span.range()];
        dtype.decode(params, shard.bytes(info), None);
        if params.iter().any(|x| !x.is_finite()) {
            let what = format!("tensor {tensor:?} has values that are not finite");
            return Err(Error::Malformed { path, what });
        }
    }
    Ok((adapters, params))
}

/// Checks type and shape of a tensor.
fn check(path: &Path, shard: &Shard, tensor: &str, slot: &Slot) -> Result<(), Error> {
    let (path, tensor) = (path.to_owned(), tensor.to_owned());
    let Some(info) = shard.info(&tensor) else {
        return Err(Error::Tensor { path, what: "no tensor", tensor });
    };
    if Dtype::from_file(info.dtype).is_none() {
        let what = format!("tensor {tensor:?} has type {:?}, which is none of F32, F16 and BF16", info.dtype);
        return Err(Error::Malformed { path, what });
    }
    if info.shape != slot.shape() {
        return Err(Error::Shape { path, tensor, found: info.shape.clone(), expected: slot.shape() });
    }
    Ok(())
}

fn read_settings(path: &Path) -> Result<Settings, Error> {
    let json = read_json(path, LONGEST_CONFIG)?;
    let malformed =
        |error: serde_json::Error| Error::Malformed { path: path.to_owned(), what: error.to_string() };
    let fields: Fields = serde_json::from_slice(&json).map_err(malformed)?;
    let refuse =
        |field, found, expected| Err(Error::Unsupported { path: path.to_owned(), field, found, expected });
    if fields.peft_type != "LORA" {
        return refuse("peft_type", fields.peft_type, "LORA");
    }
    // Others begin with a base that they change, and are for that one.
    let begins = fields.others.get("init_lora_weights");
    if let Some(Value::String(way)) = begins
        && !["gaussian", "orthogonal", "eva"].contains(&way.as_str())
    {
        return refuse("init_lora_weights", way.clone(), "true, gaussian, orthogonal or eva");
    }
    for (field, allowed) in UNSUPPORTED {
        let is_nothing = match fields.others.get(field) {
            None | Some(Value::Null | Value::Bool(false)) => true,
            Some(Value::String(text)) => text == allowed,
            Some(Value::Array(all)) => all.is_empty(),
            Some(Value::Object(all)) => all.is_empty(),
            Some(_) => false,
        };
        if !is_nothing {
            let expected = if allowed.is_empty() { "nothing" } else { allowed };
            return refuse(field, fields.others[field].to_string(), expected);
        }
    }
    let settings = Settings {
        rank: fields.r,
        alpha: fields.lora_alpha,
        rank_stabilized: fields.use_rslora,
        dropout: fields.lora_dropout,
    };
    settings
        .validate()
        .map_err(|error| Error::Malformed { path: path.to_owned(), what: error.to_string() })?;
    Ok(settings)
}
