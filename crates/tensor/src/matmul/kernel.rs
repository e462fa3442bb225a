//! The register tile: up to 12 rows by 32 columns of C, held in vector registers over the k loop.
//!
//! Operands are read where they lie: the left one with any strides, the right one with rows of adjacent elements. So a
//! product packs an operand only where its layout would make the caches or the address translation the bottleneck.
#![expect(unsafe_code, reason = "reads strided operands without a bounds check an element")]

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod register;

use super::panel::Panel;
use ndarray::{Array2, ArrayView2, ArrayViewMut2};

use super::product::{Epilogue, product, product_then};
use super::{row, turn};
use crate::isa::{Isa, dispatch};
use crate::rmsnorm::{self, Norm};
use crate::tile::{Panels, Strided, Tile};
use crate::{Context, Init, Quantized, Real, quantized, swiglu};

/// Rows of a full register tile.
pub(crate) const ROWS: usize = 12;
/// Columns of a full register tile: two vectors of AVX-512.
pub(crate) const COLS: usize = 32;

/// What each number type has of its own.
pub(crate) trait Kernel: bytemuck::Pod {
    /// What products make of operands where bf16 is asked for.
    type Half: Panel<Self>
    where
        Self: Real;

    /// C = init + A·B for a row of register tiles. Shapes have been checked.
    fn tiles(
        isa: Isa,
        init: Init<'_, Self>,
        a: Strided<'_, Self>,
        b: Panels<'_, Self, COLS>,
        c: &mut Tile<'_, Self>,
    );

    /// Turns rows of adjacent elements into columns, `stride` apart. The lengths have been checked.
    fn turn(isa: Isa, from: Strided<'_, Self>, out: &mut [Self], stride: usize);

    /// Adds to each sum the products of a row of `b`, adjacent elements, with those of `a`. Shapes have been checked.
    fn across(isa: Isa, a: Strided<'_, Self>, b: Strided<'_, Self>, sums: &mut [Self]);

    /// C = init + A·Wᵀ over quantized weights, with the rows of A normalized first if told. Shapes have been checked.
    #[track_caller]
    fn multiply_quantized(
        cx: &mut Context<Self>,
        c: ArrayViewMut2<'_, Self>,
        init: Init<'_, Self>,
        a: (ArrayView2<'_, Self>, Option<Norm<'_, Self>>),
        w: &Quantized,
        beside: Option<ArrayViewMut2<'_, Self>>,
        then: impl Epilogue<Self>,
    ) where
        Self: Real;

    /// out = swiglu(norm(x)·W₁ᵀ)·W₂ᵀ over quantized weights. Shapes have been checked.
    #[track_caller]
    fn gated_quantized(
        cx: &mut Context<Self>,
        out: ArrayViewMut2<'_, Self>,
        x: ArrayView2<'_, Self>,
        norm: Norm<'_, Self>,
        weights: [&Quantized; 2],
        then: impl Epilogue<Self>,
    ) where
        Self: Real;
}

impl Kernel for f32 {
    type Half = super::panel::Half;

    #[inline]
    fn tiles(
        isa: Isa,
        init: Init<'_, f32>,
        a: Strided<'_, f32>,
        b: Panels<'_, f32, COLS>,
        c: &mut Tile<'_, f32>,
    ) {
        let ahead = b.ahead();
        by_panels(init, a, b, c, |init, a, b, c| {
            #[cfg(target_arch = "x86_64")]
            if isa.kind() >= crate::isa::Kind::Avx512 {
                // SAFETY: an `Isa` of this kind is only made after detecting the features; the shapes fit, as the caller
                // of this function has checked.
                return unsafe { avx512::full::tile(init, a, b, c, ahead) };
            }
            #[cfg(target_arch = "x86_64")]
            if isa.kind() >= crate::isa::Kind::Avx2 {
                // SAFETY: as above.
                return unsafe { avx2::tile(init, a, b, c, ahead) };
            }
            #[cfg(target_arch = "aarch64")]
            if isa.kind() >= crate::isa::Kind::Neon {
                // SAFETY: as above.
                return unsafe { neon::tile(init, a, b, c, ahead) };
            }
            let _ = ahead;
            subtiles(isa, init, a, b, c);
        });
    }

