//! Loss, logits and every gradient against PyTorch's; `goldens/make.py` says how the files were made.
//!
//! The goldens are computed in f64 and stored in f32, so the whole difference is ours: f32 chains of at
//! most a few hundred terms. docs/numerics.md states the tolerance of each tensor and why.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use selvedge_model::{Config, Mode, Rows, build, from_named};
use selvedge_sync::Team;
use selvedge_tensor::adamw::AdamW;
use selvedge_tensor::{Context, Isa, global_norm};

use super::gradient;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}

fn f32s(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let data = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}")).data().to_vec();
    data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn u32s(file: &SafeTensors<'_>, name: &str) -> Vec<u32> {
    let data = file.tensor(name).unwrap().data().to_vec();
    data.chunks_exact(4).map(|b| u32::try_from(i32::from_le_bytes(b.try_into().unwrap())).unwrap()).collect()
}

/// Largest difference, relative to the largest magnitude of the tensor.
fn difference(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(0.0f32, |a, b| a.max(b.abs()));
    got.iter().zip(want).fold(0.0f32, |a, (g, w)| a.max((g - w).abs())) / largest.max(1e-6)
}

#[test]
fn models_agree_with_pytorch() {
    let names =
        ["gpt2_tiny", "gpt2_untied", "llama_tiny", "llama_untied", "llama3_tiny", "qwen2_tiny", "qwen3_tiny"];
    for name in names {
        let config: Config =
            serde_json::from_slice(&std::fs::read(golden(&format!("{name}.json"))).unwrap()).unwrap();
        let path = golden(&format!("{name}.safetensors"));
        let bytes = std::fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let model = build::<f32>(config.clone()).unwrap();
        let params = from_named(model.layout(), &file, "", &path).unwrap();
        let (tokens, targets) = (u32s(&file, "tokens"), u32s(&file, "targets"));
        let time = file.tensor("tokens").unwrap().shape()[1];
        let rows = Rows::new(&tokens, &targets, time);
        for isa in Isa::available() {
            let cx = &mut Context::new(Team::new(2).unwrap(), isa);
            let (sum, grads) = gradient(cx, &config, &params, rows, 2, Mode::Train);
            let want = f64::from(f32s(&file, "loss_sum")[0]);
            assert!((sum.sum - want).abs() < 2e-6 * want, "{name}: loss {} against {want}", sum.sum);
            let want = from_named(model.layout(), &file, "grad.", &path).unwrap();
            for slot in model.layout().slots() {
                let off = difference(&grads[slot.span.range()], &want[slot.span.range()]);
                assert!(off < 5e-6, "{name}: gradient of {} is off by {off}", slot.name);
            }
            // Logits through the cache, sequence by sequence: the last row of each prefix.
            let want = f32s(&file, "logits");
            for (b, sequence) in tokens.chunks(time).enumerate() {
                let mut generator = selvedge_model::Generator::new(cx, &*model, &params);
                for (t, token) in sequence.iter().enumerate() {
                    let got = generator.feed(cx, &[*token]).unwrap();
                    let off = difference(got, &want[(b * time + t) * config.vocab..][..config.vocab]);
                    assert!(off < 3e-6, "{name}: logits of row {t} are off by {off}");
                }
            }
        }
    }
}

#[test]
fn adamw_and_clipping_agree_with_pytorch() {
    let bytes = std::fs::read(golden("adamw.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let cx = &mut Context::solo();
    let options = AdamW { lr: 3e-3, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1 };
    let mut p = f32s(&file, "p0");
    let (mut m, mut v) = (vec![0.0; p.len()], vec![0.0; p.len()]);
    for step in 1..=5u64 {
        let g = f32s(&file, &format!("g{}", step - 1));
        options.update(cx, &mut p, &mut m, &mut v, &g, 1.0, step, true);
        let off = difference(&p, &f32s(&file, &format!("p{step}")));
        assert!(off < 1e-6, "parameters off by {off} after step {step}");
    }
    assert!(difference(&m, &f32s(&file, "m5")) < 1e-6);
    assert!(difference(&v, &f32s(&file, "v5")) < 1e-6);
    for case in ["over", "under"] {
        let parts: Vec<Vec<f32>> = (0..3).map(|i| f32s(&file, &format!("clip.{case}.grad.{i}"))).collect();
        let clipped: Vec<f32> =
            (0..3).flat_map(|i| f32s(&file, &format!("clip.{case}.clipped.{i}"))).collect();
        let flat = parts.concat();
        let norm = global_norm::global_norm(cx, &flat, &mut Vec::new());
        let want = f64::from(f32s(&file, &format!("clip.{case}.norm"))[0]);
        assert!((norm - want).abs() < 1e-6 * want, "norm {norm} against {want}");
        let scale = global_norm::clip_coefficient(norm, 1.0) as f32;
        let got: Vec<f32> = flat.iter().map(|g| g * scale).collect();
        assert!(difference(&got, &clipped) < 1e-6);
    }
}
