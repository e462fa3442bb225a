//! C = init + A·B, cut into tasks by shape.
//!
//! A task owns a rectangle of C. The left operand is read where it lies, or copied a panel of rows at a time; the right
//! one has been packed by all threads for all tasks, or is packed by the task itself into scratch of its thread: [`Plan`]
//! says which.

use ndarray::{ArrayView2, ArrayViewMut2};

use super::kernel::{COLS, ROWS};
use super::pack::{Packed, pack_left_by, pack_right_by, panel_len, right_len, right_panels};
use super::panel::{Full, Panel, copied_left, row_of_tiles};
use super::plan::{Packing, Plan};
use super::row;
use crate::context::carve;
use crate::hints::settle;
use crate::tile::{Beside, Grid, Panels, Strided, Tile};
use crate::{Context, Isa, Precision, Quantized, Real};

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
    pub(crate) fn columns(self, first: usize) -> Self {
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
    /// Of 4 to 8 bits a weight. In products of f64, an oracle, what the codes stand for.
    Quantized(&'a Quantized),
}

impl<T: Real> Operand<'_, T> {
    pub(super) fn dim(&self) -> (usize, usize) {
        match self {
            Operand::View(view) => view.dim(),
            Operand::Packed(packed) => (packed.rows(), packed.cols()),
            Operand::Quantized(weights) => (weights.inputs(), weights.outputs()),
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

impl<'a, T> From<&'a Quantized> for Operand<'a, T> {
    fn from(weights: &'a Quantized) -> Self {
        Operand::Quantized(weights)
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
    product_then(cx, c, init, a, b, None, |_: &mut Tile<'_, T>, _: Option<Tile<'_, T>>| {});
}

/// What becomes of the finished elements of a product while they are in the nearest caches.
pub(crate) trait Epilogue<T>: Sync {
    /// A rectangle of C, so many (rows, columns) from the place (row, column) on, is about to be computed.
    fn prepare(&self, _place: (usize, usize), _dim: (usize, usize)) {}

    /// Whether C is read late, when it would have left the caches anyway.
    fn is_late(&self) -> bool {
        false
    }

    /// Takes the finished rectangle at the place, and the same one of the matrix beside the product.
    fn finish(&self, place: (usize, usize), c: &mut Tile<'_, T>, beside: Option<Tile<'_, T>>);
}

/// One that needs no place.
impl<T, F: Fn(&mut Tile<'_, T>, Option<Tile<'_, T>>) + Sync> Epilogue<T> for F {
    fn finish(&self, _: (usize, usize), c: &mut Tile<'_, T>, beside: Option<Tile<'_, T>>) {
        self(c, beside);
    }
}

/// One that reads the same rectangle of another matrix of the shape of C. That is fetched while the product is computed,
/// for it was written long ago.
pub(crate) struct Reading<'a, T, F> {
    pub(crate) other: Strided<'a, T>,
    /// Takes both rectangles.
    pub(crate) then: F,
}

impl<T: Real, F: Fn(&mut Tile<'_, T>, Strided<'_, T>) + Sync> Epilogue<T> for Reading<'_, T, F> {
    fn prepare(&self, (row, col): (usize, usize), (rows, cols): (usize, usize)) {
        self.other.window(row, rows, col, cols).prefetch();
    }

    fn finish(&self, (row, col): (usize, usize), c: &mut Tile<'_, T>, _: Option<Tile<'_, T>>) {
        let other = self.other.window(row, c.rows(), col, c.cols());
        (self.then)(c, other);
    }
}

/// Nothing, of a C that is read when everything else has been computed.
pub(crate) struct Late;

impl<T> Epilogue<T> for Late {
    fn is_late(&self) -> bool {
        true
    }

    fn finish(&self, _: (usize, usize), _: &mut Tile<'_, T>, _: Option<Tile<'_, T>>) {}
}

/// A product whose finished elements are passed on, with `beside`, a matrix of the shape of C.
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
    then: impl Epilogue<T>,
) {
    let b = b.into();
    let ((m, k), (bk, n)) = (a.dim(), b.dim());
    assert!(
        k == bk && c.dim() == (m, n),
        "product of ({m}, {k}) and ({bk}, {n}) does not give {:?}",
        c.dim()
    );
    if let Operand::Packed(packed) = &b {
        assert_eq!(packed.precision(), cx.precision(), "an operand packed for another precision");
    }
    if let Init::Bias(bias) = init {
        assert_eq!(bias.len(), n, "length of the bias of {n} outputs");
    }
    if m == 0 || n == 0 {
        return;
    }
    let b = match b {
        Operand::View(b) => Right::Lies(b.into()),
        Operand::Packed(packed) => Right::Packed(packed),
        Operand::Quantized(w) => return T::multiply_quantized(cx, c, init, (a, None), w, beside, then),
    };
    match (cx.precision(), b) {
        (Precision::F32, Right::Lies(b)) if m == 1 && row::lies_well(b) => {
            row::row(cx, c, init, a.into(), b, beside, &then);
        }
        (Precision::F32, b) => run::<T, Full>(cx, c, init, a.into(), b, beside, then),
        (Precision::Bf16, b) => run::<T, T::Half>(cx, c, init, a.into(), b, beside, then),
    }
}

