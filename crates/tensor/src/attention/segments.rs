//! The forward over a cache: rows of several sequences in one call, each sequence at its own position.
#![expect(unsafe_code, reason = "hands out rectangles of rows that are cut unevenly")]

use ndarray::{ArrayView2, ArrayViewMut2};
use selvedge_sync::Parts;

use super::cache::{Blocks, CacheType, KvCache};
use super::forward::{Queries, State, parts, scratch};
use super::heads::{Head, OverHeads};
use super::{BLOCK, Shape};
use crate::context::carve;
use crate::matmul::{Full, Panel, left};
use crate::tile::{Strided, Tile};
use crate::{Context, Isa, Real};

/// Consecutive rows of one sequence, after those of the segments before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Which sequence of the cache.
    pub sequence: usize,
    /// Position of the first row.
    pub position: usize,
    /// Number of rows.
    pub rows: usize,
}

/// Stores the keys and values of rows (N, (H + 2·HKV)·D) of queries, keys and values in `cache`, the rows of one segment after
/// those of another, at the positions of their segments, over what was there; segments of one sequence are in order. Then out (N, H·D) is attention of the
/// queries over all positions up to their own. Batch and time of the shape do not count.
///
/// Each segment of several rows is a task a query head; one of a single row is a task a key head, whose query heads are rows
/// that look at the same keys. Where all segments are of one row and of different sequences, as where texts are written, that
/// task stores its key and its value, too: what it reads is in its caches then.
///
/// # Panics
/// On shapes that do not fit.
#[track_caller]
pub fn forward_cached<T: Real>(
    cx: &mut Context<T>,
    out: ArrayViewMut2<'_, T>,
    qkv: ArrayView2<'_, T>,
    cache: &mut KvCache<T>,
    shape: &Shape,
    segments: &[Segment],
) {
    shape.check();
    cache.check(shape, segments);
    let rows: usize = segments.iter().map(|segment| segment.rows).sum();
    assert!(
        out.dim() == (rows, shape.query_cols()) && qkv.dim() == (rows, shape.qkv_cols()),
        "attention of {shape:?} over {rows} rows {:?} into {:?}",
        qkv.dim(),
        out.dim()
    );
    if rows == 0 || shape.head_size == 0 {
        return;
    }
    let (q, kv) = (shape.query_cols(), shape.kv_cols());
    let qkv = Strided::from(qkv);
    let [q, k, v] = [(0, q), (q, kv), (q + kv, kv)].map(|(col, cols)| qkv.window(0, rows, col, cols));
    let bands = Bands { whole: Tile::new(out), segments, shape };
    if bands.are_alone() {
        return cache.over_heads(Alone { cx, bands, q, k, v });
    }
    cache.store(cx, segments, k, v);
    match cache.cache_type() {
        CacheType::F32 => run::<T, Full, _>(cx, bands, q, cache.wide::<Full>()),
        CacheType::Bf16 => run::<T, T::Half, _>(cx, bands, q, cache.wide::<T::Half>()),
        CacheType::F16 => run::<T, Full, _>(cx, bands, q, cache.halves()),
        CacheType::Q8_0 => run::<T, Full, _>(cx, bands, q, cache.codes()),
    }
}

/// Attention over what has been stored.
#[track_caller]
fn run<T: Real, P: Panel<T>, K: Blocks<T, P>>(
    cx: &mut Context<T>,
    bands: Bands<'_, T>,
    q: Strided<'_, T>,
    kv: K,
) {
    let shape = bands.shape;
    let ([], mut runner) = cx.split([], scratch::<T, P, K>(shape));
    let isa = runner.isa;
    runner.for_each_with_scratch(bands, |_, band, scratch| {
        let at = (band.segment.sequence, band.head / shape.group());
        attend::<T, P, K>(isa, shape, band, q, &kv, at, scratch);
    });
}

/// Rows that are stored and attend, each a sequence of its own.
struct Alone<'a, 'c, T: Real> {
    cx: &'c mut Context<T>,
    bands: Bands<'a, T>,
    q: Strided<'a, T>,
    k: Strided<'a, T>,
    v: Strided<'a, T>,
}

