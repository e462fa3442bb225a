//! Keys and values in the order the forward reads them: blocks of 64 positions, each as panels of 32 columns.

use ndarray::ArrayView2;
use selvedge_sync::{Team, chunks};

use super::{BLOCK, Shape};
use crate::matmul::{COLS, Full, Panel};
use crate::tile::{Panels, Strided};
use crate::{Context, Isa, Precision, Real};

/// Keys and values of one sequence in one layer, for generation, in the precision of products.
#[derive(Clone, Debug)]
pub struct KvCache<T> {
    keys: Vec<T>,
    values: Vec<T>,
    blocks: usize,
    kv_heads: usize,
    head_size: usize,
    precision: Precision,
}

impl<T: Real> KvCache<T> {
    /// Room for `context` positions, for contexts of the given precision.
    pub fn new(context: usize, kv_heads: usize, head_size: usize, precision: Precision) -> Self {
        let blocks = context.div_ceil(BLOCK);
        let lens = match precision {
            Precision::F32 => [keys_len::<T, Full>(head_size), values_len::<T, Full>(head_size)],
            Precision::Bf16 => [keys_len::<T, T::Half>(head_size), values_len::<T, T::Half>(head_size)],
        };
        let [keys, values] = lens.map(|len| vec![T::ZERO; kv_heads * blocks * len]);
        KvCache { keys, values, blocks, kv_heads, head_size, precision }
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
    /// If they do not fit, or the cache is for contexts of another precision.
    #[track_caller]
    pub fn store(&mut self, cx: &mut Context<T>, first: usize, k: ArrayView2<'_, T>, v: ArrayView2<'_, T>) {
        assert!(
            first + k.nrows() <= self.capacity(),
            "{} positions from {first} on into a cache of {}",
            k.nrows(),
            self.capacity()
        );
        self.check_precision(cx);
        match self.precision {
            Precision::F32 => self.put::<Full>(cx, first, k, v),
            Precision::Bf16 => self.put::<T::Half>(cx, first, k, v),
        }
    }

    #[track_caller]
    fn put<P: Panel<T>>(
        &mut self,
        cx: &Context<T>,
        first: usize,
        k: ArrayView2<'_, T>,
        v: ArrayView2<'_, T>,
    ) {
        let heads = self.kv_heads;
        let shape = Shape { batch: 1, time: k.nrows(), heads, kv_heads: heads, head_size: self.head_size };
        let into = Room::<P::Element> {
            blocks: self.blocks,
            keys: P::view_mut(&mut self.keys),
            values: Some(P::view_mut(&mut self.values)),
        };
        put::<T, P>(cx.team(), cx.isa(), &shape, first, k.into(), v.into(), into);
    }

    pub(super) fn view<P: Panel<T>>(&self) -> KeysValues<'_, P::Element> {
        let values = Values::Packed(P::view(&self.values));
        KeysValues { keys: P::view(&self.keys), blocks: self.blocks, values }
    }

    #[track_caller]
    pub(super) fn check(&self, cx: &Context<T>, shape: &Shape, first: usize) {
        assert!(
            shape.batch == 1 && shape.kv_heads == self.kv_heads && shape.head_size == self.head_size,
            "cache of {} heads of {} for {shape:?}",
            self.kv_heads,
            self.head_size
        );
        assert!(first + shape.time <= self.capacity(), "positions past the cache's {}", self.capacity());
        self.check_precision(cx);
    }

    #[track_caller]
    fn check_precision(&self, cx: &Context<T>) {
        assert_eq!(self.precision, cx.precision(), "a cache for contexts of another precision");
    }
}

/// Keys `[b][head][block][panel of 32 keys][d]`, and values.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeysValues<'a, E> {
    pub(super) keys: &'a [E],
    pub(super) blocks: usize,
    pub(super) values: Values<'a, E>,
}

