//! Writes a model as a folder that transformers loads.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::names::{Part, parts, slot_parts};
use super::{Dtype, Error, Family, Generation};
use crate::{Activation, Arch, Config, Layout, RopeScaling, Slot};

/// Writes `config.json`, `model.safetensors` and, if there is something to say, `generation_config.json` into `folder`,
/// which is made if need be. Weights are rounded to `dtype`, to nearest, ties to even. Existing weights are not written
/// to but replaced, so that a folder that is mapped meanwhile stays readable.
///
/// # Errors
/// [`Error::Model`] for a configuration that makes no model, [`Error::NotSavable`] for one that transformers has no name
/// for, [`Error::Overflow`] for parameters beyond f16, and [`Error::Io`] of the system.
///
/// # Panics
/// If `params` has another length than the configuration's layout.
pub fn save(
    folder: impl AsRef<Path>,
    config: &Config,
    params: &[f32],
    dtype: Dtype,
    generation: &Generation,
) -> Result<(), Error> {
    let layout = crate::layout(config)?;
    assert_eq!(params.len(), layout.len(), "a buffer of the layout's length");
    family(config)?;
    if dtype == Dtype::F16 {
        // Before anything is made.
        let parts = parts(config, &layout);
        parts.iter().try_for_each(|part| check_range(&part.name, &params[part.range.clone()]))?;
    }
    write_folder(folder.as_ref(), config, dtype, generation, |slot, to| {
        to.copy_from_slice(&params[slot.span.range()]);
        Ok(())
    })
}

/// As [`save`], with the parameters of whoever has them: `read` fills in one weight of the configuration's layout after the
/// other, and the largest of them is all that is held.
///
/// # Errors
/// As [`save`], and those of `read`. The folder's weights are then as they were.
pub fn save_from<E: From<Error>>(
    folder: impl AsRef<Path>,
    config: &Config,
    dtype: Dtype,
    generation: &Generation,
    mut read: impl FnMut(&Slot, &mut [f32]) -> Result<(), E>,
) -> Result<(), E> {
    write_folder(folder.as_ref(), config, dtype, generation, |slot, to| {
        read(slot, to)?;
        if dtype == Dtype::F16 {
            for part in slot_parts(config, slot) {
                let at = part.range.start - slot.span.offset;
                check_range(&part.name, &to[at..at + part.range.len()])?;
            }
        }
        Ok(())
    })
}

/// Writes the files, with values that `read` has found to be within the type.
fn write_folder<E: From<Error>>(
    folder: &Path,
    config: &Config,
    dtype: Dtype,
    generation: &Generation,
    read: impl FnMut(&Slot, &mut [f32]) -> Result<(), E>,
) -> Result<(), E> {
    let layout = crate::layout(config).map_err(Error::from)?;
    let fields = fields(config, family(config)?, dtype, generation)?;
    std::fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
    let path = folder.join("model.safetensors");
    let partial = Partial { path: folder.join(format!(".model.safetensors.{}", std::process::id())) };
    write_weights(&partial.path, &layout, config, dtype, read)?;
    std::fs::rename(&partial.path, &path).map_err(Error::io("replace", &path))?;
    write_json(&folder.join("config.json"), fields)?;
    let generation = generation.to_fields();
    let path = folder.join("generation_config.json");
    if !generation.is_empty() {
        return Ok(write_json(&path, generation)?);
    }
    // What another model left there is not this one's.
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", &path)(source).into())
        }
        _ => Ok(()),
    }
}

/// A file that is not there any more when this goes, unless it was moved.
struct Partial {
    path: PathBuf,
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Of a file that was moved there is nothing to remove.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Writes a safetensors file: the length of a header, the header, the tensors in its order.
fn write_weights<E: From<Error>>(
    path: &Path,
    layout: &Layout,
    config: &Config,
    dtype: Dtype,
    mut read: impl FnMut(&Slot, &mut [f32]) -> Result<(), E>,
) -> Result<(), E> {
    let parts = parts(config, layout);
    let file = File::create(path).map_err(Error::io("make", path))?;
    let mut out = BufWriter::new(file);
    let written = |result: std::io::Result<()>| result.map_err(Error::io("write", path));
    written(out.write_all(&header(&parts, dtype)))?;
    let (mut rest, mut values) = (parts.as_slice(), Vec::new());
    for slot in layout.slots() {
        values.clear();
        values.resize(slot.span.len(), 0.0);
        read(slot, &mut values)?;
        let of_slot = rest.iter().take_while(|part| part.range.end <= slot.span.range().end).count();
        let (of_slot, after) = rest.split_at(of_slot);
        rest = after;
        for part in of_slot {
            let values = &values[part.range.start - slot.span.offset..part.range.end - slot.span.offset];
            let columns = part.transposed.then(|| part.shape[0]);
            written(out.write_all(&dtype.encode(values, columns)))?;
        }
    }
    let file = out.into_inner().map_err(|error| Error::io("write", path)(error.into_error()))?;
    Ok(written(file.sync_all())?)
}

/// The header of a file of these tensors, one after the other, with its length before it.
fn header(parts: &[Part], dtype: Dtype) -> Vec<u8> {
    // transformers reads no file that does not say so.
    let mut fields = Map::from_iter([("__metadata__".to_owned(), json!({ "format": "pt" }))]);
    let (name, mut at) = (dtype.in_file().to_string(), 0);
    for part in parts {
        let end = at + part.range.len() * dtype.bytes();
        let about = json!({ "dtype": name, "shape": part.shape, "data_offsets": [at, end] });
        fields.insert(part.name.clone(), about);
        at = end;
    }
    let mut header = Value::Object(fields).to_string().into_bytes();
    // Tensors begin at a multiple of 8 in the file.
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut header);
    bytes
}

