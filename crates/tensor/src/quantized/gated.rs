//! The gated feed-forward layer over quantized weights: norm, gates and ups, SwiGLU, and the product after it, whose rows are
//! rounded where they are made.

use ndarray::ArrayViewMut2;

use super::product::{add_panel, multiply_rounded, panels, tall};
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
    let [of_x, of_h] = [Shape::new(m, x.cols()), Shape::new(m, f)];
    let tall = tall(of_h).min(m);
    let tile = tall * COLS;
    let ([x_words, h_words], mut runner) = cx.split([of_x.words(), of_h.words()], (3 * tile).max(x.cols()));
    let x = of_x.round_normed(&mut runner, gate_up.form, x, norm, x_words);
    let (isa, count) = (runner.isa, panels(f, 1));
    runner.for_each_with_scratch(of_h.by_blocks(h_words, count), |index, mut h, scratch| {
        let (gate, rest) = scratch[..3 * tile].split_at_mut(tile);
        let (up, y) = rest.split_at_mut(tile);
        let first = index * count;
        for panel in first..(f / COLS).min(first + count) {
            of_h.claim_block(panel - first, &mut h);
            for row in (0..m).step_by(tall) {
                let rows = tall.min(m - row);
                let [gate, up, y] = [&mut *gate, &mut *up, &mut *y].map(|tile| &mut tile[..rows * COLS]);
                for (w_panel, sums) in [(panel, &mut *gate), (f / COLS + panel, &mut *up)] {
                    let view = ArrayViewMut2::from_shape((rows, COLS), sums).expect("a tile of these rows");
                    add_panel(isa, gate_up, w_panel, x, row, true, &mut Tile::new(view));
                }
                swiglu::forward_row(isa, y, gate, up);
                of_h.round_block(isa, down.form, y, (row, panel - first), &mut h);
            }
        }
    });
    multiply_rounded(&mut runner, out, Init::Zero, of_h.filled(h_words), down, None, then);
}