    #[inline]
    fn turn(isa: Isa, from: Strided<'_, f32>, out: &mut [f32], stride: usize) {
        #[cfg(target_arch = "x86_64")]
        if isa.kind() >= crate::isa::Kind::Avx512 {
            // SAFETY: as above.
            return unsafe { turn::turn_avx512(from, out, stride) };
        }
        #[cfg(target_arch = "x86_64")]
        if isa.kind() >= crate::isa::Kind::Avx2 {
            // SAFETY: as above.
            return unsafe { turn::turn_avx2(from, out, stride) };
        }
        turn::turn_plainly(isa, from, out, stride);
    }

    #[inline]
    fn across(isa: Isa, a: Strided<'_, f32>, b: Strided<'_, f32>, sums: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if isa.kind() >= crate::isa::Kind::Avx512 {
            // SAFETY: as above.
            return unsafe { row::across_avx512(a, b, sums) };
        }
        #[cfg(target_arch = "x86_64")]
        if isa.kind() >= crate::isa::Kind::Avx2 {
            // SAFETY: as above.
            return unsafe { row::across_avx2(a, b, sums) };
        }
        row::across_plainly(isa, a, b, sums);
    }

    #[track_caller]
    fn multiply_quantized(
        cx: &mut Context<f32>,
        c: ArrayViewMut2<'_, f32>,
        init: Init<'_, f32>,
        (a, norm): (ArrayView2<'_, f32>, Option<Norm<'_, f32>>),
        w: &Quantized,
        beside: Option<ArrayViewMut2<'_, f32>>,
        then: impl Epilogue<f32>,
    ) {
        quantized::multiply(cx, c, init, (a.into(), norm), w, beside, &then);
    }

    #[track_caller]
    fn gated_quantized(
        cx: &mut Context<f32>,
        out: ArrayViewMut2<'_, f32>,
        x: ArrayView2<'_, f32>,
        norm: Norm<'_, f32>,
        weights: [&Quantized; 2],
        then: impl Epilogue<f32>,
    ) {
        quantized::gated(cx, out, x.into(), norm, weights, &then);
    }
}

impl Kernel for f64 {
    /// The oracle of gradient checks stays as it is.
    type Half = super::panel::Full;

    #[inline]
    fn tiles(
        isa: Isa,
        init: Init<'_, f64>,
        a: Strided<'_, f64>,
        b: Panels<'_, f64, COLS>,
        c: &mut Tile<'_, f64>,
    ) {
        by_panels(init, a, b, c, |init, a, b, c| subtiles(isa, init, a, b, c));
    }

    #[inline]
    fn turn(isa: Isa, from: Strided<'_, f64>, out: &mut [f64], stride: usize) {
        turn::turn_plainly(isa, from, out, stride);
    }

    #[inline]
    fn across(isa: Isa, a: Strided<'_, f64>, b: Strided<'_, f64>, sums: &mut [f64]) {
        row::across_plainly(isa, a, b, sums);
    }

    /// As an oracle: by the weights that the codes stand for, with nothing rounded.
    #[track_caller]
    fn multiply_quantized(
        cx: &mut Context<f64>,
        c: ArrayViewMut2<'_, f64>,
        init: Init<'_, f64>,
        (a, norm): (ArrayView2<'_, f64>, Option<Norm<'_, f64>>),
        w: &Quantized,
        beside: Option<ArrayViewMut2<'_, f64>>,
        then: impl Epilogue<f64>,
    ) {
        let weights = w.weights().mapv(f64::from);
        let a = norm.map_or_else(|| a.to_owned(), |norm| normed(cx, a, norm));
        product_then(cx, c, init, a.view(), weights.t(), beside, then);
    }

