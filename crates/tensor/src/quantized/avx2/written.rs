//! Blocks written out for many rows: a byte a code, scales and leasts in f32. So not every group of rows takes them apart
//! anew, which in forms of 5 and 6 bits, or with factors, is a third of the work.

use core::arch::x86_64::*;
use std::hint::black_box;

use super::super::kernel::{ROWS_OF_AVX2 as ROWS, begin, finish};
use super::super::layout::{self, GROUPS, Line};
use super::super::rounding::Rounded;
use super::super::rows::Rows;
use super::super::{Form, GROUP};
use super::{add, fitting, four, leasts, load, of_part, widen};
use crate::Isa;
use crate::hints::call_for;
use crate::isa::Kind;
use crate::tile::Tile;

/// Lines of the codes of a block: those of the groups of its first sixteen outputs, then of the others.
const CODES: usize = 2 * GROUPS;

/// Writes blocks of a form out, and multiplies them: a proof that the processor has AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Writer {
    form: Form,
}

impl Writer {
    /// Where it is worth it: codes of 4 bits with one scale a block are taken apart as fast as they are written out, and VNNI,
    /// which adds without help, leaves time for it.
    pub(in super::super) fn of(isa: Isa, form: Form) -> Option<Writer> {
        let costly = form.is_narrow() && (form.bits() > 4 || form.has_factors());
        (matches!(isa.kind(), Kind::Avx2 | Kind::Avx512) && costly).then_some(Writer { form })
    }

    /// Lines of a block.
    pub(in super::super) fn lines(self) -> usize {
        lines(self.form)
    }

    /// Writes blocks `first..` of a panel out, as many as there is room for.
    pub(in super::super) fn write(self, panel: &[Line], first: usize, to: &mut [Line]) {
        let write = match self.form {
            Form::Q5_0 => write::<{ Form::Q5_0 as u8 }>,
            Form::Q5_1 => write::<{ Form::Q5_1 as u8 }>,
            Form::Q4_K => write::<{ Form::Q4_K as u8 }>,
            Form::Q5_K => write::<{ Form::Q5_K as u8 }>,
            Form::Q6_K => write::<{ Form::Q6_K as u8 }>,
            form => unreachable!("blocks of {form:?} are not written out"),
        };
        // SAFETY: a writer is only made of an `Isa` that proves the features.
        unsafe { write(panel, first, to) };
    }

    /// Adds to C, of up to 4 rows and 32 columns, the products of rows `first..` of x, from block `from` on, with blocks that
    /// are written out, or sets C to them if it is `fresh`; and calls meanwhile for the lines `ahead`.
    ///
    /// # Panics
    /// On shapes that do not fit.
    pub(in super::super) fn tile(
        self,
        written: &[Line],
        x: Rows<'_>,
        (first, from): (usize, usize),
        fresh: bool,
        ahead: &[Line],
        c: &mut Tile<'_, f32>,
    ) {
        let tile = match self.form {
            Form::Q5_0 => by_rows::<{ Form::Q5_0 as u8 }>(c.rows()),
            Form::Q5_1 => by_rows::<{ Form::Q5_1 as u8 }>(c.rows()),
            Form::Q4_K => by_rows::<{ Form::Q4_K as u8 }>(c.rows()),
            Form::Q5_K => by_rows::<{ Form::Q5_K as u8 }>(c.rows()),
            Form::Q6_K => by_rows::<{ Form::Q6_K as u8 }>(c.rows()),
            form => unreachable!("blocks of {form:?} are not written out"),
        };
        // SAFETY: as above.
        unsafe { tile(written, x, (first, from), fresh, ahead, c) };
    }
}

