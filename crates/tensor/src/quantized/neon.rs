//! The tile in 64-bit ARM's Advanced SIMD: with dot products an instruction multiplies and adds four codes of four outputs,
//! without them two multiply and add a code of each of eight, in 16 bits.
#![expect(unsafe_code, reason = "vector loads, reads of four codes, an instruction that has no function yet")]

use core::arch::aarch64::*;

use super::kernel::{ROWS_OF_NEON, ROWS_OF_NEON_DOT, begin, finish};
use super::layout::{GROUPS, Line, blocks};
use super::rounding::Rounded;
use super::rows::Rows;
use super::{COLS, Form, GROUP};
use crate::hints::call_for;
use crate::tile::Tile;

/// Outputs of a vector.
const LANES: usize = 4;
/// Vectors of half a panel, a line of codes.
const VECTORS: usize = COLS / 2 / LANES;

/// As [`super::kernel::tile`].
///
/// # Safety
/// The processor has dot products if `DOT`. C has 1 to [`ROWS_OF_NEON_DOT`] rows then, else 1 to [`ROWS_OF_NEON`], and up to 32
/// columns.
pub(super) unsafe fn tile<const DOT: bool>(
    form: Form,
    panel: &[Line],
    x: Rows<'_>,
    first: usize,
    fresh: bool,
    ahead: Option<usize>,
    c: &mut Tile<'_, f32>,
) {
    let tile = match form {
        Form::Q8_0 => by_rows::<DOT, { Form::Q8_0 as u8 }>,
        Form::Q4_0 => by_rows::<DOT, { Form::Q4_0 as u8 }>,
        Form::Q4_1 => by_rows::<DOT, { Form::Q4_1 as u8 }>,
        Form::Q5_0 => by_rows::<DOT, { Form::Q5_0 as u8 }>,
        Form::Q5_1 => by_rows::<DOT, { Form::Q5_1 as u8 }>,
        Form::Q4_K => by_rows::<DOT, { Form::Q4_K as u8 }>,
        Form::Q5_K => by_rows::<DOT, { Form::Q5_K as u8 }>,
        Form::Q6_K => by_rows::<DOT, { Form::Q6_K as u8 }>,
    };
    // SAFETY: the caller's word.
    unsafe { tile(panel, x, first, fresh, ahead, c) };
}

unsafe fn by_rows<const DOT: bool, const FORM: u8>(
    panel: &[Line],
    x: Rows<'_>,
    first: usize,
    fresh: bool,
    ahead: Option<usize>,
    c: &mut Tile<'_, f32>,
) {
    let tile = match (c.rows(), DOT) {
        (1, _) => rows::<1, DOT, FORM>,
        (2, _) | (_, false) => rows::<ROWS_OF_NEON, DOT, FORM>,
        (3, true) => rows::<3, DOT, FORM>,
        (_, true) => rows::<ROWS_OF_NEON_DOT, DOT, FORM>,
    };
    // SAFETY: the caller's word, and chosen by the rows of C.
    unsafe { tile(panel, x, first, fresh, ahead, c) };
}

