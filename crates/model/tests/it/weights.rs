//! Weights for generation out of wherever they are: the bits of those out of a buffer, and no more memory than is said before.

use std::convert::Infallible;

use selvedge_model::gguf::{Model, Type};
use selvedge_model::tensor::quantized::Form;
use selvedge_model::{Config, Slot, Storage, Weights, build};
use selvedge_sync::Team;
use selvedge_tensor::{Context, Isa, Precision};

use super::gguf_model::{CASES, folder, logits, metadata, tensors, write};
use super::{configs, params};

#[test]
fn weights_read_one_after_another_are_those_of_a_buffer() {
    for config in configs() {
        let config = Config { context: 24, ..config };
        let model = build::<f32>(config.clone()).unwrap();
        let rough: Vec<f32> = params(&*model, 5);
        // Numbers that bf16 keeps: the table is then in its packed form alone.
        let kept: Vec<f32> = rough.iter().map(|x| f32::from_bits(x.to_bits() & 0xffff_0000)).collect();
        for (precision, storage, params) in [
            (Precision::F32, Storage::Packed, &rough),
            (Precision::Bf16, Storage::Packed, &rough),
            (Precision::Bf16, Storage::Packed, &kept),
            (Precision::F32, Storage::Quantized(Form::Q8_0), &rough),
        ] {
            let cx = &mut Context::new(Team::new(3).unwrap(), Isa::detect()).with_precision(precision);
            let read = |slot: &Slot, to: &mut [f32]| {
                to.copy_from_slice(&params[slot.span.range()]);
                Ok::<_, Infallible>(())
            };
            let Ok(read) = Weights::pack_from(cx, &config, model.layout(), storage, read);
            let most = Weights::<f32>::bytes_of(precision, &config, model.layout(), storage);
            let keeps = precision == Precision::F32 || params == &kept;
            assert!(
                read.bytes() == most || config.tied && keeps && read.bytes() < most,
                "{config:?} {storage:?}"
            );
            let cx = &mut Context::solo().with_precision(precision);
            let packed = Weights::pack(cx, &config, model.layout(), params, storage);
            // What a packed table takes is taken once.
            if keeps && storage == Storage::Packed {
                let others = model.layout().slots().iter().filter(|slot| {
                    !slot.decay
                        || slot.name.ends_with("embedding")
                            && !(config.tied && slot.name == "token_embedding")
                });
                let others: usize = others.map(|slot| 4 * slot.span.len()).sum();
                assert_eq!(read.bytes(), packed.bytes() + others, "{config:?}");
            }
            let want = logits(cx, &config, packed, 20);
            assert_eq!(logits(cx, &config, read, 3), want, "{config:?} {storage:?} in {precision:?}");
        }
    }
}

#[test]
fn weights_out_of_a_file_take_what_is_said_before() {
    type Kind = fn(&str) -> Type;
    let kinds: [Kind; 4] = [
        |_| Type::F16,
        |_| Type::F32,
        |name| if name.contains("attn_k") { Type::F16 } else { Type::Q5_1 },
        |name| if name == "token_embd.weight" { Type::BF16 } else { Type::Q8_0 },
    ];
    for (name, family) in CASES {
        let folder = folder(name);
        let all = tensors(family, &folder, &folder.load());
        for kind in kinds {
            let has_blocks = |name: &str| matches!(kind(name), Type::Q5_1 | Type::Q8_0);
            if all.iter().any(|(name, rows, columns, _)| *rows > 1 && columns % 32 > 0 && has_blocks(name)) {
                continue;
            }
            let (_kept, path) = write(&metadata(family, folder.config()), &all, kind);
            let model = Model::open(&path).unwrap();
            for precision in [Precision::F32, Precision::Bf16] {
                let cx = &mut Context::solo().with_precision(precision);
                let (bytes, said) = (model.weights(cx).unwrap().bytes(), model.weights_bytes(precision));
                let is_once = precision == Precision::Bf16 && model.config().tied && bytes < said;
                assert!(bytes == said || is_once, "{name}: {bytes} bytes of {said} in {precision:?}");
            }
        }
    }
}
