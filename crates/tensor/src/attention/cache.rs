//! Keys and values in the order the forward reads them: blocks of 64 positions, each as panels of 32 columns.

use ndarray::{ArrayView2, s};
use selvedge_sync::{Team, chunks};

use super::narrow::{Bytes, Fresh, Halves, Narrow};
use super::{BLOCK, Segment, Shape};
use crate::matmul::{COLS, Full, Panel};
use crate::tile::{Panels, Strided};
use crate::{Context, Isa, Precision, Real};

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheType {
    /// As they are; attention over them is that of [`Precision::F32`].
    F32,
    /// In bf16; attention over them is that of [`Precision::Bf16`]: queries and weights are rounded too.
    Bf16,
    /// In f16, to nearest. Attention is that of [`Precision::F32`] over what they stand for.
    F16,
    /// In codes of 8 bits, 32 elements of a head sharing a scale in f16, as [`Form::Q8_0`](crate::quantized::Form::Q8_0):
    /// 8.5 bits an element, heads rounded up to multiples of 32. Attention is that of [`Precision::F32`] over what they
    /// stand for.
    Q8_0,
}

impl From<Precision> for CacheType {
    /// The cache over which attention does what it does over whole sequences.
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => CacheType::F32,
            Precision::Bf16 => CacheType::Bf16,
        }
    }
}

/// Keys and values of several sequences in one layer, for generation.
#[derive(Clone, Debug)]
pub struct KvCache<T> {
    kept: Kept<T>,
    cache_type: CacheType,
    sequences: usize,
    blocks: usize,
    kv_heads: usize,
    head_size: usize,
}

/// Keys and values, `[sequence][head][block]`.
#[derive(Clone, Debug)]
enum Kept<T> {
    /// As products read them.
    Wide {
        keys: Vec<T>,
        values: Vec<T>,
    },
    Half(Halves),
    Byte(Bytes),
}

impl<T: Real> KvCache<T> {
    /// Room for so many sequences of `context` positions each.
    ///
    /// # Panics
    /// If that is more than there are addresses for, see [`KvCache::size`].
    pub fn new(
        sequences: usize,
        context: usize,
        kv_heads: usize,
        head_size: usize,
        cache_type: CacheType,
    ) -> Self {
        let size = Self::size(sequences, context, kv_heads, head_size, cache_type);
        assert!(size.is_some(), "a cache of {sequences} sequences of {context} positions has no size");
        let blocks = context.div_ceil(BLOCK);
        let count = sequences * kv_heads * blocks;
        let wide = |keys: usize, values: usize| Kept::Wide {
            keys: vec![T::ZERO; count * keys],
            values: vec![T::ZERO; count * values],
        };
        let d = head_size;
        let kept = match cache_type {
            CacheType::F32 => wide(keys_len::<T, Full>(d), values_len::<T, Full>(d)),
            CacheType::Bf16 => wide(keys_len::<T, T::Half>(d), values_len::<T, T::Half>(d)),
            CacheType::F16 => Kept::Half(Halves::new(count, d)),
            CacheType::Q8_0 => Kept::Byte(Bytes::new(count, d)),
        };
        KvCache { kept, cache_type, sequences, blocks, kv_heads, head_size }
    }

    /// Bytes that such a cache takes; `None` of more than there are addresses for.
    pub fn size(
        sequences: usize,
        context: usize,
        kv_heads: usize,
        head_size: usize,
        cache_type: CacheType,
    ) -> Option<usize> {
        // Of a block of 64 positions, at most: so the lengths below cannot overflow either.
        let columns = head_size.checked_next_multiple_of(COLS)?;
        columns.checked_mul(2 * BLOCK * size_of::<T>())?;
        let (d, wide) = (head_size, size_of::<T>());
        let block = match cache_type {
            CacheType::F32 => wide * (keys_len::<T, Full>(d) + values_len::<T, Full>(d)),
            CacheType::Bf16 => wide * (keys_len::<T, T::Half>(d) + values_len::<T, T::Half>(d)),
            CacheType::F16 => Halves::block_bytes(d),
            CacheType::Q8_0 => Bytes::block_bytes(d),
        };
        let blocks = context.div_ceil(BLOCK).checked_mul(kv_heads)?.checked_mul(sequences)?;
        blocks.checked_mul(block).filter(|&bytes| isize::try_from(bytes).is_ok())
    }

    /// How keys and values are kept.
    pub fn cache_type(&self) -> CacheType {
        self.cache_type
    }

    /// Sequences there is room for.
    pub fn sequences(&self) -> usize {
        self.sequences
    }

    /// Positions of a sequence there is room for, a multiple of 64.
    pub fn capacity(&self) -> usize {
        self.blocks * BLOCK
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        match &self.kept {
            Kept::Wide { keys, values } => size_of_val(&keys[..]) + size_of_val(&values[..]),
            Kept::Half(kept) => kept.bytes(),
            Kept::Byte(kept) => kept.bytes(),
        }
    }

