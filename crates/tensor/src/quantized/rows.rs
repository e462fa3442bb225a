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

/// Words of f32 that a row of so many blocks takes: codes, scales, sums of codes, sums of their first halves.
pub(super) fn words(blocks: usize) -> usize {
    blocks * (BLOCK / size_of::<f32>() + 3)
}

/// Quantized rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'a> {
    words: &'a [f32],
    blocks: usize,
}

impl<'a> Rows<'a> {
    /// Rounds the rows of x into `words`, the rows shared among the threads.
    pub(super) fn new<T: Real>(
        team: &Team,
        isa: Isa,
        x: Strided<'_, T>,
        words_of_all: &'a mut [f32],
    ) -> Self {
        let blocks = x.cols().div_ceil(BLOCK);
        let len = words(blocks);
        if len > 0 {
            let rows = (ELEMENTS / x.cols().max(1)).clamp(1, ROWS);
            team.parallel_parts(chunks(words_of_all, rows * len), |task, out| {
                let count = out.len() / len;
                // Other threads wrote parts of them; all are called for before the first is waited for.
                x.window(task * rows, count, 0, x.cols()).prefetch();
                for (at, out) in out.chunks_exact_mut(len).enumerate() {
                    let row = x.window(task * rows + at, 1, 0, x.cols());
                    let (codes, rest) = out.split_at_mut(blocks * BLOCK / size_of::<f32>());
                    let (scales, sums) = rest.split_at_mut(blocks);
                    let (sums, firsts) = bytemuck::cast_slice_mut(sums).split_at_mut(blocks);
                    round(isa, row, bytemuck::cast_slice_mut(codes), scales, sums, firsts);
                }
            });
        }
        Rows { words: words_of_all, blocks }
    }

    /// Blocks of a row.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn blocks(&self) -> usize {
        self.blocks
    }

    fn row(&self, row: usize) -> &'a [f32] {
        let len = words(self.blocks);
        &self.words[row * len..(row + 1) * len]
    }

    /// The codes of a row, block after block.
    #[inline(always)]
    pub(super) fn codes(&self, row: usize) -> &'a [i8] {
        bytemuck::cast_slice(&self.row(row)[..self.blocks * BLOCK / size_of::<f32>()])
    }

    /// A scale a block.
    #[inline(always)]
    pub(super) fn scales(&self, row: usize) -> &'a [f32] {
        self.after_codes(row, 0)
    }

    /// The sum of the codes of each block.
    #[inline(always)]
    pub(super) fn sums(&self, row: usize) -> &'a [i32] {
        bytemuck::cast_slice(self.after_codes(row, 1))
    }

    /// The sum of the first half of the codes of each block.
    #[inline(always)]
    pub(super) fn firsts(&self, row: usize) -> &'a [i32] {
        bytemuck::cast_slice(self.after_codes(row, 2))
    }

    #[inline(always)]
    fn after_codes(&self, row: usize, at: usize) -> &'a [f32] {
        &self.row(row)[self.blocks * BLOCK / size_of::<f32>()..][at * self.blocks..(at + 1) * self.blocks]
    }
}

/// The sum of the codes of a part of block b, out of those of blocks and of their first halves.
#[inline(always)]
pub(super) fn sum_of_part(form: Form, sums: &[i32], firsts: &[i32], b: usize, part: usize) -> i32 {
    match (form.parts(), part) {
        (1, _) => sums[b],
        (_, 0) => firsts[b],
        _ => sums[b] - firsts[b],
    }
}

dispatch! {
    /// Rounds one row: a block's largest number becomes ±127. One that is not finite makes the scale NaN.
    fn round<T>(
        x: Strided<'_, T>,
        codes: &mut [i8],
        scales: &mut [f32],
        sums: &mut [i32],
        firsts: &mut [i32],
    ) = round_body;
}

#[inline(always)]
fn round_body<T: Real>(
    x: Strided<'_, T>,
    codes: &mut [i8],
    scales: &mut [f32],
    sums: &mut [i32],
    firsts: &mut [i32],
) {
    let each = codes.as_chunks_mut::<BLOCK>().0.iter_mut().zip(scales).zip(sums.iter_mut().zip(firsts));
    for (b, ((codes, scale), (sum, first))) in each.enumerate() {
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
            (*scale, *sum, *first) = (f32::NAN, 0, 0);
            codes.fill(0);
            continue;
        }
        let small = largest < LEAST;
        let (step, inverse) = if small { (0.0, 0.0) } else { (largest / 127.0, 127.0 / largest) };
        *scale = step;
        let mut total = 0;
        for (code, &x) in codes.iter_mut().zip(&block) {
            let rounded = (x * inverse + ONES).to_bits().wrapping_sub(ONES.to_bits()).cast_signed();
            *code = rounded as i8;
            total += rounded;
        }
        *sum = total;
        *first = codes[..BLOCK / 2].iter().map(|&code| i32::from(code)).sum();
    }
}
