//! The same bits whatever the threads, the instruction set, the microbatches and what is kept or recomputed.

use selvedge_model::{Mode, Rows, build};
use selvedge_sync::Team;
use selvedge_tensor::{Context, Isa};

use super::{configs, gradient, params, tokens};

#[test]
fn loss_and_gradient_depend_on_the_data_alone() {
    for config in configs() {
        let model = build::<f32>(config.clone()).unwrap();
        let params = params(&*model, 5);
        let (time, batch) = (13, 4);
        let (inputs, targets) =
            (tokens(batch * time, config.vocab, 1), tokens(batch * time, config.vocab, 2));
        let rows = Rows::new(&inputs, &targets, time);
        let want = gradient(&mut Context::solo(), &config, &params, rows, batch, Mode::Train);
        assert!(want.1.iter().any(|&g| g != 0.0));
        for isa in Isa::available() {
            for threads in [1, 2, 3, 5] {
                for micro in [1, 2, 3, 4] {
                    for mode in [Mode::Train, Mode::Recompute] {
                        let cx = &mut Context::new(Team::new(threads).unwrap(), isa);
                        let got = gradient(cx, &config, &params, rows, micro, mode);
                        assert!(
                            got == want,
                            "{isa}, {threads} threads, microbatches of {micro}, {mode:?}: other bits than alone"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn losses_alone_equal_losses_with_gradient() {
    for config in configs() {
        let model = build::<f32>(config.clone()).unwrap();
        let params = params(&*model, 5);
        let (inputs, targets) = (tokens(26, config.vocab, 1), tokens(26, config.vocab, 2));
        let rows = Rows::new(&inputs, &targets, 13);
        let cx = &mut Context::solo();
        let (want, _) = gradient(cx, &config, &params, rows, 2, Mode::Train);
        let mut acts = vec![0.0; model.activations(2, 13, Mode::Evaluate)];
        let mut got = Default::default();
        model.loss(cx, &params, &mut acts, rows, &mut got);
        assert_eq!(got, want);
    }
}
