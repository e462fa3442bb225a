//! Small files, each wrong in one way; `corpus/gguf/make.py` makes them.

use std::collections::BTreeSet;

use selvedge_model::gguf::{Field, FormatError, Header, Problem, Type};

use super::beside;

fn value(key: &str) -> Field {
    Field::Value { key: key.to_owned() }
}

fn dimensions() -> Field {
    Field::Dimensions { tensor: "t".to_owned() }
}

fn offset(tensor: &str) -> Field {
    Field::Offset { tensor: tensor.to_owned() }
}

/// File, offset, field and problem.
fn faults() -> Vec<(&'static str, u64, Field, Problem)> {
    let of_type = || Field::Type { tensor: "t".to_owned() };
    let huge = u64::MAX;
    vec![
        ("empty", 0, Field::Magic, Problem::Truncated { needed: 4, left: 0 }),
        ("magic", 0, Field::Magic, Problem::Magic { found: *b"GGML" }),
        ("big_endian", 4, Field::Version, Problem::BigEndian),
        ("version_1", 4, Field::Version, Problem::Version { found: 1 }),
        ("version_4", 4, Field::Version, Problem::Version { found: 4 }),
        ("tensors_huge", 8, Field::TensorCount, Problem::Limit { found: huge, limit: 1 << 20 }),
        (
            "tensors_beyond_the_file",
            8,
            Field::TensorCount,
            Problem::Count { count: 1000, least: 33, left: 41 },
        ),
        ("keys_huge", 16, Field::KeyCount, Problem::Limit { found: huge, limit: 1 << 16 }),
        ("keys_beyond_the_file", 16, Field::KeyCount, Problem::Count { count: 3, least: 14, left: 33 }),
        (
            "key_longer_than_the_file",
            32,
            Field::Key { index: 0 },
            Problem::Truncated { needed: 60_000, left: 20 },
        ),
        (
            "key_longer_than_the_limit",
            24,
            Field::Key { index: 0 },
            Problem::Limit { found: huge, limit: 65_535 },
        ),
        ("key_empty", 24, Field::Key { index: 0 }, Problem::Empty),
        ("key_not_utf8", 32, Field::Key { index: 0 }, Problem::Utf8 { valid: 2 }),
        ("key_twice", 74, Field::Key { index: 2 }, Problem::Duplicate { name: "general.name".to_owned() }),
        ("kind_unknown", 33, value("a"), Problem::Kind { found: 13 }),
        ("bool", 37, value("a"), Problem::Bool { found: 2 }),
        ("value_cut", 49, value("a.b.c"), Problem::Truncated { needed: 11, left: 7 }),
        ("array_huge", 41, value("a"), Problem::Count { count: huge, least: 4, left: 0 }),
        ("array_of_strings_huge", 41, value("a"), Problem::Count { count: 1 << 32, least: 8, left: 0 }),
        ("array_deep", 73, value("a"), Problem::Depth { limit: 4 }),
        ("alignment_12", 24, value("general.alignment"), Problem::Alignment),
        ("alignment_4", 24, value("general.alignment"), Problem::Alignment),
        ("alignment_kind", 24, value("general.alignment"), Problem::Alignment),
        ("tensor_twice", 57, Field::TensorName { index: 1 }, Problem::Duplicate { name: "t".to_owned() }),
        ("tensor_name_long", 24, Field::TensorName { index: 0 }, Problem::Limit { found: 65, limit: 64 }),
        ("dimensions_0", 33, dimensions(), Problem::Dimensions { found: 0 }),
        ("dimensions_5", 33, dimensions(), Problem::Dimensions { found: 5 }),
        ("dimension_zero", 45, dimensions(), Problem::ZeroDimension { dimension: 1 }),
        ("elements_overflow", 45, dimensions(), Problem::Elements),
        ("bytes_overflow", 53, of_type(), Problem::Elements),
        ("row_of_half_a_block", 53, of_type(), Problem::Ragged { columns: 48, block: 32, found: Type::Q8_0 }),
        ("offset_misaligned", 49, offset("t"), Problem::Misaligned { found: 8, alignment: 32 }),
        ("offset_huge", 49, offset("t"), Problem::Outside { start: u64::MAX, bytes: 16, len: 80 }),
        ("tensor_cut", 49, offset("t"), Problem::Outside { start: 64, bytes: 16, len: 79 }),
        ("tensors_overlap", 49, offset("t"), Problem::Overlap { other: "u".to_owned() }),
    ]
}

fn parse(name: &str) -> Result<Header, FormatError> {
    Header::parse(&std::fs::read(beside(&format!("corpus/gguf/{name}.gguf"))).unwrap())
}

#[test]
fn each_fault_is_told_with_its_place() {
    for (name, offset, field, problem) in faults() {
        let error = parse(name).expect_err(name);
        let text = error.to_string();
        let FormatError { offset: at, field: part, problem: what, .. } = error;
        assert_eq!((at, part, what), (offset, field, problem), "{name}: {text}");
        assert!(text.starts_with(&format!("at byte {offset}, ")), "{text}");
    }
}

#[test]
fn no_file_is_left_out() {
    let listed: BTreeSet<String> = faults()
        .into_iter()
        .map(|(name, ..)| name)
        .chain(["valid", "unknown_type"])
        .map(str::to_owned)
        .collect();
    let there = std::fs::read_dir(beside("corpus/gguf")).unwrap().filter_map(|entry| {
        Some(entry.unwrap().file_name().into_string().unwrap().strip_suffix(".gguf")?.to_owned())
    });
    assert_eq!(listed, there.collect());
}

#[test]
fn a_valid_file_is_read() {
    let header = parse("valid").unwrap();
    assert_eq!(header.metadata().string("general.name"), Ok("x"));
    assert_eq!(header.metadata().array_i64("a.b"), Ok(vec![1, 2]));
    let tensor = header.tensor("t").unwrap();
    assert_eq!((tensor.shape(), tensor.rows(), tensor.columns()), (&[2, 4][..], 2, 4));
    assert_eq!(tensor.range().len(), 32);
    assert!(tensor.range().start.is_multiple_of(32));
}

#[test]
fn a_tensor_of_an_unknown_type_does_not_spoil_the_others() {
    let header = parse("unknown_type").unwrap();
    assert_eq!(header.tensor("t").unwrap().element_type(), Type::from_id(99));
    assert!(header.tensor("t").unwrap().range().is_empty());
    assert_eq!(header.tensor("u").unwrap().range().len(), 16);
}
