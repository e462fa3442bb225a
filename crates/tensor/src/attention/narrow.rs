//! Keys and values in fewer bits: f16, or codes of 8 bits with a scale each 32; turned into numbers a block at a time.
//!
//! They lie as those in full do: lines of 32 elements, which are an element of 32 keys, or 32 elements of a value. So a block
//! is turned line by line, into memory of the nearest cache, where products of f32 read it. What numbers stand for is exact
//! in f32: a code of 8 bits times a scale of 11 has 19.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls functions compiled for detected features")
)]

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::cache::{Blocks, Look};
use super::heads::Head;
use super::{BLOCK, Shape};
use crate::hints::call_for;
#[cfg(target_arch = "x86_64")]
use crate::isa::Kind;
use crate::isa::dispatch;
use crate::matmul::{COLS, Full};
use crate::quantized::{Block, Form};
use crate::tile::{Panels, Strided};
use crate::{Isa, Real};

/// Keys and values as they are kept, and the blocks of a head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Narrow<K> {
    pub(super) kept: K,
    pub(super) blocks: usize,
}

/// Elements of the keys of a block, and of its values.
fn lens(d: usize) -> [usize; 2] {
    [BLOCK * d, BLOCK * d.next_multiple_of(COLS)]
}

/// Elements of a block.
pub(super) fn block_len(d: usize) -> usize {
    lens(d).iter().sum()
}

/// Scales of the keys of a block in codes, or of its values. Of keys: 32 of a panel for each 32 elements. Of values: 64 of a
/// panel.
fn scales_len(d: usize) -> usize {
    BLOCK * d.div_ceil(COLS)
}

/// Scales of a block in codes.
pub(super) fn block_scales(d: usize) -> usize {
    2 * scales_len(d)
}

/// Positions that are turned into numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    block: usize,
    /// From the first on.
    count: usize,
    /// Blocks from this to what is read next.
    ahead: usize,
}

/// One way to keep blocks.
pub(super) trait Keep: Sync {
    /// Numbers of the first `count` positions of a block. Those of the block `ahead` blocks behind it are called for meanwhile.
    fn load<T: Real>(&self, isa: Isa, d: usize, at: At, keys: &mut [T], values: &mut [T]);
}

impl<T: Real, K: Keep> Blocks<T, Full> for Narrow<K> {
    fn room(shape: &Shape) -> usize {
        block_len(shape.head_size)
    }

    fn block<'b>(
        &'b self,
        isa: Isa,
        shape: &Shape,
        (sequence, head): (usize, usize),
        look: Look,
        room: &'b mut [T],
    ) -> [Panels<'b, T, COLS>; 2] {
        let d = shape.head_size;
        let (keys, values) = room[..block_len(d)].split_at_mut(lens(d)[0]);
        let (count, ahead) = (look.count, look.ahead(self.blocks));
        let block = (sequence * shape.kv_heads + head) * self.blocks + look.block;
        self.kept.load(isa, d, At { block, count, ahead }, keys, values);
        [Panels::packed(keys, d, count, d * COLS), Panels::packed(values, count, d, BLOCK * COLS)]
    }
}

/// In f16, `[block][keys, values]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Halves<'a>(pub(super) &'a [u16]);

impl Keep for Halves<'_> {
    fn load<T: Real>(
        &self,
        isa: Isa,
        d: usize,
        At { block, count, ahead }: At,
        keys: &mut [T],
        values: &mut [T],
    ) {
        let (from_keys, from_values) = self.0[block * block_len(d)..][..block_len(d)].split_at(lens(d)[0]);
        let whole = count.next_multiple_of(COLS) * d;
        let ahead = ahead * block_len(d);
        widen(isa, &from_keys[..whole], &mut keys[..whole], ahead);
        let panels = from_values.chunks_exact(BLOCK * COLS).zip(values.chunks_exact_mut(BLOCK * COLS));
        for (from, to) in panels {
            widen(isa, &from[..count * COLS], &mut to[..count * COLS], ahead);
        }
    }
}

/// The blocks of a head in f16.
#[derive(Debug)]
pub(super) struct HalfHead<'a> {
    pub(super) bits: &'a mut [u16],
    pub(super) blocks: usize,
}

impl<T: Real> Head<T, Full> for HalfHead<'_> {
    type Read<'a>
        = Narrow<Halves<'a>>
    where
        Self: 'a;

    fn put(&mut self, _: Isa, k: Strided<'_, T>, v: Strided<'_, T>, first: usize) {
        let d = k.cols();
        each(k, v, first, |block, row, k, v| {
            let (keys, values) = self.bits[block * block_len(d)..][..block_len(d)].split_at_mut(lens(d)[0]);
            for (group, (k, v)) in k.chunks(COLS).zip(v.chunks(COLS)).enumerate() {
                let [k_bits, v_bits] = [k, v].map(|x| {
                    let mut halves = [f16::ZERO; COLS];
                    halves.convert_from_f32_slice(&singles(x));
                    halves.map(f16::to_bits)
                });
                for i in 0..k.len() {
                    keys[key_at(d, row, group * COLS + i)] = k_bits[i];
                    values[value_at(row, group * COLS + i)] = v_bits[i];
                }
            }
        });
    }

    fn read(&self) -> Self::Read<'_> {
        Narrow { kept: Halves(self.bits), blocks: self.blocks }
    }
}

