//! What a token file promises: the ids come back, and nothing damaged is taken for whole.

use std::fs;

use proptest::prelude::*;

use super::*;

fn written(vocab: u32, ids: &[u32]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.tokens");
    let mut writer = TokenWriter::create(&path, vocab, [9; 32]).unwrap();
    for part in ids.chunks(3) {
        writer.push(part, part.len() as u64 * 2).unwrap();
    }
    writer.finish().unwrap();
    (dir, path)
}

fn reopen(path: &Path, bytes: &[u8]) -> Result<TokenFile, Error> {
    fs::write(path, bytes).unwrap();
    TokenFile::open(path)
}

/// Header bytes with a field changed and the checksum made to fit again, as a writer with a defect would leave them.
fn forged(bytes: &[u8], at: usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    let check = blake3::hash(&bytes[..104]);
    bytes[104..128].copy_from_slice(&check.as_bytes()[..24]);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]

    #[test]
    fn ids_come_back_from_any_window(
        wide in any::<bool>(),
        raw in prop::collection::vec(any::<u32>(), 1..200),
        a in any::<prop::sample::Index>(),
        b in any::<prop::sample::Index>(),
    ) {
        let vocab = if wide { 100_000 } else { 65_536 };
        let ids: Vec<u32> = raw.iter().map(|x| x % vocab).collect();
        let (_dir, path) = written(vocab, &ids);
        let file = TokenFile::open(&path).unwrap();
        file.verify().unwrap();
        let header = file.header();
        prop_assert_eq!((header.tokens, header.text_bytes), (ids.len() as u64, ids.len() as u64 * 2));
        prop_assert_eq!(header.width, if wide { 4 } else { 2 });
        let (a, b) = (a.index(ids.len() + 1), b.index(ids.len() + 1));
        let (a, b) = (a.min(b), a.max(b));
        let mut out = vec![u32::MAX; b - a];
        file.get_window(a as u64, &mut out).unwrap();
        prop_assert_eq!(&out[..], &ids[a..b]);
    }
}

#[test]
fn more_than_one_buffer_is_written_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let ids: Vec<u32> = (0..700_000).collect();
    let mut writer = TokenWriter::create(&path, 700_000, [0; 32]).unwrap();
    writer.push(&ids[..10], 0).unwrap();
    writer.push(&ids[10..], 0).unwrap();
    writer.finish().unwrap();
    let file = TokenFile::open(&path).unwrap();
    file.verify().unwrap();
    let mut out = vec![0; ids.len()];
    file.get_window(0, &mut out).unwrap();
    assert_eq!(out, ids);
}

#[test]
fn every_truncation_and_every_longer_file_is_refused() {
    let (_dir, path) = written(300, &[1, 2, 299, 4]);
    let bytes = fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        let error = reopen(&path, &bytes[..length]).unwrap_err();
        let found = match error {
            Error::TokenLength { found, .. } => found,
            other => panic!("{other}"),
        };
        assert_eq!(found, length as u64);
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(reopen(&path, &longer), Err(Error::TokenLength { expected: 136, found: 137, .. })));
}

#[test]
fn every_bit_flip_is_found_by_open_or_verify() {
    let (_dir, path) = written(300, &[1, 2, 299, 4]);
    let bytes = fs::read(&path).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let outcome = reopen(&path, &damaged).and_then(|file| file.verify());
        match (bit / 8, outcome) {
            (0..8, Err(Error::TokenMagic { .. }))
            | (8..12, Err(Error::TokenVersion { expected: 1, .. }))
            | (12..128, Err(Error::TokenHeader { offset: 104, .. }))
            | (128.., Err(Error::TokenDigest { .. })) => {}
            (at, other) => panic!("flip at byte {at}: {other:?}"),
        }
    }
}

