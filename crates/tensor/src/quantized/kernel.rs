//! Up to 6 rows by a panel of 32 outputs: the definition, in plain loops, and the choice of what computes it.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls functions compiled for detected features")
)]

use super::rows::Rows;
use super::{BLOCK, COLS, Form, GROUP, Line, Quantized};
use crate::isa::Isa;
#[cfg(target_arch = "x86_64")]
use crate::isa::Kind;
use crate::tile::Tile;

/// Most rows of a tile.
pub(super) const ROWS: usize = 6;

/// Adds to C, of up to 6 rows and 32 columns, the products of rows `first..` of x with panel `panel` of the weights.
///
/// # Panics
/// On shapes that do not fit.
pub(super) fn tile(isa: Isa, w: &Quantized, panel: usize, x: Rows<'_>, first: usize, c: &mut Tile<'_, f32>) {
    let lines = w.panel(panel);
    assert!(
        (1..=ROWS).contains(&c.rows()) && (1..=COLS).contains(&c.cols()),
        "a tile {}x{}",
        c.rows(),
        c.cols()
    );
    #[cfg(target_arch = "x86_64")]
    if isa.kind() >= Kind::Avx512Bf16 {
        // SAFETY: an `Isa` of this kind is only made after detecting the features.
        return unsafe { super::vnni::tile(w.form, lines, x, first, c) };
    }
    for row in 0..c.rows() {
        let (x, sums) = ((x.codes(first + row), x.scales(first + row), x.sums(first + row)), c.row_mut(row));
        #[cfg(target_arch = "x86_64")]
        if isa.kind() >= Kind::Avx2 {
            // SAFETY: as above.
            unsafe { add_row_avx2(w.form, lines, x, sums) };
            continue;
        }
        add_row(w.form, lines, x, sums);
    }
    let _ = isa;
}

/// [`add_row`] compiled for AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn add_row_avx2(form: Form, lines: &[Line], x: (&[i8], &[f32], &[i32]), sums: &mut [f32]) {
    add_row(form, lines, x, sums);
}

/// One row, block by block.
#[inline(always)]
fn add_row(form: Form, lines: &[Line], (codes, scales, totals): (&[i8], &[f32], &[i32]), sums: &mut [f32]) {
    let mut acc = [0.0_f32; COLS];
    acc[..sums.len()].copy_from_slice(sums);
    for (b, block) in lines.chunks_exact(form.lines()).enumerate() {
        let x: &[i8] = &codes[b * BLOCK..(b + 1) * BLOCK];
        let mut dots = [-form.offset() * totals[b]; COLS];
        let of_codes = &block[1 + usize::from(form.has_least())..];
        for (at, line) in of_codes.iter().enumerate() {
            let (group, first) = (at / 2, at % 2 * (COLS / 2));
            if form.is_narrow() {
                add_codes(&mut dots, first, line, &x[group * GROUP..], |code| code & 15);
                add_codes(&mut dots, first, line, &x[group * GROUP + BLOCK / 2..], |code| code >> 4);
            } else {
                add_codes(&mut dots, first, line, &x[group * GROUP..], |code| code);
            }
        }
        for (col, sum) in acc.iter_mut().enumerate() {
            *sum = (dots[col] as f32).mul_add(scales[b] * half(&block[0], col), *sum);
        }
        if form.has_least() {
            let total = scales[b] * totals[b] as f32;
            for (col, sum) in acc.iter_mut().enumerate() {
                *sum = total.mul_add(half(&block[1], col), *sum);
            }
        }
    }
    sums.copy_from_slice(&acc[..sums.len()]);
}

/// The products of four steps of k, of sixteen outputs from `first` on.
#[inline(always)]
fn add_codes(dots: &mut [i32; COLS], first: usize, line: &Line, x: &[i8], code: impl Fn(u8) -> u8) {
    let x = [x[0], x[1], x[2], x[3]].map(i32::from);
    for (dot, four) in dots[first..first + COLS / 2].iter_mut().zip(line.0.as_chunks::<GROUP>().0) {
        *dot += four.iter().zip(x).map(|(&w, x)| i32::from(code(w)) * x).sum::<i32>();
    }
}

/// The number of an output.
#[inline(always)]
fn half(line: &Line, col: usize) -> f32 {
    half::f16::from_bits(u16::from_le_bytes([line.0[2 * col], line.0[2 * col + 1]])).to_f32()
}