    /// Stores keys and values (rows, HKV·D), the rows of one segment after those of another, at the positions of their
    /// segments, over what was there.
    ///
    /// # Panics
    /// If they do not fit.
    #[track_caller]
    pub fn store(
        &mut self,
        cx: &mut Context<T>,
        segments: &[Segment],
        k: ArrayView2<'_, T>,
        v: ArrayView2<'_, T>,
    ) {
        self.check_room(segments);
        let dim = (segments.iter().map(|segment| segment.rows).sum(), self.kv_heads * self.head_size);
        assert!(k.dim() == dim && v.dim() == dim, "keys {:?} and values {:?} of {dim:?}", k.dim(), v.dim());
        match self.cache_type {
            CacheType::F32 => self.put::<Full>(cx, segments, k.into(), v.into()),
            CacheType::Bf16 => self.put::<T::Half>(cx, segments, k.into(), v.into()),
            CacheType::F16 | CacheType::Q8_0 => {
                let mut rows = 0;
                for &Segment { sequence, position, rows: count } in segments {
                    let [k, v] = [&k, &v].map(|x| x.slice(s![rows..rows + count, ..]));
                    self.put_narrow(cx, sequence, position, k, v);
                    rows += count;
                }
            }
        }
    }

    #[track_caller]
    fn put<P: Panel<T>>(
        &mut self,
        cx: &Context<T>,
        segments: &[Segment],
        k: Strided<'_, T>,
        v: Strided<'_, T>,
    ) {
        let Kept::Wide { keys, values } = &mut self.kept else { unreachable!("a cache of another type") };
        let (isa, heads, d) = (cx.isa(), self.kv_heads, self.head_size);
        let lens = [keys_len::<T, P>(d), values_len::<T, P>(d)].map(|len| self.blocks * len);
        if k.rows() == 0 || lens.contains(&0) {
            return;
        }
        let (keys, values) = (P::view_mut(keys), P::view_mut(values));
        // Heads alone keep threads busy with few sequences; of many, each looks through the segments once.
        let together = if self.sequences < 16 { 1 } else { heads };
        let lens = lens.map(|len| (len, together * len));
        // Heads of a sequence, by their place in the cache.
        let one = |index: usize, keys: &mut [P::Element], values: &mut [P::Element]| {
            let (sequence, head) = (index * together / heads, index * together % heads);
            let mut first = 0;
            for segment in segments {
                if segment.sequence == sequence {
                    let each = keys.chunks_mut(lens[0].0).zip(values.chunks_mut(lens[1].0));
                    for (head, (keys, values)) in (head..).zip(each) {
                        let [k, v] = [k, v].map(|x| x.window(first, segment.rows, head * d, d));
                        put_keys::<T, P>(isa, k, segment.position, keys);
                        put_values::<T, P>(isa, v, segment.position, values);
                    }
                }
                first += segment.rows;
            }
        };
        if is_little(k.rows() * k.cols()) {
            let parts = keys.chunks_mut(lens[0].1).zip(values.chunks_mut(lens[1].1));
            parts.enumerate().for_each(|(index, (keys, values))| one(index, keys, values));
        } else {
            let parts = (chunks(keys, lens[0].1), chunks(values, lens[1].1));
            cx.team().parallel_parts(parts, |index, (keys, values)| one(index, keys, values));
        }
    }

    #[track_caller]
    fn put_narrow(
        &mut self,
        cx: &Context<T>,
        sequence: usize,
        first: usize,
        k: ArrayView2<'_, T>,
        v: ArrayView2<'_, T>,
    ) {
        let (blocks, d) = (self.blocks, self.head_size);
        let heads = sequence * self.kv_heads * blocks..(sequence + 1) * self.kv_heads * blocks;
        let fresh = Fresh { blocks, d, first, k: k.into(), v: v.into() };
        match &mut self.kept {
            Kept::Half(kept) => kept.store(cx.team(), heads, &fresh),
            Kept::Byte(kept) => kept.store(cx.team(), heads, &fresh),
            Kept::Wide { .. } => unreachable!("a cache of another type"),
        }
    }

