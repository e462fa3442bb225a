//! The shape of a model by the keys of a GGUF file.

use super::{Error, File, KeyError, optional};
use crate::config::longest_context;
use crate::{Activation, Arch, Config, RopeScaling};

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
    let config = Config {
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
        rope_scaling: scaling(file, family)?,
    };
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

/// How positions are scaled: linearly, where a file does not say how, by a factor that may be missing too.
fn scaling(file: &File, family: &str) -> Result<Option<RopeScaling>, Error> {
    const READ: [&str; 3] = ["scaling.type", "scaling.factor", "scale_linear"];
    /// What a file was made with, which does not matter without YaRN.
    const HARMLESS: [&str; 2] = ["scaling.original_context_length", "scaling.finetuned"];
    let metadata = file.header().metadata();
    let name = |field: &str| format!("{family}.rope.{field}");
    let refuse = |key: String, found: String, rule| {
        Err(Error::Setting { path: file.path().to_owned(), key, found, rule })
    };
    if file.tensor("rope_freqs.weight").is_some() {
        let rule = "of frequencies, which is not computed here; a Hugging Face folder of the model is";
        return refuse("rope_freqs.weight".to_owned(), "a table".to_owned(), rule);
    }
    let prefix = name("scal");
    let known = |key: &str| READ.iter().chain(&HARMLESS).any(|field| key == name(field));
    if let Some((key, _)) = metadata.iter().find(|(key, _)| key.starts_with(&prefix) && !known(key)) {
        return refuse(key.to_owned(), "a value".to_owned(), "is not computed here");
    }
    let [kind, factor, old_factor] = READ.map(name);
    match optional(metadata.string(&kind)).map_err(Error::key(file.path()))? {
        Some("none") => return Ok(None),
        None | Some("linear") => {}
        Some(other) => return refuse(kind, other.to_owned(), "is not computed here; none and linear are"),
    }
    for key in [factor, old_factor] {
        if let Some(factor) = optional(metadata.f32(&key)).map_err(Error::key(file.path()))? {
            // Files say 0 where there is none.
            return Ok(
                (factor != 0.0 && factor != 1.0).then(|| RopeScaling::Linear { factor: short(factor) })
            );
        }
    }
    Ok(None)
}

/// The f64 that is written as briefly as the f32: 1e-5 was meant, not 9.99999974738e-6.
fn short(x: f32) -> f64 {
    x.to_string().parse().unwrap_or_else(|_| f64::from(x))
}
