//! A panel of weights times all rows of a task, group after group: weights as they lie, or written out once for all groups.

#[cfg(target_arch = "x86_64")]
use super::avx2::written::Writer;
use super::kernel::tile;
use super::rows::Rows;
use super::{Form, Quantized};
use crate::Isa;
use crate::isa::Kind;
use crate::tile::Tile;

/// Blocks that are written out at a time: with some rows of x they fit in the nearest cache.
#[cfg(target_arch = "x86_64")]
const STRETCH: usize = 8;

/// Words of f32 that [`add_panel`] takes as scratch.
pub(super) fn scratch(isa: Isa, form: Form) -> usize {
    #[cfg(target_arch = "x86_64")]
    if let Some(writer) = Writer::of(isa, form) {
        return STRETCH * writer.lines() * size_of::<super::Line>() / size_of::<f32>();
    }
    let _ = (isa, form);
    0
}

/// Adds to C the products of rows `first..` of x with a panel of weights, or sets it to them if it is `fresh`. Scratch begins
/// at a line.
pub(super) fn add_panel(
    isa: Isa,
    w: &Quantized,
    panel: usize,
    x: Rows<'_>,
    first: usize,
    fresh: bool,
    c: &mut Tile<'_, f32>,
    scratch: &mut [f32],
) {
    let (rows, height, cols) = (c.rows(), x.shape().height(), c.cols());
    #[cfg(target_arch = "x86_64")]
    if rows > height
        && w.blocks() > 0
        && let Some(writer) = Writer::of(isa, w.form)
    {
        return add_stretches(writer, w, panel, x, first, fresh, c, scratch);
    }
    let _ = scratch;
    for row in (0..rows).step_by(height) {
        // The first rows that pass over a panel wait for it; those after them have time to call for the next.
        let ahead = match row {
            0 if rows <= height => near(isa),
            _ => (row == height).then(|| w.panel(panel).len()),
        };
        tile(
            isa,
            w,
            panel,
            x,
            first + row,
            fresh,
            ahead,
            &mut c.window(row, height.min(rows - row), 0, cols),
        );
    }
}

/// The same in stretches of blocks that are written out.
#[cfg(target_arch = "x86_64")]
fn add_stretches(
    writer: Writer,
    w: &Quantized,
    panel: usize,
    x: Rows<'_>,
    first: usize,
    fresh: bool,
    c: &mut Tile<'_, f32>,
    scratch: &mut [f32],
) {
    let (rows, height, cols) = (c.rows(), x.shape().height(), c.cols());
    for from in (0..w.blocks()).step_by(STRETCH) {
        let lines = STRETCH.min(w.blocks() - from) * writer.lines();
        let words = lines * size_of::<super::Line>() / size_of::<f32>();
        let written = bytemuck::cast_slice_mut(&mut scratch[..words]);
        writer.write(w.panel(panel), from, written);
        for row in (0..rows).step_by(height) {
            // As above.
            let ahead = if row == height { w.after(panel, from + STRETCH, STRETCH) } else { &[] };
            let c = &mut c.window(row, height.min(rows - row), 0, cols);
            writer.tile(written, x, (first + row, from), fresh && from == 0, ahead, c);
        }
    }
}

/// Lines from what is read to what is called for, where weights are read once. A processor without AVX-512 was a quarter
/// faster for it in 4 bits; one with it was slower where a single pass called for the next panel.
fn near(isa: Isa) -> Option<usize> {
    (isa.kind() == Kind::Avx2).then_some(32)
}