const fn lines(form: Form) -> usize {
    CODES + 2 * form.parts() + 2 * form.has_least() as usize
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn write<const FORM: u8>(panel: &[Line], first: usize, to: &mut [Line]) {
    let form = const { Form::numbered(FORM) };
    for (b, to) in to.chunks_exact_mut(lines(form)).enumerate() {
        let from = layout::block(form, panel, first + b);
        let (to, rest) = to.split_at_mut(CODES);
        for half in 0..2 {
            for group in 0..GROUPS {
                store(&mut to[half * GROUPS + group], group_codes::<FORM>(from.1, (half, group)));
            }
            for part in 0..form.parts() {
                store(&mut rest[2 * part + half], bits(of_part::<FORM>(from, part, half)));
            }
            if form.has_least() {
                store(&mut rest[2 + half], bits(leasts::<FORM>(from, half)));
            }
        }
    }
}

/// The codes of a group of sixteen outputs.
#[inline]
#[target_feature(enable = "avx2")]
fn group_codes<const FORM: u8>(block: &[Line], (half, group): (usize, usize)) -> [__m256i; 2] {
    let form = const { Form::numbered(FORM) };
    let by = |bits: usize| _mm_cvtsi32_si128(bits as i32);
    let (line, shift) = form.codes_at(group);
    let lower = load(&block[line + half])
        .map(|codes| _mm256_and_si256(_mm256_srl_epi16(codes, by(shift)), _mm256_set1_epi8(15)));
    let Some((line, shift, mask)) = form.upper_at(group) else { return lower };
    let upper = load(&block[line + half]).map(|upper| {
        let upper = if shift < 4 {
            _mm256_sll_epi16(upper, by(4 - shift))
        } else {
            _mm256_srl_epi16(upper, by(shift - 4))
        };
        _mm256_and_si256(upper, _mm256_set1_epi8((mask << 4).cast_signed()))
    });
    [0, 1].map(|j| _mm256_or_si256(lower[j], upper[j]))
}

type OfRows = unsafe fn(&[Line], Rows<'_>, (usize, usize), bool, &[Line], &mut Tile<'_, f32>);

fn by_rows<const FORM: u8>(count: usize) -> OfRows {
    match count {
        1 => rows::<1, FORM>,
        2 => rows::<2, FORM>,
        3 => rows::<3, FORM>,
        ROWS => rows::<ROWS, FORM>,
        _ => panic!("a tile of {count} rows"),
    }
}

/// # Safety
/// The processor has AVX2, FMA and F16C. C has M rows.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn rows<const M: usize, const FORM: u8>(
    written: &[Line],
    x: Rows<'_>,
    (first, from): (usize, usize),
    fresh: bool,
    ahead: &[Line],
    c: &mut Tile<'_, f32>,
) {
    let form = const { Form::numbered(FORM) };
    let mut sums = begin::<M>(fresh, c);
    let blocks = written.chunks_exact(lines(form));
    let mut ahead = ahead.chunks(ahead.len().div_ceil(blocks.len()).max(1));
    // The compiler is not told that these are the two halves of a panel, nor that x is the same for both: it would compute
    // them side by side, for which registers do not suffice.
    let halves = black_box(2);
    for (x, block) in x.blocks::<M>(first, from).zip(blocks) {
        for line in ahead.next().unwrap_or_default() {
            call_for(line);
        }
        let (codes, rest) = block.split_at(CODES);
        for half in 0..halves {
            let x = black_box(x);
            for part in 0..form.parts() {
                let dots = dots::<M, FORM>(&codes[half * GROUPS..][..GROUPS], part, x);
                let of_part = numbers(&rest[2 * part + half]);
                let least = form.has_least().then(|| numbers(&rest[2 + half]));
                add::<M, FORM>(&mut sums, (half, part), x, dots, of_part, least);
            }
        }
    }
    finish(&sums, c);
}

/// As [`super::dots`], of sixteen outputs.
#[inline]
#[target_feature(enable = "avx2")]
fn dots<const M: usize, const FORM: u8>(codes: &[Line], part: usize, x: &[Rounded; M]) -> [[__m256i; 2]; M] {
    let form = const { Form::numbered(FORM) };
    let groups = GROUPS / form.parts();
    // Groups whose sums of pairs fit in 16 bits.
    let fit = fitting(form) * 2 / form.parts();
    let mut dots = [[_mm256_setzero_si256(); 2]; M];
    for begin in (part * groups..(part + 1) * groups).step_by(fit) {
        let mut pairs = [[_mm256_setzero_si256(); 2]; M];
        for (group, w) in codes.iter().enumerate().skip(begin).take(fit) {
            let w = load(w);
            for (pairs, x) in pairs.iter_mut().zip(x) {
                // SAFETY: four of the codes.
                let x = unsafe { four(x.codes.as_ptr().wrapping_add(group * GROUP)) };
                for (pair, w) in pairs.iter_mut().zip(w) {
                    *pair = _mm256_add_epi16(*pair, _mm256_maddubs_epi16(w, x));
                }
            }
        }
        widen(&mut dots, pairs);
    }
    dots
}

/// Sixteen numbers.
#[inline]
#[target_feature(enable = "avx2")]
fn numbers(line: &Line) -> [__m256; 2] {
    load(line).map(|x| _mm256_castsi256_ps(x))
}

#[inline]
#[target_feature(enable = "avx2")]
fn bits(x: [__m256; 2]) -> [__m256i; 2] {
    x.map(|x| _mm256_castps_si256(x))
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(line: &mut Line, x: [__m256i; 2]) {
    let (vectors, _) = line.0.as_chunks_mut::<32>();
    for (to, x) in vectors.iter_mut().zip(x) {
        // SAFETY: 32 bytes, aligned to as many.
        unsafe { _mm256_store_si256((&raw mut *to).cast(), x) };
    }
}
