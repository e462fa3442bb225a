//! The tile in AVX2: an instruction multiplies codes and adds them in pairs, in 16 bits, which eight groups of codes of 4 bits
//! fit in, four of 5 bits, two of 6 and one of 8.
#![expect(unsafe_code, reason = "vector loads, reads of four codes")]

pub(super) mod written;

use core::arch::x86_64::*;
use std::hint::black_box;

use super::kernel::{ROWS_OF_AVX2 as ROWS, begin, finish};
use super::layout::{GROUPS, Line, blocks};
use super::rounding::Rounded;
use super::rows::Rows;
use super::{COLS, Form, GROUP};
use crate::hints::call_for;
use crate::tile::Tile;

/// Outputs of a vector.
const LANES: usize = 8;

/// As [`super::kernel::tile`].
///
/// # Safety
/// The processor has AVX2, FMA and F16C. C has 1 to 4 rows and up to 32 columns.
pub(super) unsafe fn tile(
    form: Form,
    panel: &[Line],
    x: Rows<'_>,
    first: usize,
    fresh: bool,
    ahead: Option<usize>,
    c: &mut Tile<'_, f32>,
) {
    let tile = match form {
        Form::Q8_0 => by_rows::<{ Form::Q8_0 as u8 }>,
        Form::Q4_0 => by_rows::<{ Form::Q4_0 as u8 }>,
        Form::Q4_1 => by_rows::<{ Form::Q4_1 as u8 }>,
        Form::Q5_0 => by_rows::<{ Form::Q5_0 as u8 }>,
        Form::Q5_1 => by_rows::<{ Form::Q5_1 as u8 }>,
        Form::Q4_K => by_rows::<{ Form::Q4_K as u8 }>,
        Form::Q5_K => by_rows::<{ Form::Q5_K as u8 }>,
        Form::Q6_K => by_rows::<{ Form::Q6_K as u8 }>,
    };
    // SAFETY: the caller's word.
    unsafe { tile(panel, x, first, fresh, ahead, c) };
}

unsafe fn by_rows<const FORM: u8>(
    panel: &[Line],
    x: Rows<'_>,
    first: usize,
    fresh: bool,
    ahead: Option<usize>,
    c: &mut Tile<'_, f32>,
) {
    let tile = match c.rows() {
        1 => rows::<1, FORM>,
        2 => rows::<2, FORM>,
        3 => rows::<3, FORM>,
        _ => rows::<ROWS, FORM>,
    };
    // SAFETY: the caller's word, and chosen by the rows of C.
    unsafe { tile(panel, x, first, fresh, ahead, c) };
}

/// # Safety
/// As [`tile`], with M rows.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn rows<const M: usize, const FORM: u8>(
    panel: &[Line],
    x: Rows<'_>,
    first: usize,
    fresh: bool,
    ahead: Option<usize>,
    c: &mut Tile<'_, f32>,
) {
    let form = const { Form::numbered(FORM) };
    let mut sums = begin::<M>(fresh, c);
    let loops = Loops::of::<M>(form);
    for (x, lines) in x.blocks::<M>(first, 0).zip(blocks(form, panel)) {
        if let Some(ahead) = ahead {
            for line in lines.1 {
                call_for((&raw const *line).wrapping_add(ahead));
            }
        }
        for half in 0..loops.halves {
            let x = if loops.known { x } else { black_box(x) };
            for part in 0..loops.parts {
                let dots = dots::<M, FORM>(lines.1, (half, part), x, loops);
                let of_part = of_part::<FORM>(lines, part, half);
                let least = form.has_least().then(|| leasts::<FORM>(lines, half));
                add::<M, FORM>(&mut sums, (half, part), x, dots, of_part, least);
            }
        }
    }
    finish(&sums, c);
}

/// Adds to the sums of half a panel the products of codes of a part, scaled, and what is added to the weights.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add<const M: usize, const FORM: u8>(
    sums: &mut [[f32; COLS]; M],
    (half, part): (usize, usize),
    x: &[Rounded; M],
    dots: [[__m256i; 2]; M],
    of_part: [__m256; 2],
    least: Option<[__m256; 2]>,
) {
    let form = const { Form::numbered(FORM) };
    for ((sums, mut dots), x) in sums.iter_mut().zip(dots).zip(x) {
        if form.is_narrow() && form.offset() > 0 {
            let start = _mm256_set1_epi32(x.starts[part]);
            dots = dots.map(|dot| _mm256_add_epi32(dot, start));
        }
        let (scale, total) = (_mm256_set1_ps(x.scale), _mm256_set1_ps(x.total));
        let (vectors, _) = sums.as_chunks_mut::<LANES>();
        for (j, sum) in vectors[2 * half..2 * half + 2].iter_mut().enumerate() {
            // SAFETY: eight numbers.
            let old = unsafe { _mm256_loadu_ps(sum.as_ptr()) };
            let of_part = _mm256_mul_ps(scale, of_part[j]);
            let mut new = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[j]), of_part, old);
            if let Some(least) = least {
                new = _mm256_fmadd_ps(total, least[j], new);
            }
            // SAFETY: as above.
            unsafe { _mm256_storeu_ps(sum.as_mut_ptr(), new) };
        }
    }
}

