//! `config.json` of transformers as a [`Config`].
//!
//! Defaults are those of the classes of transformers 5, but for sizes, which must be there. What this crate does not
//! compute is refused by name; fields that change no logit are not looked at.

use super::fields::{Fields, parse};
use super::{Error, Family};
use crate::config::longest_context;
use crate::rope_scaling::yarn_amplitude;
use crate::{Activation, Arch, Config, RopeScaling};

/// The configuration that a `config.json` of transformers describes.
///
/// Known `model_type`s are `gpt2`, `llama` (Llama 1 to 3, SmolLM2 and others), `mistral`, `qwen2` and `qwen3`.
///
/// [`Config::context`] is the number of positions for which results are exact. Where the file asks for a sliding window
/// of attention, that is the window, if it is shorter than the model's positions. But for GPT-2 it is also cut to
/// [`LONGEST_CONTEXT`](crate::LONGEST_CONTEXT) (to less for heads of more than 128 elements), so that a number in a file does not decide how large a
/// rotary table gets; whoever has the memory may set it higher.
///
/// # Errors
/// [`Error::Json`]; [`Error::Field`] naming a field that is missing, of the wrong type, or asks for something that is not
/// computed here (other activations, biases elsewhere, `dynamic` scaling, quantized weights and the like);
/// [`Error::Model`] for sizes that make no model.
pub fn read_config(json: &[u8]) -> Result<Config, Error> {
    let map = parse(json)?;
    let fields = Fields::new(&map);
    let (_, config) = interpret(&fields)?;
    Ok(config)
}

/// Which architecture it is, and its configuration.
pub(super) fn interpret(fields: &Fields<'_>) -> Result<(Family, Config), Error> {
    let family = family(fields)?;
    if fields.get("quantization_config").is_some() {
        let rule = "weights of this kind are not read; take the folder of the model before it was quantized";
        return Err(fields.wrong("quantization_config", rule));
    }
    let config = match family {
        Family::Gpt2 => gpt2(fields)?,
        _ => llama(fields, family)?,
    };
    config.validate()?;
    Ok((family, config))
}

fn family(fields: &Fields<'_>) -> Result<Family, Error> {
    const RULE: &str = "must be gpt2, llama, mistral, qwen2 or qwen3";
    let name = fields.text("model_type")?;
    let family = Family::ALL.into_iter().find(|family| Some(family.model_type()) == name);
    let family = family.ok_or_else(|| fields.wrong("model_type", RULE))?;
    // The base model has the same tensors but for the head; a classifier has others.
    let known = |name: &&str| *name == family.architecture() || *name == family.base();
    if !fields.texts("architectures")?.unwrap_or_default().iter().all(known) {
        return Err(fields.wrong("architectures", "must be the language model of this model_type"));
    }
    Ok(family)
}

fn gpt2(fields: &Fields<'_>) -> Result<Config, Error> {
    must_be(fields, "scale_attn_weights", true)?;
    must_be(fields, "scale_attn_by_inverse_layer_idx", false)?;
    must_be(fields, "add_cross_attention", false)?;
    let activation = match fields.text("activation_function")?.unwrap_or("gelu_new") {
        "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluTanh,
        "gelu" => Activation::Gelu,
        _ => return Err(fields.wrong("activation_function", "must be gelu_new, gelu_pytorch_tanh or gelu")),
    };
    let channels = fields.needed_size("n_embd")?;
    let heads = fields.needed_size("n_head")?;
    Ok(Config {
        arch: Arch::Gpt2,
        vocab: fields.needed_size("vocab_size")?,
        context: fields.needed_size("n_positions")?,
        layers: fields.needed_size("n_layer")?,
        heads,
        kv_heads: heads,
        channels,
        hidden: fields.size("n_inner")?.unwrap_or(channels.saturating_mul(4)),
        norm_eps: fields.number("layer_norm_epsilon")?.unwrap_or(1e-5),
        rope_theta: 10_000.0,
        activation,
        tied: fields.flag("tie_word_embeddings")?.unwrap_or(true),
        head_size: None,
        qkv_bias: false,
        qk_norm: false,
        rope_scaling: None,
    })
}