    /// As above.
    #[track_caller]
    fn gated_quantized(
        cx: &mut Context<f64>,
        out: ArrayViewMut2<'_, f64>,
        x: ArrayView2<'_, f64>,
        norm: Norm<'_, f64>,
        weights: [&Quantized; 2],
        then: impl Epilogue<f64>,
    ) {
        let [gate_up, down] = weights.map(|w| w.weights().mapv(f64::from));
        let mut both = Array2::zeros((x.nrows(), gate_up.nrows()));
        let mut hidden = Array2::zeros((x.nrows(), down.ncols()));
        let x = normed(cx, x, norm);
        product(cx, both.view_mut(), Init::Zero, x.view(), gate_up.t());
        swiglu::forward(cx, hidden.view_mut(), both.view());
        product_then(cx, out, Init::Zero, hidden.view(), down.t(), None, then);
    }
}

/// The normalized rows of x.
fn normed(cx: &mut Context<f64>, x: ArrayView2<'_, f64>, norm: Norm<'_, f64>) -> Array2<f64> {
    let (mut y, mut rstd) = (Array2::zeros(x.dim()), vec![0.0; x.nrows()]);
    let x = x.as_standard_layout();
    rmsnorm::forward(cx, y.view_mut(), &mut rstd, x.view(), norm.weight.into(), norm.epsilon);
    y
}

/// A row of register tiles, one by one. The sums that the next begins with are fetched meanwhile.
#[inline(always)]
pub(super) fn by_panels<T: Real, E: Copy>(
    init: Init<'_, T>,
    a: Strided<'_, E>,
    b: Panels<'_, E, COLS>,
    c: &mut Tile<'_, T>,
    tile: impl Fn(Init<'_, T>, Strided<'_, E>, Strided<'_, E>, &mut Tile<'_, T>),
) {
    let (rows, cols) = (c.rows(), c.cols());
    for col in (0..cols).step_by(COLS) {
        let next = col + COLS;
        if next < cols && !c.is_late() {
            c.prefetch(0, rows, next, COLS.min(cols - next));
        }
        tile(init.columns(col), a, b.panel(col), &mut c.window(0, rows, col, COLS.min(cols - col)));
    }
}

/// Rows of the tile that plain loops keep in registers.
const SUB_ROWS: usize = 6;
/// Its columns.
const SUB_COLS: usize = 16;

dispatch! {
    fn subtiles<T>(init: Init<'_, T>, a: Strided<'_, T>, b: Strided<'_, T>, c: &mut Tile<'_, T>) = subtiles_body;
}

#[inline(always)]
fn subtiles_body<T: Real>(init: Init<'_, T>, a: Strided<'_, T>, b: Strided<'_, T>, c: &mut Tile<'_, T>) {
    let (rows, cols) = (c.rows(), c.cols());
    for row in (0..rows).step_by(SUB_ROWS) {
        let height = SUB_ROWS.min(rows - row);
        let left = a.window(row, height, 0, a.cols());
        for col in (0..cols).step_by(SUB_COLS) {
            let width = SUB_COLS.min(cols - col);
            let right = b.window(0, b.rows(), col, width);
            let (init, mut c) = (init.columns(col), c.window(row, height, col, width));
            match height {
                1 => chain::<T, 1>(init, left, right, &mut c),
                2 => chain::<T, 2>(init, left, right, &mut c),
                3 => chain::<T, 3>(init, left, right, &mut c),
                4 => chain::<T, 4>(init, left, right, &mut c),
                5 => chain::<T, 5>(init, left, right, &mut c),
                _ => chain::<T, SUB_ROWS>(init, left, right, &mut c),
            }
        }
    }
}

/// M rows by up to 16 columns. Written over arrays of constant size, which the compiler keeps in vector registers.
#[inline(always)]
fn chain<T: Real, const M: usize>(
    init: Init<'_, T>,
    a: Strided<'_, T>,
    b: Strided<'_, T>,
    c: &mut Tile<'_, T>,
) {
    let cols = c.cols();
    let mut acc = match init {
        Init::Zero => [[T::ZERO; SUB_COLS]; M],
        Init::Bias(bias) => [load(bias, cols); M],
        Init::Accumulate => std::array::from_fn(|i| load(c.row(i), cols)),
    };
    for k in 0..a.cols() {
        let right = load(b.row(k), cols);
        for (i, sums) in acc.iter_mut().enumerate() {
            // SAFETY: the tile has M rows and `a` as many, and k is below its columns.
            let left = unsafe { a.read(i, k) };
            for (sum, &right) in sums.iter_mut().zip(&right) {
                *sum = left.mul_add(right, *sum);
            }
        }
    }
    for (i, row) in acc.into_iter().enumerate() {
        store(row, c.row_mut(i));
    }
}

/// The first `cols` elements, then zeros. Copies of varying length go through arrays of their own, here and
/// in [`store`]: an accumulator they touched would live in memory, not in registers.
#[inline(always)]
fn load<T: Real>(from: &[T], cols: usize) -> [T; SUB_COLS] {
    if cols == SUB_COLS
        && let Some(row) = from.first_chunk::<SUB_COLS>()
    {
        return *row;
    }
    let mut row = [T::ZERO; SUB_COLS];
    row[..cols].copy_from_slice(&from[..cols]);
    row
}

#[inline(always)]
fn store<T: Real>(row: [T; SUB_COLS], to: &mut [T]) {
    if let Some(to) = to.first_chunk_mut::<SUB_COLS>() {
        *to = row;
    } else {
        let short = row;
        to.copy_from_slice(&short[..to.len()]);
    }
}