fn check_range(tensor: &str, values: &[f32]) -> Result<(), Error> {
    let beyond = |x: f32| x.is_finite() && half::f16::from_f32(x).is_infinite();
    match values.iter().find(|&&x| beyond(x)) {
        Some(&value) => Err(Error::Overflow { tensor: tensor.to_owned(), value }),
        None => Ok(()),
    }
}

fn write_json(path: &Path, fields: Map<String, Value>) -> Result<(), Error> {
    let text = format!("{:#}\n", Value::Object(fields));
    std::fs::write(path, text).map_err(Error::io("write", path))
}

/// The architecture that computes a configuration.
fn family(config: &Config) -> Result<Family, Error> {
    match (config.arch, config.qkv_bias, config.qk_norm) {
        (Arch::Gpt2, ..) => Ok(Family::Gpt2),
        (Arch::Llama, false, false) => Ok(Family::Llama),
        (Arch::Llama, true, false) => Ok(Family::Qwen2),
        (Arch::Llama, false, true) => Ok(Family::Qwen3),
        (Arch::Llama, true, true) => {
            Err(Error::NotSavable { what: "both biases of q, k and v and norms of their heads" })
        }
    }
}

fn fields(
    config: &Config,
    family: Family,
    dtype: Dtype,
    generation: &Generation,
) -> Result<Map<String, Value>, Error> {
    let scaling = config.rope_scaling.as_ref().map(rope_scaling).transpose()?;
    let all = json!({
        "architectures": [family.architecture()],
        "model_type": family.model_type(),
        "torch_dtype": dtype.name(),
        "vocab_size": config.vocab,
        "tie_word_embeddings": config.tied,
        // Else transformers puts the tokens of its own classes there.
        "bos_token_id": null,
        "eos_token_id": null,
    });
    let own = match config.arch {
        Arch::Gpt2 => json!({
            "n_positions": config.context,
            "n_embd": config.channels,
            "n_layer": config.layers,
            "n_head": config.heads,
            "n_inner": config.hidden,
            "activation_function": if config.activation == Activation::Gelu { "gelu" } else { "gelu_new" },
            "layer_norm_epsilon": config.norm_eps,
        }),
        Arch::Llama => json!({
            "max_position_embeddings": config.context,
            "hidden_size": config.channels,
            "intermediate_size": config.hidden,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "num_key_value_heads": config.kv_heads,
            "head_dim": config.head_size(),
            "hidden_act": "silu",
            "rms_norm_eps": config.norm_eps,
            // The spelling that versions before and after 5 read.
            "rope_theta": config.rope_theta,
            "rope_scaling": scaling,
        }),
    };
    let tokens = Generation { bos: generation.bos, eos: generation.eos.clone(), ..Generation::default() };
    let tables = [all, own, Value::Object(tokens.to_fields())];
    let maps =
        tables.into_iter().filter_map(|table| if let Value::Object(map) = table { Some(map) } else { None });
    Ok(maps.flatten().collect())
}

fn rope_scaling(scaling: &RopeScaling) -> Result<Value, Error> {
    Ok(match *scaling {
        RopeScaling::Table { .. } => {
            return Err(Error::NotSavable { what: "a table of rotary frequencies" });
        }
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_context,
        }),
        RopeScaling::Yarn { factor, attention_factor, beta_fast, beta_slow, truncate, original_context } => {
            json!({
                "rope_type": "yarn",
                "factor": factor,
                "attention_factor": attention_factor,
                "beta_fast": beta_fast,
                "beta_slow": beta_slow,
                "truncate": truncate,
                "original_max_position_embeddings": original_context,
            })
        }
    })
}
