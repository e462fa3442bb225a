//! The forward: online softmax over blocks of keys.

use ndarray::{ArrayView2, ArrayViewMut2, s};
use selvedge_sync::chunks;

use super::cache::{Blocks, KeysValues, Look, Room, Values, keys_len, put, values_len};
use super::{BLOCK, Shape};
use crate::context::{Runner, carve};
use crate::isa::dispatch;
use crate::matmul::{self, COLS, Full, Panel, ROWS, left, left_room};
use crate::reduce::{max, sum_by};
use crate::tile::{Grid, Panels, Strided, Tile};
use crate::{Context, Init, Isa, Precision, Real};

/// out (B·T, H·D) and, for the backward, lse (B, H, T): the log of each row's sum of exponentials.
/// qkv (B·T, (H + 2·HKV)·D) holds queries, then keys, then values in each row.
///
/// # Panics
/// On shapes that do not fit.
#[track_caller]
pub fn forward<T: Real>(
    cx: &mut Context<T>,
    out: ArrayViewMut2<'_, T>,
    lse: &mut [T],
    qkv: ArrayView2<'_, T>,
    shape: &Shape,
) {
    shape.check();
    let rows = shape.batch * shape.time;
    assert_eq!(qkv.dim(), (rows, shape.qkv_cols()), "queries, keys and values of {shape:?}");
    match cx.precision() {
        Precision::F32 => whole::<T, Full>(cx, out, lse, qkv, shape),
        Precision::Bf16 => whole::<T, T::Half>(cx, out, lse, qkv, shape),
    }
}

/// [`forward`] over one form of operands.
#[track_caller]
fn whole<T: Real, P: Panel<T>>(
    cx: &mut Context<T>,
    out: ArrayViewMut2<'_, T>,
    lse: &mut [T],
    qkv: ArrayView2<'_, T>,
    shape: &Shape,
) {
    let (q_end, k_end) = (shape.query_cols(), shape.query_cols() + shape.kv_cols());
    let (q, k, v) = (qkv.slice(s![.., ..q_end]), qkv.slice(s![.., q_end..k_end]), qkv.slice(s![.., k_end..]));
    let (blocks, d) = (shape.time.div_ceil(BLOCK), shape.head_size);
    let packed = shape.batch * shape.kv_heads * blocks;
    let (k, v) = (Strided::from(k), Strided::from(v));
    let values_len = if P::LIES { 0 } else { packed * values_len::<T, P>(d) };
    let ([keys, values], mut runner) = cx.split(
        [packed * keys_len::<T, P>(d), values_len],
        scratch::<T, P, KeysValues<'_, P::Element>>(shape),
    );
    let (keys, values) = (P::view_mut(keys), P::view_mut(values));
    let into = Room { blocks, keys, values: (!P::LIES).then_some(values) };
    put::<T, P>(runner.team(), runner.isa, shape, k, v, into);
    let kv = KeysValues { keys, blocks, values: P::lies(v).map_or(Values::Packed(values), Values::Rows) };
    run::<T, P>(&mut runner, out, lse, q, kv, shape);
}

/// Scores of a block of rows, what each row is relative to and comes to, copies of queries and weights where they must be,
/// and room for a block of keys and values.
pub(super) fn parts<T: Real, P: Panel<T>, K: Blocks<T, P>>(shape: &Shape) -> [usize; 7] {
    let copies = [shape.head_size, BLOCK].map(|k| left_room::<T, P>(BLOCK, k));
    [BLOCK * BLOCK, BLOCK, BLOCK, BLOCK, copies[0], copies[1], K::room(shape)]
}

/// Elements that [`parts`] take.
pub(super) fn scratch<T: Real, P: Panel<T>, K: Blocks<T, P>>(shape: &Shape) -> usize {
    parts::<T, P, K>(shape).iter().map(|len| len + COLS).sum()
}

