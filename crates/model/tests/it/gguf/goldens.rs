//! A file that another program wrote, and its tensors as that program reads them; `goldens/make_gguf.py` makes both.

use safetensors::SafeTensors;
use selvedge_model::gguf::{Array, File, Type, Value};

use super::beside;

#[test]
fn every_kind_of_value_is_read() {
    let file = File::open(beside("goldens/gguf.gguf")).unwrap();
    let metadata = file.header().metadata();
    assert_eq!(file.header().version(), 3);
    assert_eq!(metadata.string("general.architecture"), Ok("golden"));
    let values = [
        ("kind.u8", Value::U8(200)),
        ("kind.i8", Value::I8(-100)),
        ("kind.u16", Value::U16(60_000)),
        ("kind.i16", Value::I16(-30_000)),
        ("kind.u32", Value::U32(4_000_000_000)),
        ("kind.i32", Value::I32(-2_000_000_000)),
        ("kind.f32", Value::F32(0.1)),
        ("kind.bool", Value::Bool(true)),
        ("kind.string", Value::String("žluťoučký kůň".to_owned())),
        ("kind.u64", Value::U64((1 << 63) + 1)),
        ("kind.i64", Value::I64(-(1 << 62))),
        ("kind.f64", Value::F64(0.1)),
        ("array.strings", Value::Array(Array::String(["a", "<unk>", "Ġčaj", "b\nc"].iter().collect()))),
        ("array.i32", Value::Array(Array::I32(vec![1, -2, 3]))),
        ("array.f32", Value::Array(Array::F32(vec![0.5, -1e10]))),
        ("array.bool", Value::Array(Array::Bool(vec![true, false]))),
    ];
    for (key, value) in values {
        assert_eq!(metadata.get(key), Some(&value), "{key}");
    }
}

/// Both sides compute in f32 with the same operations in the same order, so that nothing may differ.
#[test]
fn every_type_gives_the_same_bits() {
    let file = File::open(beside("goldens/gguf.gguf")).unwrap();
    let golden = std::fs::read(beside("goldens/gguf.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&golden).unwrap();
    let types = [
        Type::F32,
        Type::F16,
        Type::BF16,
        Type::Q8_0,
        Type::Q4_0,
        Type::Q4_1,
        Type::Q5_0,
        Type::Q5_1,
        Type::Q4_K,
        Type::Q5_K,
        Type::Q6_K,
    ];
    assert_eq!(file.header().tensors().len(), types.len());
    for element_type in types {
        let name = format!("tensor.{element_type}");
        let tensor = file.tensor(&name).unwrap();
        let want = golden.tensor(&name).unwrap();
        assert_eq!((tensor.element_type(), tensor.shape()), (element_type, want.shape()));
        let mut got = vec![f32::NAN; tensor.rows() * tensor.columns()];
        tensor.dequantize(&mut got).unwrap();
        let got: Vec<u32> = got.iter().map(|x| x.to_bits()).collect();
        let want: Vec<u32> = want.data().as_chunks().0.iter().map(|x| u32::from_le_bytes(*x)).collect();
        assert_eq!(got, want, "{name}");
        // As numbers, the same when it is multiplied as it is.
        let weights = tensor.quantized();
        assert_eq!(weights.is_none(), [Type::F32, Type::F16, Type::BF16].contains(&element_type));
        if let Some(weights) = weights {
            let want: Vec<f32> = want.iter().map(|bits| f32::from_bits(*bits)).collect();
            assert_eq!(weights.weights().into_raw_vec_and_offset().0, want, "{name}");
        }
    }
}