/// How often loops run. Of several rows, the compiler is not told: it would move the steps of a row so far apart, and out of
/// the loop over the halves of a panel, that registers did not suffice. The codes of one row stay in them for both halves.
#[derive(Clone, Copy)]
struct Loops {
    known: bool,
    halves: usize,
    parts: usize,
    /// Lines of a batch.
    lines: usize,
}

impl Loops {
    #[inline(always)]
    fn of<const M: usize>(form: Form) -> Self {
        let known = M == 1 && form.is_narrow();
        let times = |count: usize, known: bool| if known { count } else { black_box(count) };
        Loops {
            known,
            halves: times(2, known),
            parts: times(form.parts(), known || form.parts() == 1),
            lines: times(batch(form), known || fitting(form) == 4),
        }
    }
}

/// Lines of codes of a part.
const fn lines(form: Form) -> usize {
    if form.is_narrow() { GROUPS / 2 } else { GROUPS }
}

/// Lines of codes that a loop goes through: as many as fit, or all where every line's sums go to 32 bits by themselves.
const fn batch(form: Form) -> usize {
    if fitting(form) == 1 { lines(form) } else { fitting(form) }
}

/// Codes of a part of a block times those of rows, of the first or second sixteen outputs.
#[inline]
#[target_feature(enable = "avx2")]
fn dots<const M: usize, const FORM: u8>(
    block: &[Line],
    (half, part): (usize, usize),
    x: &[Rounded; M],
    loops: Loops,
) -> [[__m256i; 2]; M] {
    let form = const { Form::numbered(FORM) };
    let (first, shift) = form.codes_at(part * GROUPS / 2);
    let mut upper = upper::<FORM>(block, part, half);
    let mut dots = [[_mm256_setzero_si256(); 2]; M];
    let mut group = if form.parts() == 1 { 0 } else { part * GROUPS / 2 };
    for begin in (0..lines(form)).step_by(batch(form)) {
        let mut pairs = [[_mm256_setzero_si256(); 2]; M];
        for line in block[first + 2 * begin..][..2 * loops.lines].as_chunks::<2>().0 {
            if fitting(form) == 1 {
                pairs = [[_mm256_setzero_si256(); 2]; M];
            }
            let mut add = |group: usize, w: [__m256i; 2]| {
                // Of 8 bits, one side has no sign: it goes over to x, which −128 would not bear.
                let plain = if form.is_narrow() { w } else { w.map(|w| _mm256_abs_epi8(w)) };
                for (pairs, x) in pairs.iter_mut().zip(x) {
                    // SAFETY: four of the codes.
                    let x = unsafe { four(x.codes.as_ptr().wrapping_add(group * GROUP)) };
                    for ((pair, w), plain) in pairs.iter_mut().zip(w).zip(plain) {
                        let x = if form.is_narrow() { x } else { _mm256_sign_epi8(x, w) };
                        *pair = _mm256_add_epi16(*pair, _mm256_maddubs_epi16(plain, x));
                    }
                }
            };
            let w = load(&line[half]);
            if form.is_narrow() {
                let lifted = upper.map(|upper| _mm256_slli_epi16::<4>(upper));
                if form.parts() == 1 {
                    add(group, joined::<FORM>(w, lifted));
                    add(group + GROUPS / 2, joined::<FORM>(w.map(|w| _mm256_srli_epi16::<4>(w)), upper));
                } else {
                    let by = _mm_cvtsi32_si128(shift as i32);
                    add(group, joined::<FORM>(w.map(|w| _mm256_srl_epi16(w, by)), lifted));
                }
                upper = upper.map(|upper| {
                    if form.bits() == 5 {
                        _mm256_srli_epi16::<1>(upper)
                    } else {
                        _mm256_srli_epi16::<2>(upper)
                    }
                });
            } else {
                add(group, w.map(|w| _mm256_xor_si256(w, _mm256_set1_epi8(-128))));
            }
            group += 1;
            if fitting(form) == 1 {
                widen(&mut dots, pairs);
            }
        }
        if fitting(form) > 1 {
            widen(&mut dots, pairs);
        }
    }
    dots
}

/// Adds both sums of 16 bits of each lane to one of 32.
#[inline]
#[target_feature(enable = "avx2")]
fn widen<const M: usize>(dots: &mut [[__m256i; 2]; M], pairs: [[__m256i; 2]; M]) {
    for (dots, pairs) in dots.iter_mut().zip(pairs) {
        for (dot, pair) in dots.iter_mut().zip(pairs) {
            *dot = _mm256_add_epi32(*dot, _mm256_madd_epi16(pair, _mm256_set1_epi16(1)));
        }
    }
}

