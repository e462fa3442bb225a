//! Rows of x rounded to 8 bits: in blocks of 32, with a scale each.
#![expect(unsafe_code, reason = "reads strided rows without a bounds check an element")]

use selvedge_sync::{Team, chunks};

use super::{BLOCK, Form};
use crate::isa::dispatch;
use crate::tile::Strided;
use crate::{Isa, Real};

/// Most rows a task takes, and elements it takes at most if it takes several.
const ROWS: usize = 16;
const ELEMENTS: usize = 4096;
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

/// Words of f32 that a row of so many blocks takes.
pub(super) fn words(blocks: usize) -> usize {
    blocks * (size_of::<Rounded>() / size_of::<f32>())
}

/// Quantized rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'a> {
    all: &'a [Rounded],
    blocks: usize,
}

impl<'a> Rows<'a> {
    /// Rounds the rows of x into `words`, the rows shared among the threads, for products with weights of a form.
    pub(super) fn new<T: Real>(
        team: &Team,
        isa: Isa,
        form: Form,
        x: Strided<'_, T>,
        words: &'a mut [f32],
    ) -> Self {
        let blocks = x.cols().div_ceil(BLOCK);
        let all: &mut [Rounded] = bytemuck::cast_slice_mut(words);
        if blocks > 0 {
            let rows = (ELEMENTS / x.cols()).clamp(1, ROWS);
            team.parallel_parts(chunks(all, rows * blocks), |task, out| {
                let out = out.chunks_exact_mut(blocks);
                // Other threads wrote parts of them; all are called for before the first is waited for.
                x.window(task * rows, out.len(), 0, x.cols()).prefetch();
                for (at, out) in out.enumerate() {
                    round(isa, form, x.window(task * rows + at, 1, 0, x.cols()), out);
                }
            });
        }
        Rows { all, blocks }
    }

    /// The blocks of a row.
    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> &'a [Rounded] {
        &self.all[row * self.blocks..(row + 1) * self.blocks]
    }
}

dispatch! {
    /// Rounds one row: a block's largest number becomes ±127. One that is not finite makes the scale NaN.
    fn round<T>(form: Form, x: Strided<'_, T>, to: &mut [Rounded]) = round_body;
}

#[inline(always)]
fn round_body<T: Real>(form: Form, x: Strided<'_, T>, to: &mut [Rounded]) {
    let row = if x.has_adjacent_columns() { x.row(0) } else { &[] };
    let (whole, _) = row.as_chunks::<BLOCK>();
    let (to_whole, to_rest) = to.split_at_mut(whole.len());
    for (to, from) in to_whole.iter_mut().zip(whole) {
        // Loops of known length, which stay in registers.
        let mut block = [0.0; BLOCK];
        for (to, from) in block.iter_mut().zip(from) {
            *to = from.to_f64() as f32;
        }
        *to = rounded(form, &block);
    }
    for (b, to) in (whole.len()..).zip(to_rest) {
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
