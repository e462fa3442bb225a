//! The tile in AVX-512 VNNI: an instruction multiplies and adds four codes of sixteen outputs each.
#![expect(unsafe_code, reason = "vector loads, masked loads and stores")]

use core::arch::x86_64::*;
use std::hint::black_box;

use super::layout::{GROUPS, Line, blocks};
use super::rows::Rows;
use super::{COLS, Form, GROUP};
use crate::hints::call_for;
use crate::tile::Tile;

/// Outputs of a vector.
const LANES: usize = 16;

/// As [`super::kernel::tile`].
///
/// # Safety
/// The processor has AVX-512 F, BW and VNNI. C has 1 to 6 rows and up to 32 columns.
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
        4 => rows::<4, FORM>,
        5 => rows::<5, FORM>,
        _ => rows::<6, FORM>,
    };
    // SAFETY: the caller's word, and chosen by the rows of C.
    unsafe { tile(panel, x, first, fresh, ahead, c) };
}

/// # Safety
/// As [`tile`], with M rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn rows<const M: usize, const FORM: u8>(
    panel: &[Line],
    x: Rows<'_>,
    first: usize,
    fresh: bool,
    ahead: Option<usize>,
    c: &mut Tile<'_, f32>,
) {
    let form = const { Form::numbered(FORM) };
    let cols = c.cols();
    let masks: [__mmask16; 2] = [lanes(cols), lanes(cols.saturating_sub(LANES))];
    let (out, step) = (c.start(), c.row_step());
    let mut sums = [[_mm512_setzero_ps(); 2]; M];
    for (i, row) in sums.iter_mut().enumerate().filter(|_| !fresh) {
        for (j, sum) in row.iter_mut().enumerate() {
            // SAFETY: the lanes beyond the columns are masked.
            *sum = unsafe { _mm512_maskz_loadu_ps(masks[j], out.wrapping_add(i * step + j * LANES)) };
        }
    }
    // Lines of codes that are read for a part. In a loop of known length the compiler would move the steps of a row so far
    // apart that registers did not suffice.
    let steps = black_box(if form.is_narrow() { GROUPS } else { 2 * GROUPS });
    for (x, lines) in x.blocks::<M>(first, 0).zip(blocks(form, panel)) {
        if let Some(ahead) = ahead {
            for line in lines.1 {
                call_for((&raw const *line).wrapping_add(ahead));
            }
        }
        for part in 0..form.parts() {
            let mut dots = [[_mm512_setzero_si512(); 2]; M];
            if form.offset() > 0 {
                for (dots, x) in dots.iter_mut().zip(x) {
                    *dots = [_mm512_set1_epi32(x.starts[part]); 2];
                }
            }
            let mut upper = upper::<FORM>(lines.1, part);
            let (line, shift) = form.codes_at(part * GROUPS / 2);
            for (at, pair) in lines.1[line..line + steps].as_chunks::<2>().0.iter().enumerate() {
                let mut add = |group: usize, w: [__m512i; 2]| {
                    for (dots, x) in dots.iter_mut().zip(x) {
                        // SAFETY: four of the codes.
                        let x = unsafe { four(x.codes.as_ptr().wrapping_add(group * GROUP)) };
                        for (dot, w) in dots.iter_mut().zip(w) {
                            *dot = _mm512_dpbusd_epi32(*dot, w, x);
                        }
                    }
                };
                let w = [load(&pair[0]), load(&pair[1])];
                if !form.is_narrow() {
                    add(at, w);
                    continue;
                }
                let lifted = upper.map(|upper| _mm512_slli_epi16::<4>(upper));
                if form.parts() == 1 {
                    add(at, joined::<FORM>(w, lifted));
                    add(at + GROUPS / 2, joined::<FORM>(w.map(|w| _mm512_srli_epi16::<4>(w)), upper));
                } else {
                    let by = _mm_cvtsi32_si128(shift as i32);
                    add(part * GROUPS / 2 + at, joined::<FORM>(w.map(|w| _mm512_srl_epi16(w, by)), lifted));
                }
                upper = upper.map(|upper| {
                    if form.bits() == 5 {
                        _mm512_srli_epi16::<1>(upper)
                    } else {
                        _mm512_srli_epi16::<2>(upper)
                    }
                });
            }
            let of_part = of_part::<FORM>(lines, part);
            for ((sums, dots), x) in sums.iter_mut().zip(dots).zip(x) {
                let scale = _mm512_set1_ps(x.scale);
                for ((sum, dot), of_part) in sums.iter_mut().zip(dots).zip(of_part) {
                    *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_mul_ps(scale, of_part), *sum);
                }
            }
        }
        if form.has_least() {
            let least = leasts::<FORM>(lines);
            for (sums, x) in sums.iter_mut().zip(x) {
                let total = _mm512_set1_ps(x.total);
                for (sum, least) in sums.iter_mut().zip(least) {
                    *sum = _mm512_fmadd_ps(total, least, *sum);
                }
            }
        }
    }
    for (i, row) in sums.into_iter().enumerate() {
        for (j, sum) in row.into_iter().enumerate() {
            // SAFETY: as when they were read.
            unsafe { _mm512_mask_storeu_ps(out.wrapping_add(i * step + j * LANES), masks[j], sum) };
        }
    }
}

