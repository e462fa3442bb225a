//! A tiny random model as others publish them: a Hugging Face folder and a GGUF file of the same weights, with a vocabulary
//! of all bytes and a chat template.

use std::fs::{self, File};
use std::path::PathBuf;

use selvedge_model::gguf::{Array, Metadata, TensorSpec, Type, Value, Writer};
use selvedge_model::hf::{self, Dtype, Generation};
use selvedge_model::{Config, Layout, initialize, layout};
use serde_json::json;
use tempfile::TempDir;

/// Ends a text.
pub(crate) const END: u32 = 256;
const SPECIALS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

pub(crate) const TEMPLATE: &str = "\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' -}}
{%- endfor -%}
{%- if messages and messages[-1].content == 'refuse me' %}{{ raise_exception('not this') }}{% endif -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}";

/// The model on disk and in memory.
pub(crate) struct Tiny {
    dir: TempDir,
    pub(crate) config: Config,
    pub(crate) params: Vec<f32>,
}

/// How a vocabulary writes each byte, as a character.
fn characters() -> Vec<String> {
    let (visible, hidden): (Vec<u32>, Vec<u32>) =
        (0..256).partition(|byte| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF));
    let mut all = vec![String::new(); 256];
    for &byte in &visible {
        all[byte as usize] = char::from_u32(byte).unwrap().to_string();
    }
    for (&byte, character) in hidden.iter().zip(256..) {
        all[byte as usize] = char::from_u32(character).unwrap().to_string();
    }
    all
}

impl Tiny {
    /// Writes both.
    pub(crate) fn new() -> Tiny {
        let config = Config { qk_norm: true, kv_heads: 1, ..Config::llama(259, 512, 2, 2, 32) };
        let layout = layout(&config).unwrap();
        // Larger than a model begins with, so that it does not say one thing for ever.
        let params: Vec<f32> = initialize::<f32>(&layout, 7).iter().map(|x| x * 6.0).collect();
        let tiny = Tiny { dir: tempfile::tempdir().unwrap(), config, params };
        tiny.write_folder();
        tiny.write_file("model.gguf", Some(TEMPLATE), None);
        tiny
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The Hugging Face folder.
    pub(crate) fn folder(&self) -> PathBuf {
        self.path("folder")
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.path("model.gguf")
    }

    fn write_folder(&self) {
        let folder = self.folder();
        let generation = Generation { eos: vec![END], ..Generation::default() };
        hf::save(&folder, &self.config, &self.params, Dtype::F32, &generation).unwrap();
        let vocab: serde_json::Map<String, serde_json::Value> =
            characters().into_iter().zip(0..).map(|(text, id)| (text, json!(id))).collect();
        let added: Vec<serde_json::Value> = SPECIALS
            .iter()
            .zip(256..)
            .map(|(name, id)| json!({"id": id, "content": name, "special": true}))
            .collect();
        let tokenizer = json!({
            "added_tokens": added,
            "normalizer": null,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
            "post_processor": null,
            "model": {"type": "BPE", "vocab": vocab, "merges": []},
        });
        fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
        let about = json!({"eos_token": "<|endoftext|>", "chat_template": TEMPLATE});
        fs::write(folder.join("tokenizer_config.json"), about.to_string()).unwrap();
    }

    /// The same as a GGUF file; `eot` is another token that ends an answer.
    pub(crate) fn write_file(&self, name: &str, template: Option<&str>, eot: Option<u32>) -> PathBuf {
        let path = self.path(name);
        let tensors = self.tensors(&layout(&self.config).unwrap());
        let specs = tensors.iter().map(|(name, shape, _)| TensorSpec {
            name: name.clone(),
            shape: shape.clone(),
            element_type: Type::F32,
        });
        let metadata = self.metadata(template, eot);
        let mut writer = Writer::new(File::create(&path).unwrap(), &metadata, specs.collect()).unwrap();
        for (.., values) in &tensors {
            writer.put(values).unwrap();
        }
        writer.finish().unwrap();
        path
    }

    fn metadata(&self, template: Option<&str>, eot: Option<u32>) -> Metadata {
        let config = &self.config;
        let mut metadata = Metadata::new();
        let text = |text: &str| Value::String(text.into());
        metadata.insert("general.architecture", text("qwen3"));
        for (key, value) in [
            ("context_length", config.context),
            ("embedding_length", config.channels),
            ("block_count", config.layers),
            ("feed_forward_length", config.hidden),
            ("attention.head_count", config.heads),
            ("attention.head_count_kv", config.kv_heads),
        ] {
            metadata.insert(format!("qwen3.{key}"), Value::U32(value as u32));
        }
        metadata.insert("qwen3.attention.layer_norm_rms_epsilon", Value::F32(config.norm_eps as f32));
        metadata.insert("qwen3.rope.freq_base", Value::F32(config.rope_theta as f32));
        metadata.insert("tokenizer.ggml.model", text("gpt2"));
        metadata.insert("tokenizer.ggml.pre", text("gpt-2"));
        let tokens = characters().into_iter().chain(SPECIALS.map(str::to_owned));
        metadata.insert("tokenizer.ggml.tokens", Value::Array(Array::String(tokens.collect())));
        let kinds = (0..259).map(|id| if id < 256 { 1 } else { 3 }).collect::<Vec<i32>>();
        metadata.insert("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
        metadata.insert("tokenizer.ggml.eos_token_id", Value::U32(END));
        if let Some(eot) = eot {
            metadata.insert("tokenizer.ggml.eot_token_id", Value::U32(eot));
        }
        if let Some(template) = template {
            metadata.insert("tokenizer.chat_template", text(template));
        }
        metadata
    }

    /// Tensors by the names of GGUF: name, shape, elements.
    fn tensors(&self, layout: &Layout) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let config = &self.config;
        let head = config.head_size();
        let mut all = Vec::new();
        for slot in layout.slots() {
            let values = &self.params[slot.span.range()];
            let (rows, columns) = (slot.span.rows, slot.span.cols);
            let name =
                slot.name.strip_prefix("block.").map_or(slot.name.clone(), |rest| format!("blk.{rest}"));
            let mut add = |name: String, values: &[f32]| {
                let shape =
                    if slot.decay { vec![values.len() / columns, columns] } else { vec![values.len()] };
                all.push((name, shape, values.to_vec()));
            };
            if name.contains(".qkv.") {
                let (queries, rest) = values.split_at(config.heads * head * columns);
                let (keys, values) = rest.split_at(config.kv_heads * head * columns);
                for (part, values) in [("attn_q", queries), ("attn_k", keys), ("attn_v", values)] {
                    add(name.replace("qkv", part), values);
                }
            } else if name.contains("gate_up") {
                let (gate, up) = values.split_at(rows / 2 * columns);
                add(name.replace("gate_up", "ffn_gate"), gate);
                add(name.replace("gate_up", "ffn_up"), up);
            } else if name == "token_embedding" {
                add("token_embd.weight".to_owned(), values);
            } else {
                let name = name
                    .replace("norm_f", "output_norm")
                    .replace("norm_1", "attn_norm")
                    .replace("norm_2", "ffn_norm")
                    .replace("attn_out.", "attn_output.")
                    .replace("mlp_down", "ffn_down")
                    .replace(".q_norm", ".attn_q_norm")
                    .replace(".k_norm", ".attn_k_norm");
                add(name, values);
            }
        }
        all
    }
}
