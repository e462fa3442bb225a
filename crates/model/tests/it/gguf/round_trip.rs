//! What is written is read back.

use half::{bf16, f16};
use proptest::prelude::*;
use selvedge_model::gguf::{
    self, Array, Field, Header, MAX_DEPTH, Metadata, Problem, TensorSpec, Type, Value, WriteError, Writer,
};

use super::{metadata, spec};

const TYPES: [Type; 8] =
    [Type::F32, Type::F16, Type::BF16, Type::Q8_0, Type::Q4_0, Type::Q4_1, Type::Q5_0, Type::Q5_1];

fn values() -> impl Strategy<Value = Value> {
    let text = || any::<String>();
    prop_oneof![
        any::<u32>().prop_map(Value::U32),
        any::<i64>().prop_map(Value::I64),
        any::<bool>().prop_map(Value::Bool),
        (-1e30_f32..1e30).prop_map(Value::F32),
        text().prop_map(Value::String),
        prop::collection::vec(text(), 0..5).prop_map(|v| Value::Array(Array::String(v.iter().collect()))),
        prop::collection::vec(any::<i16>(), 0..9).prop_map(|v| Value::Array(Array::I16(v))),
    ]
}

fn tensors() -> impl Strategy<Value = Vec<(Type, Vec<usize>, u64)>> {
    let shape = prop::collection::vec(1_usize..4, 1..=4);
    prop::collection::vec((prop::sample::select(&TYPES[..]), shape, any::<u64>()), 0..5).prop_map(
        |mut all| {
            for (element_type, shape, _) in &mut all {
                *shape.last_mut().unwrap() *= element_type.block().unwrap().elements;
            }
            all
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn keys_and_tensors_come_back(
        keys in prop::collection::btree_map("[a-z.]{1,12}", values(), 0..6),
        tensors in tensors(),
        alignment in prop::sample::select(&[None, Some(8), Some(32), Some(256)][..]),
    ) {
        let mut metadata = Metadata::new();
        for (key, value) in keys {
            metadata.insert(key, value);
        }
        if let Some(bytes) = alignment {
            metadata.insert("general.alignment", Value::U32(bytes));
        }
        let specs: Vec<TensorSpec> = tensors
            .iter()
            .enumerate()
            .map(|(index, (element_type, shape, _))| spec(&format!("t{index}"), shape, *element_type))
            .collect();
        let numbers: Vec<Vec<f32>> = tensors
            .iter()
            .map(|(_, shape, seed)| {
                let rng = selvedge_model::CounterRng::new(*seed, 1);
                (0..shape.iter().product::<usize>() as u64).map(|i| (rng.at(i) % 2001) as f32 / 500.0 - 2.0).collect()
            })
            .collect();

        let mut writer = Writer::new(Vec::new(), &metadata, specs.clone()).unwrap();
        numbers.iter().for_each(|numbers| writer.put(numbers).unwrap());
        let bytes = writer.finish().unwrap();

        let header = Header::parse(&bytes).unwrap();
        prop_assert_eq!(header.metadata(), &metadata);
        prop_assert_eq!(header.alignment(), u64::from(alignment.unwrap_or(32)));
        prop_assert_eq!(header.tensors().len(), specs.len());
        for (spec, numbers) in specs.iter().zip(&numbers) {
            let info = header.tensor(&spec.name).unwrap();
            prop_assert_eq!((info.shape(), info.element_type()), (&spec.shape[..], spec.element_type));
            let mut want = Vec::new();
            gguf::quantize(spec.element_type, numbers, &mut want).unwrap();
            prop_assert_eq!(&bytes[info.range()], &want[..]);
            let mut out = vec![f32::NAN; numbers.len()];
            gguf::dequantize(spec.element_type, &want, &mut out).unwrap();
            for (out, number) in out.iter().zip(numbers) {
                match spec.element_type {
                    Type::F32 => prop_assert_eq!(out, number),
                    Type::F16 => prop_assert_eq!(*out, f16::from_f32(*number).to_f32()),
                    Type::BF16 => prop_assert_eq!(*out, bf16::from_f32(*number).to_f32()),
                    // Half a step: 2/127 with 8 bits, 2/8 with 4; the other end with Q4_0 is a whole step off.
                    Type::Q8_0 => prop_assert!((out - number).abs() <= 0.009),
                    _ => prop_assert!((out - number).abs() <= 0.26),
                }
            }
        }
    }
}

#[test]
fn a_value_of_every_kind_comes_back() {
    let bytes = Writer::new(Vec::new(), &metadata(), vec![]).unwrap().finish().unwrap();
    let header = Header::parse(&bytes).unwrap();
    assert_eq!(header.metadata(), &metadata());
    assert!(header.metadata().iter().eq(metadata().iter()));
}

#[test]
fn version_2_is_read_as_version_3_is() {
    let mut bytes = super::small();
    let header = Header::parse(&bytes).unwrap();
    bytes[4] = 2;
    let older = Header::parse(&bytes).unwrap();
    assert_eq!((header.version(), older.version()), (3, 2));
    assert_eq!(older.metadata(), header.metadata());
    assert_eq!(older.tensors(), header.tensors());
}

#[test]
fn what_could_not_be_read_is_not_written() {
    let start = |metadata: &Metadata, tensors| Writer::new(Vec::new(), metadata, tensors).map(|_| ());
    let format = |result: Result<(), WriteError>| match result.unwrap_err() {
        WriteError::Format { field, problem } => (field, problem),
        other => panic!("{other}"),
    };
    let with = |key: &str, value| {
        let mut metadata = Metadata::new();
        metadata.insert(key, value);
        metadata
    };
    let none = Metadata::new();

    let empty = with("", Value::U8(1));
    assert_eq!(format(start(&empty, vec![])), (Field::Key { index: 0 }, Problem::Empty));
    let odd = with("general.alignment", Value::U32(24));
    assert_eq!(format(start(&odd, vec![])).1, Problem::Alignment);
    let deep = (0..MAX_DEPTH).fold(Array::U8(vec![]), |inner, _| Array::Array(vec![inner]));
    let deep = with("deep", Value::Array(deep));
    assert_eq!(format(start(&deep, vec![])).1, Problem::Depth { limit: MAX_DEPTH });

    let twice = vec![spec("t", &[1], Type::F32), spec("t", &[2], Type::F32)];
    assert_eq!(format(start(&none, twice)).1, Problem::Duplicate { name: "t".to_owned() });
    let faults = [
        (spec("", &[1], Type::F32), Problem::Empty),
        (spec(&"t".repeat(65), &[1], Type::F32), Problem::Limit { found: 65, limit: 64 }),
        (spec("t", &[], Type::F32), Problem::Dimensions { found: 0 }),
        (spec("t", &[1; 5], Type::F32), Problem::Dimensions { found: 5 }),
        (spec("t", &[4, 0], Type::F32), Problem::ZeroDimension { dimension: 0 }),
        (spec("t", &[usize::MAX, 2], Type::F32), Problem::Elements),
        (spec("t", &[2, 33], Type::Q8_0), Problem::Ragged { columns: 33, block: 32, found: Type::Q8_0 }),
    ];
    for (spec, problem) in faults {
        assert_eq!(format(start(&none, vec![spec])).1, problem);
    }
    let unknown = start(&none, vec![spec("t", &[1], Type::from_id(99))]).unwrap_err();
    assert!(matches!(unknown, WriteError::Unsupported { .. }), "{unknown}");
}

#[test]
fn tensors_must_be_those_announced() {
    let announced = vec![spec("t", &[2], Type::F32), spec("u", &[256], Type::Q4_K)];
    let mut writer = Writer::new(Vec::new(), &Metadata::new(), announced).unwrap();
    let error = writer.put(&[0.0; 3]).unwrap_err();
    assert!(matches!(error, WriteError::Length { expected: 2, found: 3, .. }), "{error}");
    writer.put(&[1.0, 2.0]).unwrap();
    let error = writer.put(&[0.0; 256]).unwrap_err();
    assert!(matches!(&error, WriteError::Unsupported { tensor, .. } if tensor == "u"), "{error}");
    let error = writer.put_bytes(&[0; 143]).unwrap_err();
    assert!(matches!(error, WriteError::Length { expected: 144, found: 143, .. }), "{error}");
    writer.put_bytes(&[7; 144]).unwrap();
    let error = writer.put(&[]).unwrap_err();
    assert!(matches!(error, WriteError::Count { expected: 2, found: 3 }), "{error}");
    let bytes = writer.finish().unwrap();
    let header = Header::parse(&bytes).unwrap();
    assert_eq!(bytes[header.tensor("u").unwrap().range()], [7; 144]);

    let writer = Writer::new(Vec::new(), &Metadata::new(), vec![spec("t", &[2], Type::F32)]).unwrap();
    let error = writer.finish().unwrap_err();
    assert!(matches!(error, WriteError::Count { expected: 1, found: 0 }), "{error}");
}
