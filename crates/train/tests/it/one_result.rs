//! Parameters are a function of model, recipe and data, whatever the schedule.

use std::sync::Arc;
use std::time::Duration;

use selvedge_model::CounterRng;
use selvedge_model::tensor::Isa;
use selvedge_train::evaluate::evaluate;
use selvedge_train::settings::{Fault, Recipe, Resources};
use selvedge_train::trainer::Trainer;

use super::*;

/// Waits a different short while before each microbatch.
fn delays(stream: u64) -> Fault {
    let rng = CounterRng::new(stream, 1);
    Arc::new(move |point, _| {
        let key = point.step * 64 + point.shard as u64 * 8 + point.microbatch as u64;
        std::thread::sleep(Duration::from_micros(rng.at(key) % 400));
    })
}

#[test]
fn threads_workers_microbatches_and_instruction_sets_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = tokens(folder.path(), "train.tokens", 3000);
    // Sanitizers slow the kernels ten times and more; what they look for is in the threads.
    let sanitized = cfg!(any(sanitizer = "thread", sanitizer = "address"));
    let isas = if sanitized { vec![Isa::detect()] } else { Isa::available() };
    let some: &[usize] = if sanitized { &[1, 2, 4] } else { &[1, 2, 3, 4, 8] };
    for (config, dtype) in configs().into_iter().flat_map(|c| [(c.clone(), Dtype::F32), (c, Dtype::Bf16)]) {
        let want = digest(&config, dtype, &plain(), &tokens, 1);
        for &isa in &isas {
            for (i, &threads) in some.iter().enumerate() {
                for (j, workers) in [1, 2, 4].into_iter().enumerate() {
                    let resources = Resources {
                        workers,
                        isa,
                        microbatch: 1 + (i + j) % 2,
                        recompute: (i + j) % 3 == 2,
                        fault: Some(delays((i * 3 + j) as u64)),
                        ..Resources::new(threads, CONTEXT)
                    };
                    let got = digest(&config, dtype, &resources, &tokens, workers);
                    assert_eq!(got, want, "{:?}, {dtype:?} under {resources:?}", config.arch);
                }
            }
        }
    }
}

/// Of x86-64 and 64-bit ARM alike, see `cargo xtask arm`. Who changes what a kernel computes changes these.
#[test]
fn digests_are_those_of_every_processor() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = tokens(folder.path(), "train.tokens", 3000);
    let want = [
        "73d20657346189b1591cf167df3f1e02577fa0aad97bc84b7948718e8bc94c83",
        "17441405e217d15309fdc56f51e6bda20ca95e504308dd2d8e2a659d34211a88",
        "853e36ba727f5b9735df6f1abf674f1f290400fc84c8d917cb4d220c700e0d1a",
        "100aedd287b8c27b6972b89dab42a4604663721192cd04e5fa338d4a110cfd61",
    ];
    for isa in Isa::available() {
        let resources = Resources { isa, ..plain() };
        let all = configs().into_iter().flat_map(|c| [(c.clone(), Dtype::F32), (c, Dtype::Bf16)]);
        let got: Vec<_> = all.map(|(config, dtype)| digest(&config, dtype, &resources, &tokens, 1)).collect();
        assert_eq!(got, want, "{isa}");
    }
}

#[test]
fn the_number_of_shards_is_part_of_the_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = tokens(folder.path(), "train.tokens", 3000);
    let train = |recipe: Recipe| {
        let mut loader = loader(&tokens, 1);
        let mut trainer = Trainer::new(configs()[0].clone(), recipe, &plain(), None).unwrap();
        for _ in 0..3 {
            trainer.train_step(loader.next().unwrap()).unwrap();
        }
        trainer.digest()
    };
    // Not a promise, but the reason why shards are saved with the run: another tree, other roundings.
    assert_ne!(train(recipe()), train(Recipe { shards: 1, ..recipe() }));
}

#[test]
fn evaluation_counts_every_window_once_for_any_workers() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = tokens(folder.path(), "valid.tokens", 1000);
    let mut found = Vec::new();
    for workers in [1, 2, 3, 4] {
        let resources = Resources { workers, ..Resources::new(workers, CONTEXT) };
        let mut trainer = Trainer::new(configs()[1].clone(), recipe(), &resources, None).unwrap();
        found.push(evaluate(&mut trainer, &tokens, CONTEXT, None, &[2; VOCAB]).unwrap());
    }
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{found:?}");
    let windows = (1000 - 1) / CONTEXT as u64;
    assert_eq!(found[0].loss.tokens, windows * CONTEXT as u64);
    assert_eq!(found[0].bytes, 2 * found[0].loss.tokens);
}

/// AdamW forgets the scale of gradients, so parameters cannot tell a sum from a mean; the moments can.
#[test]
fn the_optimizer_sees_the_clipped_mean_gradient() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = tokens(folder.path(), "train.tokens", 3000);
    for clip in [0.0, 0.05] {
        let recipe = Recipe { clip, ..recipe() };
        let mut trainer = Trainer::new(configs()[0].clone(), recipe, &plain(), None).unwrap();
        let report = trainer.train_step(loader(&tokens, 1).next().unwrap()).unwrap();
        let saved = trainer.snapshot(0, None, None).unwrap();
        let moments = saved.files[1].1.iter().filter(|tensor| tensor.name.starts_with("first_moment."));
        let square: f64 = moments
            .flat_map(|tensor| tensor.data[tensor.range.clone()].iter())
            .map(|&m| f64::from(m).powi(2))
            .sum();
        let want = 0.1 * if clip > 0.0 { clip } else { report.norm };
        assert!(report.norm > 0.05, "there is something to clip: {}", report.norm);
        assert!((square.sqrt() - want).abs() < 1e-4 * want, "{} against {want}", square.sqrt());
    }
}

#[test]
fn the_loss_falls() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = tokens(folder.path(), "train.tokens", 3000);
    for config in configs() {
        let mut loader = loader(&tokens, 1);
        let mut trainer = Trainer::new(config, recipe(), &plain(), None).unwrap();
        let losses: Vec<f64> =
            (0..STEPS).map(|_| trainer.train_step(loader.next().unwrap()).unwrap().loss.mean()).collect();
        assert!(losses[0] > 3.5 && losses[STEPS as usize - 1] < losses[0] - 0.5, "{losses:?}");
        assert_eq!(trainer.check_divergence().unwrap(), 0.0);
    }
}