fn llama(fields: &Fields<'_>, family: Family) -> Result<Config, Error> {
    match family {
        // Biases of the output projection and of the MLP have no place in the wiring.
        Family::Llama => {
            must_be(fields, "attention_bias", false)?;
            must_be(fields, "mlp_bias", false)?;
        }
        Family::Qwen3 => must_be(fields, "attention_bias", false)?,
        Family::Gpt2 | Family::Mistral | Family::Qwen2 => {}
    }
    if fields.text("hidden_act")?.is_some_and(|name| name != "silu") {
        return Err(fields.wrong("hidden_act", "must be silu"));
    }
    let positions = fields.needed_size("max_position_embeddings")?;
    let (rope_theta, rope_scaling) = rope(fields, positions)?;
    let channels = fields.needed_size("hidden_size")?;
    let heads = fields.needed_size("num_attention_heads")?;
    let usual = channels.checked_div(heads);
    let head_size = match fields.size("head_dim")? {
        None if family == Family::Qwen3 && !fields.has("head_dim") => Some(128),
        size => size,
    };
    let longest = longest_context(head_size.or(usual).unwrap_or(1));
    Ok(Config {
        arch: Arch::Llama,
        vocab: fields.needed_size("vocab_size")?,
        context: positions.min(window(fields, family)?).min(longest),
        layers: fields.needed_size("num_hidden_layers")?,
        heads,
        kv_heads: kv_heads(fields, family, heads)?,
        channels,
        hidden: fields.needed_size("intermediate_size")?,
        norm_eps: fields.number("rms_norm_eps")?.unwrap_or(1e-6),
        rope_theta,
        activation: Activation::Silu,
        tied: fields.flag("tie_word_embeddings")?.unwrap_or(false),
        head_size: head_size.filter(|&size| usual != Some(size) || !channels.is_multiple_of(heads)),
        qkv_bias: family == Family::Qwen2,
        qk_norm: family == Family::Qwen3,
        rope_scaling,
    })
}

fn kv_heads(fields: &Fields<'_>, family: Family, heads: usize) -> Result<usize, Error> {
    const NAME: &str = "num_key_value_heads";
    let default = match family {
        _ if fields.has(NAME) => heads,
        Family::Mistral => 8,
        Family::Qwen2 | Family::Qwen3 => 32,
        Family::Gpt2 | Family::Llama => heads,
    };
    Ok(fields.size(NAME)?.unwrap_or(default))
}

/// Positions within which attention sees everything before it.
fn window(fields: &Fields<'_>, family: Family) -> Result<usize, Error> {
    const WINDOW: &str = "sliding_window";
    let default = if fields.has(WINDOW) { usize::MAX } else { 4096 };
    match family {
        Family::Gpt2 | Family::Llama => Ok(usize::MAX),
        Family::Mistral => Ok(fields.size(WINDOW)?.unwrap_or(default)),
        Family::Qwen2 | Family::Qwen3 => {
            let used = fields.flag("use_sliding_window")?.unwrap_or(false);
            let layers = fields.texts("layer_types")?;
            let sliding = match &layers {
                Some(layers) => layers.contains(&"sliding_attention"),
                None => {
                    used && fields.size("max_window_layers")?.unwrap_or(28)
                        < fields.needed_size("num_hidden_layers")?
                }
            };
            let known = |name: &&str| matches!(*name, "sliding_attention" | "full_attention");
            if !layers.unwrap_or_default().iter().all(known) {
                return Err(fields.wrong("layer_types", "must be full_attention or sliding_attention each"));
            }
            if sliding && !used {
                return Err(
                    fields.wrong("layer_types", "asks for a window, but use_sliding_window is not true")
                );
            }
            if sliding { Ok(fields.size(WINDOW)?.unwrap_or(default)) } else { Ok(usize::MAX) }
        }
    }
}

