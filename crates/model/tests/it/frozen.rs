//! Frozen bases say what their files say: whatever they are kept as, losses and gradients are those over their numbers in f32.

use std::sync::Arc;

use selvedge_model::gguf::{Model, Type};
use selvedge_model::hf::{Dtype, Folder, save};
use selvedge_model::lora::{Adapters, Settings, Tuned, modules};
use selvedge_model::{Architecture as _, Config, LossSum, Mode, Rows, Weights, initialize, layout};
use selvedge_sync::Team;
use selvedge_tensor::{Context, Isa, Precision};

use super::gguf_model::{CASES, folder, metadata, tensors, write};
use super::gradient_of;

/// Loss and gradient of adapters over a base, in training and in evaluation.
fn run(cx: &mut Context, config: &Config, base: Weights<'static, f32>) -> (LossSum, LossSum, Vec<f32>) {
    let targets: Vec<String> = modules(config.arch).iter().map(|&module| module.to_owned()).collect();
    let adapters = Adapters::new(config, Settings::new(2, 1.0), &targets).unwrap();
    let params: Vec<f32> = initialize(adapters.layout(), 1);
    // B begins as 0, and would hide a wrong gradient of A.
    let params: Vec<f32> = params.iter().enumerate().map(|(at, x)| x + (at % 7) as f32 / 100.0).collect();
    let tuned = Tuned::new(config.clone(), Arc::new(base), adapters, 1).unwrap();
    let tokens: Vec<u32> = (0..16).map(|i| (i * 5 % config.vocab) as u32).collect();
    let rows = Rows::new(&tokens, &tokens, 8);
    let mut evaluated = LossSum::default();
    let mut acts = vec![0.0; tuned.activations(2, 8, Mode::Evaluate)];
    tuned.loss(cx, &params, &mut acts, rows, &mut evaluated);
    let (trained, gradient) = gradient_of(cx, &tuned, &params, rows, 1, Mode::Train);
    (evaluated, trained, gradient)
}

/// A base against its numbers, however it is computed with.
fn check(name: &str, config: &Config, numbers: &[f32], base: impl Fn(&Context) -> Weights<'static, f32>) {
    for precision in [Precision::F32, Precision::Bf16] {
        let mut solo = Context::solo().with_precision(precision);
        let want = run(&mut solo, config, Weights::plain(&layout(config).unwrap(), numbers));
        assert!(want.2.iter().any(|&x| x != 0.0), "{name}");
        for isa in Isa::available() {
            let cx = &mut Context::new(Team::new(2).unwrap(), isa).with_precision(precision);
            assert_eq!(
                {
                    let base = base(cx);
                    run(cx, config, base)
                },
                want,
                "{name} in {precision:?} on {isa}"
            );
        }
    }
}

#[test]
fn a_base_out_of_a_file_is_kept_as_it_is_and_computed_with_exactly() {
    type Kind = fn(&str) -> Type;
    let kinds: [(Kind, f64); 4] = [
        // Keys are of another type than the queries and values beside them.
        (|name| if name.contains("attn_k") { Type::F16 } else { Type::Q5_1 }, 0.5),
        (|name| if name.contains("attn_v") { Type::BF16 } else { Type::F16 }, 0.6),
        (|_| Type::BF16, 0.6),
        (|name| if name == "token_embd.weight" { Type::Q4_0 } else { Type::BF16 }, 0.6),
    ];
    for (name, family) in CASES {
        let folder = folder(name);
        let all = tensors(family, &folder, &folder.load());
        for (kind, most) in kinds {
            let has_blocks = |name: &str| !matches!(kind(name), Type::BF16 | Type::F16);
            if all.iter().any(|(name, rows, columns, _)| *rows > 1 && columns % 32 > 0 && has_blocks(name)) {
                continue;
            }
            let (_kept, path) = write(&metadata(family, folder.config()), &all, kind);
            let model = Model::open(&path).unwrap();
            let (config, numbers) = (model.config(), model.load().unwrap());
            let (bytes, all) = (model.frozen(&Context::solo()).unwrap().bytes(), 4 * numbers.len());
            assert_eq!(bytes, model.frozen_bytes(), "{name}");
            assert!((bytes as f64) < most * all as f64, "{name}: {bytes} of {all}");
            check(name, config, &numbers, |cx| model.frozen(cx).unwrap());
        }
    }
}

#[test]
fn a_base_out_of_a_folder_of_16_bits_stays_in_16_bits_and_is_computed_with_exactly() {
    for (name, _) in CASES {
        let open = folder(name);
        for dtype in [Dtype::BF16, Dtype::F16] {
            let path = tempfile::tempdir().unwrap();
            save(path.path(), open.config(), &open.load(), dtype, open.generation()).unwrap();
            let folder = Folder::open(path.path()).unwrap().with_context(24);
            let (numbers, bytes) = (folder.load(), folder.frozen().bytes());
            assert_eq!(bytes, folder.frozen_bytes(), "{name}");
            assert!((bytes as f64) < 0.6 * 4.0 * numbers.len() as f64, "{name}: {bytes} bytes");
            check(name, folder.config(), &numbers, |_| folder.frozen());
        }
        let numbers = open.load();
        assert!(open.frozen().bytes() <= 4 * numbers.len());
        check(name, open.config(), &numbers, |_| open.frozen());
    }
}
