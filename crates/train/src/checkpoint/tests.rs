//! What checkpoints promise: after any fault the old state or the new one, and nothing damaged is taken for whole.

mod damage;
mod faults;
mod format;
mod retention;
mod writer;

use super::*;

/// A request whose every value depends on `step` and `tag`.
fn request(step: u64, tag: f32, valid_loss: Option<f64>) -> SaveRequest {
    // More than one piece of values, and an odd number of them.
    let values: Vec<f32> = (0..70_001).map(|i| i as f32 * 0.37 + tag).collect();
    let data = Values::from(values);
    let tensor = |name: &str, shape: &[usize], range| NamedTensor {
        name: name.into(),
        shape: shape.to_vec(),
        data: data.clone(),
        range,
    };
    SaveRequest {
        manifest: ManifestData {
            step,
            row: step * 64,
            seed: u64::MAX,
            model: serde_json::json!({ "layers": 4 }),
            training: serde_json::json!({ "learning_rate": 0.1 + 0.2, "tag": tag }),
            parameters: parameters_digest([&data[..]]),
            train_loss: Some(2.5),
            valid_loss,
        },
        files: vec![
            (
                "model.safetensors".into(),
                vec![tensor("w", &[10, 7000], 0..70_000), tensor("b", &[1], 70_000..70_001)],
            ),
            ("optimizer.safetensors".into(), vec![tensor("m", &[2, 2], 5..9)]),
        ],
    }
}

/// Whether `loaded` is what `request` asked to be saved, to the last bit.
fn holds(loaded: &Loaded, request: &SaveRequest) -> bool {
    loaded.manifest.state == request.manifest
        && loaded.files.len() == request.files.len()
        && request.files.iter().all(|(file, tensors)| {
            let file = loaded.file(file).unwrap();
            file.tensors().len() == tensors.len()
                && tensors.iter().all(|tensor| {
                    let mut out = vec![0.0; tensor.range.len()];
                    file.copy_into(&tensor.name, &tensor.shape, &mut out).is_ok()
                        && out == tensor.data[tensor.range.clone()]
                })
        })
}
