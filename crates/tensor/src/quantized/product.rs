//! C = init + x·Wᵀ over quantized weights, cut into tasks by shape.

use ndarray::ArrayViewMut2;

use super::kernel::ROWS;
use super::panel::{Pass, scratch};
use super::rows::{Rows, Shape};
use super::{COLS, Quantized};
use crate::Context;
use crate::context::Runner;
use crate::matmul::{Epilogue, Init};
use crate::rmsnorm::Norm;
use crate::tile::{Beside, Grid, Strided};

/// Rows of a task, about: so many pass over a panel while it is in the near caches.
const TALL: usize = 16 * ROWS;
/// Tasks worth having, so that threads share them evenly.
const TASKS: usize = 48;
/// Most panels of a task.
const PANELS: usize = 8;

/// C (M, N) = init + x (M, K)·Wᵀ, with the rows of x normalized first if told. Shapes have been checked.
#[track_caller]
pub(crate) fn multiply(
    cx: &mut Context<f32>,
    c: ArrayViewMut2<'_, f32>,
    init: Init<'_, f32>,
    (x, norm): (Strided<'_, f32>, Option<Norm<'_, f32>>),
    w: &Quantized,
    beside: Option<ArrayViewMut2<'_, f32>>,
    then: &impl Epilogue<f32>,
) {
    let shape = Shape::new(cx.isa(), x.rows(), x.cols());
    let scratch = norm.map_or(0, |_| x.cols()).max(scratch(cx.isa(), w.form));
    let ([words], mut runner) = cx.split([shape.words()], scratch);
    let x = match norm {
        Some(norm) => shape.round_normed(&mut runner, w.form, x, norm, words),
        None => shape.round(&mut runner, w.form, x, words),
    };
    multiply_rounded(&mut runner, c, init, x, w, beside, then);
}

/// [`multiply`] of rows that are rounded.
#[track_caller]
pub(super) fn multiply_rounded(
    runner: &mut Runner<'_, f32>,
    c: ArrayViewMut2<'_, f32>,
    init: Init<'_, f32>,
    x: Rows<'_>,
    w: &Quantized,
    beside: Option<ArrayViewMut2<'_, f32>>,
    then: &impl Epilogue<f32>,
) {
    let ((m, n), isa) = (c.dim(), runner.isa);
    let tall = tall(x.shape());
    let down = m.div_ceil(tall);
    let width = COLS * panels(n, down);
    let across = n.div_ceil(width);
    let parts = (Grid::new(c, tall, width), Beside::new(beside, (m, n), tall, width));
    runner.for_each_with_scratch(parts, |index, (mut c, mut beside), scratch| {
        let place = (index / across * tall, index % across * width);
        let dim = (c.rows(), c.cols());
        then.prepare(place, dim);
        c.claim();
        if let Init::Bias(bias) = init.columns(place.1) {
            (0..dim.0).for_each(|row| c.row_mut(row).copy_from_slice(&bias[..dim.1]));
        }
        for col in (0..dim.1).step_by(COLS) {
            let c = &mut c.window(0, dim.0, col, COLS.min(dim.1 - col));
            let (panel, fresh) = ((place.1 + col) / COLS, matches!(init, Init::Zero));
            Pass { w, panel, x, first: place.0, fresh }.run(isa, c, scratch);
        }
        then.finish(place, &mut c, beside.take());
    });
}

/// Rows of a task: whole groups.
pub(super) fn tall(x: Shape) -> usize {
    TALL / x.height() * x.height()
}

/// Panels of a task, of so many outputs and `down` tasks one below the other.
pub(super) fn panels(outputs: usize, down: usize) -> usize {
    outputs.div_ceil(COLS).div_ceil(TASKS.div_ceil(down.max(1))).clamp(1, PANELS)
}
