//! A fault at every operation of a save, and every way a crash may leave the disk.

use super::super::sim::{Crash, Fault, SimStore};
use super::*;

const DIR: &str = "/run/checkpoints";

fn crashes() -> impl Iterator<Item = Crash> {
    [Crash::Killed, Crash::Strict].into_iter().chain((0..6).map(Crash::Random))
}

fn over(store: &SimStore, keep: usize) -> Checkpoints {
    Checkpoints::with_store(DIR, keep, Arc::new(store.clone())).unwrap()
}

/// A disk on which these were saved, and then all was made durable.
fn disk(keep: usize, saves: &[SaveRequest]) -> SimStore {
    let store = SimStore::new();
    store.create_dir(Path::new("/run")).unwrap();
    store.sync_dir(Path::new("/")).unwrap();
    for request in saves {
        over(&store, keep).save(request).unwrap();
    }
    store.after(Crash::Killed)
}

/// Saves `new` over `base` with every fault at every operation; then, however the crash left the disk, the newest whole
/// checkpoint is `old` or `new`, and saving goes on.
fn every_fault(base: &SimStore, keep: usize, old: Option<&SaveRequest>, new: &SaveRequest) {
    let clean = base.fork(Fault::None);
    over(&clean, keep).save(new).unwrap();
    let operations = clean.log();
    for crash in crashes() {
        let found = over(&clean.after(crash), keep).latest_good();
        assert!(found.is_ok_and(|loaded| holds(&loaded, new)), "saved, then {crash:?}");
    }
    let next = request(1000, 0.125, None);
    let mut outcomes = [0_u32; 2];
    for at in 0..operations.len() as u32 {
        for fault in [Fault::Cut(at), Fault::Error(at), Fault::Short(at)] {
            let store = base.fork(fault);
            let result = over(&store, keep).save(new);
            for crash in crashes() {
                let case = format!("{fault:?} ({}), then {crash:?}", operations[at as usize]);
                let found = store.after(crash);
                match over(&found, keep).latest_good() {
                    Ok(loaded) if holds(&loaded, new) => outcomes[1] += 1,
                    Ok(loaded) => {
                        assert!(old.is_some_and(|old| holds(&loaded, old)), "{case}: neither old nor new");
                        assert!(result.is_err(), "{case}: saved, said so, and lost");
                        outcomes[0] += 1;
                    }
                    Err(error) => {
                        assert!(old.is_none() && result.is_err(), "{case}: {error}");
                        outcomes[0] += 1;
                    }
                }
                // A run goes on from whatever was found, and the litter goes.
                over(&found, keep).save(&next).unwrap_or_else(|error| panic!("{case}: {error}"));
                assert!(holds(&over(&found, keep).latest_good().unwrap(), &next), "{case}");
                let names = found.list(Path::new(DIR)).unwrap();
                assert!(
                    names.iter().all(|name| name.to_string_lossy().starts_with("step-")),
                    "{case}: {names:?}"
                );
            }
        }
    }
    // Faults before the rename leave the old, faults after it the new: a test that sees one only tests nothing.
    assert!(outcomes.iter().all(|&n| n > 10), "{outcomes:?}");
}

#[test]
fn a_later_step() {
    let old = request(2, 2.0, Some(1.5));
    every_fault(
        &disk(2, &[request(1, 1.0, Some(2.0)), old.clone()]),
        2,
        Some(&old),
        &request(3, 3.0, Some(1.75)),
    );
}

#[test]
fn a_later_step_with_one_kept() {
    let old = request(1, 1.0, None);
    every_fault(&disk(1, std::slice::from_ref(&old)), 1, Some(&old), &request(2, 2.0, None));
}

#[test]
fn the_same_step_again() {
    let old = request(7, 1.0, None);
    every_fault(&disk(1, std::slice::from_ref(&old)), 1, Some(&old), &request(7, 2.0, None));
}

#[test]
fn an_earlier_step_after_a_resume() {
    let old = request(50, 1.0, None);
    every_fault(&disk(2, &[request(40, 0.0, None), old.clone()]), 2, Some(&old), &request(41, 2.0, None));
}

#[test]
fn the_first_of_all() {
    every_fault(&disk(2, &[]), 2, None, &request(1, 1.0, None));
}

/// What a save is made of, in order: the comment at the head of the module as a test.
#[test]
fn the_order_of_operations_is_the_protocol() {
    let store = disk(1, &[request(1, 1.0, None)]).fork(Fault::None);
    over(&store, 1).save(&request(2, 2.0, None)).unwrap();
    let mut log = store.log();
    log.dedup();
    let file = ["create_file", "write", "sync"];
    let expected = [
        &["sync_dir", "create_dir"][..],
        &file,                               // model
        &file,                               // optimizer
        &file,                               // manifest
        &["sync_dir", "rename", "sync_dir"], // the commit
        &["rename", "remove_dir"],           // of the one before
    ];
    assert_eq!(log, expected.concat());
}

#[test]
fn a_full_disk_is_said_to_be_full() {
    let store = disk(1, &[]).fork(Fault::Error(4));
    let error = over(&store, 1).save(&request(1, 1.0, None)).unwrap_err();
    assert!(
        matches!(&error, Error::Io { op: "write", path, .. } if path.ends_with("model.safetensors")),
        "{error}"
    );
    assert!(error.to_string().contains("free some space"), "{error}");
    assert!(store.list(Path::new(DIR)).unwrap().is_empty(), "what was written gives its room back at once");
}
