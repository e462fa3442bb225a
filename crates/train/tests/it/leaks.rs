//! After every run, error paths included, the process has the threads and descriptors it had before.
//!
//! Counted in a process of its own: other tests of this binary start threads at any moment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_train::run::Event;
use selvedge_train::settings::{Fault, Resources};
use selvedge_train::trainer::Trainer;

use super::*;

/// Set in the process that does the counting.
const CHILD: &str = "SELVEDGE_TEST_LEAKS";

/// Threads and descriptors of this process.
fn counts() -> (usize, usize) {
    let entries = |path: &str| std::fs::read_dir(path).unwrap().count();
    (entries("/proc/self/task"), entries("/proc/self/fd"))
}

/// Waits a moment for the system to forget a thread that was just joined.
fn settles_at(base: (usize, usize)) -> bool {
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        if counts() == base {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

#[test]
fn threads_and_descriptors_are_back_to_base_after_every_ending() {
    if std::env::var_os(CHILD).is_none() {
        let this = std::env::current_exe().unwrap();
        let name = "leaks::threads_and_descriptors_are_back_to_base_after_every_ending";
        let status =
            std::process::Command::new(this).args(["--exact", name]).env(CHILD, "1").status().unwrap();
        assert!(status.success());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Whatever the first use of a facility keeps for good is part of the base.
    let _ = run(folder.path(), 0);
    let base = counts();
    let fail_at = |step: u64, stall: bool| -> Fault {
        Arc::new(move |point, failed: &CancelToken| {
            if point.step == step && point.shard == 1 {
                assert!(stall, "planted");
                failed.wait_timeout(Duration::from_secs(60));
            }
        })
    };
    let cases: [(&str, Option<Fault>); 3] =
        [("finished", None), ("panicked", Some(fail_at(3, false))), ("stalled", Some(fail_at(3, true)))];
    for (name, fault) in cases {
        for workers in [1, 4] {
            let folder = tempfile::tempdir().unwrap();
            let deadline = Duration::from_millis(300);
            let resources =
                Resources { workers, fault: fault.clone(), deadline, ..Resources::new(6, CONTEXT) };
            let mut trainer = Trainer::new(configs()[0].clone(), recipe(), &resources, None).unwrap();
            let outcome = run(folder.path(), 0).train(&mut trainer, |_| {});
            assert_eq!(outcome.is_err(), fault.is_some(), "{name}");
            drop(trainer);
            drop(folder);
            assert!(settles_at(base), "{name}, {workers} workers: {base:?} became {:?}", counts());
        }
    }
    for panics in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let mut trainer = Trainer::new(configs()[0].clone(), recipe(), &plain(), None).unwrap();
        let mut broken = run(folder.path(), 0);
        broken.deadline = Duration::from_millis(300);
        // Loaders run ahead: the stall begins when the batch is about to be asked for, however slow the steps.
        let wanted = CancelToken::new();
        let awaited = wanted.clone();
        broken.loader_fault = Some(Arc::new(move |_, batch| {
            if batch == 3 {
                assert!(!panics, "planted");
                awaited.wait_timeout(Duration::from_secs(60));
                std::thread::sleep(Duration::from_millis(450));
            }
        }));
        let outcome = broken.train(&mut trainer, |event| {
            if matches!(event, Event::Step(report, _) if report.step == 2) {
                wanted.cancel();
            }
        });
        assert!(outcome.is_err());
        drop(trainer);
        drop(folder);
        assert!(settles_at(base), "loader: {base:?} became {:?}", counts());
    }
    // A loss that is no number, and a disk that takes no checkpoint.
    for bad_number in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let mut trainer = Trainer::new(configs()[0].clone(), recipe(), &plain(), None).unwrap();
        if bad_number {
            let mut params = trainer.params().to_vec();
            params[0] = f32::NAN;
            trainer.set_params(params).unwrap();
        } else {
            std::fs::write(folder.path().join("checkpoints"), "a file where the folder should be").unwrap();
        }
        assert!(run(folder.path(), 0).train(&mut trainer, |_| {}).is_err());
        drop(trainer);
        drop(folder);
        assert!(settles_at(base), "bad number {bad_number}: {base:?} became {:?}", counts());
    }
    let folder = tempfile::tempdir().unwrap();
    let cancelled = run(folder.path(), 0);
    let cancel = cancelled.cancel.clone();
    let mut trainer = Trainer::new(configs()[1].clone(), recipe(), &plain(), None).unwrap();
    cancelled
        .train(&mut trainer, |event| {
            if matches!(event, Event::Step(..)) {
                cancel.cancel();
            }
        })
        .unwrap();
    drop(trainer);
    drop(folder);
    assert!(settles_at(base), "cancelled: {base:?} became {:?}", counts());
}