/// In codes of 8 bits, `[block][keys, values]`, and their scales.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a> {
    pub(super) codes: &'a [i8],
    pub(super) scales: &'a [u16],
}

impl Keep for Bytes<'_> {
    fn load<T: Real>(
        &self,
        isa: Isa,
        d: usize,
        At { block, count, ahead }: At,
        keys: &mut [T],
        values: &mut [T],
    ) {
        let (from_keys, from_values) =
            self.codes[block * block_len(d)..][..block_len(d)].split_at(lens(d)[0]);
        let of_block = &self.scales[block * block_scales(d)..][..block_scales(d)];
        let (key_scales, value_scales) = of_block.split_at(scales_len(d));
        of_block
            .iter()
            .step_by(COLS)
            .for_each(|line| call_for((&raw const *line).wrapping_add(ahead * block_scales(d))));
        let ahead = ahead * block_len(d);
        let panels = from_keys.chunks_exact(COLS * d).zip(keys.chunks_exact_mut(COLS * d));
        let panels = panels.zip(key_scales.chunks_exact(scales_len(d) / 2));
        for ((from, to), scales) in panels.take(count.div_ceil(COLS)) {
            let groups = from.chunks(COLS * COLS).zip(to.chunks_mut(COLS * COLS));
            for ((from, to), scales) in groups.zip(scales.as_chunks().0) {
                scale_lanes(isa, from, scales, to, ahead);
            }
        }
        let panels = from_values.chunks_exact(BLOCK * COLS).zip(values.chunks_exact_mut(BLOCK * COLS));
        for ((from, to), scales) in panels.zip(value_scales.chunks_exact(BLOCK)) {
            let len = count * COLS;
            scale_lines(isa, &from[..len], &scales[..count], &mut to[..len], ahead);
        }
    }
}

/// The blocks of a head in codes of 8 bits.
#[derive(Debug)]
pub(super) struct ByteHead<'a> {
    pub(super) codes: &'a mut [i8],
    pub(super) scales: &'a mut [u16],
    pub(super) blocks: usize,
}

impl<T: Real> Head<T, Full> for ByteHead<'_> {
    type Read<'a>
        = Narrow<Bytes<'a>>
    where
        Self: 'a;

    fn put(&mut self, _: Isa, k: Strided<'_, T>, v: Strided<'_, T>, first: usize) {
        const { assert!(crate::quantized::BLOCK == COLS) };
        let d = k.cols();
        each(k, v, first, |block, row, k, v| {
            let (keys, values) = self.codes[block * block_len(d)..][..block_len(d)].split_at_mut(lens(d)[0]);
            let scales = &mut self.scales[block * block_scales(d)..][..block_scales(d)];
            let (key_scales, value_scales) = scales.split_at_mut(scales_len(d));
            for (group, (k, v)) in k.chunks(COLS).zip(v.chunks(COLS)).enumerate() {
                let [k_block, v_block] = [k, v].map(|x| Block::of(Form::Q8_0, &singles(x)));
                key_scales[row / COLS * scales_len(d) / 2 + group * COLS + row % COLS] =
                    k_block.scale.to_bits();
                value_scales[group * BLOCK + row] = v_block.scale.to_bits();
                for i in 0..k.len() {
                    keys[key_at(d, row, group * COLS + i)] = code(k_block.codes[i]);
                    values[value_at(row, group * COLS + i)] = code(v_block.codes[i]);
                }
            }
        });
    }

    fn read(&self) -> Self::Read<'_> {
        Narrow { kept: Bytes { codes: self.codes, scales: self.scales }, blocks: self.blocks }
    }
}

/// Calls `put` for each position of keys and values (T, D) that begin at position `first`: its block, its row in there, its
/// key and its value.
fn each<T: Real>(
    k: Strided<'_, T>,
    v: Strided<'_, T>,
    first: usize,
    mut put: impl FnMut(usize, usize, &[T], &[T]),
) {
    for t in 0..k.rows() {
        put((first + t) / BLOCK, (first + t) % BLOCK, k.row(t), v.row(t));
    }
}

/// Where in the keys of a block element i of the key of a row lies.
fn key_at(d: usize, row: usize, i: usize) -> usize {
    (row / COLS * d + i) * COLS + row % COLS
}

/// Where in the values of a block element i of the value of a row lies.
fn value_at(row: usize, i: usize) -> usize {
    (i / COLS * BLOCK + row) * COLS + i % COLS
}