/// Where values are read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Values<'a, E> {
    /// Where they lie: (B·T, HKV·D), among queries and keys.
    Rows(Strided<'a, E>),
    /// `[b][head][block][panel of 32 columns][position]`.
    Packed(&'a [E]),
}

impl<'a, E: Copy> KeysValues<'a, E> {
    /// The first `count` keys (D × count) of a block, and the values (count × D) of the same positions, in steps of the
    /// form.
    pub(super) fn block<T: Real, P: Panel<T, Element = E>>(
        &self,
        shape: &Shape,
        (b, head): (usize, usize),
        block: usize,
        count: usize,
    ) -> [Panels<'a, E, COLS>; 2] {
        let d = shape.head_size;
        let (at, steps) = ((b * shape.kv_heads + head) * self.blocks + block, P::steps(d));
        let keys = Panels::packed(&self.keys[at * keys_len::<T, P>(d)..], steps, count, steps * COLS);
        let values = match self.values {
            Values::Rows(rows) => {
                Panels::lying(rows.window(b * shape.time + block * BLOCK, count, head * d, d))
            }
            Values::Packed(values) => {
                let values = &values[at * values_len::<T, P>(d)..];
                Panels::packed(values, P::steps(count), d, P::steps(BLOCK) * COLS)
            }
        };
        [keys, values]
    }
}

/// Elements of the keys of a block.
pub(super) fn keys_len<T: Real, P: Panel<T>>(d: usize) -> usize {
    P::steps(d) * BLOCK
}

/// Elements of the values of a block.
pub(super) fn values_len<T: Real, P: Panel<T>>(d: usize) -> usize {
    P::steps(BLOCK) * d.next_multiple_of(COLS)
}

/// What keys and values are put into: so many blocks a head.
pub(super) struct Room<'a, E> {
    pub(super) blocks: usize,
    pub(super) keys: &'a mut [E],
    /// `None` where values are read where they lie.
    pub(super) values: Option<&'a mut [E]>,
}

/// Puts keys and values (B·T, HKV·D) of positions `first..first + T` in their places.
#[track_caller]
pub(super) fn put<T: Real, P: Panel<T>>(
    team: &Team,
    isa: Isa,
    shape: &Shape,
    first: usize,
    k: Strided<'_, T>,
    v: Strided<'_, T>,
    into: Room<'_, P::Element>,
) {
    let (d, time) = (shape.head_size, shape.time);
    if time == 0 || d == 0 {
        return;
    }
    let head = |index: usize| (index / shape.kv_heads * time, time, index % shape.kv_heads * d, d);
    let keys_of = |index: usize| {
        let (row, rows, col, cols) = head(index);
        k.window(row, rows, col, cols)
    };
    let keys = chunks(into.keys, into.blocks * keys_len::<T, P>(d));
    match into.values {
        Some(values) => {
            let values = chunks(values, into.blocks * values_len::<T, P>(d));
            team.parallel_parts((keys, values), |index, (keys, values)| {
                let (row, rows, col, cols) = head(index);
                put_keys::<T, P>(isa, keys_of(index), first, keys);
                put_values::<T, P>(isa, v.window(row, rows, col, cols), first, values);
            });
        }
        None => {
            team.parallel_parts(keys, |index, keys| put_keys::<T, P>(isa, keys_of(index), first, keys));
        }
    }
}

/// Keys of one head (T, D): each becomes a column of a panel.
fn put_keys<T: Real, P: Panel<T>>(isa: Isa, k: Strided<'_, T>, first: usize, keys: &mut [P::Element]) {
    let (time, d) = (k.rows(), k.cols());
    let panel_len = P::steps(d) * COLS;
    let mut t = 0;
    while t < time {
        let (panel, lane) = ((first + t) / COLS, (first + t) % COLS);
        let count = (COLS - lane).min(time - t);
        P::turn(isa, k.window(t, count, 0, d), &mut keys[panel * panel_len..][lane..panel_len]);
        t += count;
    }
}

/// Values of one head (T, D): each becomes a row of every panel.
fn put_values<T: Real, P: Panel<T>>(isa: Isa, v: Strided<'_, T>, first: usize, values: &mut [P::Element]) {
    let (time, d) = (v.rows(), v.cols());
    let panel_len = P::steps(BLOCK) * COLS;
    let mut t = 0;
    while t < time {
        let (block, row) = ((first + t) / BLOCK, (first + t) % BLOCK);
        let count = (BLOCK - row).min(time - t);
        let block = &mut values[block * values_len::<T, P>(d)..];
        for (col, panel) in (0..d).step_by(COLS).zip(block.chunks_exact_mut(panel_len)) {
            P::put_rows(isa, v.window(t, count, col, COLS.min(d - col)), row, panel);
        }
        t += count;
    }
}