    /// Makes the first `positions` positions of sequence `to` those of sequence `from`.
    ///
    /// # Panics
    /// If there are not so many positions or sequences.
    #[track_caller]
    pub fn copy(&mut self, from: usize, to: usize, positions: usize) {
        assert!(
            from.max(to) < self.sequences && positions <= self.capacity(),
            "{positions} positions of sequence {from} to {to} in a cache of {} sequences of {}",
            self.sequences,
            self.capacity()
        );
        let (blocks, d, count) = (self.blocks, self.head_size, positions.div_ceil(BLOCK));
        for head in 0..self.kv_heads {
            let [from, to] = [from, to].map(|sequence| (sequence * self.kv_heads + head) * blocks);
            match &mut self.kept {
                Kept::Wide { keys, values } => {
                    let lens = match self.cache_type {
                        CacheType::Bf16 => [keys_len::<T, T::Half>(d), values_len::<T, T::Half>(d)],
                        _ => [keys_len::<T, Full>(d), values_len::<T, Full>(d)],
                    };
                    copy_blocks(keys, lens[0], from, to, count);
                    copy_blocks(values, lens[1], from, to, count);
                }
                Kept::Half(kept) => kept.copy(d, from, to, count),
                Kept::Byte(kept) => kept.copy(d, from, to, count),
            }
        }
    }

    /// As products read them.
    pub(super) fn wide<P: Panel<T>>(&self) -> KeysValues<'_, P::Element> {
        let Kept::Wide { keys, values } = &self.kept else { unreachable!("a cache of another type") };
        KeysValues { keys: P::view(keys), blocks: self.blocks, values: Values::Packed(P::view(values)) }
    }

    /// In f16.
    pub(super) fn halves(&self) -> Narrow<'_, Halves> {
        let Kept::Half(kept) = &self.kept else { unreachable!("a cache of another type") };
        Narrow { kept, blocks: self.blocks }
    }

    /// In codes of 8 bits.
    pub(super) fn codes(&self) -> Narrow<'_, Bytes> {
        let Kept::Byte(kept) = &self.kept else { unreachable!("a cache of another type") };
        Narrow { kept, blocks: self.blocks }
    }

    #[track_caller]
    pub(super) fn check(&self, shape: &Shape, segments: &[Segment]) {
        assert!(
            shape.kv_heads == self.kv_heads && shape.head_size == self.head_size,
            "cache of {} heads of {} for {shape:?}",
            self.kv_heads,
            self.head_size
        );
        self.check_room(segments);
    }

    #[track_caller]
    fn check_room(&self, segments: &[Segment]) {
        for segment in segments {
            assert!(
                segment.sequence < self.sequences && segment.position + segment.rows <= self.capacity(),
                "{segment:?} in a cache of {} sequences of {}",
                self.sequences,
                self.capacity()
            );
        }
    }
}

/// Copies `count` blocks of `len` elements.
pub(super) fn copy_blocks<E: Copy>(buffer: &mut [E], len: usize, from: usize, to: usize, count: usize) {
    buffer.copy_within(from * len..(from + count) * len, to * len);
}

/// Where attention finds blocks of keys and values.
pub(super) trait Blocks<T: Real, P: Panel<T>>: Sync {
    /// Elements of room that a block is turned into what products read in.
    fn room(shape: &Shape) -> usize;

    /// The first `count` keys (D × count) of a block, and the values (count × D) of the same positions, in steps of the form.
    fn block<'b>(
        &'b self,
        isa: Isa,
        shape: &Shape,
        at: (usize, usize),
        block: usize,
        count: usize,
        room: &'b mut [P::Element],
    ) -> [Panels<'b, P::Element, COLS>; 2];
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

impl<T: Real, P: Panel<T>> Blocks<T, P> for KeysValues<'_, P::Element> {
    fn room(_: &Shape) -> usize {
        0
    }

    fn block<'b>(
        &'b self,
        _: Isa,
        shape: &Shape,
        (b, head): (usize, usize),
        block: usize,
        count: usize,
        _: &'b mut [P::Element],
    ) -> [Panels<'b, P::Element, COLS>; 2] {
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

/// Puts keys and values (B·T, HKV·D) of whole sequences in their places.
#[track_caller]
pub(super) fn put<T: Real, P: Panel<T>>(
    team: &Team,
    isa: Isa,
    shape: &Shape,
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
    let lens = [keys_len::<T, P>(d), values_len::<T, P>(d)].map(|len| into.blocks * len);
    let both = |index: usize, keys: &mut [P::Element], values: &mut [P::Element]| {
        let (row, rows, col, cols) = head(index);
        put_keys::<T, P>(isa, keys_of(index), 0, keys);
        put_values::<T, P>(isa, v.window(row, rows, col, cols), 0, values);
    };
    match into.values {
        Some(values) => {
            let parts = (chunks(into.keys, lens[0]), chunks(values, lens[1]));
            team.parallel_parts(parts, |index, (keys, values)| both(index, keys, values));
        }
        None => {
            let keys = chunks(into.keys, lens[0]);
            team.parallel_parts(keys, |index, keys| put_keys::<T, P>(isa, keys_of(index), 0, keys));
        }
    }
}

/// Whether so many keys, and as many values, are put in their places before threads would have been called.
pub(super) fn is_little(elements: usize) -> bool {
    elements <= 1024
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
