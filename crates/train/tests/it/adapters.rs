//! Fine-tuning: adapters and all parameters, on packed documents, with one result and a loss that falls.

use selvedge_model::lora::{Adapters, Settings, Tuned};
use selvedge_model::tensor::Isa;
use selvedge_model::{Weights, initialize, layout};
use selvedge_train::examples::{Example, Packed};

use super::*;

/// Questions of some tokens whose answer is a run of tokens that the last of them says.
fn examples() -> Packed {
    let rng = CounterRng::new(8, 0);
    let examples: Vec<Example> = (0..40)
        .map(|i| {
            let first = (rng.at(i) % VOCAB as u64) as u32;
            let mut example = Example::default();
            example.push(&[3, first], false);
            example.push(&[(first * 7 + 1) % VOCAB as u32, (first + 5) % VOCAB as u32, 0], true);
            example
        })
        .collect();
    Packed::new(&examples, CONTEXT, true).unwrap()
}

/// A trainer of adapters, or of all parameters.
fn trainer(config: &Config, dropout: Option<f64>, recipe: Recipe, resources: &Resources) -> Trainer {
    let base = layout(config).unwrap();
    // As large as weights are that were trained, so that adapters find something to work with.
    let mut params = initialize::<f32>(&base, 3);
    for slot in base.slots().iter().filter(|slot| slot.decay) {
        params[slot.span.range()].iter_mut().for_each(|weight| *weight *= 8.0);
    }
    let Some(dropout) = dropout else {
        let mut trainer = Trainer::new(config.clone(), recipe, resources, None).unwrap();
        trainer.set_params(params).unwrap();
        return trainer;
    };
    let settings = Settings { dropout, ..Settings::new(4, 8.0) };
    let targets = selvedge_model::lora::modules(config.arch).iter().map(|&module| module.to_owned());
    let adapters = Adapters::new(config, settings, &targets.collect::<Vec<_>>()).unwrap();
    let weights = Arc::new(Weights::plain(&base, &params));
    let model = Tuned::new(config.clone(), weights, adapters, 5).unwrap();
    Trainer::with_model(Box::new(model), recipe, resources, None).unwrap()
}

fn train(trainer: &mut Trainer, packed: &Packed, steps: u64) -> (f64, String) {
    let mut loss = 0.0;
    for step in 0..steps {
        let batch = packed.batch(1, step * BATCH as u64, BATCH);
        loss = trainer.train_step(&batch).unwrap().loss.mean();
    }
    (loss, trainer.digest())
}

#[test]
fn threads_workers_and_microbatches_change_nothing() {
    let packed = examples();
    for config in configs() {
        for dropout in [Some(0.2), None] {
            for dtype in [Dtype::F32, Dtype::Bf16] {
                let recipe = Recipe { dtype, ..recipe() };
                let run = |resources: &Resources| {
                    train(&mut trainer(&config, dropout, recipe.clone(), resources), &packed, 5)
                };
                let want = run(&plain());
                for (threads, workers, microbatch, recompute) in
                    [(3, 1, 1, true), (2, 2, 2, false), (4, 4, 1, false)]
                {
                    for isa in Isa::available() {
                        let resources = Resources {
                            workers,
                            microbatch,
                            recompute,
                            isa,
                            ..Resources::new(threads, CONTEXT)
                        };
                        assert_eq!(run(&resources), want, "{resources:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_loss_falls_on_answers() {
    let packed = examples();
    for config in configs() {
        for dropout in [Some(0.0), None] {
            let schedule = Schedule { shape: Shape::Constant, ..recipe().schedule };
            let recipe = Recipe { schedule, ..recipe() };
            let mut trainer = trainer(&config, dropout, recipe, &plain());
            let (first, _) = train(&mut trainer, &packed, 1);
            let (last, _) = train(&mut trainer, &packed, 60);
            assert!(last < 0.8 * first, "{:?}, dropout {dropout:?}: from {first} to {last}", config.arch);
        }
    }
}

#[test]
fn a_checkpoint_of_adapters_is_resumed() {
    let (packed, config) = (examples(), configs()[1].clone());
    let config = &config;
    let folder = tempfile::tempdir().unwrap();
    let mut whole = trainer(config, Some(0.1), recipe(), &plain());
    let (_, want) = train(&mut whole, &packed, 2);
    let checkpoints = Checkpoints::new(folder.path(), 2).unwrap();
    checkpoints.save(&whole.snapshot(2 * BATCH as u64, None, None).unwrap()).unwrap();
    let mut resumed = trainer(config, Some(0.1), recipe(), &plain());
    resumed.restore(&checkpoints.latest_good().unwrap()).unwrap();
    assert_eq!((resumed.digest(), resumed.steps_done()), (want, 2));
    let batch = packed.batch(1, 2 * BATCH as u64, BATCH);
    assert_eq!(whole.train_step(&batch).unwrap().loss, resumed.train_step(&batch).unwrap().loss);
    assert_eq!(whole.digest(), resumed.digest());
}
