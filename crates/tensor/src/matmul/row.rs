//! One row by a matrix that nobody has packed: its elements are read once, in the order they lie in.
//!
//! A tile of columns, as for many rows, would read a piece of two cache lines and jump to the next row. Here a few rows are
//! read side by side from end to end, and where rows are those of the transposed matrix, blocks of sixteen by sixteen are
//! turned in registers. The chains are the same: each output adds over k in order.
#![expect(unsafe_code, reason = "vector loads at strided places")]

use ndarray::ArrayViewMut2;

use super::product::{Epilogue, Init};
#[cfg(target_arch = "x86_64")]
use super::turn::{turn_eight_in_memory, turn_memory};
use crate::isa::dispatch;
use crate::tile::{Beside, Grid, Strided};
use crate::{Context, Real};

/// Multiply-adds worth a task: some microseconds.
const WORK: usize = 1 << 16;
/// Tasks worth having, so that threads share them evenly.
const TASKS: usize = 4;
/// Most columns of a task: their sums stay in the nearest cache.
const WIDEST: usize = 2048;
/// Columns are cut between tasks at multiples of this: vectors and cache lines stay whole.
const UNIT: usize = 64;
/// Rows read side by side: as many streams as the prefetcher follows, and sets of the nearest cache have places.
const STREAMS: usize = 8;
/// Outputs, and steps of k, of a block that is turned.
const BLOCK: usize = 16;

/// Whether [`row`] can read a matrix: the elements of its rows are adjacent, or those of its columns.
pub(super) fn lies_well<T: Real>(b: Strided<'_, T>) -> bool {
    b.has_adjacent_columns() || b.turned().has_adjacent_columns()
}

/// C = init + A·B for one row, of a matrix that [lies well](lies_well).
#[track_caller]
pub(super) fn row<T: Real>(
    cx: &mut Context<T>,
    c: ArrayViewMut2<'_, T>,
    init: Init<'_, T>,
    a: Strided<'_, T>,
    b: Strided<'_, T>,
    beside: Option<ArrayViewMut2<'_, T>>,
    then: &impl Epilogue<T>,
) {
    let (k, n, isa) = (b.rows(), b.cols(), cx.isa());
    let width = n.div_ceil(TASKS).clamp(WORK / k.max(1), WIDEST.max(WORK / k.max(1))).next_multiple_of(UNIT);
    let parts = (Grid::new(c, 1, width), Beside::new(beside, (1, n), 1, width));
    cx.for_each(parts, |index, (mut c, mut beside)| {
        let (first, cols) = (index * width, c.cols());
        then.prepare((0, first), (1, cols));
        let b = b.window(0, k, first, cols);
        let sums = c.row_mut(0);
        match init.columns(first) {
            Init::Zero => sums.fill(T::ZERO),
            Init::Bias(bias) => sums.copy_from_slice(&bias[..cols]),
            Init::Accumulate => {}
        }
        if b.has_adjacent_columns() {
            along(isa, a, b, sums);
        } else {
            T::across(isa, a, b.turned(), sums);
        }
        then.finish((0, first), &mut c, beside.take());
    });
}

dispatch! {
    /// Adds the rows of B, each by its element of A.
    fn along<T>(a: Strided<'_, T>, b: Strided<'_, T>, sums: &mut [T]) = along_body;
}

#[inline(always)]
fn along_body<T: Real>(a: Strided<'_, T>, b: Strided<'_, T>, sums: &mut [T]) {
    let k = b.rows();
    let whole = k - k % STREAMS;
    for k0 in (0..whole).step_by(STREAMS) {
        add_rows::<T, STREAMS>(a, b, k0, sums);
    }
    for k0 in whole..k {
        add_rows::<T, 1>(a, b, k0, sums);
    }
}

#[inline(always)]
fn add_rows<T: Real, const N: usize>(a: Strided<'_, T>, b: Strided<'_, T>, k0: usize, sums: &mut [T]) {
    let len = sums.len();
    // SAFETY: A is one row of as many elements as B has rows.
    let factors: [T; N] = std::array::from_fn(|i| unsafe { a.read(0, k0 + i) });
    let rows: [&[T]; N] = std::array::from_fn(|i| &b.row(k0 + i)[..len]);
    for (j, sum) in sums.iter_mut().enumerate() {
        *sum = (0..N).fold(*sum, |sum, i| factors[i].mul_add(rows[i][j], sum));
    }
}

