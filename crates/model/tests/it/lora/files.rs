//! Adapters in files: there and back, foreign ones, and damaged ones.

use std::fs;
use std::path::Path;

use selvedge_model::lora::peft;

use super::*;

fn saved(folder: &Path, config: &Config) -> (Adapters, Vec<f32>) {
    let adapters = adapters(config, Settings { rank: 2, ..settings(0.125) });
    let params = noise(&adapters, 9);
    peft::save(folder, config, &adapters, &params, "tiny").unwrap();
    (adapters, params)
}

#[test]
fn adapters_survive_the_way_into_files_and_back() {
    for config in configs() {
        let folder = tempfile::tempdir().unwrap();
        let (adapters, params) = saved(folder.path(), &config);
        let (read, values) = peft::load(folder.path(), &config).unwrap();
        assert_eq!((&read, &values), (&adapters, &params));
        let left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }
}

/// What is written in between, or is not for want of room, finds the one and not the other.
#[test]
fn settings_and_matrices_are_written_apart() {
    let (whole, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = &configs()[3];
    let (adapters, params) = saved(whole.path(), config);
    let file = |name: &str| fs::read(folder.path().join(name)).ok();
    peft::save_settings(folder.path(), config, &adapters, "tiny").unwrap();
    assert_eq!(peft::settings(folder.path()).unwrap(), *adapters.settings());
    assert_eq!(file(peft::WEIGHTS), None);
    let settings = folder.path().join("adapter_config.json");
    let written = fs::read(&settings).unwrap();
    fs::remove_file(settings).unwrap();
    peft::save_weights(folder.path(), &adapters, &params).unwrap();
    assert_eq!(file("adapter_config.json"), None);
    assert_eq!(file(peft::WEIGHTS).unwrap(), fs::read(whole.path().join(peft::WEIGHTS)).unwrap());
    assert_eq!(written, fs::read(whole.path().join("adapter_config.json")).unwrap());
}

/// Names and shapes as PEFT writes them for both wirings.
#[test]
fn names_are_those_of_peft() {
    let folder = tempfile::tempdir().unwrap();
    for (config, name, shape) in [
        (&configs()[3], "base_model.model.model.layers.1.self_attn.k_proj.lora_B.weight", [16, 2]),
        (&configs()[3], "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight", [2, 40]),
        (&configs()[1], "base_model.model.transformer.h.1.attn.c_attn.lora_B.weight", [72, 2]),
        (&configs()[1], "base_model.model.transformer.h.0.mlp.c_proj.lora_A.weight", [2, 96]),
    ] {
        saved(folder.path(), config);
        let bytes = fs::read(folder.path().join("adapter_model.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor(name).unwrap().shape(), shape);
        let text = fs::read_to_string(folder.path().join("adapter_config.json")).unwrap();
        let fields: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(fields["r"], 2);
        assert_eq!(fields["lora_alpha"], 4.0);
        assert_eq!(fields["fan_in_fan_out"], name.contains("transformer"));
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let (llama, gpt2) = (&configs()[3], &configs()[1]);
    let folder = tempfile::tempdir().unwrap();
    saved(folder.path(), llama);
    let error = peft::load(folder.path(), gpt2).unwrap_err().to_string();
    assert!(error.contains("no place for tensor"), "{error}");
    let wider = Config { hidden: 44, ..llama.clone() };
    let error = peft::load(folder.path(), &wider).unwrap_err().to_string();
    assert!(error.contains("down_proj") || error.contains("gate_proj"), "{error}");
    let path = folder.path().join("adapter_config.json");
    let text = fs::read_to_string(&path).unwrap();
    for (from, to, named) in [
        ("\"LORA\"", "\"IA3\"", "peft_type"),
        ("\"r\": 2", "\"r\": 3", "shape"),
        ("\"r\": 2", "\"r\": 0", "rank"),
        ("\"r\": 2", "\"r\": -1", "adapter_config.json"),
        ("\"bias\": \"none\"", "\"bias\": \"all\"", "bias"),
        ("\"use_dora\": false", "\"use_dora\": true", "use_dora"),
        ("\"modules_to_save\": null", "\"modules_to_save\": [\"lm_head\"]", "modules_to_save"),
        ("\"lora_alpha\": 4.0", "\"lora_alpha\": -1", "alpha"),
    ] {
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).unwrap();
        let error = peft::load(folder.path(), llama).unwrap_err().to_string();
        assert!(error.contains(named) && error.contains("adapter_"), "{error}");
    }
    fs::remove_file(&path).unwrap();
    assert!(peft::load(folder.path(), llama).is_err());
}

/// Any byte changed and any length: an error, or adapters of the same model.
#[test]
fn damaged_files_are_refused_or_read() {
    let config = Config { kv_heads: 1, hidden: 4, ..Config::llama(5, 4, 1, 2, 4) };
    let folder = tempfile::tempdir().unwrap();
    let adapters = Adapters::new(&config, Settings::new(1, 1.0), &["q_proj".to_owned()]).unwrap();
    peft::save(folder.path(), &config, &adapters, &noise(&adapters, 1), "tiny").unwrap();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        let path = folder.path().join(name);
        let whole = fs::read(&path).unwrap();
        let try_with = |bytes: &[u8]| {
            fs::remove_file(&path).unwrap();
            fs::write(&path, bytes).unwrap();
            if let Ok((read, params)) = peft::load(folder.path(), &config) {
                assert_eq!(params.len(), read.layout().len());
            }
        };
        for at in 0..whole.len() {
            try_with(&whole[..at]);
            for flip in [1, 0x20, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                try_with(&bytes);
            }
        }
        try_with(&whole);
    }
}

/// Losses, logits and gradients against PyTorch's; `goldens/make_lora.py` says how the files were made.
#[test]
fn adapters_of_others_agree_with_pytorch() {
    for name in ["llama_tiny", "gpt2_tiny"] {
        let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
        let config: Config =
            serde_json::from_slice(&fs::read(goldens.join(format!("{name}.json"))).unwrap()).unwrap();
        let path = goldens.join(format!("{name}.safetensors"));
        let bytes = fs::read(&path).unwrap();
        let base = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let base = selvedge_model::from_named(&layout(&config).unwrap(), &base, "", &path).unwrap();
        let folder = goldens.join("lora").join(name);
        let (adapters, params) = peft::load(&folder, &config).unwrap();
        let bytes = fs::read(folder.join("expected.safetensors")).unwrap();
        let expected = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let numbers = |name: &str| -> Vec<[u8; 4]> {
            expected.tensor(name).unwrap().data().as_chunks::<4>().0.to_vec()
        };
        let floats = |name: &str| -> Vec<f32> { numbers(name).into_iter().map(f32::from_le_bytes).collect() };
        // A target of −1 has the bits of one that is ignored.
        let [tokens, targets] = ["tokens", "targets"]
            .map(|name| -> Vec<u32> { numbers(name).into_iter().map(u32::from_le_bytes).collect() });
        let time = expected.tensor("tokens").unwrap().shape()[1];
        let rows = Rows::new(&tokens, &targets, time);
        let plain = Weights::plain(&layout(&config).unwrap(), &base);
        let model = Tuned::new(config.clone(), Arc::new(plain), adapters.clone(), 1).unwrap();
        for isa in Isa::available() {
            let cx = &mut Context::new(Team::new(2).unwrap(), isa);
            // The file says dropout, an evaluation has none.
            let mut acts = vec![0.0; model.activations(2, time, Mode::Evaluate)];
            let mut sum = LossSum::default();
            model.loss(cx, &params, &mut acts, rows, &mut sum);
            let want = f64::from(floats("loss_sum")[0]);
            assert!((sum.sum - want).abs() < 2e-6 * want, "{name}: loss {} against {want}", sum.sum);

            let none = Settings { dropout: 0.0, ..adapters.settings().clone() };
            let targets: Vec<String> = modules(config.arch)
                .iter()
                .filter(|module| adapters.modules().any(|name| name.ends_with(*module)))
                .map(|&module| module.to_owned())
                .collect();
            let none = Adapters::new(&config, none, &targets).unwrap();
            let plain = Weights::plain(&layout(&config).unwrap(), &base);
            let trained = Tuned::new(config.clone(), Arc::new(plain), none, 1).unwrap();
            let (_, grads) = gradient_of(cx, &trained, &params, rows, 2, Mode::Train);
            for slot in model.layout().slots() {
                let (got, want) = (&grads[slot.span.range()], floats(&format!("grad.{}", slot.name)));
                let largest = want.iter().fold(0.0f32, |a, b| a.max(b.abs()));
                let off = got.iter().zip(&want).fold(0.0f32, |a, (g, w)| a.max((g - w).abs())) / largest;
                assert!(off < 5e-6, "{name}: gradient of {} is off by {off}", slot.name);
            }

            let plain = build::<f32>(config.clone()).unwrap();
            let weights = Weights::pack(cx, &config, plain.layout(), &base, Storage::Packed);
            let weights = weights.with_adapters(adapters.clone(), params.clone());
            let mut generator = Generator::with_weights(cx, &*plain, weights);
            let got = generator.feed(cx, &rows.tokens[..time]).unwrap();
            let want = &floats("logits")[(time - 1) * config.vocab..][..config.vocab];
            let largest = want.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            let off = got.iter().zip(want).fold(0.0f32, |a, (g, w)| a.max((g - w).abs())) / largest;
            assert!(off < 3e-6, "{name}: logits are off by {off}");
        }
    }
}
