//! The forward: online softmax over blocks of keys.

use ndarray::{ArrayView2, ArrayViewMut2, s};
use selvedge_sync::chunks;

use super::cache::{KeysValues, KvCache, Values, keys_len, pack_keys};
use super::{BLOCK, Shape};
use crate::context::{Runner, carve};
use crate::isa::dispatch;
use crate::matmul::{self, ROWS};
use crate::reduce::{max, sum_by};
use crate::tile::{Grid, Strided, Tile};
use crate::{Context, Init, Isa, Real};

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
    let (q_end, k_end) = (shape.query_cols(), shape.query_cols() + shape.kv_cols());
    let (q, k, v) = (qkv.slice(s![.., ..q_end]), qkv.slice(s![.., q_end..k_end]), qkv.slice(s![.., k_end..]));
    let blocks = shape.time.div_ceil(BLOCK);
    let ([keys], mut runner) = cx.split([keys_len(shape, blocks)], SCRATCH);
    pack_keys(runner.team(), runner.isa, shape, blocks, 0, k.into(), keys);
    let kv = KeysValues { keys, blocks, values: Values::Rows(v.into()) };
    run(&mut runner, out, lse, q, kv, shape, 0);
}

/// The same for one sequence of queries (T, H·D) at positions `first..first + T` whose keys and values,
/// like those of all positions before, are in `cache`.
///
/// # Panics
/// On shapes that do not fit.
#[track_caller]
pub fn forward_cached<T: Real>(
    cx: &mut Context<T>,
    out: ArrayViewMut2<'_, T>,
    lse: &mut [T],
    q: ArrayView2<'_, T>,
    cache: &KvCache<T>,
    shape: &Shape,
    first: usize,
) {
    shape.check();
    cache.check(shape, first);
    let ([], mut runner) = cx.split([], SCRATCH);
    run(&mut runner, out, lse, q, cache.view(), shape, first);
}

/// Scores of a block of rows, and what each row is relative to.
const SCRATCH: usize = BLOCK * BLOCK + 2 * BLOCK;

fn run<T: Real>(
    runner: &mut Runner<'_, T>,
    out: ArrayViewMut2<'_, T>,
    lse: &mut [T],
    q: ArrayView2<'_, T>,
    kv: KeysValues<'_, T>,
    shape: &Shape,
    first: usize,
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
    let parts = (Grid::new(out, time, d), chunks(lse, time));
    runner.for_each_with_scratch(parts, |index, (mut out, lse), scratch| {
        let (b, head) = (index / shape.heads, index % shape.heads);
        let kv_head = (b, head / shape.group());
        for row in (0..time).step_by(BLOCK) {
            let rows = BLOCK.min(time - row);
            let mut out = out.window(row, rows, 0, d);
            let q = q.window(b * time + row, rows, head * d, d);
            let queries = Queries { isa, shape, q, position: first + row };
            queries.attend(kv, kv_head, &mut out, &mut lse[row..row + rows], scratch);
        }
    });
}

/// Up to 64 rows of queries of one head.
struct Queries<'a, T> {
    isa: Isa,
    shape: &'a Shape,
    q: Strided<'a, T>,
    position: usize,
}

impl<T: Real> Queries<'_, T> {
    fn attend(
        &self,
        kv: KeysValues<'_, T>,
        kv_head: (usize, usize),
        out: &mut Tile<'_, T>,
        lse: &mut [T],
        scratch: &mut [T],
    ) {
        let rows = self.q.rows();
        let [scores, highest, total] = carve(scratch, [BLOCK * BLOCK, BLOCK, BLOCK]);
        highest.fill(T::NEG_INFINITY);
        total.fill(T::ZERO);
        for row in 0..rows {
            out.row_mut(row).fill(T::ZERO);
        }
        let last = self.position + rows - 1;
        let scale = T::from_f64(self.shape.scale());
        for block in 0..=last / BLOCK {
            // Keys that the last row sees; rows before it may see fewer.
            let keys = self.visible(rows - 1, block);
            let (k, v) = kv.block(self.shape, kv_head, block, keys);
            let view = ArrayViewMut2::from_shape((rows, BLOCK), &mut scores[..rows * BLOCK]);
            let mut tile = Tile::new(view.expect("the scratch is of this shape"));
            for row in (0..rows).step_by(ROWS) {
                // No more than the last of these rows sees.
                let height = ROWS.min(rows - row);
                let keys = self.visible(row + height - 1, block);
                let q = self.q.window(row, height, 0, self.q.cols());
                let (k, scores) = (k.window(0, k.rows(), 0, keys), &mut tile.window(row, height, 0, keys));
                matmul::block(self.isa, Init::Zero, q, k, scores);
            }
            for row in 0..rows {
                let visible = self.visible(row, block);
                let scores = &mut scores[row * BLOCK..][..BLOCK];
                let state = (highest[row], total[row]);
                (highest[row], total[row]) =
                    fold_row(self.isa, scores, out.row_mut(row), state, visible, scale);
            }
            self.weigh(scores, v, out, block);
        }
        for row in 0..rows {
            finish_row(self.isa, out.row_mut(row), total[row]);
            lse[row] = highest[row] + total[row].ln();
        }
    }

    /// Keys of `block` that row `row` may see.
    fn visible(&self, row: usize, block: usize) -> usize {
        (self.position + row + 1).saturating_sub(block * BLOCK).min(BLOCK)
    }

    /// out += weights · V, each row over the keys it sees and no other: not even a product with 0 is added.
    fn weigh(&self, scores: &[T], values: Strided<'_, T>, out: &mut Tile<'_, T>, block: usize) {
        let (rows, d) = (self.q.rows(), self.shape.head_size);
        let weights = Strided::new(scores, rows, BLOCK, BLOCK, 1);
        for row in (0..rows).step_by(ROWS) {
            let height = ROWS.min(rows - row);
            // What all of these rows see, and then what each sees besides.
            let shared = self.visible(row, block);
            let (w, v) = (weights.window(row, height, 0, shared), values.window(0, shared, 0, d));
            matmul::block(self.isa, Init::Accumulate, w, v, &mut out.window(row, height, 0, d));
            for row in row + 1..row + height {
                let own = self.visible(row, block) - shared;
                let (w, v) = (weights.window(row, 1, shared, own), values.window(shared, own, 0, d));
                matmul::block(self.isa, Init::Accumulate, w, v, &mut out.window(row, 1, 0, d));
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
