//! What fuzzing calls, over every seed and many mutations of it: the same inputs at every run.
//!
//! `cargo test --package selvedge --test fuzz -- --ignored` makes the seeds anew.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "a library there, a module here")]
mod inputs;

use std::fs;
use std::path::{Path, PathBuf};

use inputs::{TARGETS, Target};
use selvedge_model::gguf::{Array, Export, Metadata, Type, Value};
use selvedge_model::hf::{self, Dtype, Generation};
use selvedge_model::{Config, RopeScaling, Slot, initialize, layout};
use selvedge_tokenizer::chat::ChatTemplate;
use selvedge_tokenizer::{Pretokenizer, Tokenizer, Trainer};

/// Bytes of inputs that a target is given at most, beside the seeds.
const BUDGET: usize = 6_000_000;
/// Mutations of a seed at most.
const MOST: usize = 1500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Names and contents of the seeds, in the order of their names.
fn seeds(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let of = |folder: &&str| fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = target.seeds.iter().flat_map(of).collect();
    paths.retain(|path| path.extension().is_none_or(|extension| extension != "py"));
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// A linear congruential sequence.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most.max(1)
    }
}

/// One to four changes: a bit, a byte, a number of eight bytes, a piece cut out, put in twice or moved, or the end cut off.
fn mutated(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    const NUMBERS: [u64; 8] = [0, 1, 0xFF, 1 << 16, (1 << 31) - 1, 1 << 32, 1 << 63, u64::MAX];
    let mut out = bytes.to_vec();
    for _ in 0..=random.below(4) {
        if out.is_empty() {
            return out;
        }
        let at = random.below(out.len());
        let end = (at + 1 + random.below(24)).min(out.len());
        match random.below(7) {
            0 => out[at] ^= 1 << random.below(8),
            1 => out[at] = random.below(256) as u8,
            2 => {
                let number = NUMBERS[random.below(NUMBERS.len())].to_le_bytes();
                let end = (at + 8).min(out.len());
                out[at..end].copy_from_slice(&number[..end - at]);
            }
            3 => drop(out.drain(at..end)),
            4 => {
                let piece = out[at..end].to_vec();
                out.splice(at..at, piece);
            }
            5 => {
                let piece = out[at..end].to_vec();
                let to = random.below(out.len());
                out.splice(to..to, piece);
            }
            _ => out.truncate(at),
        }
    }
    out
}

#[test]
fn seeds_and_their_mutations_are_read_or_refused() {
    for target in &TARGETS {
        let seeds = seeds(target);
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        for (path, bytes) in &seeds {
            (target.run)(bytes);
            let number = (BUDGET / seeds.len() / bytes.len().max(1)).clamp(20, MOST);
            let mut random = Random(bytes.len() as u64);
            for round in 0..number {
                let input = mutated(bytes, &mut random);
                let ran = std::panic::catch_unwind(|| (target.run)(&input));
                assert!(ran.is_ok(), "{} panics at mutation {round} of {}", target.name, path.display());
            }
        }
    }
}

#[test]
fn every_target_has_a_program() {
    let folder = fs::read_dir(root().join("fuzz/fuzz_targets")).unwrap();
    let mut there: Vec<String> =
        folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    there.sort();
    let mut names: Vec<String> = TARGETS.iter().map(|target| format!("{}.rs", target.name)).collect();
    names.sort();
    assert_eq!(there, names);
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    for target in &TARGETS {
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{}", target.name);
    }
}

/// A seed that no longer opens would try nothing.
#[test]
fn valid_seeds_are_valid() {
    let seed = |name: &str| root().join("fuzz/seeds").join(name);
    for name in ["llama", "llama_q8_0", "gpt2", "qwen2"] {
        selvedge_model::gguf::Model::open(seed(&format!("gguf_model/{name}.gguf"))).unwrap();
    }
    hf::Shard::open(seed("safetensors/llama.safetensors")).unwrap();
    for entry in fs::read_dir(seed("hf_config")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let read = hf::read_config(&bytes).is_ok() || Generation::read(&bytes).is_ok();
        assert!(read, "{}", path.display());
    }
    for entry in fs::read_dir(seed("tokenizer_hf")).unwrap() {
        Tokenizer::from_hugging_face(&fs::read(entry.unwrap().path()).unwrap(), None).unwrap();
    }
    for entry in fs::read_dir(seed("tokenizer_file")).unwrap() {
        Tokenizer::load(entry.unwrap().path()).unwrap();
    }
    for entry in fs::read_dir(seed("chat_template")).unwrap() {
        let source = fs::read_to_string(entry.unwrap().path()).unwrap();
        let prompt = ChatTemplate::new(&source).unwrap().render(&inputs::conversation()).unwrap();
        assert!(prompt.contains("31.5"), "{prompt}");
    }
}

