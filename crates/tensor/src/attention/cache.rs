//! Keys and values in the order the forward reads them: blocks of 64 keys, transposed, and padded values.

use ndarray::{ArrayView2, s};
use selvedge_sync::{Team, chunks};

use super::{BLOCK, Shape};
use crate::Real;

/// Keys and values of one sequence in one layer, for generation.
#[derive(Clone, Debug)]
pub struct KvCache<T> {
    keys: Vec<T>,
    values: Vec<T>,
    blocks: usize,
    kv_heads: usize,
    head_size: usize,
}

impl<T: Real> KvCache<T> {
    /// Room for `context` positions.
    pub fn new(context: usize, kv_heads: usize, head_size: usize) -> Self {
        let shape = Shape { batch: 1, time: context, heads: kv_heads, kv_heads, head_size };
        let blocks = context.div_ceil(BLOCK);
        KvCache {
            keys: vec![T::ZERO; keys_len(&shape, blocks)],
            values: vec![T::ZERO; values_len(&shape, blocks)],
            blocks,
            kv_heads,
            head_size,
        }
    }

    /// Positions there is room for, a multiple of 64.
    pub fn capacity(&self) -> usize {
        self.blocks * BLOCK
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        (self.keys.len() + self.values.len()) * size_of::<T>()
    }

    /// Stores keys and values (T, HKV·D) of positions `first..first + T`, over what was there.
    ///
    /// # Panics
    /// If they do not fit.
    #[track_caller]
    pub fn store(&mut self, team: &Team, first: usize, k: ArrayView2<'_, T>, v: ArrayView2<'_, T>) {
        let shape = Shape {
            batch: 1,
            time: k.nrows(),
            heads: self.kv_heads,
            kv_heads: self.kv_heads,
            head_size: self.head_size,
        };
        assert!(
            first + k.nrows() <= self.capacity(),
            "{} positions from {first} on into a cache of {}",
            k.nrows(),
            self.capacity()
        );
        pack(team, &shape, self.blocks, first, k, v, &mut self.keys, &mut self.values);
    }

    pub(super) fn packed(&self) -> PackedKv<'_, T> {
        PackedKv { keys: &self.keys, values: &self.values, blocks: self.blocks }
    }

    #[track_caller]
    pub(super) fn check(&self, shape: &Shape, first: usize) {
        assert!(
            shape.batch == 1 && shape.kv_heads == self.kv_heads && shape.head_size == self.head_size,
            "cache of {} heads of {} for {shape:?}",
            self.kv_heads,
            self.head_size
        );
        assert!(first + shape.time <= self.capacity(), "positions past the cache's {}", self.capacity());
    }
}

/// Packed keys `[b][head][block][d][64]` and values `[b][head][position][D padded to 16]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct PackedKv<'a, T> {
    pub(super) keys: &'a [T],
    pub(super) values: &'a [T],
    pub(super) blocks: usize,
}

impl<T> PackedKv<'_, T> {
    /// Keys (D × 64) of a block and values (64 × padded D) of the same positions.
    pub(super) fn block(&self, shape: &Shape, head: usize, block: usize) -> (&[T], &[T]) {
        let (d, stride) = (shape.head_size, shape.value_stride());
        let at = head * self.blocks + block;
        (&self.keys[at * d * BLOCK..][..d * BLOCK], &self.values[at * BLOCK * stride..][..BLOCK * stride])
    }
}

pub(super) fn keys_len(shape: &Shape, blocks: usize) -> usize {
    shape.batch * shape.kv_heads * blocks * shape.head_size * BLOCK
}

pub(super) fn values_len(shape: &Shape, blocks: usize) -> usize {
    shape.batch * shape.kv_heads * blocks * BLOCK * shape.value_stride()
}

/// Packs k and v (B·T, HKV·D) of positions `first..first + T` into buffers of `blocks` blocks a head.
pub(super) fn pack<T: Real>(
    team: &Team,
    shape: &Shape,
    blocks: usize,
    first: usize,
    k: ArrayView2<'_, T>,
    v: ArrayView2<'_, T>,
    keys: &mut [T],
    values: &mut [T],
) {
    let (d, stride, time) = (shape.head_size, shape.value_stride(), shape.time);
    if time == 0 {
        return;
    }
    let parts = (chunks(keys, blocks * d * BLOCK), chunks(values, blocks * BLOCK * stride));
    team.parallel_parts(parts, |index, (keys, values)| {
        let (b, head) = (index / shape.kv_heads, index % shape.kv_heads);
        let window = s![b * time..(b + 1) * time, head * d..(head + 1) * d];
        let (k, v) = (k.slice(window), v.slice(window));
        for (t, (k, v)) in k.outer_iter().zip(v.outer_iter()).enumerate() {
            let position = first + t;
            let block = &mut keys[position / BLOCK * d * BLOCK..][..d * BLOCK];
            for (row, &k) in block.chunks_exact_mut(BLOCK).zip(k) {
                row[position % BLOCK] = k;
            }
            for (to, &v) in values[position * stride..][..d].iter_mut().zip(v) {
                *to = v;
            }
        }
    });
}
