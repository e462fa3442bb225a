//! Which checkpoints stay, and which is the newest and the best.

use super::super::sim::{Fault, SimStore};
use super::*;

fn small(step: u64, valid_loss: Option<f64>) -> SaveRequest {
    let mut request = request(step, step as f32, valid_loss);
    request.files.clear();
    request
}

fn steps(checkpoints: &Checkpoints) -> Vec<u64> {
    checkpoints.list().unwrap().iter().map(|(_, manifest)| manifest.state.step).collect()
}

#[test]
fn the_last_ones_and_the_best_stay() {
    let store = SimStore::new();
    let checkpoints = Checkpoints::with_store("/c", 2, Arc::new(store)).unwrap();
    let mut kept = Vec::new();
    for (step, loss) in [
        (10, None),
        (20, Some(3.0)),
        (30, Some(2.0)),
        (40, Some(2.5)),
        (50, Some(f64::NAN)),
        (60, Some(2.0)),
        (70, None),
    ] {
        let saved = checkpoints.save(&small(step, loss)).unwrap();
        assert!(saved.not_removed.is_empty());
        kept.push((steps(&checkpoints), saved.best));
    }
    let expected = [
        (vec![10], false),
        (vec![20, 10], true),
        (vec![30, 20], true),
        (vec![40, 30], false),
        (vec![50, 40, 30], false), // not a number is not the best
        (vec![60, 50, 30], false), // the earliest of equals is
        (vec![70, 60, 30], false),
    ];
    assert_eq!(kept, expected);
    let best = checkpoints.latest_good().unwrap().manifest.best.unwrap();
    assert_eq!((best.folder.as_str(), best.step, best.valid_loss), ("step-00000030", 30, 2.0));
}

#[test]
fn saving_a_step_again_replaces_it_even_as_the_best() {
    let store = SimStore::new();
    let checkpoints = Checkpoints::with_store("/c", 3, Arc::new(store)).unwrap();
    checkpoints.save(&small(10, Some(1.0))).unwrap();
    let first = checkpoints.save(&small(20, Some(0.5))).unwrap();
    let again = checkpoints.save(&small(20, Some(0.75))).unwrap();
    assert_ne!(first.path, again.path);
    assert_eq!(steps(&checkpoints), [20, 10]);
    assert_eq!(checkpoints.latest_good().unwrap().path, again.path);
    assert!(again.best);
    // And once more: the first name is free again.
    assert_eq!(checkpoints.save(&small(20, Some(0.75))).unwrap().path, first.path);
}

#[test]
fn the_newest_is_the_last_saved_not_the_highest_step() {
    let store = SimStore::new();
    let checkpoints = Checkpoints::with_store("/c", 2, Arc::new(store)).unwrap();
    for step in [100, 200, 150] {
        checkpoints.save(&small(step, None)).unwrap();
    }
    assert_eq!(steps(&checkpoints), [150, 200]);
    assert_eq!(checkpoints.latest_good().unwrap().manifest.state.step, 150);
}

#[test]
fn what_cannot_be_read_is_neither_counted_nor_removed_nor_overwritten() {
    let store = SimStore::new();
    let checkpoints = Checkpoints::with_store("/c", 1, Arc::new(store.clone())).unwrap();
    checkpoints.save(&small(10, None)).unwrap();
    checkpoints.save(&small(20, None)).unwrap();
    store.corrupt(Path::new("/c/step-00000020/manifest.json"), |bytes| bytes[20] ^= 1);
    let again = checkpoints.save(&small(20, None)).unwrap();
    assert!(again.path.ends_with("step-00000020-2"));
    assert_eq!(store.list(Path::new("/c")).unwrap().len(), 2);
    let loaded = checkpoints.latest_good().unwrap();
    assert_eq!((loaded.path, loaded.skipped.len()), (again.path, 1));
}

#[test]
fn an_old_one_that_cannot_be_removed_is_reported_not_an_error() {
    let store = SimStore::new();
    Checkpoints::with_store("/c", 1, Arc::new(store.clone())).unwrap().save(&small(1, None)).unwrap();
    let last = {
        let probe = store.fork(Fault::None);
        Checkpoints::with_store("/c", 1, Arc::new(probe.clone())).unwrap().save(&small(2, None)).unwrap();
        probe.log().len() as u32 - 1
    };
    let store = store.fork(Fault::Error(last));
    let checkpoints = Checkpoints::with_store("/c", 1, Arc::new(store)).unwrap();
    let saved = checkpoints.save(&small(2, None)).unwrap();
    assert_eq!(saved.not_removed.len(), 1);
    assert!(matches!(saved.not_removed[0].reason, Error::Io { op: "remove", .. }));
    assert_eq!(steps(&checkpoints), [2]);
}

#[test]
fn keeping_none_is_refused() {
    assert!(matches!(Checkpoints::new("c", 0), Err(Error::Setting { .. })));
}
