//! The shape of a model by the keys of a GGUF file.

use super::{Error, File, KeyError, optional, scaling};
use crate::config::longest_context;
use crate::{Activation, Arch, Config};

/// The shape, and whether pairs of elements that positions turn lie side by side in the file.
pub(super) fn read(file: &File) -> Result<(Config, bool), Error> {
    let metadata = file.header().metadata();
    let key = |source: KeyError| Error::key(file.path())(source);
    let refuse = |key: String, found: String, rule: &'static str| Error::Setting {
        path: file.path().to_owned(),
        key,
        found,
        rule,
    };
    let family = metadata.string("general.architecture").map_err(key)?;
    let arch = match family {
        "gpt2" => Arch::Gpt2,
        "llama" | "qwen2" | "qwen3" => Arch::Llama,
        other => {
            let rule = "is not computed here; gpt2, llama, qwen2 and qwen3 are";
            return Err(refuse("general.architecture".into(), other.to_owned(), rule));
        }
    };
    let name = |field: &str| format!("{family}.{field}");
    let size = |field: &str| -> Result<usize, Error> {
        let value = metadata.u64(&name(field)).map_err(key)?;
        usize::try_from(value).map_err(|_| refuse(name(field), value.to_string(), "is too large"))
    };
    let maybe = |field: &str| -> Result<Option<usize>, Error> {
        match metadata.get(&name(field)) {
            Some(_) => size(field).map(Some),
            None => Ok(None),
        }
    };
    let heads = size("attention.head_count")?;
    let channels = size("embedding_length")?;
    let eps = match arch {
        Arch::Gpt2 => "attention.layer_norm_epsilon",
        Arch::Llama => "attention.layer_norm_rms_epsilon",
    };
    let head_size = maybe("attention.key_length")?.filter(|size| size.checked_mul(heads) != Some(channels));
    let table = file.tensor("token_embd.weight").ok_or_else(|| Error::MissingTensor {
        path: file.path().to_owned(),
        name: "token_embd.weight".to_owned(),
    })?;
    // A GPT-2 has as many rows of positions as it says. For the others results are exact up to a sliding window.
    let context = size("context_length")?;
    let context = match arch {
        Arch::Gpt2 => context,
        Arch::Llama => {
            let each = head_size.or(channels.checked_div(heads)).unwrap_or(1);
            let window = maybe("attention.sliding_window")?.filter(|&window| window > 0);
            context.min(longest_context(each)).min(window.unwrap_or(context))
        }
    };
    let mut config = Config {
        arch,
        vocab: table.rows(),
        context,
        layers: size("block_count")?,
        heads,
        kv_heads: maybe("attention.head_count_kv")?.unwrap_or(heads),
        channels,
        hidden: size("feed_forward_length")?,
        norm_eps: short(metadata.f32(&name(eps)).map_err(key)?),
        rope_theta: optional(metadata.f32(&name("rope.freq_base"))).map_err(key)?.map_or(10_000.0, short),
        activation: if arch == Arch::Gpt2 { Activation::GeluTanh } else { Activation::Silu },
        tied: file.tensor("output.weight").is_none(),
        head_size,
        qkv_bias: family == "qwen2",
        qk_norm: family == "qwen3",
        rope_scaling: None,
    };
    config.validate().map_err(Error::model(file.path()))?;
    config.rope_scaling = scaling::read(file, family, &config)?;
    config.validate().map_err(Error::model(file.path()))?;
    let (turned, values) = (maybe("rope.dimension_count")?, maybe("attention.value_length")?);
    for (field, found) in [("rope.dimension_count", turned), ("attention.value_length", values)] {
        if arch == Arch::Llama
            && let Some(found) = found.filter(|&found| found != config.head_size())
        {
            return Err(refuse(name(field), found.to_string(), "must be the size of a head"));
        }
    }
    Ok((config, family == "llama"))
}

/// The f64 that is written as briefly as the f32: 1e-5 was meant, not 9.99999974738e-6.
pub(super) fn short(x: f32) -> f64 {
    x.to_string().parse().unwrap_or_else(|_| f64::from(x))
}