#[test]
fn headers_no_writer_makes_are_refused_field_by_field() {
    let (_dir, path) = written(300, &[1, 2, 3]);
    let bytes = fs::read(&path).unwrap();
    for (at, with, name) in [
        (12, &4_u32.to_le_bytes()[..], "bytes per token"),
        (16, &0_u64.to_le_bytes()[..], "vocabulary size"),
        (16, &(1_u64 << 32).to_le_bytes()[..], "vocabulary size"),
        // Times two this would wrap round to the file's true length.
        (24, &((1_u64 << 63) + 3).to_le_bytes()[..], "number of tokens"),
    ] {
        match reopen(&path, &forged(&bytes, at, with)) {
            Err(Error::TokenField { offset, field, .. }) => assert_eq!((offset, field), (at as u64, name)),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_bad_id_is_named_by_file_and_offset() {
    for vocab in [300_u32, 70_000] {
        let (_dir, path) = written(vocab, &[1, 2, 3, 4]);
        let mut bytes = fs::read(&path).unwrap();
        let width = if vocab == 300 { 2 } else { 4 };
        let at = 128 + 2 * width;
        bytes[at..at + width].copy_from_slice(&vocab.to_le_bytes()[..width]);
        let file = reopen(&path, &bytes).unwrap();
        let mut out = [0; 2];
        file.get_window(0, &mut out).unwrap();
        match file.get_window(1, &mut out) {
            Err(Error::TokenId { path: p, offset, id, vocab: v }) => {
                assert_eq!((p, offset, id, v), (path.clone(), at as u64, vocab, vocab));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn reads_past_the_end_and_overflowing_ones_are_errors() {
    let (_dir, path) = written(300, &[1, 2, 3]);
    let file = TokenFile::open(&path).unwrap();
    file.get_window(3, &mut []).unwrap();
    for (start, count) in [(0, 4), (3, 1), (4, 0), (u64::MAX, 2)] {
        let mut out = vec![0; count];
        assert!(matches!(file.get_window(start, &mut out), Err(Error::TokenRange { tokens: 3, .. })));
    }
}

#[test]
fn another_vocabulary_or_tokenizer_is_refused() {
    let (_dir, path) = written(300, &[1]);
    let file = TokenFile::open(&path).unwrap();
    file.expect(300, &[9; 32]).unwrap();
    assert!(matches!(file.expect(301, &[9; 32]), Err(Error::TokenVocab { expected: 301, found: 300, .. })));
    let error = file.expect(300, &[8; 32]).unwrap_err();
    assert!(
        matches!(&error, Error::TokenTokenizer { expected, .. } if expected.starts_with("0808")),
        "{error}"
    );
}

#[test]
fn the_writer_refuses_ids_outside_the_vocabulary_and_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let mut writer = TokenWriter::create(&path, 10, [0; 32]).unwrap();
    writer.push(&[1, 2], 2).unwrap();
    assert!(matches!(writer.push(&[3, 10], 2), Err(Error::TokenId { offset: 134, id: 10, vocab: 10, .. })));
    drop(writer);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(matches!(TokenWriter::create(&path, 0, [0; 32]), Err(Error::Setting { .. })));
}

#[test]
fn tokenizing_again_leaves_an_open_map_as_it_was() {
    let (_dir, path) = written(300, &[1, 2, 3]);
    let old = TokenFile::open(&path).unwrap();
    let mut writer = TokenWriter::create(&path, 300, [9; 32]).unwrap();
    writer.push(&[7], 1).unwrap();
    writer.finish().unwrap();
    let mut out = [0; 3];
    old.get_window(0, &mut out).unwrap();
    assert_eq!(out, [1, 2, 3]);
    assert_eq!(TokenFile::open(&path).unwrap().len(), 1);
}

#[test]
fn windows_cover_all_targets_but_a_ragged_end() {
    let (_dir, path) = written(300, &[0; 11]);
    let file = TokenFile::open(&path).unwrap();
    assert_eq!(file.windows(5).unwrap(), 2);
    assert_eq!(file.windows(4).unwrap(), 2);
    assert_eq!(file.windows(10).unwrap(), 1);
    assert!(matches!(file.windows(11), Err(Error::ContextTooLong { tokens: 11, context: 11, .. })));
    assert!(matches!(file.windows(0), Err(Error::Setting { .. })));
    let (_dir, path) = written(300, &[]);
    let file = TokenFile::open(&path).unwrap();
    assert!(file.is_empty() && file.verify().is_ok());
    assert!(matches!(file.windows(1), Err(Error::ContextTooLong { tokens: 0, .. })));
}

#[test]
fn folders_and_missing_files_are_io_errors() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().to_path_buf(), dir.path().join("none")] {
        assert!(matches!(TokenFile::open(&path), Err(Error::Io { path: p, .. }) if p == path));
    }
}
