//! The files on the disk: what other programs read, and what comes back.

use proptest::prelude::*;
use safetensors::SafeTensors;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Names with any characters, empty tensors, scalars, overlapping parts: the safetensors crate reads what we write.
    #[test]
    fn the_safetensors_crate_reads_our_files(
        bits in prop::collection::vec(any::<u32>(), 1..50),
        parts in prop::collection::btree_map(".{0,9}", (any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..6),
    ) {
        prop_assume!(!parts.contains_key("__metadata__"));
        let data = Values::from(bits.iter().map(|&b| f32::from_bits(b)).collect::<Vec<_>>());
        let tensors: Vec<NamedTensor> = parts.into_iter().map(|(name, (a, b))| {
            let (a, b) = (a.index(data.len() + 1), b.index(data.len() + 1));
            let range = a.min(b)..a.max(b);
            let shape = if range.len() == 1 { vec![] } else { vec![1, range.len()] };
            NamedTensor { name, shape, data: data.clone(), range }
        }).collect();
        tensors::check("t", &tensors).unwrap();
        let mut bytes = Vec::new();
        tensors::write(&tensors, |piece| { bytes.extend_from_slice(piece); Ok::<(), ()>(()) }).unwrap();

        let theirs = SafeTensors::deserialize(&bytes).unwrap();
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        prop_assert_eq!((header % 8, theirs.len()), (0, tensors.len()));
        let ours = LoadedFile::parse("t".into(), bytes.clone()).unwrap();
        for tensor in &tensors {
            let expected: Vec<u8> = data[tensor.range.clone()].iter().flat_map(|v| v.to_bits().to_le_bytes()).collect();
            let view = theirs.tensor(&tensor.name).unwrap();
            prop_assert_eq!((view.data(), view.shape()), (&expected[..], &tensor.shape[..]));
            let mut out = vec![0.0; tensor.range.len()];
            ours.copy_into(&tensor.name, &tensor.shape, &mut out).unwrap();
            let out: Vec<u8> = out.iter().flat_map(|v| v.to_bits().to_le_bytes()).collect();
            prop_assert_eq!(out, expected, "bit for bit, not-a-numbers included");
        }
    }

    /// A figure that came back one bit off would change the run that is resumed from it.
    #[test]
    fn every_number_of_a_manifest_comes_back_exactly(bits: u64, narrow: u32, seed: u64, row: u64) {
        let (wide, narrow) = (f64::from_bits(bits), f32::from_bits(narrow));
        prop_assume!(wide.is_finite() && narrow.is_finite());
        let state = ManifestData {
            seed,
            row,
            training: serde_json::json!({ "wide": wide, "narrow": narrow }),
            valid_loss: Some(wide),
            ..ManifestData::default()
        };
        let manifest = Manifest { version: VERSION, sequence: row, state, best: None, files: vec![] };
        let back = Manifest::decode(Path::new("m"), &manifest.encode().unwrap()).unwrap();
        prop_assert_eq!(back.state.training["wide"].as_f64().unwrap().to_bits(), bits);
        prop_assert_eq!((back.state.training["narrow"].as_f64().unwrap() as f32).to_bits(), narrow.to_bits());
        prop_assert_eq!((back.state.seed, back.state.row), (seed, row));
        prop_assert_eq!(back.state.valid_loss.unwrap().to_bits(), bits);
    }
}

#[test]
fn a_checkpoint_on_disk_comes_back_from_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(dir.path().join("run/checkpoints"), 2);
    let checkpoints = checkpoints.unwrap();
    let request = request(123, 0.5, Some(1.25));
    let saved = checkpoints.save(&request).unwrap();
    assert_eq!((saved.path.clone(), saved.best), (dir.path().join("run/checkpoints/step-00000123"), true));
    assert!(holds(&latest_good(checkpoints.dir()).unwrap(), &request));
    assert!(holds(&load(&saved.path).unwrap(), &request));
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(saved.path.join(MANIFEST)).unwrap()).unwrap();
    assert_eq!(manifest["manifest"]["state"]["training"]["learning_rate"], 0.1 + 0.2);
    let model = &load(&saved.path).unwrap().files[0];
    assert_eq!(model.tensors(), [("w".to_string(), vec![10, 7000]), ("b".to_string(), vec![1])]);
}

#[test]
fn another_shape_or_a_missing_tensor_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(dir.path(), 1).unwrap();
    checkpoints.save(&request(1, 1.0, None)).unwrap();
    let loaded = checkpoints.latest_good().unwrap();
    let file = loaded.file("optimizer.safetensors").unwrap();
    let mut out = [0.0; 4];
    file.copy_into("m", &[2, 2], &mut out).unwrap();
    let error = file.copy_into("m", &[4], &mut out).unwrap_err();
    assert!(
        matches!(&error, Error::TensorShape { tensor, expected, found, .. }
        if tensor == "m" && *expected == [4] && *found == [2, 2]),
        "{error}"
    );
    assert!(
        matches!(file.copy_into("v", &[4], &mut out), Err(Error::TensorMissing { tensor, .. }) if tensor == "v")
    );
    assert!(matches!(loaded.file("none"), Err(Error::Io { op: "read", .. })));
}

#[test]
fn requests_that_do_not_fit_together_are_refused_before_anything_is_written() {
    let store = super::super::sim::SimStore::new();
    let checkpoints = Checkpoints::with_store("/c", 1, Arc::new(store.clone())).unwrap();
    let bad = |change: fn(&mut SaveRequest)| {
        let mut request = request(1, 1.0, None);
        change(&mut request);
        checkpoints.save(&request).unwrap_err()
    };
    let tensors: [fn(&mut SaveRequest); 5] = [
        |r| r.files[0].1[0].shape = vec![3],
        |r| r.files[0].1[0].shape = vec![usize::MAX, usize::MAX],
        |r| r.files[0].1[0].range = 1..80_000,
        |r| r.files[0].1[0].range = std::ops::Range { start: 5, end: 4 },
        |r| r.files[0].1[0].name = "b".into(),
    ];
    for change in tensors {
        assert!(matches!(bad(change), Error::SaveTensor { .. }));
    }
    let names: [fn(&mut SaveRequest); 5] = [
        |r| r.files[0].0 = MANIFEST.into(),
        |r| r.files[0].0 = "a/b".into(),
        |r| r.files[0].0 = "..".into(),
        |r| r.files[0].0 = String::new(),
        |r| r.files[0].0 = r.files[1].0.clone(),
    ];
    for change in names {
        assert!(matches!(bad(change), Error::SaveName { .. }));
    }
    assert!(store.log().is_empty(), "{:?}", store.log());
}
