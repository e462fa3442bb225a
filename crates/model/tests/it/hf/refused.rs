//! What is not computed, or does not fit, is an error that names the field or the tensor.

use std::path::Path;

use safetensors::tensor::{TensorView, serialize_to_file};
use safetensors::{Dtype as FileDtype, SafeTensors};
use selvedge_model::Config;
use selvedge_model::hf::{Dtype, Error, Folder, Generation, read_config, save};
use serde_json::{Value, json};

use super::{copy, golden};

fn config_of(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden(name).join("config.json")).unwrap()).unwrap()
}

/// The configuration of a folder with some fields changed.
fn with(name: &str, changes: Value) -> Result<Config, Error> {
    let mut config = config_of(name);
    for (field, value) in changes.as_object().unwrap() {
        config[field] = value.clone();
    }
    read_config(config.to_string().as_bytes())
}

#[test]
fn what_would_change_the_result_is_refused_by_name() {
    let dynamic = json!({"rope_type": "dynamic", "factor": 2.0});
    let longrope = json!({"type": "longrope", "factor": 2.0});
    let cases = [
        ("llama3", json!({"attention_bias": true}), "attention_bias"),
        ("llama3", json!({"mlp_bias": true}), "mlp_bias"),
        ("qwen3", json!({"attention_bias": true}), "attention_bias"),
        ("llama3", json!({"hidden_act": "gelu"}), "hidden_act"),
        ("gpt2", json!({"activation_function": "relu"}), "activation_function"),
        ("gpt2", json!({"scale_attn_weights": false}), "scale_attn_weights"),
        ("gpt2", json!({"scale_attn_by_inverse_layer_idx": true}), "scale_attn_by_inverse_layer_idx"),
        ("gpt2", json!({"add_cross_attention": true}), "add_cross_attention"),
        ("llama3", json!({"rope_scaling": dynamic}), "rope_scaling.rope_type"),
        ("llama3", json!({"rope_scaling": longrope}), "rope_scaling.type"),
        ("llama3", json!({"rope_scaling": {"type": "yarn"}}), "rope_scaling.factor"),
        ("qwen2", json!({"rope_parameters": dynamic}), "rope_parameters.rope_type"),
        ("qwen2", json!({"rope_parameters": {"rope_type": "linear"}}), "rope_parameters.factor"),
        ("qwen2", json!({"rope_parameters": {"long_factor": [2.0]}}), "rope_parameters.long_factor"),
        (
            "qwen2",
            json!({"rope_parameters": {"partial_rotary_factor": 0.5}}),
            "rope_parameters.partial_rotary_factor",
        ),
        ("qwen2", json!({"partial_rotary_factor": 0.5}), "partial_rotary_factor"),
        ("qwen2", json!({"rope_scaling": {"type": "linear", "factor": 9.0}}), "rope_scaling"),
        ("qwen2", json!({"quantization_config": {"bits": 4}}), "quantization_config"),
        ("qwen2", json!({"layer_types": ["full_attention", "linear_attention"]}), "layer_types"),
        ("qwen2", json!({"layer_types": ["full_attention", "sliding_attention"]}), "layer_types"),
        ("llama3", json!({"model_type": "mixtral"}), "model_type"),
        ("llama3", json!({"architectures": ["LlamaForSequenceClassification"]}), "architectures"),
    ];
    for (name, changes, named) in cases {
        let error = with(name, changes.clone()).unwrap_err();
        assert!(matches!(&error, Error::Field { field, .. } if field == named), "{changes}: {error}");
    }
    let error = with("qwen2", json!({"num_key_value_heads": 3})).unwrap_err();
    assert!(error.to_string().contains("kv_heads"), "{error}");
}

#[test]
fn what_changes_nothing_is_not_looked_at() {
    for name in ["gpt2", "llama3", "mistral", "qwen2", "qwen3"] {
        let same = with(name, json!({"use_cache": false, "attention_dropout": 0.5, "made_by": {"a": [1]}}));
        assert_eq!(same.unwrap(), with(name, json!({})).unwrap());
    }
}