/// Upper bits of the codes of a part: those of its first group and, where it is the only part, of the fifth lowest.
#[inline]
#[target_feature(enable = "avx512f")]
fn upper<const FORM: u8>(block: &[Line], part: usize) -> [__m512i; 2] {
    let form = const { Form::numbered(FORM) };
    match form.upper_at(part * GROUPS / 2) {
        Some((line, ..)) => [load(&block[line]), load(&block[line + 1])],
        None => [_mm512_setzero_si512(); 2],
    }
}

/// Codes of the lower 4 bits of bytes and of the bits of others above the fourth.
#[inline]
#[target_feature(enable = "avx512f")]
fn joined<const FORM: u8>(lower: [__m512i; 2], upper: [__m512i; 2]) -> [__m512i; 2] {
    let most = const { Form::numbered(FORM).most() };
    [0, 1].map(|j| {
        let lower = _mm512_and_si512(lower[j], _mm512_set1_epi8(15));
        if most == 15 {
            return lower;
        }
        _mm512_or_si512(lower, _mm512_and_si512(upper[j], _mm512_set1_epi8((most & !15).cast_signed())))
    })
}

/// The first `count` lanes, or all.
fn lanes(count: usize) -> __mmask16 {
    ((1_u32 << count.min(LANES)) - 1) as u16
}

/// What the codes of a part are multiplied by.
#[inline]
#[target_feature(enable = "avx512f")]
fn of_part<const FORM: u8>((head, block): (&[Line], &[Line]), part: usize) -> [__m512; 2] {
    let form = const { Form::numbered(FORM) };
    if !form.has_factors() {
        return halves(&block[0]);
    }
    let factors = quarters(&block[0], part).map(|x| match form.parts() {
        1 => _mm512_cvtepu8_epi32(x),
        _ => _mm512_cvtepi8_epi32(x),
    });
    product(halves(&head[0]), factors)
}

/// What is added to the weights of a block.
#[inline]
#[target_feature(enable = "avx512f")]
fn leasts<const FORM: u8>((head, block): (&[Line], &[Line])) -> [__m512; 2] {
    let form = const { Form::numbered(FORM) };
    if !form.has_factors() {
        return halves(&block[1]);
    }
    product(halves(&head[1]), quarters(&block[0], 1).map(|x| _mm512_cvtepu8_epi32(x)))
}

/// Numbers times integers, exact.
#[inline]
#[target_feature(enable = "avx512f")]
fn product(x: [__m512; 2], factors: [__m512i; 2]) -> [__m512; 2] {
    let [a, b] = factors.map(|x| _mm512_cvtepi32_ps(x));
    [_mm512_mul_ps(x[0], a), _mm512_mul_ps(x[1], b)]
}

/// A line of codes.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(line: &Line) -> __m512i {
    // SAFETY: 64 bytes, aligned to as many.
    unsafe { _mm512_load_si512((&raw const line.0).cast()) }
}

/// The 32 numbers of a line.
#[inline]
#[target_feature(enable = "avx512f")]
fn halves(line: &Line) -> [__m512; 2] {
    const { assert!(COLS == 2 * LANES) };
    let bits = load(line);
    [_mm512_castsi512_si256(bits), _mm512_extracti64x4_epi64::<1>(bits)].map(|half| _mm512_cvtph_ps(half))
}

/// The first or second 32 bytes of a line.
#[inline]
#[target_feature(enable = "avx512f")]
fn quarters(line: &Line, which: usize) -> [__m128i; 2] {
    let (quarters, _) = line.0.as_chunks::<LANES>();
    // SAFETY: sixteen bytes.
    [0, 1].map(|j| unsafe { _mm_loadu_si128((&raw const quarters[2 * which + j]).cast()) })
}

/// Four codes of x for all outputs.
///
/// # Safety
/// They may be read there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn four(codes: *const i8) -> __m512i {
    // SAFETY: the caller's word.
    _mm512_set1_epi32(unsafe { codes.cast::<i32>().read_unaligned() })
}
