//! Writes a model as a folder that transformers loads.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use safetensors::View;
use serde_json::{Map, Value, json};

use super::names::{Part, parts};
use super::{Dtype, Error, Family, Generation};
use crate::{Activation, Arch, Config, RopeScaling};

/// Writes `config.json`, `model.safetensors` and, if there is something to say, `generation_config.json` into `folder`,
/// which is made if need be. Weights are rounded to `dtype`, to nearest, ties to even. Existing weights are not written
/// to but replaced, so that a folder that is mapped meanwhile stays readable.
///
/// # Errors
/// [`Error::Model`] for a configuration that makes no model, [`Error::NotSavable`] for one that transformers has no name
/// for, [`Error::Overflow`] for parameters beyond f16, and [`Error::Io`] and [`Error::Write`] of the system.
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
    let folder = folder.as_ref();
    let layout = crate::layout(config)?;
    assert_eq!(params.len(), layout.len(), "a buffer of the layout's length");
    let fields = fields(config, family(config)?, dtype, generation);
    let tensors: Vec<Tensor<'_>> =
        parts(config, &layout).into_iter().map(|part| Tensor { part, params, dtype }).collect();
    if dtype == Dtype::F16 {
        tensors.iter().try_for_each(Tensor::check_range)?;
    }
    std::fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
    let path = folder.join("model.safetensors");
    // transformers reads no file that does not say so.
    let about = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let tensors = tensors.iter().map(|tensor| (tensor.part.name.as_str(), tensor));
    safetensors::serialize_to_file(tensors, Some(about), &path)
        .map_err(|source| Error::Write { path, source })?;
    write_json(&folder.join("config.json"), fields)?;
    let generation = generation.to_fields();
    let path = folder.join("generation_config.json");
    if !generation.is_empty() {
        return write_json(&path, generation);
    }
    // What another model left there is not this one's.
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", &path)(source))
        }
        _ => Ok(()),
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

fn fields(config: &Config, family: Family, dtype: Dtype, generation: &Generation) -> Map<String, Value> {
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
            "rope_scaling": config.rope_scaling.as_ref().map(rope_scaling),
        }),
    };
    let tokens = Generation { bos: generation.bos, eos: generation.eos.clone(), ..Generation::default() };
    let tables = [all, own, Value::Object(tokens.to_fields())];
    tables
        .into_iter()
        .filter_map(|table| if let Value::Object(map) = table { Some(map) } else { None })
        .flatten()
        .collect()
}

fn rope_scaling(scaling: &RopeScaling) -> Value {
    match *scaling {
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
    }
}

/// A tensor that is made when it is written, so that no second copy of the weights is held.
#[derive(Debug)]
struct Tensor<'a> {
    part: Part,
    params: &'a [f32],
    dtype: Dtype,
}

impl Tensor<'_> {
    fn values(&self) -> &[f32] {
        &self.params[self.part.range.clone()]
    }

    fn check_range(&self) -> Result<(), Error> {
        let beyond = |x: f32| x.is_finite() && half::f16::from_f32(x).is_infinite();
        match self.values().iter().find(|&&x| beyond(x)) {
            Some(&value) => Err(Error::Overflow { tensor: self.part.name.clone(), value }),
            None => Ok(()),
        }
    }
}

impl View for &Tensor<'_> {
    fn dtype(&self) -> safetensors::Dtype {
        self.dtype.in_file()
    }

    fn shape(&self) -> &[usize] {
        &self.part.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let columns = self.part.transposed.then(|| self.part.shape[0]);
        Cow::Owned(self.dtype.encode(self.values(), columns))
    }

    fn data_len(&self) -> usize {
        self.part.range.len() * self.dtype.bytes()
    }
}
