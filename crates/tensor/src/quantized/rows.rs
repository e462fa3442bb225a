//! Rows of x rounded to 8 bits: in blocks of 32, with a scale each.
#![expect(unsafe_code, reason = "reads strided rows without a bounds check an element")]

use ndarray::ArrayViewMut2;
use selvedge_sync::chunks;

use super::kernel::ROWS;
use super::{BLOCK, Form};
use crate::context::Runner;
use crate::isa::dispatch;
use crate::rmsnorm::{self, Norm};
use crate::tile::{Grid, Strided, Tile};
use crate::{Isa, Real};

/// What is smaller is 0: its inverse would be infinite.
const LEAST: f32 = 1e-30;

/// A number so large that its last bit is 1: what is added to it is rounded to an integer, ties to even, and shows in the
/// last bits. Unlike a conversion, which must look for what does not fit, that takes vectors an addition.
const ONES: f32 = 12_582_912.0;

/// 32 numbers of a row, rounded, and what products with weights of a form make of them.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Rounded {
    pub(super) codes: [i8; BLOCK],
    pub(super) scale: f32,
    /// What the leasts of weights are multiplied by: the scale times the sum of the codes.
    pub(super) total: f32,
    /// What the sum of products of a part begins with: what the offset of the weights' codes takes off it.
    pub(super) starts: [i32; 2],
}

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
    /// Of rows of K numbers. Groups are of one size, and an even number for two threads.
    pub(super) fn new(rows: usize, k: usize) -> Self {
        let groups = if rows <= ROWS { 1 } else { rows.div_ceil(ROWS).next_multiple_of(2) };
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
                round(isa, form, x.window(row, 1, 0, x.cols()), &mut out[row..], self.height);
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
                let normed = Strided::new(scratch, 1, x.cols(), x.cols(), 1);
                round(isa, form, normed, &mut out[row..], self.height);
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
            round_blocks(isa, form, x, bytemuck::cast_slice_mut(to));
        }
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

    /// The blocks of M rows of one group, from row `first` on.
    ///
    /// # Panics
    /// If they are not of one group.
    #[inline(always)]
    pub(super) fn blocks<const M: usize>(
        &self,
        first: usize,
    ) -> impl Iterator<Item = &'a [Rounded; M]> + use<'a, M> {
        let Shape { blocks, height, .. } = self.shape;
        let (group, row) = (first / height, first % height);
        assert!(
            row + M <= height && first + M <= self.shape.rows,
            "{M} rows from {first} in {:?}",
            self.shape
        );
        let group = &self.all[group * blocks * height..][..blocks * height];
        group.chunks_exact(height).map(move |block| block[row..].first_chunk().expect("rows of the group"))
    }
}

dispatch! {
    /// Rounds one row, of which a block is put `apart` after the one before: a block's largest number becomes ±127. One that
    /// is not finite makes the scale NaN.
    fn round<T>(form: Form, x: Strided<'_, T>, to: &mut [Rounded], apart: usize) = round_body;
}
dispatch! {
    /// Rounds blocks.
    fn round_blocks<T>(form: Form, x: &[T], to: &mut [Rounded]) = round_blocks_body;
}

#[inline(always)]
fn round_blocks_body<T: Real>(form: Form, x: &[T], to: &mut [Rounded]) {
    for (from, to) in x.as_chunks::<BLOCK>().0.iter().zip(to) {
        *to = rounded(form, &singles(from));
    }
}

/// A block in f32. A loop of known length, which stays in registers.
#[inline(always)]
fn singles<T: Real>(block: &[T; BLOCK]) -> [f32; BLOCK] {
    let mut singles = [0.0; BLOCK];
    for (to, from) in singles.iter_mut().zip(block) {
        *to = from.to_f64() as f32;
    }
    singles
}

#[inline(always)]
fn round_body<T: Real>(form: Form, x: Strided<'_, T>, to: &mut [Rounded], apart: usize) {
    let row = if x.has_adjacent_columns() { x.row(0) } else { &[] };
    let (whole, _) = row.as_chunks::<BLOCK>();
    let mut to = to.iter_mut().step_by(apart);
    for (from, to) in whole.iter().zip(to.by_ref()) {
        *to = rounded(form, &singles(from));
    }
    for (b, to) in (whole.len()..x.cols().div_ceil(BLOCK)).zip(to) {
        let mut block = [0.0; BLOCK];
        for (k, to) in block.iter_mut().enumerate().take(x.cols() - b * BLOCK) {
            // SAFETY: inside the row.
            *to = unsafe { x.read(0, b * BLOCK + k) }.to_f64() as f32;
        }
        *to = rounded(form, &block);
    }
}

#[inline(always)]
fn rounded(form: Form, block: &[f32; BLOCK]) -> Rounded {
    // As integers, the bits of numbers without a sign are ordered as these are, and NaN comes last.
    let largest = block.iter().fold(0, |largest, x| u32::max(largest, x.to_bits() & 0x7fff_ffff));
    let largest = f32::from_bits(largest);
    if !largest.is_finite() {
        return Rounded { codes: [0; BLOCK], scale: f32::NAN, total: f32::NAN, starts: [0; 2] };
    }
    let (scale, inverse) = if largest < LEAST { (0.0, 0.0) } else { (largest / 127.0, 127.0 / largest) };
    let mut integers = [0; BLOCK];
    for (integer, &x) in integers.iter_mut().zip(block) {
        *integer = (x * inverse + ONES).to_bits().wrapping_sub(ONES.to_bits()).cast_signed();
    }
    let mut codes = [0; BLOCK];
    for (code, integer) in codes.iter_mut().zip(integers) {
        *code = integer as i8;
    }
    // In the order of a vector's halves: added one after another they would leave it one by one.
    for step in [BLOCK / 4, BLOCK / 8, BLOCK / 16, BLOCK / 32] {
        for half in integers.as_chunks_mut::<{ BLOCK / 2 }>().0 {
            let (left, right) = half.split_at_mut(step);
            left.iter_mut().zip(right).for_each(|(left, right)| *left += *right);
        }
    }
    let (first, sum) = (integers[0], integers[0] + integers[BLOCK / 2]);
    let starts = if form.parts() == 1 { [sum, 0] } else { [first, sum - first] };
    let starts = starts.map(|sum| -form.offset() * sum);
    Rounded { codes, scale, total: scale * sum as f32, starts }
}
