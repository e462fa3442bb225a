//! Damaged files are refused, or read as what they then are; nothing panics.

use proptest::prelude::*;
use selvedge_model::gguf::{self, FormatError, Header};

use super::small;

/// Parses, and uses all that was parsed.
fn read(bytes: &[u8]) -> Result<Header, FormatError> {
    let header = Header::parse(bytes)?;
    for (key, value) in header.metadata().iter() {
        assert!(std::ptr::eq(header.metadata().get(key).unwrap(), value));
    }
    for info in header.tensors() {
        assert_eq!(header.tensor(info.name()), Some(info));
        let part = &bytes[info.range()];
        if info.element_type().block().is_some() {
            // An element of any type takes an eighth of a byte at least.
            assert!(info.elements() <= 8 * bytes.len(), "{} elements", info.elements());
            let mut out = vec![0.0; info.elements()];
            let _ = gguf::dequantize(info.element_type(), part, &mut out);
        }
    }
    Ok(header)
}

#[test]
fn a_file_cut_anywhere_before_the_end_of_its_last_tensor_is_refused() {
    let bytes = small();
    let end = read(&bytes).unwrap().tensors().iter().map(|info| info.range().end).max().unwrap();
    for len in 0..bytes.len() {
        let result = read(&bytes[..len]);
        assert_eq!(result.is_err(), len < end, "{len} of {} bytes", bytes.len());
    }
}

#[test]
fn no_byte_makes_it_panic() {
    let whole = small();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        for value in [0, 1, 0x7f, 0x80, 0xff].into_iter().chain((0..8).map(|bit| whole[at] ^ 1 << bit)) {
            bytes[at] = value;
            let _ = read(&bytes);
        }
    }
}

/// A claim of any size at any place where a number of 64 bits may stand is seen before memory is asked for: if it were
/// not, this would end the process.
#[test]
fn huge_numbers_are_refused_anywhere() {
    let whole = small();
    for at in 0..whole.len() - 8 {
        let mut bytes = whole.clone();
        for value in [u64::MAX, 1 << 63, i64::MAX as u64, 1 << 48, 1 << 40, (1 << 32) + 1] {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            let _ = read(&bytes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn no_bytes_make_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = small();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = read(&bytes);
    }

    #[test]
    fn nor_does_noise_behind_a_right_start(noise in prop::collection::vec(any::<u8>(), 0..200), few in 0_u64..4) {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(few.to_le_bytes());
        bytes.extend((few + 1).to_le_bytes());
        bytes.extend(noise);
        let _ = read(&bytes);
    }
}
