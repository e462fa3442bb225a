//! Which tensors of transformers make up each weight of a layout, and how.
//!
//! Both sides keep matrices as (out, in), rows of a head's two halves in the same order (rotate-half); only GPT-2's are
//! (in, out) there. Projections that read the same input are one matrix here: rows q, k, v, and rows gate, up.

use std::ops::Range;

use crate::layout::{Layout, Slot};
use crate::{Arch, Config};

/// One tensor of transformers, and the elements of the flat buffer that it holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    /// Its name, with the prefix of the language model.
    pub(crate) name: String,
    /// Its shape in files.
    pub(crate) shape: Vec<usize>,
    /// Its place in the flat buffer.
    pub(crate) range: Range<usize>,
    /// Whether the file holds the transpose.
    pub(crate) transposed: bool,
}

/// What the names of all tensors but the head begin with; folders of the model without a head lack it.
pub(super) fn prefix(arch: Arch) -> &'static str {
    match arch {
        Arch::Gpt2 => "transformer.",
        Arch::Llama => "model.",
    }
}

/// The token embedding's name after the prefix.
pub(super) fn embedding(arch: Arch) -> &'static str {
    match arch {
        Arch::Gpt2 => "wte.weight",
        Arch::Llama => "embed_tokens.weight",
    }
}

/// The head's name.
pub(super) const HEAD: &str = "lm_head.weight";

/// Whether a tensor of a file holds no weight: masks and frequencies that older versions of transformers saved.
pub(super) fn is_constant(arch: Arch, name: &str) -> bool {
    match arch {
        Arch::Gpt2 => name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias"),
        Arch::Llama => name.ends_with(".rotary_emb.inv_freq"),
    }
}

/// Every tensor of the model, in the order of the layout.
pub(super) fn parts(config: &Config, layout: &Layout) -> Vec<Part> {
    layout.slots().iter().flat_map(|slot| slot_parts(config, slot)).collect()
}

/// Those of one weight, in the order of its outputs.
pub(crate) fn slot_parts(config: &Config, slot: &Slot) -> Vec<Part> {
    let (field, kind) = slot.name.rsplit_once('.').unwrap_or((&slot.name, "weight"));
    let (place, field) = match field.strip_prefix("block.").and_then(|rest| rest.split_once('.')) {
        Some((layer, field)) => match config.arch {
            Arch::Gpt2 => (format!("transformer.h.{layer}."), field),
            Arch::Llama => (format!("model.layers.{layer}."), field),
        },
        None if field == "head" => (String::new(), field),
        None => (prefix(config.arch).to_owned(), field),
    };
    let sources = match config.arch {
        Arch::Gpt2 => gpt2(field).map(|name| (name, out_size(slot))).into_iter().collect(),
        Arch::Llama => llama(config, field, slot),
    };
    assert!(!sources.is_empty(), "{} has no name in transformers", slot.name);
    let transposed = config.arch == Arch::Gpt2 && place.contains(".h.") && slot.decay;
    let inputs = if slot.decay { slot.span.cols } else { 1 };
    let mut at = slot.span.offset;
    let part = |(name, outputs): (&str, usize)| {
        let range = at..at + outputs * inputs;
        at = range.end;
        let shape = match (slot.decay, transposed) {
            (false, _) => vec![outputs],
            (true, false) => vec![outputs, inputs],
            (true, true) => vec![inputs, outputs],
        };
        Part { name: format!("{place}{name}.{kind}"), shape, range, transposed }
    };
    let parts: Vec<Part> = sources.into_iter().map(part).collect();
    debug_assert_eq!(at, slot.span.range().end, "the parts of {}", slot.name);
    parts
}

/// Rows of a matrix, elements of a vector.
fn out_size(slot: &Slot) -> usize {
    if slot.decay { slot.span.rows } else { slot.span.cols }
}

fn gpt2(field: &str) -> Option<&'static str> {
    Some(match field {
        "token_embedding" => "wte",
        "position_embedding" => "wpe",
        "norm_1" => "ln_1",
        "qkv" => "attn.c_attn",
        "attn_out" => "attn.c_proj",
        "norm_2" => "ln_2",
        "mlp_up" => "mlp.c_fc",
        "mlp_down" => "mlp.c_proj",
        "norm_f" => "ln_f",
        "head" => "lm_head",
        _ => return None,
    })
}

/// Modules, and how many outputs each has.
fn llama(config: &Config, field: &str, slot: &Slot) -> Vec<(&'static str, usize)> {
    let shape = config.attention(1, 1);
    let (q, kv) = (shape.query_cols(), shape.kv_cols());
    let name = match field {
        "qkv" => return vec![("self_attn.q_proj", q), ("self_attn.k_proj", kv), ("self_attn.v_proj", kv)],
        "gate_up" => return vec![("mlp.gate_proj", config.hidden), ("mlp.up_proj", config.hidden)],
        "token_embedding" => "embed_tokens",
        "attn_out" => "self_attn.o_proj",
        "mlp_down" => "mlp.down_proj",
        "norm_1" => "input_layernorm",
        "norm_2" => "post_attention_layernorm",
        "q_norm" => "self_attn.q_norm",
        "k_norm" => "self_attn.k_norm",
        "norm_f" => "norm",
        "head" => "lm_head",
        _ => return Vec::new(),
    };
    vec![(name, out_size(slot))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_every_weight_once_and_in_order() {
        let gpt2 = Config { tied: false, ..Config::gpt2(37, 16, 2, 3, 24) };
        let llama = Config { kv_heads: 2, ..Config::llama(37, 16, 2, 4, 32) };
        let qwen = Config { qkv_bias: true, qk_norm: true, head_size: Some(6), tied: false, ..llama.clone() };
        for config in [gpt2, llama, qwen] {
            let layout = crate::layout(&config).unwrap();
            let parts = parts(&config, &layout);
            let mut rest = parts.iter();
            for slot in layout.slots() {
                let mut at = slot.span.offset;
                while at < slot.span.range().end {
                    let part = rest.next().unwrap();
                    assert_eq!(part.range.start, at, "{} of {}", part.name, slot.name);
                    assert_eq!(part.shape.iter().product::<usize>(), part.range.len());
                    at = part.range.end;
                }
                assert_eq!(at, slot.span.range().end, "{}", slot.name);
            }
            assert!(rest.next().is_none());
            let mut names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), parts.len());
        }
    }

    #[test]
    fn names_and_shapes_are_those_of_transformers() {
        let config = Config { kv_heads: 2, head_size: Some(6), ..Config::llama(37, 16, 2, 4, 32) };
        let of = |config: &Config| parts(config, &crate::layout(config).unwrap());
        let parts = of(&config);
        let find = |parts: &[Part], name: &str| parts.iter().find(|part| part.name == name).unwrap().clone();
        assert_eq!(find(&parts, "model.layers.1.self_attn.k_proj.weight").shape, [12, 32]);
        assert_eq!(find(&parts, "model.layers.1.self_attn.o_proj.weight").shape, [32, 24]);
        assert_eq!(find(&parts, "model.norm.weight").shape, [32]);
        let parts = of(&Config { tied: false, ..Config::gpt2(37, 16, 2, 3, 24) });
        let qkv = find(&parts, "transformer.h.0.attn.c_attn.weight");
        assert_eq!((qkv.shape, qkv.transposed), (vec![24, 72], true));
        let head = find(&parts, HEAD);
        assert_eq!((head.shape, head.transposed), (vec![37, 24], false));
    }
}