/// Lines of codes whose sums of pairs fit in 16 bits.
const fn fitting(form: Form) -> usize {
    match form.bits() {
        4 => 4,
        5 | 6 => 2,
        _ => 1,
    }
}

const _: () = {
    let mut number = 0;
    while number < Form::ALL.len() {
        let form = Form::ALL[number];
        // Codes of 8 bits are multiplied less 128.
        let most = if form.is_narrow() { form.most() as usize } else { 128 };
        // In forms of one part and less than 8 bits a line has two groups.
        let groups = if form.is_narrow() { 2 / form.parts() } else { 1 };
        assert!(fitting(form) * groups * 2 * most * 127 <= i16::MAX as usize, "sums that fit");
        number += 1;
    }
};

/// As in AVX-512: upper bits of the codes of a part.
#[inline]
#[target_feature(enable = "avx2")]
fn upper<const FORM: u8>(block: &[Line], part: usize, half: usize) -> [__m256i; 2] {
    let form = const { Form::numbered(FORM) };
    match form.upper_at(part * GROUPS / 2) {
        Some((line, ..)) => load(&block[line + half]),
        None => [_mm256_setzero_si256(); 2],
    }
}

/// Codes of the lower 4 bits of bytes and of the bits of others above the fourth.
#[inline]
#[target_feature(enable = "avx2")]
fn joined<const FORM: u8>(lower: [__m256i; 2], upper: [__m256i; 2]) -> [__m256i; 2] {
    let most = const { Form::numbered(FORM).most() };
    [0, 1].map(|j| {
        let lower = _mm256_and_si256(lower[j], _mm256_set1_epi8(15));
        if most == 15 {
            return lower;
        }
        _mm256_or_si256(lower, _mm256_and_si256(upper[j], _mm256_set1_epi8((most & !15).cast_signed())))
    })
}

/// What the codes of a part are multiplied by.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn of_part<const FORM: u8>((head, block): (&[Line], &[Line]), part: usize, half: usize) -> [__m256; 2] {
    let form = const { Form::numbered(FORM) };
    if !form.has_factors() {
        return halves(&block[0], half);
    }
    let factors = eighths(&block[0], 2 * part + half).map(|x| match form.parts() {
        1 => _mm256_cvtepu8_epi32(x),
        _ => _mm256_cvtepi8_epi32(x),
    });
    product(halves(&head[0], half), factors)
}

/// What is added to the weights of a block.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn leasts<const FORM: u8>((head, block): (&[Line], &[Line]), half: usize) -> [__m256; 2] {
    let form = const { Form::numbered(FORM) };
    if !form.has_factors() {
        return halves(&block[1], half);
    }
    product(halves(&head[1], half), eighths(&block[0], 2 + half).map(|x| _mm256_cvtepu8_epi32(x)))
}

/// Numbers times integers, exact.
#[inline]
#[target_feature(enable = "avx2")]
fn product(x: [__m256; 2], factors: [__m256i; 2]) -> [__m256; 2] {
    let [a, b] = factors.map(|x| _mm256_cvtepi32_ps(x));
    [_mm256_mul_ps(x[0], a), _mm256_mul_ps(x[1], b)]
}

/// A line of codes.
#[inline]
#[target_feature(enable = "avx2")]
fn load(line: &Line) -> [__m256i; 2] {
    let (vectors, _) = line.0.as_chunks::<32>();
    // SAFETY: 32 bytes, aligned to as many.
    [0, 1].map(|j| unsafe { _mm256_load_si256((&raw const vectors[j]).cast()) })
}

/// The first or second sixteen numbers of a line.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn halves(line: &Line, half: usize) -> [__m256; 2] {
    let (vectors, _) = line.0.as_chunks::<16>();
    [0, 1].map(|j| {
        // SAFETY: sixteen bytes.
        let bits = unsafe { _mm_loadu_si128((&raw const vectors[2 * half + j]).cast()) };
        _mm256_cvtph_ps(bits)
    })
}

/// Sixteen bytes of a line, in the lower halves of vectors.
#[inline]
#[target_feature(enable = "avx2")]
fn eighths(line: &Line, which: usize) -> [__m128i; 2] {
    let (eighths, _) = line.0.as_chunks::<LANES>();
    // SAFETY: eight bytes.
    [0, 1].map(|j| unsafe { _mm_loadl_epi64((&raw const eighths[2 * which + j]).cast()) })
}

/// Four codes of x for all outputs.
///
/// # Safety
/// They may be read there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn four(codes: *const i8) -> __m256i {
    // SAFETY: the caller's word.
    _mm256_set1_epi32(unsafe { codes.cast::<i32>().read_unaligned() })
}