#[test]
fn absent_fields_are_what_the_classes_of_transformers_take() {
    let without = |name: &str, fields: &[&str]| {
        let mut config = config_of(name);
        fields.iter().for_each(|field| drop(config.as_object_mut().unwrap().remove(*field)));
        read_config(config.to_string().as_bytes())
    };
    let gpt2 =
        without("gpt2", &["n_inner", "layer_norm_epsilon", "tie_word_embeddings", "activation_function"]);
    assert_eq!(gpt2.unwrap(), Config::gpt2(96, 32, 2, 2, 16));
    let llama =
        without("llama3", &["num_key_value_heads", "tie_word_embeddings", "rope_scaling", "rope_theta"]);
    let llama = llama.unwrap();
    assert_eq!((llama.kv_heads, llama.tied, llama.rope_theta), (4, false, 10_000.0));
    assert_eq!(llama.rope_scaling, None);
    assert_eq!(without("qwen3", &["head_dim"]).unwrap().head_size, Some(128));
    assert_eq!(with("qwen3", json!({"head_dim": null})).unwrap().head_size, None);
    assert_eq!(with("mistral", json!({"sliding_window": null})).unwrap().context, 32);
    let long = json!({"max_position_embeddings": 100_000, "sliding_window": null});
    assert_eq!(with("mistral", long).unwrap().context, 100_000);
    let mut long = config_of("mistral");
    long["max_position_embeddings"] = json!(100_000);
    long.as_object_mut().unwrap().remove("sliding_window");
    assert_eq!(read_config(long.to_string().as_bytes()).unwrap().context, 4096);
    let window =
        json!({"use_sliding_window": true, "sliding_window": 9, "layer_types": null, "max_window_layers": 1});
    assert_eq!(with("qwen2", window).unwrap().context, 9);
    let unused =
        json!({"use_sliding_window": true, "sliding_window": 9, "layer_types": null, "max_window_layers": 2});
    assert_eq!(with("qwen2", unused).unwrap().context, 32);
    let million = json!({"max_position_embeddings": 1_000_000});
    assert_eq!(with("qwen2", million).unwrap().context, selvedge_model::LONGEST_CONTEXT);
    let wide = json!({"max_position_embeddings": 1_000_000, "sliding_window": null, "head_dim": 1024});
    assert_eq!(with("mistral", wide).unwrap().context, 1 << 14, "tables of wide heads are no larger");
}

