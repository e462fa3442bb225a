//! C = init + A·B, cut into tasks by shape.
//!
//! A task owns a rectangle of C. The left operand is read where it lies, or copied a panel of rows at a time; the right
//! one has been packed by all threads for all tasks, or is packed by the task itself into scratch of its thread: [`Plan`]
//! says which.

use ndarray::{ArrayView2, ArrayViewMut2};

use super::kernel::{COLS, ROWS, tile_chain};
use super::pack::{Packed, copy_panel, pack_right, pack_right_by, panel_len, right_len, right_panel};
use super::plan::{Packing, Plan};
use crate::context::carve;
use crate::tile::{Beside, Grid, Strided, Tile};
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
    #[inline(always)]
    pub(super) fn columns(self, first: usize) -> Self {
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
    pub(super) fn dim(&self) -> (usize, usize) {
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

/// C = init + A·B, with A (M, K), B (K, N) and C (M, N) row-major. A and B may have any strides.
///
/// # Panics
/// On shapes that do not fit, naming them.
#[track_caller]
pub fn product<'a, T: Real>(
    cx: &mut Context<T>,
    c: ArrayViewMut2<'_, T>,
    init: Init<'_, T>,
    a: ArrayView2<'_, T>,
    b: impl Into<Operand<'a, T>>,
) {
    product_then(cx, c, init, a, b, None, |_, _, _| {});
}

/// A product whose finished elements are passed on while they are in the nearest caches: `then` gets the place (row,
/// column) of a rectangle of C, the rectangle, and the same one of `beside`, a matrix of the shape of C.
///
/// # Panics
/// As [`product`].
#[track_caller]
pub(crate) fn product_then<'a, T: Real>(
    cx: &mut Context<T>,
    c: ArrayViewMut2<'_, T>,
    init: Init<'_, T>,
    a: ArrayView2<'_, T>,
    b: impl Into<Operand<'a, T>>,
    beside: Option<ArrayViewMut2<'_, T>>,
    then: impl Fn((usize, usize), &mut Tile<'_, T>, Option<Tile<'_, T>>) + Sync,
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
    let a = Strided::from(a);
    let plan = Plan::new(a, &b);
    let Plan { height, width, depth, .. } = plan;
    let shared = if plan.right == Packing::Shared { right_len(k, n) } else { 0 };
    let own = [
        if plan.copies_left { panel_len(depth) } else { 0 },
        if plan.right == Packing::Own { right_len(depth, width) } else { 0 },
    ];
    let ([shared], mut runner) = cx.split([shared], own[0] + own[1] + 2 * COLS);
    let isa = runner.isa;
    let right = match &b {
        Operand::Packed(packed) => Source::Packed(packed.data(), k),
        Operand::View(b) if plan.right == Packing::Shared => {
            pack_right_by(runner.team(), isa, (*b).into(), shared);
            Source::Packed(shared, k)
        }
        Operand::View(b) => Source::Lies((*b).into()),
    };
    let product = Product { isa, plan, a, right, init };
    let parts = (Grid::new(c, height, width), Beside::new(beside, (m, n), height, width));
    let across = n.div_ceil(width);
    runner.for_each_with_scratch(parts, |index, (mut c, mut beside), scratch| {
        let place = (index / across * height, index % across * width);
        product.task(place, carve(scratch, own), &mut c, |row, c| {
            let rows = c.rows();
            then((place.0 + row, place.1), c, beside.as_mut().map(|tile| tile.whole_rows(row, rows)));
        });
    });
}

/// Where the right operand lies while register tiles read it.
#[derive(Clone, Copy, Debug)]
enum Source<'a, T> {
    Lies(Strided<'a, T>),
    /// In panels of so many steps.
    Packed(&'a [T], usize),
}

/// A product that tasks are taken from.
struct Product<'a, T> {
    isa: Isa,
    plan: Plan,
    a: Strided<'a, T>,
    right: Source<'a, T>,
    init: Init<'a, T>,
}

impl<T: Real> Product<'_, T> {
    /// One rectangle. Panels of A are outermost inside a block of k: each stays in the nearest cache while those of B
    /// pass.
    #[inline]
    fn task(
        &self,
        (first_row, first_col): (usize, usize),
        [panel, block]: [&mut [T]; 2],
        c: &mut Tile<'_, T>,
        mut then: impl FnMut(usize, &mut Tile<'_, T>),
    ) {
        let (rows, cols, k) = (c.rows(), c.cols(), self.a.cols());
        let init = self.init.columns(first_col);
        let mut k0 = 0;
        loop {
            let depth = self.plan.depth.min(k - k0);
            let last = k0 + depth == k;
            let reads_c = k0 > 0 || matches!(init, Init::Accumulate);
            let (mut right, mut right_at) = (self.right, (first_col, k0));
            if let (Source::Lies(b), Packing::Own) = (right, self.plan.right) {
                pack_right(self.isa, b.window(k0, depth, first_col, cols), block);
                (right, right_at) = (Source::Packed(block, depth), (0, 0));
            }
            for row in (0..rows).step_by(ROWS) {
                let height = ROWS.min(rows - row);
                let mut a = self.a.window(first_row + row, height, k0, depth);
                if self.plan.copies_left {
                    a = copy_panel(self.isa, a, panel);
                }
                for col in (0..cols).step_by(COLS) {
                    let width = COLS.min(cols - col);
                    // The next tile, so that its sums are there when its chains begin.
                    if !reads_c {
                        // Nothing to be read.
                    } else if col + COLS < cols {
                        c.prefetch(row, height, col + COLS, COLS.min(cols - col - COLS));
                    } else if row + ROWS < rows {
                        c.prefetch(row + ROWS, ROWS.min(rows - row - ROWS), 0, COLS.min(cols));
                    }
                    let steps = (right_at.1, depth);
                    let b = match right {
                        Source::Lies(b) => b.window(right_at.1, depth, right_at.0 + col, width),
                        Source::Packed(data, k) => {
                            right_panel(data, k, (right_at.0 + col) / COLS, steps, width)
                        }
                    };
                    let init = init.columns(col).at(k0);
                    tile_chain(self.isa, init, a, b, &mut c.window(row, height, col, width));
                }
                if last {
                    then(row, &mut c.window(row, height, 0, cols));
                }
            }
            k0 += depth;
            if last {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use proptest::prelude::*;
    use selvedge_sync::Team;

    use super::super::kernel::block;
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
                if !turned.1 {
                    let mut c = old.clone();
                    block(isa, init, a.into(), b.into(), &mut Tile::new(c.view_mut()));
                    prop_assert_eq!(&c, &want);
                }
            }
        }
    }

    #[test]
    fn deep_products_cross_blocks_of_k_without_changing_a_bit() {
        let (m, k, n) = (7, 1200, 70);
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
