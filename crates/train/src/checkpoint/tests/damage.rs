//! Every kind of damage to every file is found, named, and fallen back from.

use std::collections::BTreeSet;

use super::super::sim::{Crash, SimStore};
use super::*;

fn small(step: u64) -> SaveRequest {
    let mut request = request(step, step as f32, None);
    request.files[0].1.remove(0);
    request
}

fn two() -> (SimStore, Checkpoints, [SaveRequest; 2]) {
    let store = SimStore::new();
    let checkpoints = Checkpoints::with_store("/c", 5, Arc::new(store.clone())).unwrap();
    let requests = [small(1), small(2)];
    for request in &requests {
        checkpoints.save(request).unwrap();
    }
    (store, checkpoints, requests)
}

#[test]
fn any_bit_flip_and_any_truncation_falls_back_and_says_so() {
    let (store, _, [old, new]) = two();
    let mut harmless = 0;
    for name in [MANIFEST, "model.safetensors", "optimizer.safetensors"] {
        let path = Path::new("/c/step-00000002").join(name);
        let length = store.read(&path).unwrap().len();
        let flips = (0..length * 8).map(|bit| (Some(bit), length));
        let cuts = (0..length).map(|cut| (None, cut));
        for (bit, cut) in flips.chain(cuts) {
            let damaged = store.after(Crash::Killed);
            damaged.corrupt(&path, |bytes| {
                bytes.truncate(cut);
                if let Some(bit) = bit {
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            });
            let loaded = Checkpoints::with_store("/c", 5, Arc::new(damaged)).unwrap().latest_good().unwrap();
            if name == MANIFEST && holds(&loaded, &new) {
                // It says the same: the line end after the last brace is gone, or a last digit of 0.30000000000000004 is
                // another that rounds to the same number.
                harmless += 1;
                continue;
            }
            assert!(holds(&loaded, &old), "{name}: bit {bit:?}, length {cut}");
            let [skipped] = &loaded.skipped[..] else { panic!("{:?}", loaded.skipped) };
            assert!(skipped.path.ends_with("step-00000002"));
            assert!(
                matches!(&skipped.reason, Error::CheckpointDamaged { path: p, .. } if *p == path),
                "{skipped}"
            );
        }
    }
    assert!((1..=5).contains(&harmless), "{harmless} changes of the manifest went unnoticed");
}

#[test]
fn longer_files_missing_files_and_missing_manifests_fall_back() {
    for change in ["longer", "file", "manifest"] {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(dir.path().join("c"), 5).unwrap();
        let (old, new) = (small(1), small(2));
        checkpoints.save(&old).unwrap();
        let path = checkpoints.save(&new).unwrap().path;
        assert!(holds(&checkpoints.latest_good().unwrap(), &new));
        let model = path.join("model.safetensors");
        match change {
            "longer" => {
                std::fs::write(&model, [std::fs::read(&model).unwrap(), vec![0; 8]].concat()).unwrap()
            }
            "file" => std::fs::remove_file(&model).unwrap(),
            _ => std::fs::remove_file(path.join(MANIFEST)).unwrap(),
        }
        let loaded = checkpoints.latest_good().unwrap();
        assert!(holds(&loaded, &old), "{change}");
        assert_eq!(loaded.skipped.len(), 1, "{change}");
        assert!(load(&path).is_err() && load(&loaded.path).is_ok(), "{change}");
    }
}

#[test]
fn with_nothing_whole_the_error_names_all_that_was_tried() {
    let (store, checkpoints, _) = two();
    for step in ["step-00000001", "step-00000002"] {
        store.corrupt(&Path::new("/c").join(step).join("model.safetensors"), |bytes| bytes[66] ^= 1);
    }
    let error = checkpoints.latest_good().unwrap_err();
    let text = error.to_string();
    let Error::NoCheckpoint { skipped, .. } = error else { panic!("{text}") };
    assert_eq!(skipped.len(), 2);
    assert!(text.contains("step-00000002") && text.contains("and 1 more") && !text.contains('\n'), "{text}");

    let none = Checkpoints::new("/nonexistent-folder/c", 1).unwrap();
    assert!(matches!(none.latest_good(), Err(Error::NoCheckpoint { skipped, .. }) if skipped.is_empty()));
    assert!(none.list().unwrap().is_empty());
}

/// Seals a manifest again after a change, as another program would write it.
fn resealed(bytes: &mut Vec<u8>, change: impl FnOnce(&mut serde_json::Value)) {
    let mut sealed: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    change(&mut sealed["manifest"]);
    let digest = blake3::hash(sealed["manifest"].to_string().as_bytes()).to_hex().to_string();
    sealed["blake3"] = digest.into();
    *bytes = sealed.to_string().into_bytes();
}

#[test]
fn manifests_of_other_makers_are_refused_by_what_is_wrong_with_them() {
    type Change = fn(&mut serde_json::Value);
    let cases: [(&str, Change); 5] = [
        ("format version is 2", |m| m["version"] = 2.into()),
        ("not a manifest", |m| m["state"]["step"] = (-1).into()),
        ("not a manifest", |m| m["files"] = "all".into()),
        ("names the file \"../x\"", |m| m["files"][0]["name"] = "../x".into()),
        ("4 bytes long, expected", |m| m["files"][0]["bytes"] = 4.into()),
    ];
    for (words, change) in cases {
        let (store, checkpoints, [old, _]) = two();
        store.corrupt(Path::new("/c/step-00000002/manifest.json"), |bytes| resealed(bytes, change));
        if words.starts_with('4') {
            store.corrupt(Path::new("/c/step-00000002/model.safetensors"), |bytes| bytes.truncate(8));
        }
        let loaded = checkpoints.latest_good().unwrap();
        assert!(holds(&loaded, &old), "{words}");
        let text = loaded.skipped[0].to_string();
        assert!(text.contains(words.trim_start_matches("4 ")), "{text}");
    }
}

/// A checkpoint that is whole by its digests but whose tensors are not safetensors is refused, not a panic.
#[test]
fn digests_that_fit_nonsense_are_not_enough() {
    let (store, checkpoints, [old, _]) = two();
    let model = Path::new("/c/step-00000002/model.safetensors");
    let mut reasons = BTreeSet::new();
    for nonsense in [&b""[..], b"x", &[0xff; 64], &[0; 8], b"\x02\0\0\0\0\0\0\0{}x"] {
        store.corrupt(model, |bytes| *bytes = nonsense.to_vec());
        store.corrupt(Path::new("/c/step-00000002/manifest.json"), |bytes| {
            resealed(bytes, |m| {
                m["files"][0]["bytes"] = nonsense.len().into();
                m["files"][0]["blake3"] = blake3::hash(nonsense).to_hex().to_string().into();
            });
        });
        let loaded = checkpoints.latest_good().unwrap();
        assert!(holds(&loaded, &old));
        reasons.insert(loaded.skipped[0].to_string());
    }
    assert!(reasons.iter().all(|reason| reason.contains("not a whole safetensors file")), "{reasons:?}");
}
