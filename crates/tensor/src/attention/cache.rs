//! Keys and values in the order the forward reads them: blocks of 64 keys, transposed, and rows of values.

use ndarray::ArrayView2;
use selvedge_sync::{Team, chunks};

use super::{BLOCK, Shape};
use crate::matmul::turn;
use crate::tile::Strided;
use crate::{Context, Isa, Real};

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
            values: vec![T::ZERO; blocks * BLOCK * kv_heads * head_size],
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
    pub fn store(&mut self, cx: &mut Context<T>, first: usize, k: ArrayView2<'_, T>, v: ArrayView2<'_, T>) {
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
        pack_keys(cx.team(), cx.isa(), &shape, self.blocks, first, k.into(), &mut self.keys);
        let (d, v) = (self.head_size, Strided::from(v));
        let head_len = self.blocks * BLOCK * d;
        cx.for_each(chunks(&mut self.values, head_len.max(1)), |head, values| {
            for (t, to) in values[first * d..].chunks_exact_mut(d).take(v.rows()).enumerate() {
                to.copy_from_slice(v.window(t, 1, head * d, d).row(0));
            }
        });
    }

    pub(super) fn view(&self) -> KeysValues<'_, T> {
        KeysValues { keys: &self.keys, blocks: self.blocks, values: Values::Cached(&self.values) }
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

/// Keys packed as `[b][head][block][d][64]`, and values where they lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeysValues<'a, T> {
    pub(super) keys: &'a [T],
    pub(super) blocks: usize,
    pub(super) values: Values<'a, T>,
}

/// Where values lie.
#[derive(Clone, Copy, Debug)]
pub(super) enum Values<'a, T> {
    /// (B·T, HKV·D), among queries and keys.
    Rows(Strided<'a, T>),
    /// `[head][position][d]`, in a cache.
    Cached(&'a [T]),
}

impl<'a, T: Real> KeysValues<'a, T> {
    /// The first `count` keys (D × count) of a block, and the values (count × D) of the same positions.
    pub(super) fn block(
        &self,
        shape: &Shape,
        (b, head): (usize, usize),
        block: usize,
        count: usize,
    ) -> (Strided<'a, T>, Strided<'a, T>) {
        let d = shape.head_size;
        let at = (b * shape.kv_heads + head) * self.blocks + block;
        let keys = Strided::new(&self.keys[at * d * BLOCK..][..d * BLOCK], d, count, BLOCK, 1);
        let values = match self.values {
            Values::Rows(rows) => rows.window(b * shape.time + block * BLOCK, count, head * d, d),
            Values::Cached(values) => Strided::new(&values[at * BLOCK * d..], count, d, d, 1),
        };
        (keys, values)
    }
}

pub(super) fn keys_len(shape: &Shape, blocks: usize) -> usize {
    shape.batch * shape.kv_heads * blocks * shape.head_size * BLOCK
}

/// Packs k (B·T, HKV·D) of positions `first..first + T` into a buffer of `blocks` blocks a head.
#[track_caller]
pub(super) fn pack_keys<T: Real>(
    team: &Team,
    isa: Isa,
    shape: &Shape,
    blocks: usize,
    first: usize,
    k: Strided<'_, T>,
    keys: &mut [T],
) {
    let (d, time) = (shape.head_size, shape.time);
    if time == 0 {
        return;
    }
    team.parallel_parts(chunks(keys, blocks * d * BLOCK), |index, keys| {
        let (b, head) = (index / shape.kv_heads, index % shape.kv_heads);
        let mut t = 0;
        while t < time {
            let position = first + t;
            let (block, lane) = (position / BLOCK, position % BLOCK);
            let count = (BLOCK - lane).min(time - t);
            let rows = k.window(b * time + t, count, head * d, d);
            turn(isa, rows, &mut keys[block * d * BLOCK + lane..], BLOCK);
            t += count;
        }
    });
}