fn run<T: Real, P: Panel<T>>(
    runner: &mut Runner<'_, T>,
    out: ArrayViewMut2<'_, T>,
    lse: &mut [T],
    q: ArrayView2<'_, T>,
    kv: KeysValues<'_, P::Element>,
    shape: &Shape,
) {
    let (time, d) = (shape.time, shape.head_size);
    let rows = shape.batch * time;
    assert!(
        out.dim() == (rows, shape.query_cols()) && q.dim() == out.dim() && lse.len() == rows * shape.heads,
        "attention of {shape:?} into {:?} and {} sums",
        out.dim(),
        lse.len()
    );
    if rows == 0 {
        return;
    }
    let isa = runner.isa;
    let q = Strided::from(q);
    let outputs = (Grid::new(out, time, d), chunks(lse, time));
    runner.for_each_with_scratch(outputs, |index, (mut out, lse), scratch| {
        let (b, head) = (index / shape.heads, index % shape.heads);
        let lens = parts::<T, P, KeysValues<'_, P::Element>>(shape);
        let [scores, highest, total, _, copy, weights, room] = carve(scratch, lens);
        let [copy, weights, room] = [copy, weights, room].map(|part| P::view_mut(part));
        for row in (0..time).step_by(BLOCK) {
            let rows = BLOCK.min(time - row);
            let q = q.window(b * time + row, rows, head * d, d);
            let queries = Queries::<T, P, _> {
                isa,
                shape,
                q: left::<T, P>(isa, q, copy),
                position: row,
                alone: false,
                kv: &kv,
                kv_head: (b, head / shape.group()),
            };
            let mut out = out.window(row, rows, 0, d);
            let state = State { scores, highest, total, weights, room };
            queries.attend(&mut out, &mut lse[row..row + rows], state);
        }
    });
}

/// Up to 64 rows of queries of one head, or of one row of several heads, and what they look at.
pub(super) struct Queries<'a, T: Real, P: Panel<T>, K> {
    pub(super) isa: Isa,
    pub(super) shape: &'a Shape,
    /// Steps of the form.
    pub(super) q: Strided<'a, P::Element>,
    /// Of the first row.
    pub(super) position: usize,
    /// Whether all rows are at one position, else one after another.
    pub(super) alone: bool,
    pub(super) kv: &'a K,
    pub(super) kv_head: (usize, usize),
}

/// Scratch of a block of rows.
pub(super) struct State<'a, T, E> {
    /// (64, 64).
    pub(super) scores: &'a mut [T],
    /// The highest score of each row so far.
    pub(super) highest: &'a mut [T],
    /// The sum of each row's exponentials, relative to that.
    pub(super) total: &'a mut [T],
    /// Room for weights as the product of values reads them.
    pub(super) weights: &'a mut [E],
    /// Room for keys and values.
    pub(super) room: &'a mut [E],
}