/// Base and scaling of the rotary frequencies, in the spelling of transformers 5 (`rope_parameters`) or of those before.
fn rope(fields: &Fields<'_>, positions: usize) -> Result<(f64, Option<RopeScaling>), Error> {
    const KNOWN: [&str; 14] = [
        "rope_type",
        "type",
        "rope_theta",
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
        "partial_rotary_factor",
        "attention_factor",
        "beta_fast",
        "beta_slow",
        "mscale",
        "mscale_all_dim",
        "truncate",
    ];
    let given = |name| fields.object(name).map(|object| object.filter(|object| !object.is_empty()));
    let rope = match (given("rope_scaling")?, given("rope_parameters")?) {
        (Some(_), Some(_)) if fields.get("rope_scaling") != fields.get("rope_parameters") => {
            return Err(fields.wrong("rope_scaling", "differs from rope_parameters; one of them must go"));
        }
        (old, new) => old.or(new),
    };
    whole_head(fields)?;
    let theta = fields.number("rope_theta")?.unwrap_or(10_000.0);
    let Some(rope) = rope else { return Ok((theta, None)) };
    whole_head(&rope)?;
    let theta = rope.number("rope_theta")?.unwrap_or(theta);
    let name = if rope.get("rope_type").is_some() { "rope_type" } else { "type" };
    let scaling = match rope.text(name)?.unwrap_or("default") {
        "default" => None,
        "linear" => Some(RopeScaling::Linear { factor: rope.needed_number("factor")? }),
        "llama3" => Some(RopeScaling::Llama3 {
            factor: rope.needed_number("factor")?,
            low_freq_factor: rope.needed_number("low_freq_factor")?,
            high_freq_factor: rope.needed_number("high_freq_factor")?,
            original_context: original_context(fields, &rope, positions)?,
        }),
        "yarn" => Some(yarn(&rope, original_context(fields, &rope, positions)?)?),
        _ => return Err(rope.wrong(name, "must be default, linear, llama3 or yarn")),
    };
    match rope.names().find(|name| rope.get(name).is_some() && !KNOWN.contains(name)) {
        Some(name) => Err(rope.wrong(name, "is not known here and may change the result")),
        None => Ok((theta, scaling)),
    }
}

/// Positions of the first training: beside the rotary parameters or among them, or else all there are.
fn original_context(fields: &Fields<'_>, rope: &Fields<'_>, positions: usize) -> Result<usize, Error> {
    const NAME: &str = "original_max_position_embeddings";
    match fields.size(NAME)? {
        Some(outer) => Ok(outer),
        None => Ok(rope.size(NAME)?.unwrap_or(positions)),
    }
}

fn yarn(rope: &Fields<'_>, original_context: usize) -> Result<RopeScaling, Error> {
    let factor = rope.needed_number("factor")?;
    // What YaRN's authors found best, times a weight that some models have.
    let amplitude = |weight: f64| weight * (yarn_amplitude(factor) - 1.0) + 1.0;
    let set = |name| rope.number(name).map(|value| value.filter(|&value| value != 0.0));
    let attention_factor = match (rope.number("attention_factor")?, set("mscale")?, set("mscale_all_dim")?) {
        (Some(given), ..) => given,
        (None, Some(some), Some(all)) => amplitude(some) / amplitude(all),
        (None, ..) => amplitude(1.0),
    };
    Ok(RopeScaling::Yarn {
        factor,
        attention_factor,
        beta_fast: set("beta_fast")?.unwrap_or(32.0),
        beta_slow: set("beta_slow")?.unwrap_or(1.0),
        truncate: rope.flag("truncate")?.unwrap_or(true),
        original_context,
    })
}

/// Refuses heads of which only a part is turned.
fn whole_head(fields: &Fields<'_>) -> Result<(), Error> {
    const NAME: &str = "partial_rotary_factor";
    match fields.number(NAME)? {
        Some(part) if part != 1.0 => Err(fields.wrong(NAME, "must be 1")),
        _ => Ok(()),
    }
}

fn must_be(fields: &Fields<'_>, name: &str, value: bool) -> Result<(), Error> {
    let rule = if value { "must be true" } else { "must be false" };
    if fields.flag(name)?.is_some_and(|found| found != value) {
        Err(fields.wrong(name, rule))
    } else {
        Ok(())
    }
}
