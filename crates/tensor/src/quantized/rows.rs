//! Rows of x rounded to 8 bits, in the order in which products read them.
#![expect(unsafe_code, reason = "reads strided rows without a bounds check an element")]

use ndarray::ArrayViewMut2;
use selvedge_sync::chunks;

use super::kernel::most_rows;
use super::rounding::{Rounded, round};
use super::{BLOCK, Form};
use crate::Isa;
use crate::context::Runner;
use crate::rmsnorm::{self, Norm};
use crate::tile::{Grid, Strided, Tile};

/// How rows lie: in groups that pass over a panel of weights together, each block after block of all its rows. So a group is
/// read from end to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    rows: usize,
    blocks: usize,
    /// Rows of a group; the last may be of fewer, and takes as much.
    height: usize,
    groups: usize,
}

/// Words of f32 that a rounded block takes.
const WORDS: usize = size_of::<Rounded>() / size_of::<f32>();

impl Shape {
    /// Of rows of K numbers. Groups are of one size, and of an even number, if that does, for two threads.
    pub(super) fn new(isa: Isa, rows: usize, k: usize) -> Self {
        let most = most_rows(isa);
        let groups = if rows <= most { 1 } else { rows.div_ceil(most).next_multiple_of(2) };
        let height = rows.div_ceil(groups).max(1);
        Shape { rows, blocks: k.div_ceil(BLOCK), height, groups: rows.div_ceil(height) }
    }

    /// Words of f32 that they take.
    pub(super) fn words(self) -> usize {
        self.groups * self.group_words()
    }

    pub(super) fn height(self) -> usize {
        self.height
    }

    fn group_words(self) -> usize {
        self.blocks * self.height * WORDS
    }

    /// Rows of a group.
    fn rows_of(self, group: usize) -> std::ops::Range<usize> {
        group * self.height..self.rows.min((group + 1) * self.height)
    }

    /// Calls `fill` with each group, its rows and its room, on the team, and gives what has been filled.
    #[track_caller]
    fn fill<'a>(
        self,
        runner: &mut Runner<'_, f32>,
        words: &'a mut [f32],
        fill: impl Fn(std::ops::Range<usize>, &mut [Rounded], &mut [f32]) + Sync,
    ) -> Rows<'a> {
        if self.blocks > 0 && self.groups > 0 {
            let groups = chunks(&mut *words, self.group_words());
            runner.for_each_with_scratch(groups, |group, words, scratch| {
                fill(self.rows_of(group), bytemuck::cast_slice_mut(words), scratch);
            });
        }
        Rows { all: bytemuck::cast_slice(words), shape: self }
    }

    /// Rounds the rows of x into `words`, for products with weights of a form.
    #[track_caller]
    pub(super) fn round<'a>(
        self,
        runner: &mut Runner<'_, f32>,
        form: Form,
        x: Strided<'_, f32>,
        words: &'a mut [f32],
    ) -> Rows<'a> {
        let isa = runner.isa;
        self.fill(runner, words, |rows, out, _| {
            let x = x.window(rows.start, rows.len(), 0, x.cols());
            // Other threads wrote parts of them; all are called for before the first is waited for.
            x.prefetch();
            for row in 0..rows.len() {
                if x.has_adjacent_columns() {
                    round(isa, form, x.row(row), &mut out[row..], self.height);
                    continue;
                }
                let mut block = [0.0; BLOCK];
                for (b, to) in out[row..].iter_mut().step_by(self.height).enumerate() {
                    let len = BLOCK.min(x.cols() - b * BLOCK);
                    for (k, to) in block[..len].iter_mut().enumerate() {
                        // SAFETY: inside the row.
                        *to = unsafe { x.read(row, b * BLOCK + k) };
                    }
                    round(isa, form, &block[..len], std::slice::from_mut(to), 1);
                }
            }
        })
    }

    /// The same of rows that are normalized first, in scratch of K elements.
    #[track_caller]
    pub(super) fn round_normed<'a>(
        self,
        runner: &mut Runner<'_, f32>,
        form: Form,
        x: Strided<'_, f32>,
        norm: Norm<'_, f32>,
        words: &'a mut [f32],
    ) -> Rows<'a> {
        let isa = runner.isa;
        self.fill(runner, words, |rows, out, scratch| {
            let x = x.window(rows.start, rows.len(), 0, x.cols());
            x.prefetch();
            let scratch = &mut scratch[..x.cols()];
            for row in 0..rows.len() {
                rmsnorm::forward_row(isa, scratch, x.row(row), norm.weight, norm.epsilon as f32);
                round(isa, form, scratch, &mut out[row..], self.height);
            }
        })
    }

    /// Room for all rows of a stretch of `blocks` blocks, and so on, group by group.
    pub(super) fn by_blocks(self, words: &mut [f32], blocks: usize) -> Grid<'_, f32> {
        let view = ArrayViewMut2::from_shape((self.groups, self.group_words()), words);
        Grid::new(view.expect("words of this shape"), self.groups.max(1), blocks * self.height * WORDS)
    }

    /// Rounds rows of 32 numbers, a block of each of whole groups from row `first` on, into block `block` of a part that
    /// [`Shape::by_blocks`] gives.
    pub(super) fn round_block(
        self,
        isa: Isa,
        form: Form,
        x: &[f32],
        (first, block): (usize, usize),
        to: &mut Tile<'_, f32>,
    ) {
        for (group, x) in (first / self.height..).zip(x.chunks(self.height * BLOCK)) {
            let to = &mut to.row_mut(group)[block * self.height * WORDS..][..self.height * WORDS];
            round(isa, form, x, bytemuck::cast_slice_mut(to), 1);
        }
    }

    /// Tells the processor that block `block` of all rows of such a part is about to be written.
    pub(super) fn claim_block(self, block: usize, to: &mut Tile<'_, f32>) {
        let words = self.height * WORDS;
        to.window(0, self.groups, block * words, words).claim();
    }

    /// What has been filled.
    pub(super) fn filled(self, words: &[f32]) -> Rows<'_> {
        Rows { all: bytemuck::cast_slice(words), shape: self }
    }
}

/// Quantized rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'a> {
    all: &'a [Rounded],
    shape: Shape,
}

impl<'a> Rows<'a> {
    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// The blocks of M rows of one group, from row `first` and block `from` on.
    ///
    /// # Panics
    /// If they are not of one group.
    #[inline(always)]
    pub(super) fn blocks<const M: usize>(
        &self,
        first: usize,
        from: usize,
    ) -> impl Iterator<Item = &'a [Rounded; M]> + use<'a, M> {
        let Shape { blocks, height, .. } = self.shape;
        let (group, row) = (first / height, first % height);
        assert!(
            row + M <= height && first + M <= self.shape.rows,
            "{M} rows from {first} in {:?}",
            self.shape
        );
        let group = &self.all[group * blocks * height..][from * height..blocks * height];
        group.chunks_exact(height).map(move |block| block[row..].first_chunk().expect("rows of the group"))
    }
}
