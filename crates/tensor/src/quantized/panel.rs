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

/// Words of f32 that so many lines take.
#[cfg(target_arch = "x86_64")]
fn words(lines: usize) -> usize {
    lines * size_of::<super::Line>() / size_of::<f32>()
}

/// Words of f32 that [`Pass::run`] takes as scratch.
pub(super) fn scratch(isa: Isa, form: Form) -> usize {
    #[cfg(target_arch = "x86_64")]
    if let Some(writer) = Writer::of(isa, form) {
        return words(STRETCH * writer.lines());
    }
    let _ = (isa, form);
    0
}

/// Rows of x from `first` on, as many as C has, that pass over a panel of weights.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass<'a> {
    pub(super) w: &'a Quantized,
    pub(super) panel: usize,
    pub(super) x: Rows<'a>,
    pub(super) first: usize,
    /// Whether C is set to the products, else they are added to it.
    pub(super) fresh: bool,
}

impl Pass<'_> {
    /// Computes C. Scratch, of as much as [`scratch`] says, begins at a line.
    pub(super) fn run(self, isa: Isa, c: &mut Tile<'_, f32>, scratch: &mut [f32]) {
        let Pass { w, panel, x, first, fresh } = self;
        let (rows, height, cols) = (c.rows(), x.shape().height(), c.cols());
        #[cfg(target_arch = "x86_64")]
        if rows > height
            && w.blocks() > 0
            && let Some(writer) = Writer::of(isa, w.form)
        {
            return self.by_stretches(writer, c, scratch);
        }
        let _ = scratch;
        for row in (0..rows).step_by(height) {
            // The first rows that pass over a panel wait for it; those after them have time to call for the next.
            let ahead = match row {
                0 if rows <= height => near(isa),
                _ => (row == height).then(|| w.panel(panel).len()),
            };
            let c = &mut c.window(row, height.min(rows - row), 0, cols);
            tile(isa, w, panel, x, first + row, fresh, ahead, c);
        }
    }

    /// The same in stretches of blocks that are written out.
    #[cfg(target_arch = "x86_64")]
    fn by_stretches(self, writer: Writer, c: &mut Tile<'_, f32>, scratch: &mut [f32]) {
        let Pass { w, panel, x, first, fresh } = self;
        let (rows, height, cols) = (c.rows(), x.shape().height(), c.cols());
        for from in (0..w.blocks()).step_by(STRETCH) {
            let words = words(STRETCH.min(w.blocks() - from) * writer.lines());
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
}

/// Lines from what is read to what is called for, where weights are read once. A processor without AVX-512 was a quarter
/// faster for it in 4 bits; one with it was slower where a single pass called for the next panel.
fn near(isa: Isa) -> Option<usize> {
    (isa.kind() == Kind::Avx2).then_some(32)
}