impl<T: Real, P: Panel<T>, K: Blocks<T, P>> Queries<'_, T, P, K> {
    pub(super) fn attend(&self, out: &mut Tile<'_, T>, lse: &mut [T], state: State<'_, T, P::Element>) {
        let rows = self.q.rows();
        let State { scores, highest, total, weights, room } = state;
        highest.fill(T::NEG_INFINITY);
        total.fill(T::ZERO);
        for row in 0..rows {
            out.row_mut(row).fill(T::ZERO);
        }
        let last = self.position_of(rows - 1);
        let scale = T::from_f64(self.shape.scale());
        for block in 0..=last / BLOCK {
            // Keys that the last row sees; rows before it may see fewer.
            let keys = self.visible(rows - 1, block);
            let look = Look { block, count: keys, is_last: block == last / BLOCK };
            let [k, v] = self.kv.block(self.isa, self.shape, self.kv_head, look, room);
            let view = ArrayViewMut2::from_shape((rows, BLOCK), &mut scores[..rows * BLOCK]);
            let mut tile = Tile::new(view.expect("the scratch is of this shape"));
            for row in (0..rows).step_by(ROWS) {
                // No more than the last of these rows sees.
                let height = ROWS.min(rows - row);
                let keys = self.visible(row + height - 1, block);
                let q = self.q.window(row, height, 0, self.q.cols());
                let scores = &mut tile.window(row, height, 0, keys);
                matmul::block::<T, P>(self.isa, Init::Zero, q, k.first_cols(keys), scores);
            }
            for row in 0..rows {
                let visible = self.visible(row, block);
                let scores = &mut scores[row * BLOCK..][..BLOCK];
                let state = (highest[row], total[row]);
                (highest[row], total[row]) =
                    fold_row(self.isa, scores, out.row_mut(row), state, visible, scale);
            }
            let scores = Strided::new(scores, rows, BLOCK, BLOCK, 1);
            self.weigh(left::<T, P>(self.isa, scores, weights), v, out, block);
        }
        for row in 0..rows {
            finish_row(self.isa, out.row_mut(row), total[row]);
            lse[row] = highest[row] + total[row].ln();
        }
    }

    fn position_of(&self, row: usize) -> usize {
        self.position + if self.alone { 0 } else { row }
    }

    /// Keys of `block` that row `row` may see.
    fn visible(&self, row: usize, block: usize) -> usize {
        (self.position_of(row) + 1).saturating_sub(block * BLOCK).min(BLOCK)
    }

    /// out += weights · V, each row over the keys it sees and no other: not even a product with 0 is added, but for the
    /// later key of a pair of which a row sees the earlier.
    fn weigh(
        &self,
        weights: Strided<'_, P::Element>,
        values: Panels<'_, P::Element, COLS>,
        out: &mut Tile<'_, T>,
        block: usize,
    ) {
        let (rows, d) = (self.q.rows(), self.shape.head_size);
        for row in (0..rows).step_by(ROWS) {
            let height = ROWS.min(rows - row);
            // Whole steps that all of these rows see, and then what each sees besides.
            let shared = self.visible(row, block) / P::K_A_STEP;
            let (w, v) = (weights.window(row, height, 0, shared), values.rows_from(0, shared));
            matmul::block::<T, P>(self.isa, Init::Accumulate, w, v, &mut out.window(row, height, 0, d));
            for row in row..row + height {
                let own = P::steps(self.visible(row, block)) - shared;
                if own > 0 {
                    let (w, v) = (weights.window(row, 1, shared, own), values.rows_from(shared, own));
                    matmul::block::<T, P>(self.isa, Init::Accumulate, w, v, &mut out.window(row, 1, 0, d));
                }
            }
        }
    }
}

dispatch! {
    fn fold_row<T>(scores: &mut [T], out: &mut [T], state: (T, T), visible: usize, scale: T) -> (T, T) = fold_row_body;
}
dispatch! {
    fn finish_row<T>(out: &mut [T], total: T) = finish_row_body;
}

/// Turns scores into weights relative to the highest score so far, and brings what was folded before
/// to the same base.
#[inline(always)]
fn fold_row_body<T: Real>(
    scores: &mut [T],
    out: &mut [T],
    (highest, total): (T, T),
    visible: usize,
    scale: T,
) -> (T, T) {
    for score in scores.iter_mut() {
        *score *= scale;
    }
    scores[visible..].fill(T::NEG_INFINITY);
    let base = max(scores).maximum(highest);
    let shrink = (highest - base).exp();
    for score in scores.iter_mut() {
        *score = (*score - base).exp();
    }
    for out in out.iter_mut() {
        *out *= shrink;
    }
    (base, total.mul_add(shrink, sum_by(scores, |x| x)))
}

#[inline(always)]
fn finish_row_body<T: Real>(out: &mut [T], total: T) {
    let scale = T::ONE / total;
    for out in out.iter_mut() {
        *out *= scale;
    }
}