impl<T: Real> OverHeads<T> for Alone<'_, '_, T> {
    #[track_caller]
    fn run<P: Panel<T>, H: Parts, W: Head<T, P>>(self, heads: H, head: impl Fn(H::Part) -> W + Sync) {
        let Alone { cx, bands, q, k, v } = self;
        let (shape, d, group) = (bands.shape, bands.shape.head_size, bands.shape.group());
        let ([], mut runner) = cx.split([], scratch::<T, P, W::Read<'_>>(shape));
        let isa = runner.isa;
        runner.for_each_with_scratch(WithHeads { bands, heads }, |_, (band, part), scratch| {
            let (mut head, col) = (head(part), band.head / group * d);
            let [k, v] = [k, v].map(|x| x.window(band.first, 1, col, d));
            head.put(isa, k, v, band.segment.position);
            attend::<T, P, _>(isa, shape, band, q, &head.read(), (0, 0), scratch);
        });
    }
}

/// Attention of one band, whose keys and values are those of head `at` of `kv`.
fn attend<T: Real, P: Panel<T>, K: Blocks<T, P>>(
    isa: Isa,
    shape: &Shape,
    band: Band<'_, T>,
    q: Strided<'_, T>,
    kv: &K,
    at: (usize, usize),
    scratch: &mut [T],
) {
    let (d, group) = (shape.head_size, shape.group());
    let Band { segment, first, head, mut out } = band;
    let [scores, highest, total, lse, copy, weights, room] = carve(scratch, parts::<T, P, K>(shape));
    let [copy, weights, room] = [copy, weights, room].map(|part| P::view_mut(part));
    let alone = segment.rows == 1;
    let q = q.window(first, segment.rows, head * d, out.cols());
    let q = if alone { Strided::new(q.row(0), group, d, d, 1) } else { q };
    let mut out = if alone { out.folded(d) } else { out.window(0, segment.rows, 0, d) };
    for row in (0..q.rows()).step_by(BLOCK) {
        let rows = BLOCK.min(q.rows() - row);
        let queries = Queries::<T, P, K> {
            isa,
            shape,
            q: left::<T, P>(isa, q.window(row, rows, 0, d), copy),
            position: segment.position + if alone { 0 } else { row },
            alone,
            kv,
            kv_head: at,
        };
        let state = State { scores, highest, total, weights, room };
        queries.attend(&mut out.window(row, rows, 0, d), &mut lse[..rows], state);
    }
}

/// The rows of segments cut into heads, or into the heads that share a key head where there is one row.
struct Bands<'a, T> {
    whole: Tile<'a, T>,
    segments: &'a [Segment],
    shape: &'a Shape,
}

/// One of them.
struct Band<'a, T> {
    segment: Segment,
    /// Its first row.
    first: usize,
    /// The first head.
    head: usize,
    out: Tile<'a, T>,
}

impl<T> Bands<'_, T> {
    /// Whether all segments are of one row, and no two of one sequence.
    fn are_alone(&self) -> bool {
        let segments = self.segments;
        let mut before = segments.iter().enumerate().map(|(i, segment)| (&segments[..i], segment.sequence));
        segments.iter().all(|segment| segment.rows == 1)
            && (segments.is_sorted_by(|a, b| a.sequence < b.sequence)
                || before.all(|(before, sequence)| before.iter().all(|other| other.sequence != sequence)))
    }

    /// Heads of a part.
    fn heads(&self, segment: &Segment) -> usize {
        if segment.rows == 1 { self.shape.group() } else { 1 }
    }

    /// Parts of a segment.
    fn parts(&self, segment: &Segment) -> usize {
        if segment.rows == 0 { 0 } else { self.shape.heads / self.heads(segment) }
    }
}

// SAFETY: a band is only handed out by `part`, whose caller hands each index to one task.
unsafe impl<T: Send> Sync for Bands<'_, T> {}

// SAFETY: segments take rows after those of the segments before, and the parts of one take columns after those of the parts
// before; so no two share an element.
unsafe impl<'a, T: Real> Parts for Bands<'a, T> {
    type Part = Band<'a, T>;

