//! The backward: weights recomputed block by block from the saved log-sums.

use ndarray::{ArrayView2, ArrayViewMut2, Axis};

use super::{BLOCK, Shape};
use crate::context::carve;
use crate::isa::dispatch;
use crate::matmul::{self, COLS, Full, Panel, ROWS, left, left_room, right, right_room};
use crate::reduce::{LANES, sum_by2};
use crate::tile::{Grid, Panels, Strided, Tile};
use crate::{Context, Init, Isa, Precision, Real};

/// dqkv (B·T, (H + 2·HKV)·D) is overwritten by the gradients of queries, keys and values, given dout
/// and what the forward saw and left.
///
/// A task owns one key head of one sequence: its query heads and their rows are folded in order.
///
/// # Panics
/// On shapes that do not fit.
#[track_caller]
pub fn backward<T: Real>(
    cx: &mut Context<T>,
    dqkv: ArrayViewMut2<'_, T>,
    dout: ArrayView2<'_, T>,
    out: ArrayView2<'_, T>,
    lse: &[T],
    qkv: ArrayView2<'_, T>,
    shape: &Shape,
) {
    shape.check();
    let rows = shape.batch * shape.time;
    assert!(
        qkv.dim() == (rows, shape.qkv_cols())
            && dqkv.dim() == qkv.dim()
            && out.dim() == (rows, shape.query_cols())
            && dout.dim() == out.dim()
            && lse.len() == rows * shape.heads,
        "attention backward of {shape:?}: {:?}, {:?}, {:?}, {:?}",
        qkv.dim(),
        dqkv.dim(),
        out.dim(),
        dout.dim()
    );
    if rows == 0 {
        return;
    }
    match cx.precision() {
        Precision::F32 => run::<T, Full>(cx, dqkv, dout, out, lse, qkv, shape),
        Precision::Bf16 => run::<T, T::Half>(cx, dqkv, dout, out, lse, qkv, shape),
    }
}

/// [`backward`] over one form of operands.
#[track_caller]
fn run<T: Real, P: Panel<T>>(
    cx: &mut Context<T>,
    dqkv: ArrayViewMut2<'_, T>,
    dout: ArrayView2<'_, T>,
    out: ArrayView2<'_, T>,
    lse: &[T],
    qkv: ArrayView2<'_, T>,
    shape: &Shape,
) {
    let (time, d, group) = (shape.time, shape.head_size, shape.group());
    let (dq, dkv) = dqkv.split_at(Axis(1), shape.query_cols());
    let (dk, dv) = dkv.split_at(Axis(1), shape.kv_cols());
    let parts = (Grid::new(dq, time, group * d), Grid::new(dk, time, d), Grid::new(dv, time, d));
    let ([], mut runner) = cx.split([], lens::<T, P>(time, d).iter().map(|len| len + COLS).sum());
    let isa = runner.isa;
    let (qkv, out, dout) = (Strided::from(qkv), Strided::from(out), Strided::from(dout));
    runner.for_each_with_scratch(parts, |index, (mut dq, mut dk, mut dv), scratch| {
        let (b, kv_head) = (index / shape.kv_heads, index % shape.kv_heads);
        let head = |at: usize| qkv.window(b * time, time, at * d, d);
        for member in 0..group {
            let q_head = kv_head * group + member;
            let one = Head {
                isa,
                scale: T::from_f64(shape.scale()),
                q: head(q_head),
                k: head(shape.heads + kv_head),
                v: head(shape.heads + shape.kv_heads + kv_head),
                out: out.window(b * time, time, q_head * d, d),
                dout: dout.window(b * time, time, q_head * d, d),
                lse: &lse[(b * shape.heads + q_head) * time..][..time],
            };
            let mut dq = dq.window(0, time, member * d, d);
            one.backward::<P>(&mut dq, &mut dk, &mut dv, member == 0, scratch);
        }
    });
}

/// Elements of a head's scratch: weights and slopes; keys and values turned; dots; queries and gradients of the output as
/// left and as right operands; keys as right ones; and a panel of a left one.
fn lens<T: Real, P: Panel<T>>(time: usize, d: usize) -> [usize; 11] {
    let (square, turned) = (BLOCK * BLOCK, P::steps(d) * BLOCK);
    let (rows, steps) = (left_room::<T, P>(time, d), right_room::<T, P>(time, d));
    let (keys, panel) = (right_room::<T, P>(BLOCK, d), left_room::<T, P>(ROWS, BLOCK));
    [square, square, turned, turned, time, rows, rows, steps, steps, keys, panel]
}

