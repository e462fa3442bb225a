//! Keys and values in the order the forward reads them: blocks of 64 positions, each as panels of 32 columns.

use selvedge_sync::{Parts, Team, chunks};

use super::heads::{Head, OverHeads, WideHead};
use super::narrow::{ByteHead, Bytes, HalfHead, Halves, Narrow, block_len, block_scales};
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
    Half(Vec<u16>),
    Byte {
        codes: Vec<i8>,
        scales: Vec<u16>,
    },
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
            CacheType::F16 => Kept::Half(vec![0; count * block_len(d)]),
            CacheType::Q8_0 => {
                Kept::Byte { codes: vec![0; count * block_len(d)], scales: vec![0; count * block_scales(d)] }
            }
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
            CacheType::F16 => block_len(d) * size_of::<u16>(),
            CacheType::Q8_0 => block_len(d) + block_scales(d) * size_of::<u16>(),
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
            Kept::Half(bits) => size_of_val(&bits[..]),
            Kept::Byte { codes, scales } => codes.len() + size_of_val(&scales[..]),
        }
    }

    /// Stores keys and values (rows, HKV·D), the rows of one segment after those of another, at the positions of their
    /// segments, over what was there. All of them fit.
    #[track_caller]
    pub(super) fn store(
        &mut self,
        cx: &Context<T>,
        segments: &[Segment],
        k: Strided<'_, T>,
        v: Strided<'_, T>,
    ) {
        let heads = self.kv_heads;
        self.over_heads(Store { team: cx.team(), isa: cx.isa(), segments, k, v, heads });
    }

    /// Runs `work` over the heads, of which number `sequence · HKV + head` is one of a sequence; nothing, if heads have no
    /// elements.
    #[track_caller]
    pub(super) fn over_heads(&mut self, work: impl OverHeads<T>) {
        let (blocks, d) = (self.blocks, self.head_size);
        if blocks == 0 || d == 0 {
            return;
        }
        match (&mut self.kept, self.cache_type) {
            (Kept::Wide { keys, values }, CacheType::Bf16) => {
                over_wide::<T, T::Half>(keys, values, (blocks, d), work);
            }
            (Kept::Wide { keys, values }, _) => over_wide::<T, Full>(keys, values, (blocks, d), work),
            (Kept::Half(bits), _) => {
                work.run::<Full, _, _>(chunks(bits, blocks * block_len(d)), |bits| HalfHead { bits, blocks });
            }
            (Kept::Byte { codes, scales }, _) => {
                let parts = (chunks(codes, blocks * block_len(d)), chunks(scales, blocks * block_scales(d)));
                work.run::<Full, _, _>(parts, |(codes, scales)| ByteHead { codes, scales, blocks });
            }
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
                Kept::Half(bits) => copy_blocks(bits, block_len(d), from, to, count),
                Kept::Byte { codes, scales } => {
                    copy_blocks(codes, block_len(d), from, to, count);
                    copy_blocks(scales, block_scales(d), from, to, count);
                }
            }
        }
    }

    /// As products read them.
    pub(super) fn wide<P: Panel<T>>(&self) -> KeysValues<'_, P::Element> {
        let Kept::Wide { keys, values } = &self.kept else { unreachable!("a cache of another type") };
        KeysValues { keys: P::view(keys), blocks: self.blocks, values: Values::Packed(P::view(values)) }
    }

    /// In f16.
    pub(super) fn halves(&self) -> Narrow<Halves<'_>> {
        let Kept::Half(bits) = &self.kept else { unreachable!("a cache of another type") };
        Narrow { kept: Halves(bits), blocks: self.blocks }
    }

    /// In codes of 8 bits.
    pub(super) fn codes(&self) -> Narrow<Bytes<'_>> {
        let Kept::Byte { codes, scales } = &self.kept else { unreachable!("a cache of another type") };
        Narrow { kept: Bytes { codes, scales }, blocks: self.blocks }
    }

    #[track_caller]
    pub(super) fn check(&self, shape: &Shape, segments: &[Segment]) {
        assert!(
            shape.kv_heads == self.kv_heads && shape.head_size == self.head_size,
            "cache of {} heads of {} for {shape:?}",
            self.kv_heads,
            self.head_size
        );
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

/// [`KvCache::over_heads`] of keys and values as products read them.
#[track_caller]
fn over_wide<T: Real, P: Panel<T>>(
    keys: &mut [T],
    values: &mut [T],
    (blocks, d): (usize, usize),
    work: impl OverHeads<T>,
) {
    let (keys, values) = (P::view_mut(keys), P::view_mut(values));
    let lens = [keys_len::<T, P>(d), values_len::<T, P>(d)].map(|len| blocks * len);
    let parts = (chunks(keys, lens[0]), chunks(values, lens[1]));
    work.run::<P, _, _>(parts, |(keys, values)| WideHead { keys, values, blocks });
}

/// Keys and values that are put into the heads of their sequences.
struct Store<'a, T> {
    team: &'a Team,
    isa: Isa,
    segments: &'a [Segment],
    k: Strided<'a, T>,
    v: Strided<'a, T>,
    heads: usize,
}

