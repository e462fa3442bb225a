//! Workers and loaders that panic or stall become errors of the run, in time, and spoil nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_sync::{CancelToken, OwnedThread};
use selvedge_train::Error;
use selvedge_train::checkpoint::SaveRequest;
use selvedge_train::run::Event;
use selvedge_train::settings::{Fault, Resources};
use selvedge_train::trainer::Trainer;

use super::*;

/// One step under `fault`, after two good ones: its error, the time it took, and whether the parameters changed.
fn broken_step(workers: usize, deadline: Duration, fault: Fault) -> (Error, Duration, bool) {
    let folder = tempfile::tempdir().unwrap();
    let tokens = tokens(folder.path(), "train.tokens", 3000);
    let resources = Resources {
        workers,
        deadline,
        fault: Some(fault),
        microbatch: 1,
        ..Resources::new(workers, CONTEXT)
    };
    let mut trainer = Trainer::new(configs()[0].clone(), recipe(), &resources, None).unwrap();
    let mut loader = loader(&tokens, 1);
    for _ in 0..2 {
        trainer.train_step(loader.next().unwrap()).unwrap();
    }
    let before = trainer.digest();
    let start = Instant::now();
    let error = trainer.train_step(loader.next().unwrap()).unwrap_err();
    (error, start.elapsed(), trainer.digest() != before)
}

#[test]
fn a_panic_in_any_worker_shard_and_microbatch_is_an_error_of_the_step() {
    for workers in [1, 2, 4] {
        for shard in 0..4 {
            for microbatch in 0..2 {
                let fault: Fault = Arc::new(move |point, _| {
                    let here = point.step == 2 && point.shard == shard && point.microbatch == microbatch;
                    assert!(!here || (shard == 0 && microbatch == 1), "planted");
                });
                if (shard, microbatch) == (0, 1) {
                    // Shard 0 has one row, so no second microbatch.
                    continue;
                }
                let (error, _, changed) = broken_step(workers, Duration::from_secs(20), fault);
                match error {
                    Error::WorkerPanicked { step: 2, message, .. } => assert!(message.contains("planted")),
                    other => panic!("{workers} workers: {other}"),
                }
                assert!(!changed, "a failed step leaves the parameters alone");
            }
        }
    }
}

#[test]
fn a_stall_in_any_worker_is_an_error_within_the_deadline() {
    let deadline = Duration::from_millis(300);
    for workers in [1, 2, 4] {
        for shard in 0..4 {
            let fault: Fault = Arc::new(move |point, failed: &CancelToken| {
                if point.step == 2 && point.shard == shard && point.microbatch == 0 {
                    failed.wait_timeout(Duration::from_secs(60));
                }
            });
            let (error, took, changed) = broken_step(workers, deadline, fault);
            assert!(matches!(error, Error::Stalled { step: 2, .. }), "{workers} workers: {error}");
            assert!(took < Duration::from_secs(10), "noticed after {took:?}");
            assert!(!changed, "a failed step leaves the parameters alone");
        }
    }
}