/// A right operand of floating-point numbers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Right<'a, T> {
    Lies(Strided<'a, T>),
    Packed(&'a Packed<T>),
}

impl<T: Real> Right<'_, T> {
    pub(super) fn dim(&self) -> (usize, usize) {
        match self {
            Right::Lies(matrix) => (matrix.rows(), matrix.cols()),
            Right::Packed(packed) => (packed.rows(), packed.cols()),
        }
    }
}

/// [`product_then`] over one form of operands.
#[track_caller]
fn run<T: Real, P: Panel<T>>(
    cx: &mut Context<T>,
    mut c: ArrayViewMut2<'_, T>,
    init: Init<'_, T>,
    a: Strided<'_, T>,
    b: Right<'_, T>,
    mut beside: Option<ArrayViewMut2<'_, T>>,
    then: impl Epilogue<T>,
) {
    let ((m, k), n) = ((a.rows(), a.cols()), b.dim().1);
    let plan = Plan::new::<T, P>(cx.isa(), a, &b);
    let Plan { height, width, depth, together, .. } = plan;
    let steps = P::steps(depth);
    let shared = [
        if plan.left == Packing::Shared { m.div_ceil(ROWS) * panel_len(P::steps(together)) } else { 0 },
        if plan.right == Packing::Shared { right_len(P::steps(together), n) } else { 0 },
    ];
    let own = [
        if plan.left == Packing::Own { panel_len(steps) } else { 0 },
        if plan.right == Packing::Own { right_len(steps, width) } else { 0 },
        if plan.writes_out { right_len(steps * P::K_A_STEP, width) } else { 0 },
    ];
    let ([left, shared], mut runner) = cx.split(shared, own.iter().sum::<usize>() + own.len() * COLS);
    let isa = runner.isa;
    let (left, shared) = (P::view_mut(left), P::view_mut(shared));
    // Threads pack neighbours and compute neighbours: so each reads, of the larger operand, mostly what it has packed itself.
    let by_columns = n > m;
    for first in (0..k.max(1)).step_by(together.max(1)) {
        let count = together.min(k - first);
        if plan.left == Packing::Shared {
            pack_left_by::<T, P>(runner.team(), isa, a.window(0, m, first, count), left);
        }
        let right = match b {
            Right::Packed(packed) => Source::Packed(P::view(packed.data()), P::steps(k), packed.least()),
            Right::Lies(b) if plan.right == Packing::Shared => {
                pack_right_by::<T, P>(runner.team(), isa, b.window(first, count, 0, n), shared);
                Source::Packed(shared, P::steps(count), 0)
            }
            Right::Lies(b) => Source::Lies(b),
        };
        let product = Product::<T, P> { isa, plan, a, steps: (first, count), left, right, init };
        let c = Grid::new(c.view_mut(), height, width).by_columns(by_columns);
        let beside = beside.as_mut().map(|beside| beside.view_mut());
        let (order, beside) = (c.order(), Beside::new(beside, (m, n), height, width).by_columns(by_columns));
        runner.for_each_with_scratch((c, beside), |index, (mut c, mut beside), scratch| {
            let (down, across) = order.position(index);
            let place = (down * height, across * width);
            let [panel, block, written] = carve(scratch, own);
            let scratch = ([P::view_mut(panel), P::view_mut(block)], written);
            product.task(place, scratch, &mut c, beside.as_mut(), &then);
        });
    }
}

