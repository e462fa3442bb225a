//! Rounding of numbers to 8 bits, in blocks of 32 with a scale each: a block's largest number becomes ±127, and one that is
//! not finite makes the scale NaN.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls functions compiled for detected features")
)]

use super::{BLOCK, Form};
use crate::Isa;
#[cfg(target_arch = "x86_64")]
use crate::isa::Kind;

/// What is smaller is 0: its inverse would be infinite.
const LEAST: f32 = 1e-30;

/// A number so large that its last bit is 1: what is added to it is rounded to an integer, ties to even, and shows in the
/// last bits. Unlike a conversion, which must look for what does not fit, that takes vectors an addition.
const ONES: f32 = 12_582_912.0;

/// 32 numbers of a row, rounded, and what products with weights of a form make of them.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Rounded {
    pub(super) codes: [i8; BLOCK],
    pub(super) scale: f32,
    /// What the leasts of weights are multiplied by: the scale times the sum of the codes.
    pub(super) total: f32,
    /// What the sum of products of a part begins with: what the offset of the weights' codes takes off it.
    pub(super) starts: [i32; 2],
}

/// Rounds the blocks of x, the last of which may be short of numbers, and puts each `apart` after the one before.
pub(super) fn round(isa: Isa, form: Form, x: &[f32], to: &mut [Rounded], apart: usize) {
    let (whole, rest) = x.as_chunks::<BLOCK>();
    round_whole(isa, form, whole, to, apart);
    if !rest.is_empty() {
        let mut block = [0.0; BLOCK];
        block[..rest.len()].copy_from_slice(rest);
        round_whole(isa, form, &[block], &mut to[whole.len() * apart..], apart);
    }
}

fn round_whole(isa: Isa, form: Form, x: &[[f32; BLOCK]], to: &mut [Rounded], apart: usize) {
    #[cfg(target_arch = "x86_64")]
    if isa.kind() >= Kind::Avx512 {
        // SAFETY: an `Isa` of this kind is only made after detecting the features.
        return unsafe { avx512::round(form, x, to, apart) };
    }
    #[cfg(target_arch = "x86_64")]
    if isa.kind() >= Kind::Avx2 {
        // SAFETY: as above.
        return unsafe { avx2::round(form, x, to, apart) };
    }
    let _ = isa;
    for (x, to) in x.iter().zip(to.iter_mut().step_by(apart)) {
        *to = rounded(form, x);
    }
}

/// The scale of a block whose largest number is this, and its inverse.
#[inline(always)]
fn scale(largest: f32) -> (f32, f32) {
    if largest < LEAST { (0.0, 0.0) } else { (largest / 127.0, 127.0 / largest) }
}

/// What a block is whose codes have these sums, in either half.
#[inline(always)]
fn with_sums(form: Form, codes: [i8; BLOCK], scale: f32, [first, second]: [i32; 2]) -> Rounded {
    let sum = first + second;
    let starts = if form.parts() == 1 { [sum, 0] } else { [first, second] };
    Rounded { codes, scale, total: scale * sum as f32, starts: starts.map(|sum| -form.offset() * sum) }
}

const STRANGE: Rounded = Rounded { codes: [0; BLOCK], scale: f32::NAN, total: f32::NAN, starts: [0; 2] };

/// The definition.
fn rounded(form: Form, block: &[f32; BLOCK]) -> Rounded {
    // As integers, the bits of numbers without a sign are ordered as these are, and NaN comes last.
    let largest = block.iter().fold(0, |largest, x| u32::max(largest, x.to_bits() & 0x7fff_ffff));
    let largest = f32::from_bits(largest);
    if !largest.is_finite() {
        return STRANGE;
    }
    let (scale, inverse) = scale(largest);
    let codes =
        block.map(|x| (x * inverse + ONES).to_bits().wrapping_sub(ONES.to_bits()).cast_signed() as i8);
    let (halves, _) = codes.as_chunks::<{ BLOCK / 2 }>();
    with_sums(form, codes, scale, [0, 1].map(|half| halves[half].iter().map(|&code| i32::from(code)).sum()))
}