#[test]
fn a_worker_that_never_comes_back_is_reported_for_the_process_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = tokens(folder.path(), "train.tokens", 3000);
    let deadline = Duration::from_millis(200);
    let release = CancelToken::new();
    let held = release.clone();
    // Heeds nothing but its own token, which only the last resort cancels.
    let fault: Fault = Arc::new(move |point, _| {
        if point.shard == 1 {
            held.wait_timeout(Duration::from_secs(60));
        }
    });
    let resources = Resources { deadline, fault: Some(fault), workers: 2, ..Resources::new(2, CONTEXT) };
    let (sender, stuck) = std::sync::mpsc::channel();
    let on_stuck = Arc::new(move |report: &selvedge_sync::StallReport| {
        sender.send(report.who.clone()).unwrap();
        release.cancel();
    });
    let mut trainer = Trainer::new(configs()[0].clone(), recipe(), &resources, Some(on_stuck)).unwrap();
    let start = Instant::now();
    let error = trainer.train_step(loader(&tokens, 1).next().unwrap()).unwrap_err();
    assert!(matches!(error, Error::Stalled { .. }), "{error}");
    assert!(stuck.try_recv().unwrap().starts_with("worker"));
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_loss_that_is_no_number_names_the_first_bad_tensor_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = tokens(folder.path(), "train.tokens", 3000);
    for config in configs() {
        let mut trainer = Trainer::new(config, recipe(), &plain(), None).unwrap();
        let mut params = trainer.params().to_vec();
        let slot = trainer.model().layout().slots()[3].clone();
        params[slot.span.offset + 1] = f32::NAN;
        trainer.set_params(params).unwrap();
        let before = trainer.digest();
        let error = trainer.train_step(loader(&tokens, 1).next().unwrap()).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::NonFinite { step: 0, .. }), "{text}");
        assert!(text.contains(&slot.name) && text.contains("parameter"), "{text}");
        assert_eq!(trainer.digest(), before);
        assert_eq!(trainer.steps_done(), 0);
        let error = trainer.snapshot(0, None, None).unwrap_err();
        assert!(matches!(error, Error::NonFinite { .. }), "such a state is not saved: {error}");
    }
}

#[test]
fn a_third_copy_of_the_state_waits_for_the_memory_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = tokens(folder.path(), "train.tokens", 3000);
    let resources = Resources { deadline: Duration::from_millis(500), ..plain() };
    let mut trainer = Trainer::new(configs()[0].clone(), recipe(), &resources, None).unwrap();
    let values = |request: &SaveRequest| {
        let tensor = &request.files[0].1[0];
        (tensor.data.as_ptr(), tensor.data[tensor.range.clone()].to_vec())
    };
    let first = trainer.snapshot(0, None, None).unwrap();
    let before = values(&first);
    let mut loader = loader(&tokens, 1);
    trainer.train_step(loader.next().unwrap()).unwrap();
    let second = trainer.snapshot(0, None, None).unwrap();
    assert_eq!(values(&first), before, "training does not touch it");
    assert_ne!(values(&second).1, before.1);
    let error = trainer.snapshot(0, None, None).unwrap_err();
    assert!(matches!(error, Error::CheckpointStalled { .. }), "{error}");
    let waiting = OwnedThread::spawn("saver", move || {
        std::thread::sleep(Duration::from_millis(10));
        drop(first);
    });
    let third = trainer.snapshot(0, None, None).unwrap();
    assert_eq!(values(&third), (before.0, values(&second).1), "in the memory of the first");
    waiting.unwrap().join().unwrap();
}

#[test]
fn a_loader_that_panics_or_stalls_ends_the_run_and_keeps_the_last_checkpoint() {
    for panics in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let mut trainer = Trainer::new(configs()[0].clone(), recipe(), &plain(), None).unwrap();
        let mut broken = run(folder.path(), 0);
        broken.deadline = Duration::from_millis(400);
        // Loaders run ahead: the stall begins when the batch is about to be asked for, however slow the steps.
        let wanted = CancelToken::new();
        let awaited = wanted.clone();
        broken.loader_fault = Some(Arc::new(move |_, batch| {
            if batch == 9 {
                assert!(!panics, "planted");
                awaited.wait_timeout(Duration::from_secs(60));
                // Longer than the deadline, shorter than the wait for the threads to end after it.
                std::thread::sleep(Duration::from_millis(600));
            }
        }));
        let outcome = broken.train(&mut trainer, |event| {
            if matches!(event, Event::Step(report, _) if report.step == 8) {
                wanted.cancel();
            }
        });
        let error = outcome.unwrap_err();
        match (panics, &error) {
            (true, Error::LoaderDied { message, .. }) => assert!(message.contains("planted")),
            (false, Error::LoaderStalled { .. }) => {}
            _ => panic!("{error}"),
        }
        let kept = selvedge_train::checkpoint::latest_good(&folder.path().join("checkpoints")).unwrap();
        assert_eq!(kept.manifest.state.step, 8);
    }
}