    fn len(&self) -> usize {
        self.segments.iter().map(|segment| self.parts(segment)).sum()
    }

    unsafe fn part(&self, index: usize) -> Band<'a, T> {
        let (mut first, mut at) = (0, index);
        for segment in self.segments {
            let parts = self.parts(segment);
            if at < parts {
                let (heads, d) = (self.heads(segment), self.shape.head_size);
                let head = at * heads;
                // SAFETY: the caller takes each index once, and parts of different indices are disjoint.
                let out = unsafe { self.whole.part(first, segment.rows, head * d, heads * d) };
                return Band { segment: *segment, first, head, out };
            }
            first += segment.rows;
            at -= parts;
        }
        panic!("part {index} of {}", self.len());
    }
}

/// Bands of segments that [are alone](Bands::are_alone), each with the head of its sequence.
struct WithHeads<'a, T, H> {
    bands: Bands<'a, T>,
    heads: H,
}

// SAFETY: a band and the head of its sequence are that of no other index, since segments are of different sequences.
unsafe impl<'a, T: Real, H: Parts> Parts for WithHeads<'a, T, H> {
    type Part = (Band<'a, T>, H::Part);

    fn len(&self) -> usize {
        self.bands.len()
    }

    unsafe fn part(&self, index: usize) -> Self::Part {
        // SAFETY: the caller takes each index once.
        let band = unsafe { self.bands.part(index) };
        let shape = self.bands.shape;
        let head = band.segment.sequence * shape.kv_heads + band.head / shape.group();
        assert!(head < self.heads.len(), "head {head} of {}", self.heads.len());
        // SAFETY: below the number of heads, and of this index alone.
        (band, unsafe { self.heads.part(head) })
    }
}

#[cfg(test)]
mod tests {
    use half::f16;
    use ndarray::{Array2, s};
    use proptest::prelude::*;
    use selvedge_sync::Team;

    use super::*;
    use crate::quantized::{Block, Form};
    use crate::testing::random;

    const TYPES: [CacheType; 4] = [CacheType::F32, CacheType::Bf16, CacheType::F16, CacheType::Q8_0];

    fn shape(kv_heads: usize, group: usize, head_size: usize) -> Shape {
        Shape { batch: 1, time: 0, heads: kv_heads * group, kv_heads, head_size }
    }

    /// Stores the keys and values of all rows, then attends.
    fn attend(
        cx: &mut Context,
        cache: &mut KvCache<f32>,
        qkv: &Array2<f32>,
        shape: &Shape,
        segments: &[Segment],
    ) -> Array2<f32> {
        let mut out = Array2::zeros((qkv.nrows(), shape.query_cols()));
        forward_cached(cx, out.view_mut(), qkv.view(), cache, shape, segments);
        out
    }

    /// Every row alone, on one thread, in plain code.
    fn alone(qkv: &Array2<f32>, shape: &Shape, cache_type: CacheType) -> Array2<f32> {
        let cx = &mut Context::new(Team::solo(), Isa::scalar());
        let mut cache = KvCache::new(1, qkv.nrows(), shape.kv_heads, shape.head_size, cache_type);
        let mut out = Array2::zeros((qkv.nrows(), shape.query_cols()));
        for position in 0..qkv.nrows() {
            let row = qkv.slice(s![position..=position, ..]).to_owned();
            let segment = Segment { sequence: 0, position, rows: 1 };
            out.row_mut(position).assign(&attend(cx, &mut cache, &row, shape, &[segment]).row(0));
        }
        out
    }

