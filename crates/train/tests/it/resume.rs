//! A run cut anywhere and resumed on other threads ends with the parameters of the unbroken run.

use std::collections::BTreeMap;

use selvedge_train::checkpoint::{MANIFEST, latest_good, load};
use selvedge_train::run::{Event, Outcome};
use selvedge_train::settings::Resources;
use selvedge_train::trainer::Trainer;
use selvedge_train::{Error, settings::Recipe};
use serde_json::{Value, json};

use super::*;

#[test]
fn a_run_that_was_killed_after_its_last_save_leaves_nothing_half_removed() {
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::new(configs()[0].clone(), recipe(), &plain(), None).unwrap();
    assert_eq!(run(folder.path(), 0).train(&mut trainer, |_| ()).unwrap(), Outcome::Finished);
    // As a kill between the last save and the removal of the checkpoint before it leaves it.
    let leftover = folder.path().join("checkpoints/.tmp-old-step-00000004");
    std::fs::create_dir(&leftover).unwrap();
    let row = STEPS * BATCH as u64;
    assert_eq!(run(folder.path(), row).train(&mut trainer, |_| ()).unwrap(), Outcome::Finished);
    assert!(!leftover.exists());
}

#[test]
fn cancelled_at_every_step_and_resumed_the_result_is_that_of_the_unbroken_run() {
    for config in configs() {
        let folder = tempfile::tempdir().unwrap();
        let mut trainer = Trainer::new(config.clone(), recipe(), &plain(), None).unwrap();
        assert_eq!(run(folder.path(), 0).train(&mut trainer, |_| {}).unwrap(), Outcome::Finished);
        let want = trainer.digest();

        for stop in [1, 2, 7, 10, STEPS - 1] {
            let folder = tempfile::tempdir().unwrap();
            let broken = run(folder.path(), 0);
            let cancel = broken.cancel.clone();
            let mut trainer = Trainer::new(config.clone(), recipe(), &plain(), None).unwrap();
            let outcome = broken.train(&mut trainer, |event| {
                if let Event::Step(report, _) = event
                    && report.step + 1 == stop
                {
                    cancel.cancel();
                }
            });
            assert_eq!(outcome.unwrap(), Outcome::Cancelled);
            assert_eq!(trainer.steps_done(), stop, "the step under way is finished, no other begun");
            drop(trainer);

            let loaded = latest_good(&folder.path().join("checkpoints")).unwrap();
            assert_eq!(loaded.manifest.state.step, stop);
            let resources = Resources { workers: 2, ..Resources::new(3, CONTEXT) };
            let mut trainer = Trainer::resume(config.clone(), recipe(), &resources, None, &loaded).unwrap();
            let rest = run(folder.path(), loaded.manifest.state.row);
            assert_eq!(rest.train(&mut trainer, |_| {}).unwrap(), Outcome::Finished);
            assert_eq!(trainer.digest(), want, "stopped after {stop} steps");
        }
    }
}

/// The same JSON with the keys of every object sorted, as programs wrote it that did not keep their order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<&String, &Value> = fields.iter().collect();
            fields.into_iter().map(|(key, field)| (key.clone(), sorted(field))).collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[test]
fn a_manifest_with_sorted_keys_is_resumed_from() {
    let config = configs()[0].clone();
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::new(config.clone(), recipe(), &plain(), None).unwrap();
    assert_eq!(run(folder.path(), 0).train(&mut trainer, |_| ()).unwrap(), Outcome::Finished);
    let written = latest_good(&folder.path().join("checkpoints")).unwrap();
    let path = written.path.join(MANIFEST);
    let old: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let manifest = sorted(&old["manifest"]);
    assert_ne!(manifest.to_string(), old["manifest"].to_string(), "the test is of another order");
    let digest = blake3::hash(manifest.to_string().as_bytes()).to_hex();
    let text = format!("{:#}\n", json!({"blake3": digest.as_str(), "manifest": manifest}));
    std::fs::write(&path, text).unwrap();
    let loaded = load(&written.path).unwrap();
    assert_eq!(loaded.manifest, written.manifest);
    let mut longer = recipe();
    longer.schedule.steps = STEPS + 3;
    let [want, got] = [&written, &loaded].map(|loaded| {
        let mut trainer = Trainer::resume(config.clone(), longer.clone(), &plain(), None, loaded).unwrap();
        let more = tempfile::tempdir().unwrap();
        let rest = run(more.path(), loaded.manifest.state.row);
        assert_eq!(rest.train(&mut trainer, |_| ()).unwrap(), Outcome::Finished);
        assert_eq!(trainer.steps_done(), STEPS + 3);
        trainer.digest()
    });
    assert_eq!(got, want);
}

#[test]
fn a_checkpoint_of_another_model_or_recipe_is_refused() {
    let [config, other] = configs();
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::new(config.clone(), recipe(), &plain(), None).unwrap();
    run(folder.path(), 0).train(&mut trainer, |_| {}).unwrap();
    let loaded = latest_good(&folder.path().join("checkpoints")).unwrap();
    let error = Trainer::resume(other, recipe(), &plain(), None, &loaded).unwrap_err();
    assert!(matches!(error, Error::CheckpointConfig { field: "model", .. }), "{error}");
    let changed = Recipe { clip: 0.5, ..recipe() };
    let error = Trainer::resume(config.clone(), changed, &plain(), None, &loaded).unwrap_err();
    assert!(matches!(error, Error::CheckpointConfig { field: "recipe", .. }), "{error}");
    let mut longer = recipe();
    longer.schedule.steps = 2 * STEPS;
    let trainer = Trainer::resume(config, longer, &plain(), None, &loaded).unwrap();
    assert_eq!(trainer.steps_done(), STEPS);
}
