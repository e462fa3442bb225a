//! Which tensors of a GGUF file make up each weight of a layout, and in which order of rows.

use crate::layout::Slot;
use crate::{Arch, Config};

/// One tensor of a file, consecutive rows of a weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// Its name.
    pub(super) name: String,
    /// Rows of a matrix; elements of a vector.
    pub(super) rows: usize,
    /// Elements of a row; 1 of a vector.
    pub(super) columns: usize,
    /// Whether the file has it as one row.
    pub(super) is_vector: bool,
    /// Elements of a head whose pairs to be turned lie side by side in the file, and half a head apart here.
    pub(super) paired: Option<usize>,
    /// Whether the file may have more rows, which are not used: positions.
    pub(super) may_have_more: bool,
}

impl Source {
    /// The file's row of row `row` here.
    pub(super) fn row(&self, row: usize) -> usize {
        match self.paired {
            Some(head) => {
                let (first, at) = (row / head * head, row % head);
                first + at % (head / 2) * 2 + at / (head / 2)
            }
            None => row,
        }
    }

    /// Puts all its rows where the file has them.
    pub(super) fn lay(&self, rows: &[f32], to: &mut [f32]) {
        for (row, values) in rows.chunks_exact(self.columns).enumerate() {
            to[self.row(row) * self.columns..][..self.columns].copy_from_slice(values);
        }
    }
}

/// The tensors of a weight, in the order of its rows. Files of the family `llama` have pairs side by side.
pub(super) fn of(config: &Config, paired: bool, slot: &Slot) -> Vec<Source> {
    let (field, kind) = slot.name.rsplit_once('.').unwrap_or((&slot.name, "weight"));
    let (layer, field) = match field.strip_prefix("block.").and_then(|rest| rest.split_once('.')) {
        Some((layer, field)) => (format!("blk.{layer}."), field),
        None => (String::new(), field),
    };
    let shape = config.attention(1, 1);
    let (q, kv, head) = (shape.query_cols(), shape.kv_cols(), shape.head_size);
    let all = if slot.decay { slot.span.rows } else { slot.span.cols };
    let turned = paired.then_some(head);
    let names: Vec<(&str, usize, Option<usize>)> = match (config.arch, field) {
        (_, "token_embedding") => vec![("token_embd", all, None)],
        (_, "position_embedding") => vec![("position_embd", all, None)],
        (_, "norm_f") => vec![("output_norm", all, None)],
        (_, "head") => vec![("output", all, None)],
        (_, "norm_1") => vec![("attn_norm", all, None)],
        (_, "norm_2") => vec![("ffn_norm", all, None)],
        (_, "attn_out") => vec![("attn_output", all, None)],
        (_, "mlp_down") => vec![("ffn_down", all, None)],
        (_, "mlp_up") => vec![("ffn_up", all, None)],
        (Arch::Gpt2, "qkv") => vec![("attn_qkv", all, None)],
        (Arch::Llama, "qkv") => vec![("attn_q", q, turned), ("attn_k", kv, turned), ("attn_v", kv, None)],
        (_, "gate_up") => vec![("ffn_gate", all / 2, None), ("ffn_up", all / 2, None)],
        (_, "q_norm") => vec![("attn_q_norm", all, None)],
        (_, "k_norm") => vec![("attn_k_norm", all, None)],
        _ => Vec::new(),
    };
    assert!(!names.is_empty(), "{} has no name in GGUF files", slot.name);
    let source = |(name, rows, paired)| Source {
        name: format!("{layer}{name}.{kind}"),
        rows,
        columns: if slot.decay { slot.span.cols } else { 1 },
        is_vector: !slot.decay,
        paired,
        may_have_more: field == "position_embedding",
    };
    names.into_iter().map(source).collect()
}
