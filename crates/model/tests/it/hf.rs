//! Folders of transformers: logits against its own, a round trip, and what is refused. `goldens/make_hf.py` says how the
//! folders were made.

mod hostile;
mod refused;

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use selvedge_model::hf::{Dtype, Family, Folder, Generation, save};
use selvedge_model::{Config, Generator, RopeScaling, build};
use selvedge_tensor::Context;
use tempfile::TempDir;

const FOLDERS: [(&str, Family); 8] = [
    ("gpt2", Family::Gpt2),
    ("gpt2_gelu", Family::Gpt2),
    ("llama3", Family::Llama),
    ("llama_untied", Family::Llama),
    ("smollm2", Family::Llama),
    ("mistral", Family::Mistral),
    ("qwen2", Family::Qwen2),
    ("qwen3", Family::Qwen3),
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/hf").join(name)
}

/// A copy that a test may damage.
fn copy(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(golden(name)).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "expected.safetensors" {
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
    }
    folder
}

/// Tokens, and the logits (T, V) that transformers computes in f64.
fn expected(name: &str) -> (Vec<u32>, Vec<f32>) {
    let bytes = std::fs::read(golden(name).join("expected.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let words = |name: &str| file.tensor(name).unwrap().data().as_chunks::<4>().0.to_vec();
    (
        words("tokens").into_iter().map(u32::from_le_bytes).collect(),
        words("logits").into_iter().map(f32::from_le_bytes).collect(),
    )
}

/// The logits (T, V) of every prefix.
fn logits(config: &Config, params: &[f32], tokens: &[u32]) -> Vec<f32> {
    let model = build::<f32>(config.clone()).unwrap();
    let cx = &mut Context::solo();
    let mut generator = Generator::new(cx, &*model, params);
    tokens.iter().flat_map(|&token| generator.feed(cx, &[token]).unwrap().to_vec()).collect()
}

/// Largest difference, relative to the largest logit.
fn difference(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(0.0f32, |a, b| a.max(b.abs()));
    got.iter().zip(want).fold(0.0f32, |a, (g, w)| a.max((g - w).abs())) / largest
}

#[test]
fn a_shorter_context_takes_the_first_positions() {
    for (name, _) in FOLDERS {
        let (mut tokens, _) = expected(name);
        tokens.truncate(5);
        let whole = Folder::open(golden(name)).unwrap();
        let want = logits(whole.config(), &whole.load(), &tokens);
        let short = whole.with_context(6);
        assert_eq!(short.config().context, 6);
        let params = short.load();
        assert_eq!(logits(short.config(), &params, &tokens), want, "{name}");
        for slot in short.layout().slots() {
            let mut read = vec![f32::NAN; slot.span.len()];
            short.read(slot, &mut read);
            assert_eq!(read, params[slot.span.range()], "{} of {name}", slot.name);
        }
    }
}

#[test]
fn logits_agree_with_transformers() {
    for (name, family) in FOLDERS {
        let folder = Folder::open(golden(name)).unwrap();
        assert_eq!(folder.family(), family);
        let (tokens, want) = expected(name);
        let off = difference(&logits(folder.config(), &folder.load(), &tokens), &want);
        // Measured: at worst 7.4e-7, which is f32's rounding: the logits compared with are of f64.
        assert!(off < 3e-6, "{name}: logits are off by {off} of the largest");
    }
}

#[test]
fn configurations_are_what_the_folders_say() {
    let config = |name| Folder::open(golden(name)).unwrap().config().clone();
    let original_context = 8;
    let scaling =
        RopeScaling::Llama3 { factor: 4.0, low_freq_factor: 1.0, high_freq_factor: 3.0, original_context };
    let llama = Config {
        kv_heads: 2,
        hidden: 20,
        norm_eps: 1e-6,
        rope_theta: 500_000.0,
        rope_scaling: Some(scaling),
        ..Config::llama(96, 32, 2, 4, 24)
    };
    assert_eq!(config("llama3"), llama);
    let mistral = config("mistral");
    assert_eq!((mistral.context, mistral.head_size), (24, Some(10)), "the window is the context");
    let qwen2 = config("qwen2");
    assert_eq!(qwen2.rope_scaling, Some(RopeScaling::Linear { factor: 2.5 }));
    assert!(qwen2.qkv_bias && qwen2.tied && qwen2.head_size.is_none());
    let qwen3 = config("qwen3");
    assert!(qwen3.qk_norm && !qwen3.qkv_bias && !qwen3.tied && qwen3.head_size == Some(8));
    assert_eq!(config("gpt2"), Config::gpt2(96, 32, 2, 2, 16));
}

#[test]
fn generation_is_taken_from_its_file_or_from_the_config() {
    let folder = copy("llama3");
    let generation = Folder::open(folder.path()).unwrap().generation().clone();
    let ends = Generation { bos: Some(1), eos: vec![2, 5], ..Generation::default() };
    let sampled = Generation { do_sample: Some(true), temperature: Some(0.6), top_p: Some(0.9), ..ends };
    assert_eq!(generation, sampled);
    std::fs::remove_file(folder.path().join("generation_config.json")).unwrap();
    let generation = Folder::open(folder.path()).unwrap().generation().clone();
    assert_eq!(generation, Generation { bos: Some(1), eos: vec![2], ..Generation::default() });
}

#[test]
fn what_is_saved_reads_back() {
    for (name, _) in FOLDERS {
        let read = Folder::open(golden(name)).unwrap();
        let params = read.load();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made");
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            save(&path, read.config(), &params, dtype, read.generation()).unwrap();
            let back = Folder::open(&path).unwrap();
            assert_eq!(back.config(), read.config(), "{name}");
            assert_eq!(back.generation(), read.generation(), "{name}");
            let bits = match dtype {
                Dtype::F32 => 24,
                Dtype::F16 => 11,
                Dtype::BF16 => 8,
            };
            let relative = 0.5f32.powi(bits);
            for (&was, is) in params.iter().zip(back.load()) {
                // Below 2⁻¹⁴ f16 has fewer bits.
                let most = if dtype == Dtype::F32 { 0.0 } else { was.abs().max(0.5f32.powi(14)) * relative };
                assert!((was - is).abs() <= most, "{name}, {dtype:?}: {is} instead of {was}");
            }
        }
    }
}

#[test]
fn saving_over_a_mapped_folder_leaves_the_map_as_it_was() {
    let folder = copy("llama_untied");
    let open = Folder::open(folder.path()).unwrap();
    let params = open.load();
    let zeros = vec![0.0; params.len()];
    save(folder.path(), open.config(), &zeros, Dtype::F32, open.generation()).unwrap();
    assert_eq!(open.load(), params);
    assert_eq!(Folder::open(folder.path()).unwrap().load(), zeros);
}

#[test]
fn saving_over_another_model_keeps_nothing_of_how_it_generated() {
    let folder = copy("llama3");
    let open = Folder::open(folder.path()).unwrap();
    assert!(!open.generation().eos.is_empty());
    save(folder.path(), open.config(), &open.load(), Dtype::F32, &Generation::default()).unwrap();
    assert_eq!(*Folder::open(folder.path()).unwrap().generation(), Generation::default());
}

#[test]
fn a_longer_context_than_the_file_says_changes_no_logit() {
    let folder = Folder::open(golden("llama3")).unwrap();
    let (tokens, _) = expected("llama3");
    let params = folder.load();
    let longer = Config { context: 100, ..folder.config().clone() };
    assert_eq!(logits(&longer, &params, &tokens), logits(folder.config(), &params, &tokens));
}