impl<T: Real, P: Panel<T>> Product<'_, T, P> {
    /// Steps `k0..k0 + depth` of up to 12 rows of A, by way of `panel` if they must be copied.
    #[inline(always)]
    fn left_panel<'a>(
        &'a self,
        row: usize,
        height: usize,
        (k0, depth): (usize, usize),
        panel: &'a mut [P::Element],
    ) -> Strided<'a, P::Element> {
        if self.plan.left == Packing::Shared {
            let (first, count) = self.steps;
            let rows = self.a.window(row, height, first, count);
            let copy = &self.left[row / ROWS * panel_len(P::steps(count))..];
            return copied_left::<T, P>(rows, copy, (P::steps(k0 - first), P::steps(depth)));
        }
        let a = self.a.window(row, height, k0, depth);
        match P::lies(a) {
            Some(a) if self.plan.left == Packing::No => a,
            _ => {
                P::copy_left(self.isa, a, &mut panel[..panel_len(P::steps(depth))]);
                copied_left::<T, P>(a, panel, (0, P::steps(depth)))
            }
        }
    }
}

/// Where the right operand lies while register tiles read it.
#[derive(Clone, Copy, Debug)]
enum Source<'a, T, E> {
    Lies(Strided<'a, T>),
    /// In panels of so many steps, with their least exponent, or 0 if nobody has looked.
    Packed(&'a [E], usize, u32),
}

/// A product that tasks are taken from.
struct Product<'a, T: Real, P: Panel<T>> {
    isa: Isa,
    plan: Plan,
    a: Strided<'a, T>,
    /// Which steps of k: the first, and how many.
    steps: (usize, usize),
    /// Those of A, copied panel by panel, if they are shared.
    left: &'a [P::Element],
    right: Source<'a, T, P::Element>,
    init: Init<'a, T>,
}

