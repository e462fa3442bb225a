//! The gated feed-forward layer over quantized weights: norm, gates and ups, SwiGLU, and the product after it, whose rows are
//! rounded where they are made.

use ndarray::ArrayViewMut2;

use super::panel::{Pass, scratch};
use super::product::{multiply_rounded, panels, tall};
use super::rows::Shape;
use super::{BLOCK, COLS, Quantized};
use crate::Context;
use crate::matmul::{Epilogue, Init};
use crate::rmsnorm::Norm;
use crate::swiglu;
use crate::tile::{Strided, Tile};

/// out (M, N) = swiglu(norm(x) (M, K)·W₁ᵀ)·W₂ᵀ, then `then`, with W₁ (2F, K), gates first, and W₂ (N, F). Shapes have been
/// checked, and F is a multiple of 32.
#[track_caller]
pub(crate) fn gated(
    cx: &mut Context<f32>,
    out: ArrayViewMut2<'_, f32>,
    x: Strided<'_, f32>,
    norm: Norm<'_, f32>,
    [gate_up, down]: [&Quantized; 2],
    then: &impl Epilogue<f32>,
) {
    const { assert!(BLOCK == COLS, "a panel of outputs is a block of the rows of the next product") };
    let (m, f) = (x.rows(), down.inputs());
    let [of_x, of_h] = [x.cols(), f].map(|k| Shape::new(cx.isa(), m, k));
    let tall = tall(of_h).min(m);
    let tile = tall * COLS;
    let private =
        (3 * tile + scratch(cx.isa(), gate_up.form)).max(scratch(cx.isa(), down.form)).max(x.cols());
    let ([x_words, h_words], mut runner) = cx.split([of_x.words(), of_h.words()], private);
    let x = of_x.round_normed(&mut runner, gate_up.form, x, norm, x_words);
    let (isa, count) = (runner.isa, panels(f, 1));
    runner.for_each_with_scratch(of_h.by_blocks(h_words, count), |index, mut h, scratch| {
        let (gate, rest) = scratch.split_at_mut(tile);
        let (up, rest) = rest.split_at_mut(tile);
        let (y, room) = rest.split_at_mut(tile);
        let first = index * count;
        for panel in first..(f / COLS).min(first + count) {
            of_h.claim_block(panel - first, &mut h);
            for row in (0..m).step_by(tall) {
                let rows = tall.min(m - row);
                let [gate, up, y] = [&mut *gate, &mut *up, &mut *y].map(|tile| &mut tile[..rows * COLS]);
                for (w_panel, sums) in [(panel, &mut *gate), (f / COLS + panel, &mut *up)] {
                    let view = ArrayViewMut2::from_shape((rows, COLS), sums).expect("a tile of these rows");
                    let pass = Pass { w: gate_up, panel: w_panel, x, first: row, fresh: true };
                    pass.run(isa, &mut Tile::new(view), room);
                }
                swiglu::forward_row(isa, y, gate, up);
                of_h.round_block(isa, down.form, y, (row, panel - first), &mut h);
            }
        }
    });
    multiply_rounded(&mut runner, out, Init::Zero, of_h.filled(h_words), down, None, then);
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2, ArrayView2, s};
    use proptest::prelude::*;
    use selvedge_sync::Team;

    use super::*;
    use crate::quantized::Form;
    use crate::testing::random;
    use crate::{Isa, linear, rmsnorm};

    struct Layer {
        norm: Array1<f32>,
        gate_up: Quantized,
        down: Quantized,
    }

    impl Layer {
        fn new(form: [Form; 2], c: usize, f: usize, seed: u64) -> Self {
            let cx = &Context::<f32>::solo();
            let of = |form, seed, dim| Quantized::of(cx, form, random::<f32>(seed, dim).view());
            Layer {
                norm: random::<f32>(seed, (1, c)).row(0).to_owned(),
                gate_up: of(form[0], seed ^ 1, (2 * f, c)),
                down: of(form[1], seed ^ 2, (c, f)),
            }
        }

        fn norm<T>(norm: &Array1<T>) -> Norm<'_, T> {
            Norm { weight: norm.as_slice().unwrap(), epsilon: 1e-5 }
        }

        /// Kernel after kernel.
        fn apart(&self, cx: &mut Context, x: ArrayView2<'_, f32>) -> [Array2<f32>; 2] {
            let (m, f) = (x.nrows(), self.down.inputs());
            let (mut normed, mut rstd) = (Array2::zeros(x.dim()), vec![0.0; m]);
            rmsnorm::forward(cx, normed.view_mut(), &mut rstd, x, self.norm.view(), 1e-5);
            let (mut both, mut hidden) = (Array2::zeros((m, 2 * f)), Array2::zeros((m, f)));
            linear::forward(cx, both.view_mut(), normed.view(), &self.gate_up, None);
            swiglu::forward(cx, hidden.view_mut(), both.view());
            let mut out = Array2::zeros(x.dim());
            linear::forward_onto(cx, out.view_mut(), x, hidden.view(), &self.down, None);
            [both, out]
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn layers_in_one_give_the_bits_of_their_kernels(
            m in prop_oneof![3 => 1usize..20, 1 => 90usize..220], c in 1usize..150, panels in 1usize..5,
            forms in prop::array::uniform2(prop::sample::select(&Form::ALL[..])), threads in 1usize..4, seed in any::<u64>(),
        ) {
            let layer = Layer::new(forms, c, panels * BLOCK, seed);
            let x = random::<f32>(seed ^ 3, (m, c));
            for isa in Isa::available() {
                let [both, out] = layer.apart(&mut Context::new(Team::solo(), isa), x.view());
                let cx = &mut Context::new(Team::new(threads).unwrap(), isa);
                let (mut got_both, mut got) = (Array2::zeros(both.dim()), Array2::zeros(x.dim()));
                let norm = Layer::norm(&layer.norm);
                linear::forward_normed(cx, got_both.view_mut(), x.view(), norm, &layer.gate_up, None);
                linear::forward_gated(cx, got.view_mut(), x.view(), norm, [&layer.gate_up, &layer.down]);
                prop_assert_eq!(&got_both, &both, "{} {:?}", isa, forms);
                prop_assert_eq!(&got, &out, "{} {:?}", isa, forms);
                // One row alone is that row of many.
                let mut last = Array2::zeros((1, c));
                let row = x.slice(s![m - 1.., ..]);
                linear::forward_gated(cx, last.view_mut(), row, norm, [&layer.gate_up, &layer.down]);
                prop_assert_eq!(last, out.slice(s![m - 1.., ..]), "{}", isa);
            }
        }
    }

    #[test]
    fn the_oracle_rounds_no_rows() {
        let layer = Layer::new([Form::Q8_0; 2], 70, 64, 5);
        let (x, norm) = (random::<f64>(6, (3, 70)), layer.norm.mapv(f64::from));
        let cx = &mut Context::<f64>::solo();
        let (mut out, mut both) = (Array2::zeros((3, 70)), Array2::zeros((3, 128)));
        linear::forward_normed(cx, both.view_mut(), x.view(), Layer::norm(&norm), &layer.gate_up, None);
        linear::forward_gated(
            cx,
            out.view_mut(),
            x.view(),
            Layer::norm(&norm),
            [&layer.gate_up, &layer.down],
        );
        let [gate_up, down] = [&layer.gate_up, &layer.down].map(|w| w.weights().mapv(f64::from));
        for (row, (both, out)) in x.rows().into_iter().zip(both.rows().into_iter().zip(out.rows())) {
            let scale = 1.0 / (row.dot(&row) / 70.0 + 1e-5).sqrt();
            let want = gate_up.dot(&(&row * scale * &norm));
            assert!((&want - &both).iter().all(|off| off.abs() < 1e-12));
            let hidden = Array1::from_shape_fn(64, |i| want[i] / (1.0 + (-want[i]).exp()) * want[64 + i]);
            assert!((&row + &down.dot(&hidden) - out).iter().all(|off| off.abs() < 1e-11));
        }
    }

    #[test]
    #[should_panic(
        expected = "(2, 64) with 64 scales by weights (96, 64), then (64, 48) does not give (2, 64)"
    )]
    fn a_hidden_layer_that_is_no_whole_panels_is_refused() {
        let cx = &mut Context::<f32>::solo();
        let of = |cx: &Context, dim| Quantized::of(cx, Form::Q8_0, random::<f32>(1, dim).view());
        let weights = [of(cx, (96, 64)), of(cx, (64, 48))];
        let (x, ones) = (random::<f32>(2, (2, 64)), Array1::ones(64));
        linear::forward_gated(
            cx,
            Array2::zeros((2, 64)).view_mut(),
            x.view(),
            Layer::norm(&ones),
            [&weights[0], &weights[1]],
        );
    }
}