/// A vocabulary of 300 tokens, of which 43 are merges.
fn tokenizer(pretokenizer: Pretokenizer) -> Tokenizer {
    let trainer = Trainer { vocab_size: 300, pretokenizer, ..Trainer::default() };
    trainer.train(["the cat sat on the mat, the rat sat on the cat 2024 times\n"; 3], |_| {}).unwrap()
}

fn vocabulary(rows: usize) -> Metadata {
    let tokens = tokenizer(Pretokenizer::Gpt4).to_gguf(rows).unwrap();
    let mut metadata = Metadata::new();
    let mut set = |key: &str, value| drop(metadata.insert(format!("tokenizer.ggml.{key}"), value));
    set("model", Value::String("gpt2".into()));
    set("pre", Value::String(tokens.pre.into()));
    set("tokens", Value::Array(Array::String(tokens.tokens.iter().collect())));
    set("token_type", Value::Array(Array::I32(tokens.token_types)));
    set("merges", Value::Array(Array::String(tokens.merges.iter().collect())));
    set("bos_token_id", Value::U32(tokens.eos));
    set("eos_token_id", Value::U32(tokens.eos));
    set("add_bos_token", Value::Bool(tokens.add_bos));
    metadata
}

#[test]
#[ignore = "writes the seeds, which are committed"]
fn make_seeds() {
    let folder = root().join("fuzz/seeds");
    let seed = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let llama = Config { kv_heads: 1, hidden: 32, ..Config::llama(300, 16, 1, 2, 32) };
    let table = Some(RopeScaling::Table { factors: vec![1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0] });
    let tiny = |config: Config| Config { vocab: 300, ..config };
    for (name, config, kind) in [
        ("llama", Config { rope_scaling: table, ..llama.clone() }, Type::F16),
        ("llama_q8_0", llama.clone(), Type::Q8_0),
        ("gpt2", tiny(Config { hidden: 8, ..Config::gpt2(300, 4, 1, 1, 8) }), Type::F16),
        ("qwen2", Config { qkv_bias: true, ..llama.clone() }, Type::Q4_0),
    ] {
        let params = initialize::<f32>(&layout(&config).unwrap(), 1);
        let read = |slot: &Slot, to: &mut [f32]| -> Result<(), Box<dyn std::error::Error>> {
            to.copy_from_slice(&params[slot.span.range()]);
            Ok(())
        };
        let export = Export::new(&config, kind, vocabulary(300)).unwrap();
        seed(&format!("gguf_model/{name}.gguf"), &export.write(Vec::new(), read).unwrap());
    }
    let config = Config { hidden: 3, ..Config::llama(5, 8, 1, 1, 4) };
    let params = initialize::<f32>(&layout(&config).unwrap(), 1);
    let made = tempfile::tempdir().unwrap();
    let generation =
        Generation { bos: Some(1), eos: vec![2, 3], temperature: Some(0.6), ..Generation::default() };
    hf::save(made.path(), &config, &params, Dtype::BF16, &generation).unwrap();
    let read = |name: &str| fs::read(made.path().join(name)).unwrap();
    seed("safetensors/llama.safetensors", &read("model.safetensors"));
    seed("hf_config/llama.json", &read("config.json"));
    seed("hf_config/generation.json", &read("generation_config.json"));
    for name in ["gpt2", "llama3", "mistral", "qwen2", "qwen3"] {
        let golden = root().join("crates/model/tests/goldens/hf").join(name).join("config.json");
        seed(&format!("hf_config/{name}.json"), &fs::read(golden).unwrap());
    }
    for (name, pretokenizer) in [("gpt4", Pretokenizer::Gpt4), ("falcon", Pretokenizer::Falcon)] {
        let tokenizer = tokenizer(pretokenizer);
        seed(&format!("tokenizer_file/{name}.json"), &tokenizer.to_json().unwrap());
        seed(&format!("tokenizer_hf/{name}.json"), &tokenizer.to_hugging_face().unwrap());
    }
}
