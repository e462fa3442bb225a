//! The tile in AVX-512 VNNI: an instruction multiplies and adds four codes of sixteen outputs each.
#![expect(unsafe_code, reason = "vector loads, masked loads and stores")]

use core::arch::x86_64::*;

use super::rows::Rows;
use super::{BLOCK, COLS, Form, GROUP, Line};
use crate::tile::Tile;

/// Outputs of a vector.
const LANES: usize = 16;

/// As [`super::kernel::tile`].
///
/// # Safety
/// The processor has AVX-512 F, BW and VNNI. C has 1 to 6 rows and up to 32 columns.
pub(super) unsafe fn tile(form: Form, lines: &[Line], x: Rows<'_>, first: usize, c: &mut Tile<'_, f32>) {
    let tile = match form {
        Form::Q8_0 => by_rows::<128, false, false>,
        Form::Q4_0 => by_rows::<8, true, false>,
        Form::Q4_1 => by_rows::<0, true, true>,
    };
    // SAFETY: the caller's word.
    unsafe { tile(form, lines, x, first, c) };
}

unsafe fn by_rows<const OFFSET: i32, const NARROW: bool, const LEAST: bool>(
    form: Form,
    lines: &[Line],
    x: Rows<'_>,
    first: usize,
    c: &mut Tile<'_, f32>,
) {
    let tile = match c.rows() {
        1 => rows::<1, OFFSET, NARROW, LEAST>,
        2 => rows::<2, OFFSET, NARROW, LEAST>,
        3 => rows::<3, OFFSET, NARROW, LEAST>,
        4 => rows::<4, OFFSET, NARROW, LEAST>,
        5 => rows::<5, OFFSET, NARROW, LEAST>,
        _ => rows::<6, OFFSET, NARROW, LEAST>,
    };
    // SAFETY: the caller's word, and chosen by the rows of C.
    unsafe { tile(form, lines, x, first, c) };
}

/// # Safety
/// As [`tile`], with M rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn rows<const M: usize, const OFFSET: i32, const NARROW: bool, const LEAST: bool>(
    form: Form,
    lines: &[Line],
    x: Rows<'_>,
    first: usize,
    c: &mut Tile<'_, f32>,
) {
    let cols = c.cols();
    let masks: [__mmask16; 2] = [lanes(cols), lanes(cols.saturating_sub(LANES))];
    let (out, step) = (c.start(), c.row_step());
    let codes: [&[i8]; M] = std::array::from_fn(|i| x.codes(first + i));
    let scales: [&[f32]; M] = std::array::from_fn(|i| x.scales(first + i));
    let totals: [&[i32]; M] = std::array::from_fn(|i| x.sums(first + i));
    let mut sums = [[_mm512_setzero_ps(); 2]; M];
    for (i, row) in sums.iter_mut().enumerate() {
        for (j, sum) in row.iter_mut().enumerate() {
            // SAFETY: the lanes beyond the columns are masked.
            *sum = unsafe { _mm512_maskz_loadu_ps(masks[j], out.wrapping_add(i * step + j * LANES)) };
        }
    }
    let low = _mm512_set1_epi8(15);
    let blocks = lines.len() / form.lines();
    // What the reads of codes below rely on.
    assert!(codes.iter().all(|codes| codes.len() == blocks * BLOCK), "rows of {blocks} blocks");
    for (b, block) in lines.chunks_exact(form.lines()).enumerate() {
        let mut dots = [[_mm512_setzero_si512(); 2]; M];
        if OFFSET > 0 {
            for (dots, totals) in dots.iter_mut().zip(totals) {
                *dots = [_mm512_set1_epi32(-OFFSET * totals[b]); 2];
            }
        }
        let of_codes = &block[1 + usize::from(LEAST)..];
        for (group, pair) in of_codes.as_chunks::<2>().0.iter().enumerate() {
            let w = [load(&pair[0]), load(&pair[1])];
            let mut add = |group: usize, w: [__m512i; 2]| {
                for (dots, codes) in dots.iter_mut().zip(codes) {
                    // SAFETY: four of the codes of block b.
                    let x = unsafe { four(codes.as_ptr().wrapping_add(b * BLOCK + group * GROUP)) };
                    for (dot, w) in dots.iter_mut().zip(w) {
                        *dot = _mm512_dpbusd_epi32(*dot, w, x);
                    }
                }
            };
            if NARROW {
                add(group, w.map(|w| _mm512_and_si512(w, low)));
                let upper = w.map(|w| _mm512_and_si512(_mm512_srli_epi16::<4>(w), low));
                add(group + BLOCK / GROUP / 2, upper);
            } else {
                add(group, w);
            }
        }
        let of_block = halves(&block[0]);
        for ((sums, dots), scales) in sums.iter_mut().zip(dots).zip(scales) {
            let scale = _mm512_set1_ps(scales[b]);
            for ((sum, dot), of_block) in sums.iter_mut().zip(dots).zip(of_block) {
                *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_mul_ps(scale, of_block), *sum);
            }
        }
        if LEAST {
            let least = halves(&block[1]);
            for ((sums, totals), scales) in sums.iter_mut().zip(totals).zip(scales) {
                let total = _mm512_set1_ps(scales[b] * totals[b] as f32);
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

/// The first `count` lanes, or all.
fn lanes(count: usize) -> __mmask16 {
    ((1_u32 << count.min(LANES)) - 1) as u16
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