dispatch! {
    /// Adds to each output the products of a row of `b`, output by output, with A.
    pub(super) fn across_plainly<T>(a: Strided<'_, T>, b: Strided<'_, T>, sums: &mut [T]) = across_body;
}

#[inline(always)]
fn across_body<T: Real>(a: Strided<'_, T>, b: Strided<'_, T>, sums: &mut [T]) {
    across_from(0, a, b, sums);
}

/// The same from step `from` on.
#[inline(always)]
fn across_from<T: Real>(from: usize, a: Strided<'_, T>, b: Strided<'_, T>, sums: &mut [T]) {
    let k = b.cols();
    for (first, sums) in (0..).step_by(BLOCK).zip(sums.chunks_mut(BLOCK)) {
        let mut acc = [T::ZERO; BLOCK];
        acc[..sums.len()].copy_from_slice(sums);
        for k0 in (from..k).step_by(BLOCK) {
            let width = BLOCK.min(k - k0);
            let mut block = [[T::ZERO; BLOCK]; BLOCK];
            for at in 0..sums.len() {
                for (turned, &x) in block.iter_mut().zip(&b.row(first + at)[k0..k0 + width]) {
                    turned[at] = x;
                }
            }
            for (step, right) in block.iter().enumerate().take(width) {
                // SAFETY: A is one row of as many elements as B has columns.
                let left = unsafe { a.read(0, k0 + step) };
                for (sum, &right) in acc.iter_mut().zip(right) {
                    *sum = left.mul_add(right, *sum);
                }
            }
        }
        sums.copy_from_slice(&acc[..sums.len()]);
    }
}

/// [`across_plainly`] in AVX-512, over rows of adjacent elements.
///
/// # Safety
/// The processor has AVX-512 F. A is one row of as many elements as B has columns, and B has as many rows as there are
/// sums.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn across_avx512(a: Strided<'_, f32>, b: Strided<'_, f32>, sums: &mut [f32]) {
    use core::arch::x86_64::*;

    let k = b.cols();
    let (whole, steps) = (sums.len() - sums.len() % BLOCK, k - k % BLOCK);
    for (first, sums) in (0..whole).step_by(BLOCK).zip(sums.chunks_exact_mut(BLOCK)) {
        let row = |r: usize| b.start().wrapping_offset((first + r).cast_signed() * b.row_step());
        // SAFETY: as many sums as lanes.
        let mut acc = unsafe { _mm512_loadu_ps(sums.as_ptr()) };
        for k0 in (0..steps).step_by(BLOCK) {
            for r in BLOCK..2 * BLOCK {
                // The same place in the next rows: these are more streams than the processor follows by itself.
                _mm_prefetch::<_MM_HINT_T1>(row(r).wrapping_add(k0).cast());
            }
            // SAFETY: sixteen rows of sixteen elements are inside, by the caller's word.
            let v = unsafe { turn_memory(row(0).wrapping_add(k0), b.row_step()) };
            // SAFETY: A has as many elements, by the caller's word.
            acc = unsafe { add_steps(a, k0, v, acc) };
        }
        // SAFETY: as many sums as lanes.
        unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), acc) };
        across_from(steps, a, b.window(first, BLOCK, 0, k), sums);
    }
    across_from(0, a, b.window(whole, b.rows() - whole, 0, k), &mut sums[whole..]);
}