/// The same in AVX-512, half a block a vector.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use core::arch::x86_64::*;

    use super::{BLOCK, ONES, Rounded, STRANGE, scale, with_sums};
    use crate::quantized::Form;

    #[target_feature(enable = "avx512f")]
    pub(super) fn round(form: Form, x: &[[f32; BLOCK]], to: &mut [Rounded], apart: usize) {
        for (x, to) in x.iter().zip(to.iter_mut().step_by(apart)) {
            *to = rounded(form, x);
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn rounded(form: Form, block: &[f32; BLOCK]) -> Rounded {
        const HALF: usize = BLOCK / 2;
        const { assert!(HALF == 16) };
        let (halves, _) = block.as_chunks::<HALF>();
        // SAFETY: sixteen numbers each.
        let halves = [0, 1].map(|half| unsafe { _mm512_loadu_ps(halves[half].as_ptr()) });
        let [a, b] = halves.map(|half| _mm512_castps_si512(_mm512_abs_ps(half)));
        let largest = f32::from_bits(_mm512_reduce_max_epu32(_mm512_max_epu32(a, b)));
        if !largest.is_finite() {
            return STRANGE;
        }
        let (scale, inverse) = scale(largest);
        let (inverse, ones) = (_mm512_set1_ps(inverse), _mm512_set1_ps(ONES));
        let integers = halves.map(|half| {
            let sum = _mm512_add_ps(_mm512_mul_ps(half, inverse), ones);
            _mm512_sub_epi32(_mm512_castps_si512(sum), _mm512_castps_si512(ones))
        });
        let mut codes = [0; BLOCK];
        for (codes, integers) in codes.as_chunks_mut::<HALF>().0.iter_mut().zip(integers) {
            let bytes = _mm512_cvtepi32_epi8(integers);
            // SAFETY: sixteen bytes.
            unsafe { _mm_storeu_si128(codes.as_mut_ptr().cast(), bytes) };
        }
        with_sums(form, codes, scale, integers.map(|half| _mm512_reduce_add_epi32(half)))
    }
}

/// The same in AVX2, a quarter of a block a vector.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use core::arch::x86_64::*;

    use super::{BLOCK, ONES, Rounded, STRANGE, scale, with_sums};
    use crate::quantized::Form;

    #[target_feature(enable = "avx2")]
    pub(super) fn round(form: Form, x: &[[f32; BLOCK]], to: &mut [Rounded], apart: usize) {
        for (x, to) in x.iter().zip(to.iter_mut().step_by(apart)) {
            *to = rounded(form, x);
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn rounded(form: Form, block: &[f32; BLOCK]) -> Rounded {
        const QUARTER: usize = BLOCK / 4;
        const { assert!(QUARTER == 8) };
        let (quarters, _) = block.as_chunks::<QUARTER>();
        // SAFETY: eight numbers each.
        let quarters = [0, 1, 2, 3].map(|i| unsafe { _mm256_loadu_ps(quarters[i].as_ptr()) });
        let sizes =
            quarters.map(|x| _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7fff_ffff)));
        let largest = f32::from_bits(largest(sizes));
        if !largest.is_finite() {
            return STRANGE;
        }
        let (scale, inverse) = scale(largest);
        let (inverse, ones) = (_mm256_set1_ps(inverse), _mm256_set1_ps(ONES));
        let [a, b, c, d] = quarters.map(|x| {
            let sum = _mm256_add_ps(_mm256_mul_ps(x, inverse), ones);
            _mm256_sub_epi32(_mm256_castps_si256(sum), _mm256_castps_si256(ones))
        });
        let bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
        // Packing goes by halves of vectors.
        let bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        let mut codes = [0; BLOCK];
        // SAFETY: 32 bytes.
        unsafe { _mm256_storeu_si256(codes.as_mut_ptr().cast(), bytes) };
        with_sums(form, codes, scale, sums(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d)))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn largest([a, b, c, d]: [__m256i; 4]) -> u32 {
        let of_all = _mm256_max_epu32(_mm256_max_epu32(a, b), _mm256_max_epu32(c, d));
        let of_4 = _mm_max_epu32(_mm256_castsi256_si128(of_all), _mm256_extracti128_si256::<1>(of_all));
        let of_2 = _mm_max_epu32(of_4, _mm_shuffle_epi32::<0b01_00_11_10>(of_4));
        _mm_cvtsi128_si32(_mm_max_epu32(of_2, _mm_shuffle_epi32::<0b10_11_00_01>(of_2))).cast_unsigned()
    }

    /// The sums of two vectors.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn sums(a: __m256i, b: __m256i) -> [i32; 2] {
        let pairs = _mm256_hadd_epi32(a, b);
        let fours = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs));
        let both = _mm_hadd_epi32(fours, fours);
        [_mm_cvtsi128_si32(both), _mm_extract_epi32::<1>(both)]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_instruction_set_rounds_as_the_definition_does(
            bits in prop::collection::vec(any::<u32>(), 1..100), size in -140i32..120, apart in 1usize..4,
        ) {
            // Numbers of one size, ties among them, and of all sizes.
            let near: Vec<f32> = bits.iter().map(|b| (*b as i8) as f32 * 0.5 * 2f32.powi(size)).collect();
            let any: Vec<f32> = bits.iter().map(|b| f32::from_bits(*b)).collect();
            for (x, form) in [near, any].into_iter().flat_map(|x| Form::ALL.map(|form| (x.clone(), form))) {
                let mut padded = x.clone();
                padded.resize(x.len().next_multiple_of(BLOCK), 0.0);
                let want: Vec<_> = padded.as_chunks().0.iter().map(|block| rounded(form, block)).collect();
                for isa in Isa::available() {
                    let mut got = vec![STRANGE; want.len() * apart];
                    round(isa, form, &x, &mut got, apart);
                    for (want, got) in want.iter().zip(got.iter().step_by(apart)) {
                        prop_assert_eq!(bytemuck::bytes_of(want), bytemuck::bytes_of(got), "{}", isa);
                    }
                }
            }
        }
    }
}