/// Up to 32 elements of a head; zeros beyond the end.
fn singles<T: Real>(x: &[T]) -> [f32; COLS] {
    let mut singles = [0.0; COLS];
    singles.iter_mut().zip(x).for_each(|(to, from)| *to = from.to_f64() as f32);
    singles
}

/// A code without the offset of 128 that weights have.
fn code(code: u8) -> i8 {
    (code ^ 128).cast_signed()
}

/// What the bits of an f16 stand for, without a branch or a table, so that loops of it become vectors.
#[inline(always)]
fn single(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff);
    // The fraction in its place, the exponent 112 too small; of subnormal numbers too, and the product is exact.
    let finite = f32::from_bits(magnitude << 13) * f32::from_bits((127 + 112) << 23);
    let strange = if magnitude >= 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(finite.to_bits() | strange | u32::from(bits & 0x8000) << 16)
}

/// Lines of 32 numbers.
fn widen<T: Real>(isa: Isa, from: &[u16], to: &mut [T], ahead: usize) {
    #[cfg(target_arch = "x86_64")]
    if isa.kind() >= Kind::Avx2 && size_of::<T>() == size_of::<f32>() {
        // SAFETY: an `Isa` of this kind is only made after detecting the features.
        return unsafe { f16c::widen(from, bytemuck::cast_slice_mut(to), ahead) };
    }
    widen_plainly(isa, from, to, ahead);
}

dispatch! {
    fn widen_plainly<T>(from: &[u16], to: &mut [T], ahead: usize) = widen_body;
}
dispatch! {
    /// Lines of 32 codes, each lane with a scale.
    fn scale_lanes<T>(codes: &[i8], scales: &[u16; COLS], to: &mut [T], ahead: usize) = scale_lanes_body;
}
dispatch! {
    /// Lines of 32 codes, each line with a scale.
    fn scale_lines<T>(codes: &[i8], scales: &[u16], to: &mut [T], ahead: usize) = scale_lines_body;
}

#[inline(always)]
fn widen_body<T: Real>(from: &[u16], to: &mut [T], ahead: usize) {
    for (to, from) in to.as_chunks_mut::<COLS>().0.iter_mut().zip(from.as_chunks::<COLS>().0) {
        call_for(from.as_ptr().wrapping_add(ahead));
        for (to, &from) in to.iter_mut().zip(from) {
            *to = T::from_f64(f64::from(single(from)));
        }
    }
}

/// The same by the instruction for it, eight at a time.
#[cfg(target_arch = "x86_64")]
mod f16c {
    use core::arch::x86_64::*;

    use super::COLS;
    use crate::hints::call_for;

    #[target_feature(enable = "avx2,f16c")]
    pub(super) fn widen(from: &[u16], to: &mut [f32], ahead: usize) {
        for (to, from) in to.as_chunks_mut::<COLS>().0.iter_mut().zip(from.as_chunks::<COLS>().0) {
            call_for(from.as_ptr().wrapping_add(ahead));
            for (to, from) in to.as_chunks_mut::<8>().0.iter_mut().zip(from.as_chunks::<8>().0) {
                // SAFETY: sixteen bytes.
                let bits = unsafe { _mm_loadu_si128(from.as_ptr().cast()) };
                let numbers = _mm256_cvtph_ps(bits);
                // SAFETY: eight numbers.
                unsafe { _mm256_storeu_ps(to.as_mut_ptr(), numbers) };
            }
        }
    }
}

#[inline(always)]
fn scale_lanes_body<T: Real>(codes: &[i8], scales: &[u16; COLS], to: &mut [T], ahead: usize) {
    let scales = scales.map(single);
    for (to, codes) in to.as_chunks_mut::<COLS>().0.iter_mut().zip(codes.as_chunks::<COLS>().0) {
        call_for(codes.as_ptr().wrapping_add(ahead));
        for ((to, &code), scale) in to.iter_mut().zip(codes).zip(scales) {
            *to = T::from_f64(f64::from(f32::from(code) * scale));
        }
    }
}

#[inline(always)]
fn scale_lines_body<T: Real>(codes: &[i8], scales: &[u16], to: &mut [T], ahead: usize) {
    let lines = to.as_chunks_mut::<COLS>().0.iter_mut().zip(codes.as_chunks::<COLS>().0);
    for ((to, codes), &scale) in lines.zip(scales) {
        call_for(codes.as_ptr().wrapping_add(ahead));
        let scale = single(scale);
        for (to, &code) in to.iter_mut().zip(codes) {
            *to = T::from_f64(f64::from(f32::from(code) * scale));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_f16_stand_for_what_they_do_in_the_format() {
        for bits in 0..=u16::MAX {
            let want = f16::from_bits(bits).to_f32();
            for isa in Isa::available() {
                let mut got = [0.0_f32; COLS];
                widen(isa, &[bits; COLS], &mut got, 0);
                assert!(
                    got.iter().all(|got| got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan()),
                    "{bits:#x}: {got:?}, {want}"
                );
            }
        }
    }
}