/// One query head of one sequence: (T, D) matrices.
struct Head<'a, T> {
    isa: Isa,
    scale: T,
    q: Strided<'a, T>,
    k: Strided<'a, T>,
    v: Strided<'a, T>,
    out: Strided<'a, T>,
    dout: Strided<'a, T>,
    lse: &'a [T],
}

/// A matrix (T, D) as register tiles read it.
#[derive(Clone, Copy)]
struct Both<'a, E> {
    /// As a left operand: its columns are the steps.
    left: Strided<'a, E>,
    /// As a right operand: its rows are the steps.
    right: Panels<'a, E, COLS>,
}

/// What the products of a head read: queries, and the gradient of the output.
#[derive(Clone, Copy)]
struct Operands<'a, E> {
    q: Both<'a, E>,
    dout: Both<'a, E>,
}

/// A block of up to 64 rows of queries against one of as many keys.
#[derive(Clone, Copy)]
struct Pair {
    row: usize,
    rows: usize,
    key: usize,
    keys: usize,
}

impl Pair {
    /// Keys of the block that row `i` of the block may see.
    fn visible(self, i: usize) -> usize {
        (self.row + i + 1).saturating_sub(self.key).min(self.keys)
    }

    /// The first row of the block that may see key `j` of the block.
    fn first_row(self, j: usize) -> usize {
        (self.key + j).saturating_sub(self.row).min(self.rows)
    }
}