    /// Keys and values as a type rounds them.
    fn rounded(qkv: &Array2<f32>, shape: &Shape, cache_type: CacheType) -> Array2<f32> {
        let mut rounded = qkv.clone();
        for mut row in rounded.rows_mut() {
            let kept = row.as_slice_mut().unwrap();
            for head in kept[shape.query_cols()..].chunks_mut(shape.head_size) {
                match cache_type {
                    CacheType::F16 => head.iter_mut().for_each(|x| *x = f16::from_f32(*x).to_f32()),
                    CacheType::Q8_0 => head.chunks_mut(32).for_each(|part| {
                        let mut block = [0.0; 32];
                        block[..part.len()].copy_from_slice(part);
                        let weights = Block::of(Form::Q8_0, &block).weights(Form::Q8_0);
                        part.copy_from_slice(&weights[..part.len()]);
                    }),
                    _ => {}
                }
            }
        }
        rounded
    }

    fn largest(of: impl IntoIterator<Item = f32>) -> f32 {
        of.into_iter().fold(0.0, |most, x: f32| most.max(x.abs()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn sequences_of_a_call_have_the_bits_they_have_alone(
            lens in prop::collection::vec(1usize..90, 1..5), steps in prop::collection::vec(1usize..70, 1..6),
            (kv_heads, group, d) in (1usize..3, 1usize..4, 1usize..40), threads in 1usize..4, seed in any::<u64>(),
        ) {
            let shape = shape(kv_heads, group, d);
            let texts: Vec<_> = (seed..).zip(&lens).map(|(seed, &n)| random(seed, (n, shape.qkv_cols()))).collect();
            for cache_type in TYPES {
                let want: Vec<_> = texts.iter().map(|qkv| alone(qkv, &shape, cache_type)).collect();
                for isa in Isa::available() {
                    let cx = &mut Context::new(Team::new(threads).unwrap(), isa);
                    // Also of so many that their heads are stored together.
                    let room = if seed.is_multiple_of(2) { 17 } else { texts.len() + 1 };
                    let mut cache = KvCache::new(room, 90, kv_heads, d, cache_type);
                    let mut at = vec![0; texts.len()];
                    for call in 0.. {
                        let mut segments = Vec::new();
                        let mut rows = Array2::zeros((0, shape.qkv_cols()));
                        for (i, text) in texts.iter().enumerate() {
                            let step = steps[(call + i) % steps.len()].min(text.nrows() - at[i]);
                            // Another order of sequences than that of the segments.
                            let sequence = texts.len() - i;
                            segments.push(Segment { sequence, position: at[i], rows: step });
                            rows.append(ndarray::Axis(0), text.slice(s![at[i]..at[i] + step, ..])).unwrap();
                        }
                        let out = attend(cx, &mut cache, &rows, &shape, &segments);
                        let mut first = 0;
                        for (i, segment) in segments.iter().enumerate() {
                            let got = out.slice(s![first..first + segment.rows, ..]);
                            let want = want[i].slice(s![at[i]..at[i] + segment.rows, ..]);
                            prop_assert_eq!(got, want, "{:?}, {}", cache_type, isa);
                            first += segment.rows;
                            at[i] += segment.rows;
                        }
                        if rows.nrows() == 0 {
                            break;
                        }
                    }
                }
            }
        }

        #[test]
        fn narrow_types_compute_with_what_they_stand_for_and_come_near(
            time in 1usize..150, group in 1usize..4, d in 1usize..70, seed in any::<u64>(),
        ) {
            let shape = shape(1, group, d);
            let qkv = random::<f32>(seed, (time, shape.qkv_cols()));
            let exact = alone(&qkv, &shape, CacheType::F32);
            for (cache_type, step) in [(CacheType::F16, 1.0 / 2048.0), (CacheType::Q8_0, 1.0 / 250.0)] {
                let got = alone(&qkv, &shape, cache_type);
                let rounded = rounded(&qkv, &shape, cache_type);
                prop_assert_eq!(&got, &alone(&rounded, &shape, CacheType::F32), "{:?}", cache_type);
                // A score is off by δ at most, so weights by a factor of e^±2δ, and their mean of values by that and by
                // what values are off.
                let (q, kv) = (qkv.slice(s![.., ..group * d]), qkv.slice(s![.., group * d..]));
                let size = largest(kv.iter().copied());
                let sums = q.rows().into_iter().flat_map(|row| {
                    row.to_vec().chunks(d).map(|q| q.iter().map(|x| x.abs()).sum()).collect::<Vec<f32>>()
                });
                let delta = largest(sums) * size * step / (d as f32).sqrt();
                let bound = size * (step + (2.0 * delta).exp_m1()) + 1e-5;
                let off = largest((&got - &exact).iter().copied());
                prop_assert!(off <= bound, "{:?} is off by {}, {}", cache_type, off, bound);
            }
        }
    }

    #[test]
    fn a_copied_sequence_goes_on_as_the_first_does() {
        let shape = shape(2, 2, 20);
        let (text, last) =
            (random::<f32>(1, (70, shape.qkv_cols())), random::<f32>(2, (1, shape.qkv_cols())));
        for cache_type in TYPES {
            let cx = &mut Context::solo();
            let mut cache = KvCache::new(3, 80, 2, 20, cache_type);
            attend(cx, &mut cache, &text, &shape, &[Segment { sequence: 1, position: 0, rows: 70 }]);
            cache.copy(1, 2, 70);
            let [first, second] = [1, 2].map(|sequence| {
                attend(cx, &mut cache, &last, &shape, &[Segment { sequence, position: 70, rows: 1 }])
            });
            assert_eq!(first, second, "{cache_type:?}");
        }
    }

    #[test]
    fn rows_of_one_sequence_may_come_as_segments_of_their_own() {
        let shape = shape(2, 2, 20);
        let text = random::<f32>(1, (3, shape.qkv_cols()));
        for cache_type in TYPES {
            let want = alone(&text, &shape, cache_type);
            let cx = &mut Context::new(Team::new(2).unwrap(), Isa::detect());
            let mut cache = KvCache::new(2, 3, 2, 20, cache_type);
            let segments = [(1, 0), (0, 0), (1, 1), (1, 2)];
            let segments = segments.map(|(sequence, position)| Segment { sequence, position, rows: 1 });
            let order = [0, 0, 1, 2];
            let rows = text.select(ndarray::Axis(0), &order);
            let mut out = Array2::<f32>::zeros((4, shape.query_cols()));
            let bands = Bands { whole: Tile::new(out.view_mut()), segments: &segments, shape: &shape };
            // Else a task would read what another may not have stored.
            assert!(!bands.are_alone());
            assert!(Bands { segments: &segments[1..3], ..bands }.are_alone());
            let got = attend(cx, &mut cache, &rows, &shape, &segments);
            assert_eq!(got, want.select(ndarray::Axis(0), &order), "{cache_type:?}");
        }
    }

    #[test]
    fn sizes_are_those_of_the_types_and_absurd_ones_have_none() {
        for (cache_type, bytes) in TYPES.into_iter().zip([64, 32, 32, 17]) {
            let cache = KvCache::<f32>::new(3, 100, 2, 64, cache_type);
            // Of 128 positions, four tables of 64 elements each.
            assert_eq!(cache.bytes(), 3 * 128 * 4 * bytes * 4, "{cache_type:?}");
            assert_eq!(KvCache::<f32>::size(3, 100, 2, 64, cache_type), Some(cache.bytes()));
            for (sequences, context, heads, d) in [
                (usize::MAX, 1, 1, 1),
                (1, usize::MAX, 2, 64),
                (1 << 20, 1 << 20, 1 << 10, 1 << 12),
                (1, 1, 1, usize::MAX),
                (1, 1, 1, usize::MAX / 64),
            ] {
                assert_eq!(KvCache::<f32>::size(sequences, context, heads, d, cache_type), None);
            }
        }
    }

    #[test]
    fn numbers_that_are_not_finite_show() {
        let shape = shape(1, 1, 8);
        let mut row = random::<f32>(1, (1, 24));
        row[[0, 20]] = f32::INFINITY;
        for cache_type in TYPES {
            let mut cache = KvCache::new(1, 4, 1, 8, cache_type);
            let segment = Segment { sequence: 0, position: 0, rows: 1 };
            let out = attend(&mut Context::solo(), &mut cache, &row, &shape, &[segment]);
            assert!(!out[[0, 4]].is_finite(), "{cache_type:?}");
        }
    }
}