/// # Safety
/// As [`tile`], with M rows.
#[target_feature(enable = "neon")]
unsafe fn rows<const M: usize, const DOT: bool, const FORM: u8>(
    panel: &[Line],
    x: Rows<'_>,
    first: usize,
    fresh: bool,
    ahead: Option<usize>,
    c: &mut Tile<'_, f32>,
) {
    let form = const { Form::numbered(FORM) };
    let mut sums = begin::<M>(fresh, c);
    for (x, lines) in x.blocks::<M>(first, 0).zip(blocks(form, panel)) {
        if let Some(ahead) = ahead {
            for line in lines.1 {
                call_for((&raw const *line).wrapping_add(ahead));
            }
        }
        for half in 0..2 {
            for part in 0..form.parts() {
                // SAFETY: the caller's word.
                let dots = unsafe { dots::<M, DOT, FORM>(lines.1, (half, part), x) };
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
#[target_feature(enable = "neon")]
fn add<const M: usize, const FORM: u8>(
    sums: &mut [[f32; COLS]; M],
    (half, part): (usize, usize),
    x: &[Rounded; M],
    dots: [[int32x4_t; VECTORS]; M],
    of_part: [float32x4_t; VECTORS],
    least: Option<[float32x4_t; VECTORS]>,
) {
    let form = const { Form::numbered(FORM) };
    for ((sums, mut dots), x) in sums.iter_mut().zip(dots).zip(x) {
        if form.is_narrow() && form.offset() > 0 {
            let start = vdupq_n_s32(x.starts[part]);
            dots = dots.map(|dot| vaddq_s32(dot, start));
        }
        let (vectors, _) = sums.as_chunks_mut::<LANES>();
        for (j, sum) in vectors[VECTORS * half..][..VECTORS].iter_mut().enumerate() {
            // SAFETY: four numbers.
            let old = unsafe { vld1q_f32(sum.as_ptr()) };
            let of_part = vmulq_n_f32(of_part[j], x.scale);
            let mut new = vfmaq_f32(old, vcvtq_f32_s32(dots[j]), of_part);
            if let Some(least) = least {
                new = vfmaq_n_f32(new, least[j], x.total);
            }
            // SAFETY: as above.
            unsafe { vst1q_f32(sum.as_mut_ptr(), new) };
        }
    }
}

/// Products of codes of four outputs.
#[derive(Clone, Copy)]
struct Products {
    /// Sums of each output.
    dots: int32x4_t,
    /// Without dot products: sums of each code of the first and last two outputs, not yet in `dots`.
    codes: [int16x8_t; 2],
}

impl Products {
    #[inline]
    #[target_feature(enable = "neon")]
    fn none() -> Self {
        Products { dots: vdupq_n_s32(0), codes: [vdupq_n_s16(0); 2] }
    }

    /// # Safety
    /// The processor has dot products if `DOT`.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn add<const DOT: bool>(&mut self, w: int8x16_t, x: int8x16_t) {
        if DOT {
            // The function for it is not stable (stdarch_neon_dotprod).
            // SAFETY: of registers alone; the processor has it, by the caller's word.
            unsafe {
                core::arch::asm!(
                    ".arch_extension dotprod",
                    "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
                    inout(vreg) self.dots, in(vreg) w, in(vreg) x,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
        } else {
            self.codes[0] = vmlal_s8(self.codes[0], vget_low_s8(w), vget_low_s8(x));
            self.codes[1] = vmlal_high_s8(self.codes[1], w, x);
        }
    }

    /// Takes sums of codes over to those of outputs.
    #[inline]
    #[target_feature(enable = "neon")]
    fn widen(&mut self) {
        let [a, b] = self.codes.map(|codes| vpaddlq_s16(codes));
        *self = Products { dots: vaddq_s32(self.dots, vpaddq_s32(a, b)), ..Products::none() };
    }
}

/// Groups of codes whose products add up in 16 bits.
const fn fitting(form: Form) -> usize {
    if form.is_narrow() { GROUPS / form.parts() } else { 2 }
}

const _: () = {
    let mut number = 0;
    while number < Form::ALL.len() {
        let form = Form::ALL[number];
        // Codes of 8 bits are multiplied less 128.
        let most = if form.is_narrow() { form.most() as usize } else { 128 };
        assert!(fitting(form) * most * 127 <= i16::MAX as usize, "sums that fit");
        number += 1;
    }
};

/// Codes of a part of a block times those of rows, of the first or second sixteen outputs.
///
/// # Safety
/// The processor has dot products if `DOT`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn dots<const M: usize, const DOT: bool, const FORM: u8>(
    block: &[Line],
    (half, part): (usize, usize),
    x: &[Rounded; M],
) -> [[int32x4_t; VECTORS]; M] {
    let form = const { Form::numbered(FORM) };
    let first_group = part * GROUPS / 2;
    let (first, shift) = form.codes_at(first_group);
    let mut products = [[Products::none(); VECTORS]; M];
    let mut add = |group: usize, w: [uint8x16_t; VECTORS]| {
        for (products, x) in products.iter_mut().zip(x) {
            // SAFETY: four of the codes.
            let x = unsafe { four(x.codes.as_ptr().wrapping_add(group * GROUP)) };
            for (products, w) in products.iter_mut().zip(w) {
                let w = vreinterpretq_s8_u8(w);
                // SAFETY: the caller's word.
                unsafe { products.add::<DOT>(w, x) };
                if !DOT && !form.is_narrow() && group % fitting(form) == fitting(form) - 1 {
                    products.widen();
                }
            }
        }
    };
    if form.is_narrow() {
        let mut upper = upper::<FORM>(block, part, half);
        for at in 0..GROUPS / 2 {
            let w = load(&block[first + 2 * at + half]);
            let lifted = upper.map(|upper| vshlq_n_u8::<4>(upper));
            if form.parts() == 1 {
                add(at, joined::<FORM>(w, lifted));
                add(at + GROUPS / 2, joined::<FORM>(w.map(|w| vshrq_n_u8::<4>(w)), upper));
            } else {
                let by = vdupq_n_s8(-(shift as i8));
                add(first_group + at, joined::<FORM>(w.map(|w| vshlq_u8(w, by)), lifted));
            }
            let next = if form.bits() == 5 { -1 } else { -2 };
            upper = upper.map(|upper| vshlq_u8(upper, vdupq_n_s8(next)));
        }
    } else {
        for group in 0..GROUPS {
            let w = load(&block[first + 2 * group + half]);
            add(group, w.map(|w| veorq_u8(w, vdupq_n_u8(128))));
        }
    }
    products.map(|products| {
        products.map(|mut products| {
            if !DOT && form.is_narrow() {
                products.widen();
            }
            products.dots
        })
    })
}

/// Upper bits of the codes of a part: those of its first group and, where it is the only part, of the fifth lowest.
#[inline]
#[target_feature(enable = "neon")]
fn upper<const FORM: u8>(block: &[Line], part: usize, half: usize) -> [uint8x16_t; VECTORS] {
    let form = const { Form::numbered(FORM) };
    match form.upper_at(part * GROUPS / 2) {
        Some((line, ..)) => load(&block[line + half]),
        None => [vdupq_n_u8(0); VECTORS],
    }
}

/// Codes of the lower 4 bits of bytes and of the bits of others above the fourth.
#[inline]
#[target_feature(enable = "neon")]
fn joined<const FORM: u8>(
    mut lower: [uint8x16_t; VECTORS],
    upper: [uint8x16_t; VECTORS],
) -> [uint8x16_t; VECTORS] {
    let most = const { Form::numbered(FORM).most() };
    for (lower, upper) in lower.iter_mut().zip(upper) {
        *lower = vandq_u8(*lower, vdupq_n_u8(15));
        if most > 15 {
            *lower = vorrq_u8(*lower, vandq_u8(upper, vdupq_n_u8(most & !15)));
        }
    }
    lower
}

/// What the codes of a part are multiplied by.
#[inline]
#[target_feature(enable = "neon")]
fn of_part<const FORM: u8>(
    (head, block): (&[Line], &[Line]),
    part: usize,
    half: usize,
) -> [float32x4_t; VECTORS] {
    let form = const { Form::numbered(FORM) };
    if !form.has_factors() {
        return halves(&block[0], half);
    }
    let bytes = load(&block[0])[2 * part + half];
    let factors = if form.parts() == 1 { unsigned(bytes) } else { signed(vreinterpretq_s8_u8(bytes)) };
    product(halves(&head[0], half), factors)
}

/// What is added to the weights of a block.
#[inline]
#[target_feature(enable = "neon")]
fn leasts<const FORM: u8>((head, block): (&[Line], &[Line]), half: usize) -> [float32x4_t; VECTORS] {
    let form = const { Form::numbered(FORM) };
    if !form.has_factors() {
        return halves(&block[1], half);
    }
    product(halves(&head[1], half), unsigned(load(&block[0])[2 + half]))
}

/// Numbers times integers, exact.
#[inline]
#[target_feature(enable = "neon")]
fn product(mut x: [float32x4_t; VECTORS], factors: [float32x4_t; VECTORS]) -> [float32x4_t; VECTORS] {
    for (x, factor) in x.iter_mut().zip(factors) {
        *x = vmulq_f32(*x, factor);
    }
    x
}

/// Sixteen bytes as numbers.
#[inline]
#[target_feature(enable = "neon")]
fn unsigned(bytes: uint8x16_t) -> [float32x4_t; VECTORS] {
    let [a, b] = [vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes)];
    [vmovl_u16(vget_low_u16(a)), vmovl_high_u16(a), vmovl_u16(vget_low_u16(b)), vmovl_high_u16(b)]
        .map(|x| vcvtq_f32_u32(x))
}

/// The same with signs.
#[inline]
#[target_feature(enable = "neon")]
fn signed(bytes: int8x16_t) -> [float32x4_t; VECTORS] {
    let [a, b] = [vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes)];
    [vmovl_s16(vget_low_s16(a)), vmovl_high_s16(a), vmovl_s16(vget_low_s16(b)), vmovl_high_s16(b)]
        .map(|x| vcvtq_f32_s32(x))
}

/// A line of codes.
#[inline]
#[target_feature(enable = "neon")]
fn load(line: &Line) -> [uint8x16_t; VECTORS] {
    let (vectors, _) = line.0.as_chunks::<16>();
    // SAFETY: sixteen bytes each.
    [0, 1, 2, 3].map(|j| unsafe { vld1q_u8(vectors[j].as_ptr()) })
}

/// The first or second sixteen numbers of a line.
#[inline]
#[target_feature(enable = "neon")]
fn halves(line: &Line, half: usize) -> [float32x4_t; VECTORS] {
    let (vectors, _) = line.0.as_chunks::<8>();
    [0, 1, 2, 3].map(|j| {
        // SAFETY: eight bytes.
        let bits = unsafe { vld1_u8(vectors[VECTORS * half + j].as_ptr()) };
        vcvt_f32_f16(vreinterpret_f16_u8(bits))
    })
}

/// Four codes of x for all outputs.
///
/// # Safety
/// They may be read there.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn four(codes: *const i8) -> int8x16_t {
    // SAFETY: the caller's word.
    let four = unsafe { codes.cast::<i32>().read_unaligned() };
    vreinterpretq_s8_s32(vdupq_n_s32(four))
}
