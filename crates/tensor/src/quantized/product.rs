//! C = init + x·Wᵀ over quantized weights, cut into tasks by shape.

use ndarray::ArrayViewMut2;

use super::kernel::{ROWS, tile};
use super::rows::{Rows, words};
use super::{COLS, Quantized};
use crate::Context;
use crate::matmul::{Epilogue, Init};
use crate::tile::{Beside, Grid, Strided};

/// Rows of a task: so many pass over a panel while it is in the near caches.
const TALL: usize = 16 * ROWS;
/// Tasks worth having, so that threads share them evenly.
const TASKS: usize = 48;
/// Most panels of a task.
const PANELS: usize = 8;

/// C (M, N) = init + x (M, K)·Wᵀ. Shapes have been checked.
#[track_caller]
pub(crate) fn multiply(
    cx: &mut Context<f32>,
    c: ArrayViewMut2<'_, f32>,
    init: Init<'_, f32>,
    x: Strided<'_, f32>,
    w: &Quantized,
    beside: Option<ArrayViewMut2<'_, f32>>,
    then: &impl Epilogue<f32>,
) {
    let (m, n) = (x.rows(), w.outputs());
    let down = m.div_ceil(TALL);
    let width = COLS * n.div_ceil(COLS).div_ceil(TASKS.div_ceil(down)).clamp(1, PANELS);
    let ([scratch], mut runner) = cx.split([m * words(w.blocks())], 0);
    let isa = runner.isa;
    let x = Rows::new(runner.team(), isa, w.form, x, scratch);
    let across = n.div_ceil(width);
    let parts = (Grid::new(c, TALL, width), Beside::new(beside, (m, n), TALL, width));
    runner.for_each_with_scratch(parts, |index, (mut c, mut beside), _| {
        let place = (index / across * TALL, index % across * width);
        let dim = (c.rows(), c.cols());
        then.prepare(place, dim);
        for row in 0..dim.0 {
            match init.columns(place.1) {
                Init::Zero => c.row_mut(row).fill(0.0),
                Init::Bias(bias) => c.row_mut(row).copy_from_slice(&bias[..dim.1]),
                Init::Accumulate => {}
            }
        }
        for col in (0..dim.1).step_by(COLS) {
            for row in (0..dim.0).step_by(ROWS) {
                let mut tile_of_c = c.window(row, ROWS.min(dim.0 - row), col, COLS.min(dim.1 - col));
                // The first rows that pass over a panel wait for it; those after them have time to call for the next.
                tile(isa, w, (place.1 + col) / COLS, x, place.0 + row, row == ROWS, &mut tile_of_c);
            }
        }
        then.finish(place, &mut c, beside.take());
    });
}