impl<T: Real> Head<'_, T> {
    /// Blocks of keys outermost: those are turned once, and the gradients of their keys and values stay near. `dq` is
    /// overwritten, and so are `dk` and `dv` by the `first` of the heads that share them.
    fn backward<P: Panel<T>>(
        &self,
        dq: &mut Tile<'_, T>,
        dk: &mut Tile<'_, T>,
        dv: &mut Tile<'_, T>,
        first: bool,
        scratch: &mut [T],
    ) {
        let (isa, time, d) = (self.isa, self.q.rows(), self.q.cols());
        let [
            weights,
            slopes,
            k_turned,
            v_turned,
            dots,
            q_left,
            dout_left,
            q_right,
            dout_right,
            k_right,
            panel,
        ] = carve(scratch, lens::<T, P>(time, d));
        let [k_turned, v_turned, k_right, panel] = [k_turned, v_turned, k_right, panel].map(P::view_mut);
        for (row, dot) in dots.iter_mut().enumerate() {
            *dot = row_dot(isa, self.out.row(row), self.dout.row(row));
        }
        let operands = Operands::<P::Element> {
            q: Both {
                left: left::<T, P>(isa, self.q, P::view_mut(q_left)),
                right: right::<T, P>(isa, self.q, P::view_mut(q_right)),
            },
            dout: Both {
                left: left::<T, P>(isa, self.dout, P::view_mut(dout_left)),
                right: right::<T, P>(isa, self.dout, P::view_mut(dout_right)),
            },
        };
        for key in (0..time).step_by(BLOCK) {
            let keys = BLOCK.min(time - key);
            let k = self.k.window(key, keys, 0, d);
            turn::<T, P>(isa, k, k_turned);
            turn::<T, P>(isa, self.v.window(key, keys, 0, d), v_turned);
            let k = right::<T, P>(isa, k, k_right);
            for row in (key..time).step_by(BLOCK) {
                let pair = Pair { row, rows: BLOCK.min(time - row), key, keys };
                self.slopes::<P>(pair, operands, [k_turned, v_turned], weights, slopes, &dots[row..]);
                let into = (&mut *dk, &mut *dv, first && row == key);
                self.fold::<P>(pair, operands, k, [weights, slopes], panel, (dq, key == 0), into);
            }
        }
    }

    /// Weights of the block, and the gradient of its scores before they were scaled; 0 where a key is not seen.
    fn slopes<P: Panel<T>>(
        &self,
        pair: Pair,
        operands: Operands<'_, P::Element>,
        turned: [&[P::Element]; 2],
        weights: &mut [T],
        slopes: &mut [T],
        dots: &[T],
    ) {
        let Pair { row, rows, .. } = pair;
        let (isa, steps) = (self.isa, P::steps(self.q.cols()));
        for i in (0..rows).step_by(ROWS) {
            let height = ROWS.min(rows - i);
            let keys = pair.visible(i + height - 1);
            for (out, left, right) in
                [(&mut *weights, operands.q.left, turned[0]), (&mut *slopes, operands.dout.left, turned[1])]
            {
                let view =
                    ArrayViewMut2::from_shape((height, BLOCK), &mut out[i * BLOCK..][..height * BLOCK]);
                let mut out = Tile::new(view.expect("the scratch is of this shape"));
                let left = left.window(row + i, height, 0, steps);
                let right = Panels::packed(right, steps, keys, steps * COLS);
                matmul::block::<T, P>(isa, Init::Zero, left, right, &mut out.window(0, height, 0, keys));
            }
            for i in i..i + height {
                let (p, ds) = (&mut weights[i * BLOCK..][..BLOCK], &mut slopes[i * BLOCK..][..BLOCK]);
                slope_row(isa, p, ds, pair.visible(i), self.lse[row + i], dots[i], self.scale);
            }
        }
    }

    /// dv += pᵀ·dout, dk += dsᵀ·q, dq += ds·k, leaving out steps that no row of a tile sees; or `=`, where a flag says that
    /// this is the first that each of them gets.
    fn fold<P: Panel<T>>(
        &self,
        pair: Pair,
        operands: Operands<'_, P::Element>,
        k: Panels<'_, P::Element, COLS>,
        [weights, slopes]: [&[T]; 2],
        panel: &mut [P::Element],
        (dq, first_of_queries): (&mut Tile<'_, T>, bool),
        (dk, dv, first_of_keys): (&mut Tile<'_, T>, &mut Tile<'_, T>, bool),
    ) {
        let init = |first: bool| if first { Init::Zero } else { Init::Accumulate };
        let Pair { row, rows, key, keys } = pair;
        let (isa, d) = (self.isa, self.q.cols());
        let p = Strided::new(weights, rows, keys, BLOCK, 1);
        let ds = Strided::new(slopes, rows, keys, BLOCK, 1);
        for j in (0..keys).step_by(ROWS) {
            let width = ROWS.min(keys - j);
            // Even, and so between two steps of the form, for blocks and tiles begin at even places.
            const { assert!(BLOCK.is_multiple_of(2) && ROWS.is_multiple_of(2)) };
            let first = pair.first_row(j);
            let count = rows - first;
            let mut add = |into: &mut Tile<'_, T>, of: Strided<'_, T>, by: Panels<'_, P::Element, COLS>| {
                let of = left::<T, P>(isa, of.window(first, count, j, width).turned(), panel);
                let by = by.rows_from((row + first) / P::K_A_STEP, P::steps(count));
                let into = &mut into.window(key + j, width, 0, d);
                matmul::block::<T, P>(isa, init(first_of_keys), of, by, into);
            };
            add(dv, p, operands.dout.right);
            add(dk, ds, operands.q.right);
        }
        for i in (0..rows).step_by(ROWS) {
            let height = ROWS.min(rows - i);
            let keys = pair.visible(i + height - 1);
            let of = left::<T, P>(isa, ds.window(i, height, 0, keys), panel);
            let into = &mut dq.window(row + i, height, 0, d);
            let by = k.rows_from(0, P::steps(keys));
            matmul::block::<T, P>(isa, init(first_of_queries), of, by, into);
        }
    }
}

/// Up to 64 rows of adjacent elements become columns of two panels.
fn turn<T: Real, P: Panel<T>>(isa: Isa, from: Strided<'_, T>, out: &mut [P::Element]) {
    let (rows, d) = (from.rows(), from.cols());
    for (row, panel) in (0..rows).step_by(COLS).zip(out.chunks_exact_mut((P::steps(d) * COLS).max(1))) {
        P::turn(isa, from.window(row, COLS.min(rows - row), 0, d), panel);
    }
}

dispatch! {
    fn row_dot<T>(x: &[T], y: &[T]) -> T = row_dot_body;
}
dispatch! {
    fn slope_row<T>(p: &mut [T], ds: &mut [T], visible: usize, lse: T, dot: T, scale: T) = slope_row_body;
}

#[inline(always)]
fn row_dot_body<T: Real>(x: &[T], y: &[T]) -> T {
    sum_by2(x, y, |x, y| x * y)
}

