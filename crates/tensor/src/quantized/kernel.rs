//! Up to 6 rows by a panel of 32 outputs: the definition, in plain loops, and the choice of what computes it.
#![cfg_attr(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    expect(unsafe_code, reason = "calls functions compiled for detected features")
)]

use super::layout::{self, GROUPS, Line};
use super::rows::Rows;
use super::{COLS, Form, GROUP, Quantized};
use crate::isa::Isa;
use crate::isa::Kind;
use crate::tile::Tile;

/// Most rows of any tile.
pub(super) const ROWS: usize = 6;

/// The same of AVX2, which has half the registers, of half the size.
pub(super) const ROWS_OF_AVX2: usize = 4;

/// The same of 64-bit ARM, which adds up in more registers where it has no dot products.
pub(super) const ROWS_OF_NEON: usize = 2;
/// With them.
pub(super) const ROWS_OF_NEON_DOT: usize = 4;

/// Most rows of a tile: as many as registers suffice for.
pub(super) fn most_rows(isa: Isa) -> usize {
    match isa.kind() {
        Kind::Avx2 | Kind::Avx512 => ROWS_OF_AVX2,
        Kind::Neon => ROWS_OF_NEON,
        Kind::NeonDot => ROWS_OF_NEON_DOT,
        _ => ROWS,
    }
}

/// Adds to C, of up to [`most_rows`] and 32 columns, the products of rows `first..` of x with panel `panel` of the weights,
/// or sets C to them if it is `fresh`; and calls meanwhile for what lies so many lines `ahead`.
///
/// # Panics
/// On shapes that do not fit.
pub(super) fn tile(
    isa: Isa,
    w: &Quantized,
    panel: usize,
    x: Rows<'_>,
    first: usize,
    fresh: bool,
    ahead: Option<usize>,
    c: &mut Tile<'_, f32>,
) {
    let lines = w.panel(panel);
    assert!(
        (1..=most_rows(isa)).contains(&c.rows()) && (1..=COLS).contains(&c.cols()),
        "a tile {}x{}",
        c.rows(),
        c.cols()
    );
    #[cfg(target_arch = "x86_64")]
    if isa.kind() >= Kind::Avx512Bf16 {
        // SAFETY: an `Isa` of this kind is only made after detecting the features.
        return unsafe { super::vnni::tile(w.form, lines, x, first, fresh, ahead, c) };
    }
    #[cfg(target_arch = "x86_64")]
    if isa.kind() >= Kind::Avx2 {
        // SAFETY: as above.
        return unsafe { super::avx2::tile(w.form, lines, x, first, fresh, ahead, c) };
    }
    #[cfg(target_arch = "aarch64")]
    if isa.kind() >= Kind::Neon {
        let tile =
            if isa.kind() == Kind::NeonDot { super::neon::tile::<true> } else { super::neon::tile::<false> };
        // SAFETY: as above.
        return unsafe { tile(w.form, lines, x, first, fresh, ahead, c) };
    }
    let add_row = match w.form {
        Form::Q8_0 => add_row::<{ Form::Q8_0 as u8 }>,
        Form::Q4_0 => add_row::<{ Form::Q4_0 as u8 }>,
        Form::Q4_1 => add_row::<{ Form::Q4_1 as u8 }>,
        Form::Q5_0 => add_row::<{ Form::Q5_0 as u8 }>,
        Form::Q5_1 => add_row::<{ Form::Q5_1 as u8 }>,
        Form::Q4_K => add_row::<{ Form::Q4_K as u8 }>,
        Form::Q5_K => add_row::<{ Form::Q5_K as u8 }>,
        Form::Q6_K => add_row::<{ Form::Q6_K as u8 }>,
    };
    for row in 0..c.rows() {
        if fresh {
            c.row_mut(row).fill(0.0);
        }
        add_row(lines, x, first + row, c.row_mut(row));
    }
    let _ = (isa, ahead);
}

/// One row, block by block.
fn add_row<const FORM: u8>(panel: &[Line], x: Rows<'_>, row: usize, sums: &mut [f32]) {
    let form = const { Form::numbered(FORM) };
    let groups = GROUPS / form.parts();
    let mut acc = [0.0_f32; COLS];
    acc[..sums.len()].copy_from_slice(sums);
    for ([x], lines) in x.blocks(row, 0).zip(layout::blocks(form, panel)) {
        for part in 0..form.parts() {
            let mut dots = [x.starts[part]; COLS];
            for (group, x) in
                x.codes.as_chunks::<GROUP>().0.iter().enumerate().skip(part * groups).take(groups)
            {
                for (half, dots) in dots.as_chunks_mut().0.iter_mut().enumerate() {
                    add_codes(dots, &layout::codes(form, lines.1, group, half), x.map(i32::from));
                }
            }
            for (col, sum) in acc.iter_mut().enumerate() {
                *sum = (dots[col] as f32).mul_add(x.scale * layout::scale(form, lines, part, col), *sum);
            }
        }
        if form.has_least() {
            for (col, sum) in acc.iter_mut().enumerate() {
                *sum = x.total.mul_add(layout::least(form, lines, col), *sum);
            }
        }
    }
    sums.copy_from_slice(&acc[..sums.len()]);
}

/// The products of four steps of k, of sixteen outputs.
#[inline(always)]
fn add_codes(dots: &mut [i32; COLS / 2], w: &[u8; COLS / 2 * GROUP], x: [i32; GROUP]) {
    for (dot, four) in dots.iter_mut().zip(w.as_chunks::<GROUP>().0) {
        *dot += four.iter().zip(x).map(|(&w, x)| i32::from(w) * x).sum::<i32>();
    }
}

/// What the sums of M rows begin with.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
pub(super) fn begin<const M: usize>(fresh: bool, c: &mut Tile<'_, f32>) -> [[f32; COLS]; M] {
    let mut all = [[0.0; COLS]; M];
    for (i, sums) in all.iter_mut().enumerate().filter(|_| !fresh) {
        let row = &*c.row_mut(i);
        match row.first_chunk() {
            Some(whole) => *sums = *whole,
            None => sums[..row.len()].copy_from_slice(row),
        }
    }
    all
}

/// Puts them into C.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
pub(super) fn finish<const M: usize>(all: &[[f32; COLS]; M], c: &mut Tile<'_, f32>) {
    for (i, sums) in all.iter().enumerate() {
        let row = c.row_mut(i);
        match row.first_chunk_mut() {
            Some(whole) => *whole = *sums,
            None => row.copy_from_slice(&sums[..row.len()]),
        }
    }
}
