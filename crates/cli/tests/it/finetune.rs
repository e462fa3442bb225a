//! `selvedge finetune` from outside: one result, resume, the adapter in use, and bad input.

use std::fs;
use std::path::Path;

use selvedge_model::hf::{Dtype, Generation, save};
use selvedge_model::{Config, initialize, layout};
use serde_json::json;

use crate::support::Home;

/// A folder of transformers: a small Llama over bytes.
fn model(folder: &Path) {
    let config = Config { kv_heads: 2, ..Config::llama(259, 128, 2, 4, 32) };
    let layout = layout(&config).unwrap();
    let mut params = initialize::<f32>(&layout, 1);
    for slot in layout.slots().iter().filter(|slot| slot.decay) {
        params[slot.span.range()].iter_mut().for_each(|weight| *weight *= 6.0);
    }
    save(folder, &config, &params, Dtype::F32, &Generation::default()).unwrap();
    // The characters that stand for the bytes in GPT-2's vocabulary: printable ones for themselves, others from 256 on.
    let mut others = 256..;
    let of = |byte: u8| match byte {
        33..=126 | 161..=172 | 174..=255 => char::from(byte),
        _ => char::from_u32(others.next().unwrap()).unwrap(),
    };
    let vocab: serde_json::Map<String, serde_json::Value> =
        (0..=255u8).map(of).enumerate().map(|(id, byte)| (byte.to_string(), json!(id))).collect();
    let specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
    let added: Vec<_> = (256..)
        .zip(specials)
        .map(|(id, content)| {
            json!({"id": id, "content": content, "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false})
        })
        .collect();
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "vocab": vocab, "merges": []},
    });
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
}

fn data(path: &Path) {
    let mut text = String::new();
    for i in 0..30 {
        let (question, answer) = (format!("q{i}"), "yes yes yes");
        let line = match i % 3 {
            0 => {
                json!({"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]})
            }
            1 => json!({"prompt": question, "completion": answer}),
            _ => json!({"text": answer}),
        };
        text.push_str(&format!("{line}\n"));
    }
    fs::write(path, text).unwrap();
}

fn home() -> Home {
    let home = Home::new();
    model(&home.path("base"));
    data(&home.path("data.jsonl"));
    home
}

const TUNE: &str = "finetune --model base --data data.jsonl --context 64 --batch 3 --shards 2 --hold-out 7 --targets all --rank 4 \
    --schedule constant --warmup 0 --dropout 0.1";

#[test]
fn an_adapter_is_trained_used_merged_and_resumed_with_one_result() {
    let home = home();
    let whole = home.run(&format!("{TUNE} --lr 0.01 --steps 6 --threads 1 --out a --merge")).success();
    let loss = |step: &str| -> f64 {
        let line =
            whole.stderr.lines().find(|line| line.contains("held-out") && line.contains(step)).unwrap();
        line.split("loss ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
    };
    assert!(loss("step     6") < loss("step     0"), "{}", whole.stderr);
    assert!(whole.stderr.contains("memory: "), "{}", whole.stderr);
    let other = home.run(&format!(
        "{TUNE} --lr 0.01 --steps 6 --threads 3 --workers 2 --microbatch 1 --recompute --out b"
    ));
    assert_eq!(other.success().digest(), whole.digest());
    home.run(&format!("{TUNE} --lr 0.01 --steps 2 --threads 1 --out c")).success();
    let resumed = home.run(&format!("{TUNE} --lr 0.01 --steps 6 --threads 2 --out c --resume")).success();
    assert_eq!(resumed.digest(), whole.digest());
    home.run(&format!("{TUNE} --lr 0.01 --steps 6 --alpha 3 --out c --resume"))
        .refused(&["c", "other settings"]);

    // A first save that stops after the state: there is no adapter yet.
    fs::create_dir_all(home.path("d/adapter_model.safetensors/full")).unwrap();
    home.run(&format!("{TUNE} --lr 0.01 --steps 6 --out d")).refused(&["adapter_model.safetensors"]);
    fs::remove_dir_all(home.path("d/adapter_model.safetensors")).unwrap();
    home.run(&format!("{TUNE} --lr 0.01 --steps 6 --alpha 3 --out d --resume"))
        .refused(&["d", "other settings"]);
    let resumed = home.run(&format!("{TUNE} --lr 0.01 --steps 6 --out d --resume")).success();
    assert!(resumed.stderr.contains("resumed from"), "{}", resumed.stderr);
    assert_eq!(resumed.digest(), whole.digest());

    let text = |arguments: &str| {
        home.run(&format!("generate q1 --temperature 0 --tokens 12 --context 64 {arguments}"))
            .success()
            .stdout
    };
    let (beside, merged) = (text("--model base --adapter a"), text("--model a/merged"));
    assert_eq!(beside, merged);
    let config = fs::read_to_string(home.path("a/merged/config.json")).unwrap();
    assert!(config.contains("\"max_position_embeddings\": 128"), "{config}");
    assert_ne!(beside, text("--model base"));
}

#[test]
fn all_parameters_are_trained() {
    let home = home();
    let full = format!("{TUNE} --full --lr 0.001 --steps 4");
    let one = home.run(&format!("{full} --threads 1 --out a")).success();
    let other = home.run(&format!("{full} --threads 2 --workers 2 --out b")).success();
    assert_eq!(one.digest(), other.digest());
    home.run("generate q1 --temperature 0 --tokens 4 --model a").success();
}

#[test]
fn bad_requests_are_refused_by_name() {
    let home = home();
    fs::write(home.path("bad.jsonl"), "{\"text\": \"fine\"}\n{\"messages\": [{\"role\": 3}]}\n").unwrap();
    fs::write(home.path("empty.jsonl"), "\n\n").unwrap();
    let cases: [(&str, &[&str]); 10] = [
        ("--data bad.jsonl --context 64 --out o", &["bad.jsonl, line 2", "\"role\" is a number", "messages"]),
        ("--data empty.jsonl --context 64 --out o", &["none of the 0 examples"]),
        ("--data missing.jsonl --context 64 --out o", &["missing.jsonl"]),
        ("--data base --context 64 --out o", &["base"]),
        ("--data data.jsonl --out o --rank 0", &["rank = 0"]),
        ("--data data.jsonl --context 64 --out o --targets q,w", &["\"w\"", "gate_proj"]),
        ("--data data.jsonl --out o --context 4096", &["128 positions"]),
        ("--data data.jsonl --out o --context 64 --workers 9", &["workers is 9"]),
        ("--data data.jsonl --out o --context 64 --lr=-1", &["learning rate is -1"]),
        ("--data data.jsonl --out o --context 64 --resume", &["checkpoints"]),
    ];
    for (line, parts) in cases {
        home.run(&format!("finetune --model base {line}")).refused(parts);
    }
    home.run("generate x --model base --adapter missing").refused(&["missing/adapter_config.json"]);
}