impl<T: Real, P: Panel<T>> Product<'_, T, P> {
    /// One rectangle, for the steps of k that are at hand. Panels of A are outermost inside a block of k: each stays in the
    /// nearest cache while those of B pass.
    #[inline]
    fn task(
        &self,
        (first_row, first_col): (usize, usize),
        ([panel, block], written): ([&mut [P::Element]; 2], &mut [T]),
        c: &mut Tile<'_, T>,
        mut beside: Option<&mut Tile<'_, T>>,
        then: &impl Epilogue<T>,
    ) {
        let (rows, cols, k) = (c.rows(), c.cols(), self.a.cols());
        let init = self.init.columns(first_col);
        let (first, count) = self.steps;
        let end = first + count;
        let mut k0 = first;
        loop {
            let depth = self.plan.depth.min(end - k0);
            let last = k0 + depth == k;
            // What was stored between blocks of k is in the caches.
            let late = last && k0 == 0 && then.is_late();
            // Of a packed operand steps are those of the form.
            let (step, steps) = (P::steps(k0 - first), P::steps(depth));
            let (mut right, mut right_at) = (self.right, (first_col, step));
            if let (Source::Lies(b), Packing::Own) = (right, self.plan.right) {
                let block = &mut block[..right_len(steps, cols)];
                P::pack_right(self.isa, b.window(k0, depth, first_col, cols), block);
                (right, right_at) = (Source::Packed(block, steps, 0), (0, 0));
            }
            let b = match right {
                Source::Lies(b) => P::lies(b.window(k0, depth, first_col, cols)).map(Panels::lying),
                Source::Packed(data, k, least) => {
                    let panels = right_panels(data, k, right_at.0 / COLS, (right_at.1, steps), cols);
                    Some(panels.with_least(least).with_ahead(self.plan.ahead))
                }
            };
            let b = b.expect("what cannot be read where it lies has been packed");
            let written = if self.plan.writes_out { P::write_out(self.isa, b, &mut *written) } else { None };
            let init = init.at(k0);
            for row in (0..rows).step_by(ROWS) {
                let height = ROWS.min(rows - row);
                let place = (first_row + row, first_col);
                if last {
                    then.prepare(place, (height, cols));
                }
                let a = self.left_panel(first_row + row, height, (k0, depth), panel);
                let mut tiles = c.window(row, height, 0, cols).with_late(late);
                row_of_tiles::<T, P>(self.isa, init, a, b, written, &mut tiles);
                let next = row + ROWS;
                if next < rows && !late {
                    // What the next row of tiles begins with; the rest is fetched from tile to tile.
                    c.prefetch(next, ROWS.min(rows - next), 0, COLS.min(cols));
                }
                if last {
                    let beside = beside.as_mut().map(|tile| tile.whole_rows(row, height));
                    then.finish(place, &mut c.window(row, height, 0, cols), beside);
                }
            }
            k0 += depth;
            if late {
                settle();
            }
            if k0 == end {
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

    use super::super::pairs::chain_of_pairs;
    use super::super::panel::block;
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
                    block::<_, Full>(isa, init, a.into(), Panels::lying(b.into()), &mut Tile::new(c.view_mut()));
                    prop_assert_eq!(&c, &want);
                }
            }
        }
    }

    /// The definition: one chain of pairs an element.
    fn reference_bf16(init: Init<'_, f32>, a: &Array2<f32>, b: &Array2<f32>, c: &Array2<f32>) -> Array2<f32> {
        Array2::from_shape_fn(c.dim(), |(i, j)| {
            let start = match init {
                Init::Zero => 0.0,
                Init::Bias(bias) => bias[j],
                Init::Accumulate => c[[i, j]],
            };
            chain_of_pairs(start, &a.row(i).to_vec(), &b.column(j).to_vec())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn every_path_gives_the_bits_of_the_chain_of_pairs(
            (m, k, n) in (1usize..40, 1usize..70, 1usize..150), mode in 0usize..3, threads in 1usize..4,
            turned in any::<(bool, bool)>(), scale in prop_oneof![Just(1.0f32), Just(1e-19), Just(1e19)], seed in any::<u64>(),
        ) {
            let (a, b) = (random::<f32>(seed, (m, k)) * scale, random(seed ^ 1, (k, n)) * scale);
            let (bias, old) = (random(seed ^ 2, (1, n)) * scale, random(seed ^ 3, (m, n)) * (scale * scale));
            let init = [Init::Zero, Init::Bias(bias.as_slice().unwrap()), Init::Accumulate][mode];
            let want = reference_bf16(init, &a, &b, &old);
            let (a_turned, b_turned) = (a.t().as_standard_layout().into_owned(), b.t().as_standard_layout().into_owned());
            for isa in Isa::available() {
                let mut cx = Context::new(Team::new(threads).unwrap(), isa).with_precision(Precision::Bf16);
                let a = if turned.0 { a_turned.t() } else { a.view() };
                let b = if turned.1 { b_turned.t() } else { b.view() };
                let mut c = old.clone();
                product(&mut cx, c.view_mut(), init, a, b);
                prop_assert_eq!(&c, &want, "{}", isa);
                let packed = Packed::new(&mut cx, b);
                let mut c = old.clone();
                product(&mut cx, c.view_mut(), init, a, &packed);
                prop_assert_eq!(&c, &want, "{}, packed", isa);
            }
        }
    }

    #[test]
    fn deep_products_of_pairs_are_near_those_of_f32_and_alike_by_rows() {
        let (m, k, n) = (25, 1201, 70);
        let (a, b) = (random::<f32>(1, (m, k)), random(2, (k, n)));
        let mut exact = Array2::zeros((m, n));
        product(&mut Context::solo(), exact.view_mut(), Init::Zero, a.view(), b.view());
        let mut cx = Context::solo().with_precision(Precision::Bf16);
        let mut c = Array2::zeros((m, n));
        product(&mut cx, c.view_mut(), Init::Zero, a.view(), b.view());
        let worst = (&c - &exact).mapv(f32::abs).fold(0.0f32, |a, &b| a.max(b));
        // An operand errs by 2⁻⁸ of itself at most, and by about 0.0016 of itself at random. 1201 products of two such add
        // up to 0.08; the largest of 1750 sums is off by some four times that.
        assert!(worst > 0.0 && worst < 0.4, "worst {worst}");
        let mut one = Array2::zeros((1, n));
        product(&mut cx, one.view_mut(), Init::Zero, a.slice(ndarray::s![3..4, ..]), b.view());
        assert_eq!(one.row(0), c.row(3), "one row alone equals that row among many");
    }

    #[test]
    #[should_panic(expected = "packed for another precision")]
    fn an_operand_packed_for_another_precision_is_refused() {
        let (a, b, mut c) = (random::<f32>(1, (2, 3)), random(1, (3, 5)), random(1, (2, 5)));
        let mut cx = Context::solo();
        let packed = Packed::new(&mut cx, b.view());
        product(&mut cx.with_precision(Precision::Bf16), c.view_mut(), Init::Zero, a.view(), &packed);
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

    /// Of a size that is packed depth after depth, and whose rows collide, so that both operands are packed for all tasks.
    #[test]
    fn large_products_give_each_row_the_bits_of_its_own() {
        let (m, k, n) = (200, 1024, 1100);
        let (a, b, old) = (random::<f32>(1, (m, k)), random(2, (k, n)), random(3, (m, n)));
        let b_turned = b.t().as_standard_layout().into_owned();
        let plan = Plan::new::<f32, Full>(Isa::detect(), a.view().into(), &Right::Lies(b.view().into()));
        assert!(
            plan.together < k && plan.left == Packing::Shared && plan.right == Packing::Shared,
            "{plan:?}"
        );
        let cases = Isa::available().into_iter().flat_map(|isa| {
            // Pairs by the definition alone would take as long as all others together.
            let precisions = [Precision::F32, Precision::Bf16].into_iter();
            precisions.take(if isa == Isa::scalar() { 1 } else { 2 }).map(move |precision| (isa, precision))
        });
        for (isa, precision) in cases {
            let mut cx = Context::new(Team::new(2).unwrap(), isa).with_precision(precision);
            for b in [b.view(), b_turned.t()] {
                let mut c = old.clone();
                product(&mut cx, c.view_mut(), Init::Accumulate, a.view(), b);
                for row in [0, 11, 12, 107, 108, 199] {
                    let mut one = old.slice(ndarray::s![row..=row, ..]).to_owned();
                    product(
                        &mut cx,
                        one.view_mut(),
                        Init::Accumulate,
                        a.slice(ndarray::s![row..=row, ..]),
                        b,
                    );
                    assert_eq!(one.row(0), c.row(row), "{isa}, {precision:?}, row {row}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "product of (2, 3) and (4, 5)")]
    fn shapes_that_do_not_fit_are_named() {
        let (a, b, mut c) = (random::<f32>(1, (2, 3)), random(1, (4, 5)), random(1, (2, 5)));
        product(&mut Context::solo(), c.view_mut(), Init::Zero, a.view(), b.view());
    }
}
