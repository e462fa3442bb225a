//! C = init + A·B over packed panels, cut into tasks by shape.

use ndarray::{ArrayView2, ArrayViewMut2};

use super::kernel::{NARROW, ROWS, TileShape, WIDE, tile_chain};
use super::pack::{Packed, pack_all, pack_rows, packed_len, panels};
use crate::context::carve;
use crate::tile::{Grid, Tile};
use crate::{Context, Isa, Real};

/// What the chain of each output element starts from.
#[derive(Clone, Copy, Debug)]
pub enum Init<'a, T> {
    /// 0: the output is overwritten.
    Zero,
    /// One value a column: the output is overwritten.
    Bias(&'a [T]),
    /// What the output holds: the product is added to it.
    Accumulate,
}

impl<'a, T> Init<'a, T> {
    /// The part for the columns from `first` on.
    fn columns(self, first: usize) -> Self {
        match self {
            Init::Bias(bias) => Init::Bias(&bias[first..]),
            other => other,
        }
    }

    /// What the chain starts from at step `k`.
    fn at(self, k: usize) -> Self {
        if k == 0 { self } else { Init::Accumulate }
    }
}

/// The right operand of a product.
#[derive(Clone, Copy, Debug)]
pub enum Operand<'a, T> {
    /// Packed for this product alone.
    View(ArrayView2<'a, T>),
    /// Packed before.
    Packed(&'a Packed<T>),
}

impl<T: Real> Operand<'_, T> {
    fn dim(&self) -> (usize, usize) {
        match self {
            Operand::View(view) => view.dim(),
            Operand::Packed(packed) => (packed.rows(), packed.cols()),
        }
    }
}

impl<'a, T> From<ArrayView2<'a, T>> for Operand<'a, T> {
    fn from(view: ArrayView2<'a, T>) -> Self {
        Operand::View(view)
    }
}

impl<'a, T> From<&'a Packed<T>> for Operand<'a, T> {
    fn from(packed: &'a Packed<T>) -> Self {
        Operand::Packed(packed)
    }
}

/// Rows of C a task computes.
const TASK_ROWS: usize = 16 * ROWS;
/// Columns of C a task computes.
const TASK_COLS: usize = 4 * WIDE;
/// Steps of k between loading and storing C: a panel of B of this depth stays in the nearest caches.
const DEPTH: usize = 256;

/// C = init + A·B, with A (M, K), B (K, N) and C (M, N) row-major. A and B may have any strides: a
/// transposed view costs nothing extra.
///
/// # Panics
/// On shapes that do not fit, naming them, and on operands packed for another instruction set.
#[track_caller]
pub fn product<'a, T: Real>(
    cx: &mut Context<T>,
    c: ArrayViewMut2<'_, T>,
    init: Init<'_, T>,
    a: ArrayView2<'_, T>,
    b: impl Into<Operand<'a, T>>,
) {
    let b = b.into();
    let ((m, k), (bk, n)) = (a.dim(), b.dim());
    assert!(
        k == bk && c.dim() == (m, n),
        "product of ({m}, {k}) and ({bk}, {n}) does not give {:?}",
        c.dim()
    );
    if let Init::Bias(bias) = init {
        assert_eq!(bias.len(), n, "length of the bias of {n} outputs");
    }
    if m == 0 || n == 0 {
        return;
    }
    let own = match b {
        Operand::View(_) => packed_len(k, n),
        Operand::Packed(packed) => {
            assert_eq!(packed.isa(), cx.isa(), "operand packed for another instruction set");
            0
        }
    };
    let ([left, right], runner) = cx.split([m * k, own], 0);
    let isa = runner.isa;
    if k > 0 {
        runner.for_each(selvedge_sync::chunks(left, k * TASK_ROWS), |index, part| {
            for (i, panel) in part.chunks_mut(k * ROWS).enumerate() {
                pack_rows(isa, a, index * TASK_ROWS + i * ROWS, panel.len() / k, panel);
            }
        });
    }
    let right: &[T] = match b {
        Operand::View(view) => {
            pack_all(runner.team(), isa, view, right);
            right
        }
        Operand::Packed(packed) => packed.data(),
    };
    let left: &[T] = left;
    // A short product is cut finer across, so that a single row still feeds every thread.
    let grid = Grid::new(c, TASK_ROWS, TASK_COLS);
    let across = n.div_ceil(TASK_COLS);
    runner.for_each(grid, |index, mut tile| {
        let (row, col) = (index / across * TASK_ROWS, index % across * TASK_COLS);
        let a_block = &left[row * k..(row + tile.rows()) * k];
        task(isa, k, n, col, init.columns(col), a_block, right, &mut tile);
    });
}

/// One task's rectangle: panels of B outermost inside a block of k, so that each stays in the nearest cache.
fn task<T: Real>(
    isa: Isa,
    k: usize,
    n: usize,
    first_col: usize,
    init: Init<'_, T>,
    a: &[T],
    b: &[T],
    c: &mut Tile<'_, T>,
) {
    let (rows, cols) = (c.rows(), c.cols());
    let end = first_col + cols;
    let mut k0 = 0;
    loop {
        let depth = DEPTH.min(k - k0);
        for (col, width) in panels::<T>(isa, n).skip_while(|p| p.0 < first_col).take_while(|p| p.0 < end) {
            let panel = &b[col * k + k0 * width..];
            let at = col - first_col;
            for row in (0..rows).step_by(ROWS) {
                let height = ROWS.min(rows - row);
                let shape = TileShape { k: depth, rows: height, cols: width, b_stride: width };
                let left = &a[row * k + k0 * height..];
                let mut window = c.window(row, height, at, width.min(cols - at));
                tile_chain(isa, shape, init.columns(at).at(k0), left, panel, &mut window);
            }
        }
        k0 += depth;
        if k0 >= k {
            break;
        }
    }
}

