//! Keys by the kind that a program expects.

use selvedge_model::gguf::{Array, Error, KeyError, Kind, Metadata, Value, optional};

fn metadata() -> Metadata {
    let mut metadata = Metadata::new();
    metadata.insert("u8", Value::U8(3));
    metadata.insert("i32", Value::I32(-1));
    metadata.insert("u64", Value::U64(u64::MAX));
    metadata.insert("f32", Value::F32(0.5));
    metadata.insert("bool", Value::Bool(true));
    metadata.insert("text", Value::String("x".to_owned()));
    metadata.insert("strings", Value::Array(Array::String(["a", "b"].into_iter().collect())));
    metadata.insert("numbers", Value::Array(Array::F32(vec![1.0])));
    metadata.insert("integers", Value::Array(Array::U64(vec![1, 1 << 63])));
    metadata
}

#[test]
fn integers_of_any_width_are_taken() {
    let metadata = metadata();
    assert_eq!((metadata.u64("u8"), metadata.u32("u8"), metadata.i64("u8")), (Ok(3), Ok(3), Ok(3)));
    assert_eq!(metadata.i64("i32"), Ok(-1));
    let range = |key: &str, expected| KeyError::Range { key: key.to_owned(), expected };
    assert_eq!(metadata.u32("i32"), Err(range("i32", Kind::U32)));
    assert_eq!(metadata.u32("u64"), Err(range("u64", Kind::U32)));
    assert_eq!(metadata.i64("u64"), Err(range("u64", Kind::I64)));
    assert_eq!(metadata.array_i64("integers"), Err(range("integers", Kind::I64)));
}

#[test]
fn a_missing_key_and_a_wrong_kind_are_told_apart() {
    let metadata = metadata();
    let missing = KeyError::Missing { key: "none".to_owned() };
    assert_eq!(metadata.string("none"), Err(missing.clone()));
    let kind = |key: &str, expected, found| KeyError::Kind { key: key.to_owned(), expected, found };
    assert_eq!(metadata.string("f32"), Err(kind("f32", Kind::String, Kind::F32)));
    assert_eq!(metadata.u64("f32"), Err(kind("f32", Kind::U64, Kind::F32)));
    assert_eq!(metadata.f32("u8"), Err(kind("u8", Kind::F32, Kind::U8)));
    assert_eq!(metadata.f64("f32"), Err(kind("f32", Kind::F64, Kind::F32)));
    assert_eq!(metadata.bool("u8"), Err(kind("u8", Kind::Bool, Kind::U8)));
    assert_eq!(metadata.array_strings("text"), Err(kind("text", Kind::Array, Kind::String)));
    let elements = KeyError::Elements { key: "numbers".to_owned(), expected: Kind::String, found: Kind::F32 };
    assert_eq!(metadata.array_strings("numbers"), Err(elements));
    assert_eq!(optional(metadata.string("none")), Ok(None));
    assert_eq!(optional(metadata.bool("bool")), Ok(Some(true)));
    assert!(optional(metadata.bool("u8")).is_err());
    let error = Error::key("m.gguf")(missing);
    assert!(error.to_string().contains("m.gguf"), "{error}");
}

#[test]
fn strings_keep_their_order_and_borders() {
    let metadata = metadata();
    let strings = metadata.array_strings("strings").unwrap();
    assert_eq!(strings.iter().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((strings.get(0), strings.get(1), strings.get(2)), (Some("a"), Some("b"), None));
    assert_eq!((metadata.array_f32("numbers"), strings.len()), (Ok(&[1.0][..]), 2));
}

#[test]
fn a_key_set_twice_has_its_last_value_and_its_first_place() {
    let mut metadata = metadata();
    assert_eq!(metadata.insert("i32", Value::Bool(false)), Some(Value::I32(-1)));
    assert_eq!(metadata.iter().nth(1), Some(("i32", &Value::Bool(false))));
    assert_eq!(metadata.len(), 9);
}
