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
    for (b, to) in to.iter_mut().enumerate() {
        let mut block = [0.0_f32; BLOCK];
        let width = BLOCK.min(x.cols() - b * BLOCK);
        let part = x.window(0, 1, b * BLOCK, width);
        if part.has_adjacent_columns() {
            let row = part.row(0);
            match row.first_chunk::<BLOCK>() {
                // A loop of known length, which stays in registers.
                Some(whole) => {
                    for (to, from) in block.iter_mut().zip(whole) {
                        *to = from.to_f64() as f32;
                    }
                }
                None => block.iter_mut().zip(row).for_each(|(to, from)| *to = from.to_f64() as f32),
            }
        } else {
            for (k, to) in block[..width].iter_mut().enumerate() {
                // SAFETY: inside the row.
                *to = unsafe { part.read(0, k) }.to_f64() as f32;
            }
        }
        // As integers, the bits of numbers without a sign are ordered as these are, and NaN comes last.
        let largest = block.iter().fold(0, |largest, x| u32::max(largest, x.to_bits() & 0x7fff_ffff));
        let largest = f32::from_bits(largest);
        if !largest.is_finite() {
            *to = Rounded { codes: [0; BLOCK], scale: f32::NAN, total: f32::NAN, starts: [0; 2] };
            continue;
        }
        let small = largest < LEAST;
        let (step, inverse) = if small { (0.0, 0.0) } else { (largest / 127.0, 127.0 / largest) };
        let mut sum = 0;
        for (code, &x) in to.codes.iter_mut().zip(&block) {
            let rounded = (x * inverse + ONES).to_bits().wrapping_sub(ONES.to_bits()).cast_signed();
            *code = rounded as i8;
            sum += rounded;
        }
        to.scale = step;
        to.total = step * sum as f32;
        let first = match form.parts() {
            1 => sum,
            _ => to.codes[..BLOCK / 2].iter().map(|&code| i32::from(code)).sum(),
        };
        to.starts = [first, sum - first].map(|sum| -form.offset() * sum);
    }
}