/// Scratch that [`block_product`] needs for blocks up to `m` x `k` x `n`.
pub(crate) fn block_scratch(m: usize, k: usize, n: usize) -> usize {
    m * k + packed_len(k, n) + 2 * NARROW
}

/// A small product on the calling thread alone, same chains: C = init + A·B.
pub(crate) fn block_product<T: Real>(
    isa: Isa,
    scratch: &mut [T],
    c: &mut Tile<'_, T>,
    init: Init<'_, T>,
    a: ArrayView2<'_, T>,
    b: ArrayView2<'_, T>,
) {
    let ((m, k), n) = (a.dim(), b.ncols());
    let [left, right] = carve(scratch, [m * k, packed_len(k, n)]);
    if k > 0 {
        for (i, panel) in left.chunks_mut(k * ROWS).enumerate() {
            pack_rows(isa, a, i * ROWS, panel.len() / k, panel);
        }
    }
    for (col, width) in panels::<T>(isa, n) {
        super::pack::pack_cols(isa, b, col, width, &mut right[col * k..(col + width) * k]);
    }
    task(isa, k, n, 0, init, left, right, c);
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use proptest::prelude::*;
    use selvedge_sync::Team;

    use super::*;
    use crate::testing::random;

    /// The definition: one chain of fused multiply-adds an element.
    fn reference(init: Init<'_, f32>, a: &Array2<f32>, b: &Array2<f32>, c: &Array2<f32>) -> Array2<f32> {
        Array2::from_shape_fn(c.dim(), |(i, j)| {
            let start = match init {
                Init::Zero => 0.0,
                Init::Bias(bias) => bias[j],
                Init::Accumulate => c[[i, j]],
            };
            (0..a.ncols()).fold(start, |sum, k| a[[i, k]].mul_add(b[[k, j]], sum))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn every_path_gives_the_bits_of_the_chain(
            (m, k, n) in (1usize..40, 0usize..40, 1usize..150),
            mode in 0usize..3, threads in 1usize..4, turned in any::<(bool, bool)>(), seed in any::<u64>(),
        ) {
            let (a, b) = (random(seed, (m, k)), random(seed ^ 1, (k, n)));
            let (bias, old) = (random(seed ^ 2, (1, n)), random(seed ^ 3, (m, n)));
            let init = [Init::Zero, Init::Bias(bias.as_slice().unwrap()), Init::Accumulate][mode];
            let want = reference(init, &a, &b, &old);
            // The same values, stored the other way round.
            let a_turned = a.t().as_standard_layout().into_owned();
            let b_turned = b.t().as_standard_layout().into_owned();
            for isa in Isa::available() {
                let mut cx = Context::new(Team::new(threads).unwrap(), isa);
                let a = if turned.0 { a_turned.t() } else { a.view() };
                let b = if turned.1 { b_turned.t() } else { b.view() };
                let mut c = old.clone();
                product(&mut cx, c.view_mut(), init, a, b);
                prop_assert_eq!(&c, &want);
                let packed = Packed::new(&mut cx, b);
                let mut c = old.clone();
                product(&mut cx, c.view_mut(), init, a, &packed);
                prop_assert_eq!(&c, &want);
                let mut c = old.clone();
                let mut scratch = vec![0.0; block_scratch(m, k, n)];
                block_product(isa, &mut scratch, &mut Tile::new(c.view_mut()), init, a, b);
                prop_assert_eq!(&c, &want);
            }
        }
    }

    #[test]
    fn deep_products_cross_blocks_of_k_without_changing_a_bit() {
        let (m, k, n) = (7, 3 * DEPTH + 5, 70);
        let (a, b, zero) = (random(1, (m, k)), random(2, (k, n)), Array2::zeros((m, n)));
        let want = reference(Init::Zero, &a, &b, &zero);
        for isa in Isa::available() {
            let mut cx = Context::new(Team::solo(), isa);
            let mut c = zero.clone();
            product(&mut cx, c.view_mut(), Init::Zero, a.view(), b.view());
            assert_eq!(c, want);
            let mut one = Array2::zeros((1, n));
            product(&mut cx, one.view_mut(), Init::Zero, a.slice(ndarray::s![3..4, ..]), b.view());
            assert_eq!(one.row(0), want.row(3), "one row alone equals that row among many");
        }
    }

    #[test]
    #[should_panic(expected = "product of (2, 3) and (4, 5)")]
    fn shapes_that_do_not_fit_are_named() {
        let (a, b, mut c) = (random::<f32>(1, (2, 3)), random(1, (4, 5)), random(1, (2, 5)));
        product(&mut Context::solo(), c.view_mut(), Init::Zero, a.view(), b.view());
    }
}