impl<T: Real> OverHeads<T> for Store<'_, T> {
    #[track_caller]
    fn run<P: Panel<T>, H: Parts, W: Head<T, P>>(self, heads: H, head: impl Fn(H::Part) -> W + Sync) {
        let Store { team, isa, segments, k, v, heads: of_sequence } = self;
        let d = k.cols() / of_sequence;
        team.parallel_parts(heads, |index, part| {
            let (sequence, at, mut head, mut first) =
                (index / of_sequence, index % of_sequence, head(part), 0);
            for segment in segments {
                if segment.sequence == sequence {
                    let [k, v] = [k, v].map(|x| x.window(first, segment.rows, at * d, d));
                    head.put(isa, k, v, segment.position);
                }
                first += segment.rows;
            }
        });
    }
}

/// Copies `count` blocks of `len` elements.
fn copy_blocks<E: Copy>(buffer: &mut [E], len: usize, from: usize, to: usize, count: usize) {
    buffer.copy_within(from * len..(from + count) * len, to * len);
}

/// Positions that are looked at together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Which block.
    pub(super) block: usize,
    /// So many of its positions, from the first on.
    pub(super) count: usize,
    /// Whether no other block of the head is looked at after it.
    pub(super) is_last: bool,
}

impl Look {
    /// Blocks from this to what is read next: the next one of the head, or the first of the next head's `blocks`.
    pub(super) fn ahead(self, blocks: usize) -> usize {
        if self.is_last { blocks.saturating_sub(self.block) } else { 1 }
    }
}

/// Where attention finds blocks of keys and values.
pub(super) trait Blocks<T: Real, P: Panel<T>>: Sync {
    /// Elements of room that a block is turned into what products read in.
    fn room(shape: &Shape) -> usize;

    /// The first `count` keys (D × count) of a block, and the values (count × D) of the same positions, in steps of the form.
    /// What is read next is called for, now or while products read these.
    fn block<'b>(
        &'b self,
        isa: Isa,
        shape: &Shape,
        at: (usize, usize),
        look: Look,
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
        look: Look,
        _: &'b mut [P::Element],
    ) -> [Panels<'b, P::Element, COLS>; 2] {
        let (d, Look { block, count, .. }, ahead) = (shape.head_size, look, look.ahead(self.blocks));
        let (at, steps) = ((b * shape.kv_heads + head) * self.blocks + block, P::steps(d));
        let keys = Panels::packed(&self.keys[at * keys_len::<T, P>(d)..], steps, count, steps * COLS)
            .with_ahead(ahead * keys_len::<T, P>(d));
        let values = match self.values {
            Values::Rows(rows) => {
                Panels::lying(rows.window(b * shape.time + block * BLOCK, count, head * d, d))
            }
            Values::Packed(values) => {
                let values = &values[at * values_len::<T, P>(d)..];
                Panels::packed(values, P::steps(count), d, P::steps(BLOCK) * COLS)
                    .with_ahead(ahead * values_len::<T, P>(d))
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

/// Keys of one head (T, D): each becomes a column of a panel.
pub(super) fn put_keys<T: Real, P: Panel<T>>(
    isa: Isa,
    k: Strided<'_, T>,
    first: usize,
    keys: &mut [P::Element],
) {
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
pub(super) fn put_values<T: Real, P: Panel<T>>(
    isa: Isa,
    v: Strided<'_, T>,
    first: usize,
    values: &mut [P::Element],
) {
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
