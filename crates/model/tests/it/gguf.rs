//! GGUF files: against other programs' files, against ourselves, and against damage.

mod blocks;
mod corpus;
mod file;
mod goldens;
mod hostile;
mod keys;
mod round_trip;

use std::path::{Path, PathBuf};

use selvedge_model::gguf::{Array, Metadata, Strings, TensorSpec, Type, Value, Writer};

/// A file beside the tests.
fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// A value of every kind.
fn metadata() -> Metadata {
    let mut metadata = Metadata::new();
    let strings: Strings = ["a", "", "čaj"].into_iter().collect();
    let inner =
        Array::Array(vec![Array::U16(vec![1, 2]), Array::Bool(vec![]), Array::String(strings.clone())]);
    let values = [
        Value::U8(200),
        Value::I8(-100),
        Value::U16(60_000),
        Value::I16(-30_000),
        Value::U32(4_000_000_000),
        Value::I32(-2_000_000_000),
        Value::F32(0.1),
        Value::Bool(true),
        Value::String("a line\nand \"another\"".to_owned()),
        Value::U64(1 << 63),
        Value::I64(-(1 << 62)),
        Value::F64(0.1),
        Value::Array(Array::U8(vec![1, 255])),
        Value::Array(Array::I8(vec![-1])),
        Value::Array(Array::U16(vec![])),
        Value::Array(Array::I16(vec![-2])),
        Value::Array(Array::U32(vec![7])),
        Value::Array(Array::I32(vec![-7, 7])),
        Value::Array(Array::F32(vec![0.5, -1e30])),
        Value::Array(Array::Bool(vec![true, false])),
        Value::Array(Array::String(strings)),
        Value::Array(Array::Array(vec![inner])),
        Value::Array(Array::U64(vec![u64::MAX])),
        Value::Array(Array::I64(vec![i64::MIN])),
        Value::Array(Array::F64(vec![1e300])),
    ];
    metadata.insert("general.architecture", Value::String("test".to_owned()));
    for (index, value) in values.into_iter().enumerate() {
        metadata.insert(format!("key.{index}"), value);
    }
    metadata
}

fn spec(name: &str, shape: &[usize], element_type: Type) -> TensorSpec {
    TensorSpec { name: name.to_owned(), shape: shape.to_vec(), element_type }
}

/// A small file of values of every kind and a few tensors.
fn small() -> Vec<u8> {
    let tensors = vec![
        spec("norm", &[3], Type::F32),
        spec("a.weight", &[2, 32], Type::Q4_1),
        spec("b.weight", &[1, 2, 2], Type::BF16),
        spec("c.weight", &[1, 32], Type::Q8_0),
    ];
    let mut writer = Writer::new(Vec::new(), &metadata(), tensors.clone()).unwrap();
    for tensor in &tensors {
        let values: Vec<f32> = (0..tensor.shape.iter().product()).map(|i| i as f32 / 8.0 - 1.0).collect();
        writer.put(&values).unwrap();
    }
    writer.finish().unwrap()
}