/// [`across_plainly`] in AVX2, over rows of adjacent elements.
///
/// # Safety
/// The processor has AVX2 and FMA. A is one row of as many elements as B has columns, and B has as many rows as there are
/// sums.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn across_avx2(a: Strided<'_, f32>, b: Strided<'_, f32>, sums: &mut [f32]) {
    use core::arch::x86_64::*;

    const LANES: usize = 8;
    let k = b.cols();
    let (whole, steps) = (sums.len() - sums.len() % BLOCK, k - k % LANES);
    for (first, sums) in (0..whole).step_by(BLOCK).zip(sums.chunks_exact_mut(BLOCK)) {
        let row = |r: usize| b.start().wrapping_offset((first + r).cast_signed() * b.row_step());
        let (vectors, _) = sums.as_chunks_mut::<LANES>();
        // SAFETY: eight sums each. Two chains, of which one goes on while the other waits for its sum.
        let mut acc = [0, 1].map(|j| unsafe { _mm256_loadu_ps(vectors[j].as_ptr()) });
        for k0 in (0..steps).step_by(LANES) {
            for r in (BLOCK..2 * BLOCK).filter(|_| k0 % BLOCK == 0) {
                // The same line of the next rows: these are more streams than the processor follows by itself.
                _mm_prefetch::<_MM_HINT_T1>(row(r).wrapping_add(k0).cast());
            }
            // SAFETY: eight rows of eight elements each are inside, by the caller's word.
            let v = [0, 1]
                .map(|j| unsafe { turn_eight_in_memory(row(j * LANES).wrapping_add(k0), b.row_step()) });
            for step in 0..LANES {
                // SAFETY: A has as many elements, by the caller's word.
                let left = _mm256_set1_ps(unsafe { a.read(0, k0 + step) });
                for (acc, v) in acc.iter_mut().zip(v) {
                    *acc = _mm256_fmadd_ps(left, v[step], *acc);
                }
            }
        }
        for (vector, acc) in vectors.iter_mut().zip(acc) {
            // SAFETY: eight sums.
            unsafe { _mm256_storeu_ps(vector.as_mut_ptr(), acc) };
        }
        across_from(steps, a, b.window(first, BLOCK, 0, k), sums);
    }
    across_from(0, a, b.window(whole, b.rows() - whole, 0, k), &mut sums[whole..]);
}

/// The products of sixteen steps of k from step `k0` on, a lane an output.
///
/// # Safety
/// The processor has AVX-512 F, and A has these steps.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn add_steps(
    a: Strided<'_, f32>,
    k0: usize,
    steps: [core::arch::x86_64::__m512; BLOCK],
    mut acc: core::arch::x86_64::__m512,
) -> core::arch::x86_64::__m512 {
    use core::arch::x86_64::*;

    for (step, right) in steps.into_iter().enumerate() {
        // SAFETY: the caller's word.
        let left = _mm512_set1_ps(unsafe { a.read(0, k0 + step) });
        acc = _mm512_fmadd_ps(left, right, acc);
    }
    acc
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, s};
    use proptest::prelude::*;
    use selvedge_sync::Team;

    use crate::testing::random;
    use crate::{Context, Init, Isa, product};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn one_row_gives_the_bits_of_the_chain_whichever_way_the_matrix_lies(
            (k, n) in (0usize..70, 1usize..200), mode in 0usize..3, lies in 0usize..3, step in 1usize..3, seed in any::<u64>(),
        ) {
            let a = random::<f32>(seed, (1, step * k));
            let a = a.slice(s![.., ..;step]);
            // Windows of wider matrices: rows adjacent, columns adjacent, neither.
            let (wide, tall) = (random::<f32>(seed ^ 1, (k, n + 3)), random::<f32>(seed ^ 2, (n, k + 5)));
            let spread = random::<f32>(seed ^ 3, (k, 2 * n));
            let b = [wide.slice(s![.., 2..n + 2]), tall.slice(s![.., 3..k + 3]).reversed_axes(), spread.slice(s![.., ..;2])];
            let b = b[lies];
            let (bias, old) = (random::<f32>(seed ^ 4, (1, n)), random::<f32>(seed ^ 5, (1, n)));
            let init = [Init::Zero, Init::Bias(bias.as_slice().unwrap()), Init::Accumulate][mode];
            let want = Array2::from_shape_fn((1, n), |(_, j)| {
                let start = [0.0, bias[[0, j]], old[[0, j]]][mode];
                (0..k).fold(start, |sum, k| a[[0, k]].mul_add(b[[k, j]], sum))
            });
            for isa in Isa::available() {
                let mut cx = Context::new(Team::new(2).unwrap(), isa);
                let mut c = old.clone();
                product(&mut cx, c.view_mut(), init, a, b);
                prop_assert_eq!(c.mapv(f32::to_bits), want.mapv(f32::to_bits), "{}", isa);
            }
        }
    }
}