/// Rewrites the weights of a folder with some tensors left out, and others put in.
fn rewrite(folder: &Path, without: &[&str], with: &[(&str, FileDtype, Vec<usize>, Vec<u8>)]) {
    let path = folder.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<(String, TensorView<'_>)> = file.tensors();
    tensors.retain(|(name, _)| !without.contains(&name.as_str()));
    for (name, dtype, shape, data) in with {
        tensors.push(((*name).to_owned(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
    }
    serialize_to_file(tensors, None, &path).unwrap();
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    const Q: &str = "model.layers.1.self_attn.q_proj.weight";
    const HEAD: &str = "lm_head.weight";
    let open = |without: &[&str], with: &[(&str, FileDtype, Vec<usize>, Vec<u8>)]| {
        let folder = copy("llama3");
        rewrite(folder.path(), without, with);
        Folder::open(folder.path())
    };
    let error = open(&[Q], &[]).unwrap_err();
    assert!(matches!(&error, Error::MissingTensor { tensor, .. } if tensor == Q), "{error}");
    let error = open(&[Q], &[(Q, FileDtype::F32, vec![24, 12], vec![0; 4 * 24 * 12])]).unwrap_err();
    let message = error.to_string();
    assert!(message.contains(Q) && message.contains("[24, 12]") && message.contains("[24, 24]"), "{message}");
    assert!(message.contains("model.safetensors"), "{message}");
    let error = open(&[Q], &[(Q, FileDtype::I32, vec![24, 24], vec![0; 4 * 24 * 24])]).unwrap_err();
    assert!(matches!(&error, Error::Dtype { found, .. } if found == "I32"), "{error}");
    let error = open(&[], &[("score.weight", FileDtype::F32, vec![1], vec![0; 4])]).unwrap_err();
    assert!(matches!(&error, Error::ExtraTensor { tensor, .. } if tensor == "score.weight"), "{error}");
    let inv_freq = "model.layers.0.self_attn.rotary_emb.inv_freq";
    open(&[], &[(inv_freq, FileDtype::F32, vec![3], vec![0; 12])]).unwrap();
    // A head beside the embedding it is tied to: the same, or an error.
    let bytes = std::fs::read(golden("llama3").join("model.safetensors")).unwrap();
    let embedding = SafeTensors::deserialize(&bytes).unwrap();
    let mut head = embedding.tensor("model.embed_tokens.weight").unwrap().data().to_vec();
    open(&[], &[(HEAD, FileDtype::F32, vec![96, 24], head.clone())]).unwrap();
    head[7] ^= 1;
    let error = open(&[], &[(HEAD, FileDtype::F32, vec![96, 24], head)]).unwrap_err();
    assert!(matches!(error, Error::UntiedHead { .. }), "{error}");
}

#[test]
fn an_index_stays_in_its_folder_and_agrees_with_its_shards() {
    let open = |change: &dyn Fn(&mut Value)| {
        let folder = copy("qwen3");
        let path = folder.path().join("model.safetensors.index.json");
        let mut index: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut index);
        std::fs::write(&path, index.to_string()).unwrap();
        Folder::open(folder.path())
    };
    open(&|_| {}).unwrap();
    for outside in ["../model.safetensors", "/etc/hostname", "", "a/../../b", ".."] {
        let error = open(&|index| index["weight_map"]["lm_head.weight"] = json!(outside)).unwrap_err();
        assert!(matches!(&error, Error::ShardOutside { shard, .. } if shard == outside), "{error}");
    }
    let first = "model-00001-of-00002.safetensors";
    let error = open(&|index| index["weight_map"]["lm_head.weight"] = json!("no.safetensors")).unwrap_err();
    assert!(matches!(error, Error::Io { action: "open", .. }), "{error}");
    let error = open(&|index| index["weight_map"]["made.up"] = json!(first)).unwrap_err();
    assert!(matches!(&error, Error::MissingTensor { tensor, .. } if tensor == "made.up"), "{error}");
    let error = open(&|index| index["weight_map"] = json!({"lm_head.weight": 3})).unwrap_err();
    assert!(error.to_string().contains("weight_map.lm_head.weight"), "{error}");
    let error = open(&|index| index["weight_map"] = Value::Null).unwrap_err();
    assert!(error.to_string().contains("weight_map"), "{error}");

    let folder = copy("qwen3");
    let second = folder.path().join("model-00002-of-00002.safetensors");
    std::fs::copy(folder.path().join(first), second).unwrap();
    let error = Folder::open(folder.path()).unwrap_err();
    assert!(matches!(error, Error::MissingTensor { .. } | Error::DuplicateTensor { .. }), "{error}");
}

#[test]
fn folders_without_weights_or_with_things_that_are_no_files_are_refused() {
    let folder = copy("llama3");
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    assert!(matches!(Folder::open(folder.path()), Err(Error::NoWeights { .. })));
    std::fs::create_dir(folder.path().join("model.safetensors")).unwrap();
    assert!(matches!(Folder::open(folder.path()), Err(Error::Io { action: "open", .. })));
    std::fs::remove_file(folder.path().join("config.json")).unwrap();
    let error = Folder::open(folder.path()).unwrap_err();
    assert!(error.to_string().contains("config.json"), "{error}");
}

#[test]
fn what_cannot_be_saved_is_said_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made");
    let none = Generation::default();
    let both = Config { qkv_bias: true, qk_norm: true, ..Config::llama(16, 8, 1, 2, 8) };
    let zeros = vec![0.0; selvedge_model::layout(&both).unwrap().len()];
    let error = save(&path, &both, &zeros, Dtype::F32, &none).unwrap_err();
    assert!(matches!(error, Error::NotSavable { .. }), "{error}");
    let config = Config::llama(16, 8, 1, 2, 8);
    let mut params = vec![0.0; selvedge_model::layout(&config).unwrap().len()];
    params[3] = 1e6;
    let error = save(&path, &config, &params, Dtype::F16, &none).unwrap_err();
    assert!(matches!(error, Error::Overflow { value: 1e6, .. }), "{error}");
    assert!(!path.exists());
    save(&path, &config, &params, Dtype::BF16, &none).unwrap();
}
