//! The forward: online softmax over blocks of keys.

use ndarray::{ArrayView2, ArrayViewMut2, s};
use selvedge_sync::chunks;

use super::cache::{KvCache, PackedKv, keys_len, pack, values_len};
use super::{BLOCK, Shape};
use crate::context::{Runner, carve};
use crate::isa::dispatch;
use crate::matmul::{TileShape, kernel::ROWS, pack::pack_rows, pack::panels, tile_chain};
use crate::reduce::{max, sum_by};
use crate::tile::{Grid, Tile};
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
    let lens = [keys_len(shape, blocks), values_len(shape, blocks)];
    let ([keys, values], mut runner) = cx.split(lens, scratch_len(shape));
    // Positions past the end of a sequence are read into lanes that are then masked: they must be numbers.
    keys.fill(T::ZERO);
    values.fill(T::ZERO);
    pack(runner.team(), shape, blocks, 0, k, v, keys, values);
    run(&mut runner, out, lse, q, PackedKv { keys, values, blocks }, shape, 0);
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
    let ([], mut runner) = cx.split([], scratch_len(shape));
    run(&mut runner, out, lse, q, cache.packed(), shape, first);
}

/// Scores of a block of rows, their queries in panels, and one panel of weights.
fn scratch_len(shape: &Shape) -> usize {
    BLOCK * BLOCK + BLOCK * shape.head_size + ROWS * BLOCK + 2 * BLOCK + 5 * BLOCK
}

fn run<T: Real>(
    runner: &mut Runner<'_, T>,
    out: ArrayViewMut2<'_, T>,
    lse: &mut [T],
    q: ArrayView2<'_, T>,
    kv: PackedKv<'_, T>,
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
    let parts = (Grid::new(out, time, d), chunks(lse, time));
    runner.for_each_with_scratch(parts, |index, (mut out, lse), scratch| {
        let (b, head) = (index / shape.heads, index % shape.heads);
        let q = q.slice(s![b * time..(b + 1) * time, head * d..(head + 1) * d]);
        let kv_head = b * shape.kv_heads + head / shape.group();
        for row in (0..time).step_by(BLOCK) {
            let rows = BLOCK.min(time - row);
            let mut out = out.window(row, rows, 0, d);
            let queries = Queries { isa, shape, q: q.slice(s![row..row + rows, ..]), position: first + row };
            queries.attend(kv, kv_head, &mut out, &mut lse[row..row + rows], scratch);
        }
    });
}

/// Up to 64 rows of queries of one head.
struct Queries<'a, T> {
    isa: Isa,
    shape: &'a Shape,
    q: ArrayView2<'a, T>,
    position: usize,
}

impl<T: Real> Queries<'_, T> {
    fn attend(
        &self,
        kv: PackedKv<'_, T>,
        kv_head: usize,
        out: &mut Tile<'_, T>,
        lse: &mut [T],
        scratch: &mut [T],
    ) {
        let (rows, d) = self.q.dim();
        let lens = [BLOCK * BLOCK, BLOCK * d, ROWS * BLOCK, BLOCK, BLOCK];
        let [scores, queries, weights, highest, total] = carve(scratch, lens);
        for row in (0..rows).step_by(ROWS) {
            let height = ROWS.min(rows - row);
            pack_rows(self.isa, self.q, row, height, &mut queries[row * d..(row + height) * d]);
        }
        highest.fill(T::NEG_INFINITY);
        total.fill(T::ZERO);
        for row in 0..rows {
            out.row_mut(row).fill(T::ZERO);
        }
        let last = self.position + rows - 1;
        for block in 0..=last / BLOCK {
            let (keys, values) = kv.block(self.shape, kv_head, block);
            self.score(queries, keys, scores, rows);
            for row in 0..rows {
                let visible = self.visible(row, block);
                let scale = T::from_f64(self.shape.scale());
                let scores = &mut scores[row * BLOCK..][..BLOCK];
                let state = (highest[row], total[row]);
                (highest[row], total[row]) =
                    fold_row(self.isa, scores, out.row_mut(row), state, visible, scale);
            }
            self.weigh(scores, values, weights, out, block);
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

    /// scores (rows × 64) = Q · Kᵀ.
    fn score(&self, queries: &[T], keys: &[T], scores: &mut [T], rows: usize) {
        let d = self.shape.head_size;
        let view = ArrayViewMut2::from_shape((rows, BLOCK), &mut scores[..rows * BLOCK]);
        let mut tile = Tile::new(view.expect("the scratch is of this shape"));
        for row in (0..rows).step_by(ROWS) {
            let height = ROWS.min(rows - row);
            for (col, width) in panels::<T>(self.isa, BLOCK) {
                let shape = TileShape { k: d, rows: height, cols: width, b_stride: BLOCK };
                let mut window = tile.window(row, height, col, width);
                tile_chain(self.isa, shape, Init::Zero, &queries[row * d..], &keys[col..], &mut window);
            }
        }
    }

    /// out += weights · V, each row over the keys it sees and no other: not even a product with 0 is added.
    fn weigh(&self, scores: &[T], values: &[T], panel: &mut [T], out: &mut Tile<'_, T>, block: usize) {
        let (rows, d) = self.q.dim();
        let stride = self.shape.value_stride();
        let whole = self.visible(0, block) == BLOCK;
        let step = if whole { ROWS } else { 1 };
        for row in (0..rows).step_by(step) {
            let height = step.min(rows - row);
            let k = self.visible(row, block);
            let left: &[T] = if whole {
                let view = ArrayView2::from_shape((rows, BLOCK), &scores[..rows * BLOCK]);
                pack_rows(
                    self.isa,
                    view.expect("the scratch is of this shape"),
                    row,
                    height,
                    &mut panel[..height * k],
                );
                panel
            } else {
                &scores[row * BLOCK..]
            };
            for (col, width) in panels::<T>(self.isa, d) {
                let shape = TileShape { k, rows: height, cols: width, b_stride: stride };
                let mut window = out.window(row, height, col, width.min(d - col));
                tile_chain(self.isa, shape, Init::Accumulate, left, &values[col..], &mut window);
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
