//! Blocks out of files against dequantization, and files out of blocks.

use proptest::prelude::*;
use selvedge_model::gguf::{self, Type, blocks};
use selvedge_tensor::quantized::Block;

/// Types of blocks of 32, which are written too.
const TYPES: [Type; 5] = [Type::Q8_0, Type::Q4_0, Type::Q4_1, Type::Q5_0, Type::Q5_1];
const SUPER_TYPES: [Type; 3] = [Type::Q4_K, Type::Q5_K, Type::Q6_K];

/// Random bytes with finite scales.
fn valid(types: &'static [Type]) -> impl Strategy<Value = (Type, Vec<u8>)> {
    let scale = || (-1000i16..1000).prop_map(|x| half::f16::from_f32(f32::from(x) / 512.0).to_le_bytes());
    (prop::sample::select(types), prop::collection::vec(any::<u8>(), 210), scale(), scale()).prop_map(
        |(element_type, mut bytes, scale, least)| {
            bytes.truncate(element_type.block().unwrap().bytes);
            let at = if element_type == Type::Q6_K { 208 } else { 0 };
            bytes[at..at + 2].copy_from_slice(&scale);
            if [Type::Q4_1, Type::Q5_1, Type::Q4_K, Type::Q5_K].contains(&element_type) {
                bytes[2..4].copy_from_slice(&least);
            }
            (element_type, bytes)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    /// Equal as numbers: a block has +0 where the formula of a type without a least gives −0.
    #[test]
    fn a_block_stands_for_the_same_weights((element_type, bytes) in valid(&TYPES)) {
        let mut want = [0.0; 32];
        gguf::dequantize(element_type, &bytes, &mut want).unwrap();
        let form = blocks::form(element_type).unwrap();
        prop_assert_eq!(blocks::block(element_type, &bytes).weights(form), want);
    }

    #[test]
    fn a_super_block_stands_for_the_same_weights((element_type, bytes) in valid(&SUPER_TYPES)) {
        let mut want = [0.0; 256];
        gguf::dequantize(element_type, &bytes, &mut want).unwrap();
        let form = blocks::form(element_type).unwrap();
        prop_assert_eq!(blocks::super_block(element_type, &bytes).weights(form), want);
    }

    #[test]
    fn numbers_become_the_nearest_block(
        element_type in prop::sample::select(&TYPES[..]),
        weights in prop::array::uniform32(-4.0_f32..4.0),
    ) {
        let mut bytes = Vec::new();
        gguf::quantize(element_type, &weights, &mut bytes).unwrap();
        let form = blocks::form(element_type).unwrap();
        prop_assert_eq!(blocks::block(element_type, &bytes), Block::of(form, &weights));
    }
}

#[test]
fn other_types_have_no_form() {
    for element_type in [Type::F32, Type::from_id(10), Type::from_id(99)] {
        assert_eq!(blocks::form(element_type), None);
    }
}

#[test]
fn other_types_are_refused_by_name() {
    let q2_k = Type::from_id(10);
    let error = gguf::dequantize(q2_k, &[0; 84], &mut [0.0; 256]).unwrap_err();
    assert_eq!(error, gguf::UnsupportedType(q2_k));
    assert!(error.to_string().contains("Q2_K"), "{error}");
    assert_eq!(
        gguf::quantize(Type::Q6_K, &[0.0; 256], &mut Vec::new()),
        Err(gguf::UnsupportedType(Type::Q6_K))
    );
}