/// p: scores to weights; ds: gradient of the weights to gradient of the unscaled scores.
#[inline(always)]
fn slope_row_body<T: Real>(p: &mut [T], ds: &mut [T], visible: usize, lse: T, dot: T, scale: T) {
    // Whole vectors.
    let near = visible.next_multiple_of(LANES).min(p.len());
    for (p, ds) in p[..near].iter_mut().zip(ds[..near].iter_mut()) {
        *p = p.mul_add(scale, -lse).exp();
        *ds = *p * (*ds - dot) * scale;
    }
    p[visible..].fill(T::ZERO);
    ds[visible..].fill(T::ZERO);
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, s};
    use proptest::prelude::*;
    use selvedge_sync::Team;

    use super::super::{KvCache, Segment, forward, forward_cached};
    use super::*;
    use crate::testing::{check_gradient, dot, random};

    fn run<T: Real>(cx: &mut Context<T>, qkv: &Array2<T>, shape: &Shape) -> (Array2<T>, Vec<T>) {
        let rows = shape.batch * shape.time;
        let mut out = Array2::from_elem((rows, shape.query_cols()), T::ZERO);
        let mut lse = vec![T::ZERO; rows * shape.heads];
        forward(cx, out.view_mut(), &mut lse, qkv.view(), shape);
        (out, lse)
    }

    /// The definition, with the T×T matrix.
    fn reference(qkv: &Array2<f64>, shape: &Shape) -> Array2<f64> {
        let d = shape.head_size;
        let mut out = Array2::zeros((shape.batch * shape.time, shape.query_cols()));
        for b in 0..shape.batch {
            for h in 0..shape.heads {
                let kv = shape.heads + h / shape.group();
                let row = |t: usize, head: usize| qkv.slice(s![b * shape.time + t, head * d..(head + 1) * d]);
                for t in 0..shape.time {
                    let scores: Vec<f64> =
                        (0..=t).map(|j| (row(t, h).dot(&row(j, kv)) / (d as f64).sqrt()).exp()).collect();
                    let total: f64 = scores.iter().sum();
                    for (j, score) in scores.iter().enumerate() {
                        let mut out = out.slice_mut(s![b * shape.time + t, h * d..(h + 1) * d]);
                        out.scaled_add(score / total, &row(j, kv + shape.kv_heads));
                    }
                }
            }
        }
        out
    }

    fn shapes() -> impl Strategy<Value = Shape> {
        let time = prop_oneof![Just(1usize), 2usize..9, 60usize..70];
        (1usize..3, time, 1usize..3, 1usize..3, 1usize..7).prop_map(
            |(batch, time, kv_heads, group, head_size)| Shape {
                batch,
                time,
                heads: kv_heads * group,
                kv_heads,
                head_size,
            },
        )
    }

    fn everywhere() -> impl Iterator<Item = (Isa, Precision)> {
        let both = [Precision::F32, Precision::Bf16];
        Isa::available().into_iter().flat_map(move |isa| both.map(|precision| (isa, precision)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10))]
        #[test]
        fn forward_agrees_with_the_definition(shape in shapes(), seed in any::<u64>()) {
            let qkv = random(seed, (shape.batch * shape.time, shape.qkv_cols()));
            let (out, _) = run(&mut Context::solo(), &qkv, &shape);
            let worst = (&out - &reference(&qkv, &shape)).mapv(f64::abs).fold(0.0, |a: f64, &b| a.max(b));
            prop_assert!(worst < 1e-12, "worst {worst}");
        }

        /// Several blocks whose highest scores differ widely, so that what was folded before must shrink.
        #[test]
        fn forward_agrees_with_the_definition_over_many_blocks(time in 130usize..260, seed in any::<u64>()) {
            let shape = Shape { batch: 1, time, heads: 2, kv_heads: 1, head_size: 5 };
            let qkv = random(seed, (time, shape.qkv_cols())) * 3.0;
            let (out, _) = run(&mut Context::solo(), &qkv, &shape);
            let worst = (&out - &reference(&qkv, &shape)).mapv(f64::abs).fold(0.0, |a: f64, &b| a.max(b));
            prop_assert!(worst < 1e-11, "worst {worst}");
        }

        #[test]
        fn backward_agrees_with_differences(shape in shapes(), seed in any::<u64>()) {
            let qkv = random(seed, (shape.batch * shape.time, shape.qkv_cols()));
            let dout = random(seed ^ 1, (shape.batch * shape.time, shape.query_cols()));
            let cx = &mut Context::solo();
            let (out, lse) = run(cx, &qkv, &shape);
            let mut dqkv = random(seed ^ 2, qkv.dim());
            backward(cx, dqkv.view_mut(), dout.view(), out.view(), &lse, qkv.view(), &shape);
            check_gradient("qkv", &qkv, dqkv.view(), |qkv| dot(&run(&mut Context::solo(), qkv, &shape).0, &dout));
        }

        #[test]
        fn chunks_from_a_cache_give_the_bits_of_the_whole(
            time in 1usize..150, cuts in prop::collection::vec(1usize..80, 1..6), threads in 1usize..4, seed in any::<u64>(),
        ) {
            let shape = Shape { batch: 1, time, heads: 4, kv_heads: 2, head_size: 24 };
            let qkv = random::<f32>(seed, (time, shape.qkv_cols()));
            for (isa, precision) in everywhere() {
                let (whole, _) = run(&mut Context::new(Team::solo(), isa).with_precision(precision), &qkv, &shape);
                let cx = &mut Context::new(Team::new(threads).unwrap(), isa).with_precision(precision);
                let mut cache = KvCache::new(1, time, 2, 24, cx.precision().into());
                let mut first = 0;
                for step in cuts.iter().copied().chain(std::iter::repeat(1)) {
                    let step = step.min(time - first);
                    if step == 0 {
                        break;
                    }
                    let part = qkv.slice(s![first..first + step, ..]);
                    let segments = [Segment { sequence: 0, position: first, rows: step }];
                    let mut out = Array2::zeros((step, 96));
                    forward_cached(cx, out.view_mut(), part, &mut cache, &shape, &segments);
                    prop_assert_eq!(&out, &whole.slice(s![first..first + step, ..]));
                    first += step;
                }
            }
        }

        #[test]
        fn bits_do_not_depend_on_threads_or_instruction_set(shape in shapes(), seed in any::<u64>()) {
            let qkv = random::<f32>(seed, (shape.batch * shape.time, shape.qkv_cols()));
            let dout = random::<f32>(seed ^ 1, (shape.batch * shape.time, shape.query_cols()));
            for precision in [Precision::F32, Precision::Bf16] {
                let mut results = Vec::new();
                for isa in Isa::available() {
                    for threads in [1, 3] {
                        let cx = &mut Context::new(Team::new(threads).unwrap(), isa).with_precision(precision);
                        let (out, lse) = run(cx, &qkv, &shape);
                        let mut dqkv = Array2::zeros(qkv.dim());
                        backward(cx, dqkv.view_mut(), dout.view(), out.view(), &lse, qkv.view(), &shape);
                        results.push((out, lse, dqkv));
                    }
                }
                prop_assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
            }
        }

        /// An operand errs by 2⁻⁹ of itself at most; sums of up to 192 of them, by way of three products, by little more.
        #[test]
        fn products_of_bf16_come_near_those_of_f32(
            time in 1usize..200, head_size in 1usize..50, seed in any::<u64>(),
        ) {
            let shape = Shape { batch: 2, time, heads: 4, kv_heads: 2, head_size };
            let qkv = random::<f32>(seed, (2 * time, shape.qkv_cols()));
            let dout = random::<f32>(seed ^ 1, (2 * time, shape.query_cols()));
            let [exact, rounded] = [Precision::F32, Precision::Bf16].map(|precision| {
                let cx = &mut Context::solo().with_precision(precision);
                let (out, lse) = run(cx, &qkv, &shape);
                let mut dqkv = random(seed ^ 2, qkv.dim());
                backward(cx, dqkv.view_mut(), dout.view(), out.view(), &lse, qkv.view(), &shape);
                (out, dqkv)
            });
            for (what, exact, rounded) in [("out", &exact.0, &rounded.0), ("gradient", &exact.1, &rounded.1)] {
                let largest = |of: &Array2<f32>| of.iter().fold(0.0_f32, |a, x| a.max(x.abs()));
                let (off, size) = (largest(&(rounded - exact)), largest(exact));
                prop_assert!(off <= size / 64.0, "{what} off by {off} of {size}");
            }
            prop_assert!(exact.0 != rounded.0 || time == 1, "nothing was rounded");
        }
    }
}
