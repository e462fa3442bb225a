//! A row of register tiles over pairs of bf16 in AVX2, which has no instruction for them.
//!
//! The chain over pairs has subnormal numbers flushed, operands and results, which AVX2 does not do by itself. But most
//! chains never meet one: where all factors and the start are large enough, sums are 0 or normal. So the numbers are
//! looked through first, and only where a subnormal sum cannot be ruled out each sum is flushed.
//!
//! Of more than a few rows, operands are written out as f32, in the order of the chain: the later step of a pair, then the
//! earlier one. Then the tile over f32 computes the chain, without taking halves out of pairs for every row anew. A right
//! operand of many rows comes written out by its task, for all of them. All that goes a few steps at a time, so that what has
//! been looked through, and written, is in the nearest caches.

use std::cell::RefCell;

use super::*;
use crate::tile::Panels;

/// Rows that pairs are not written out for.
const FEW: usize = 4;
/// Steps of pairs at a time.
const DEPTH: usize = 96;
/// The same of few rows, for which nothing is written.
const DEPTH_OF_FEW: usize = 192;
/// From a row of A as it is written out to the next: an odd number of cache lines.
const LEFT_STEP: usize = 2 * DEPTH + 16;

/// C = init + A·B over pairs of bf16.
///
/// # Safety
/// The processor has AVX2 and FMA. C is 1 to [`ROWS`] rows by as many columns as B, A has as many rows, and as many columns as
/// B has rows; the elements of A's rows are adjacent, or those of its columns; a bias has at least as many elements as C has
/// columns.
pub(in super::super::super) unsafe fn tiles(
    init: Init<'_, f32>,
    a: Strided<'_, Pair>,
    b: Panels<'_, Pair, COLS>,
    written: Option<Panels<'_, f32, COLS>>,
    c: &mut Tile<'_, f32>,
) {
    let (rows, cols, steps) = (c.rows(), c.cols(), a.cols());
    let depth = if rows > FEW { DEPTH } else { DEPTH_OF_FEW };
    // What is read again from chunk to chunk stays in the caches.
    let late = c.is_late() && steps <= depth;
    for first in (0..steps.max(1)).step_by(depth) {
        let count = depth.min(steps - first);
        let chunk = Chunk {
            init: if first == 0 { init } else { Init::Accumulate },
            a: a.window(0, rows, first, count),
            b: b.rows_from(first, count),
            written: written.map(|written| written.rows_from(2 * first, 2 * count)),
        };
        let mut c = c.window(0, rows, 0, cols).with_late(late);
        if rows > FEW {
            // SAFETY: the caller's word; windows of the same shapes.
            ROOM.with_borrow_mut(|room| unsafe { chunk.written_out(&mut c, room) });
        } else {
            // SAFETY: as above.
            unsafe { chunk.by_pairs(&mut c) };
        }
    }
}

/// Where operands are written out.
struct Room {
    left: [f32; ROWS * LEFT_STEP],
    right: [f32; 2 * DEPTH * COLS],
}

thread_local! {
    /// Of each thread, so that nobody sets it to zeros for every tile.
    static ROOM: RefCell<Room> =
        const { RefCell::new(Room { left: [0.0; ROWS * LEFT_STEP], right: [0.0; 2 * DEPTH * COLS] }) };
}

/// A row of tiles over steps that are in the nearest caches.
struct Chunk<'a> {
    init: Init<'a, f32>,
    a: Strided<'a, Pair>,
    b: Panels<'a, Pair, COLS>,
    /// The same written out, if its task has done so.
    written: Option<Panels<'a, f32, COLS>>,
}

impl Chunk<'_> {
    /// # Safety
    /// As [`tiles`], of [`FEW`] rows.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn by_pairs(&self, c: &mut Tile<'_, f32>) {
        let left = least_of_left(self.a);
        for col in (0..c.cols()).step_by(COLS) {
            let b = self.b.panel(col);
            let c = &mut c.window(0, c.rows(), col, b.cols());
            let init = self.init.columns(col);
            let right = match self.b.least() {
                0 => least_exponent(b),
                known => known,
            };
            let normal = stays_normal(init, c, left, right);
            // SAFETY: the caller's word.
            unsafe { by_parts_of_pairs(normal, init, self.a, b, c, self.b.ahead()) };
        }
    }

    /// # Safety
    /// As [`tiles`].
    #[target_feature(enable = "avx2,fma")]
    unsafe fn written_out(&self, c: &mut Tile<'_, f32>, room: &mut Room) {
        let (rows, steps) = (c.rows(), self.a.cols());
        let (left, least) = write_left(self.a, &mut room.left);
        for col in (0..c.cols()).step_by(COLS) {
            let b = self.b.panel(col);
            let c = &mut c.window(0, rows, col, b.cols());
            let init = self.init.columns(col);
            let (right, of_right) = match &self.written {
                Some(written) => (written.panel(col), written.least()),
                None => {
                    let least = write_panel(b, self.b.least(), &mut room.right);
                    (Strided::new(&room.right, 2 * steps, b.cols(), COLS, 1), least)
                }
            };
            let normal = stays_normal(init, c, least, of_right);
            if normal {
                // SAFETY: the caller's word; both are twice as deep as the pairs.
                unsafe { tile(init, left, right, c, 0) };
            } else {
                // SAFETY: the caller's word.
                unsafe { by_parts_of_pairs(normal, init, self.a, b, c, self.b.ahead()) };
            }
        }
    }
}

/// The least exponent of no number but 0: more than any.
const OF_NONE: u32 = 1 << 8;

/// All panels of a right operand written out, with its least exponent.
#[target_feature(enable = "avx2")]
pub(in super::super::super) fn write_panels<'a>(
    b: Panels<'_, Pair, COLS>,
    room: &'a mut [f32],
) -> Panels<'a, f32, COLS> {
    let (steps, cols) = (2 * b.rows(), b.cols());
    let mut least = OF_NONE;
    for (col, room) in (0..cols).step_by(COLS).zip(room.chunks_mut((steps * COLS).max(1))) {
        least = least.min(write_panel(b.panel(col), b.least(), room));
    }
    Panels::packed(room, steps, cols, steps * COLS).with_least(least)
}

/// Writes a panel out, and gives its least exponent: as it is known, or, of 0, found.
#[target_feature(enable = "avx2")]
fn write_panel(b: Strided<'_, Pair>, least: u32, room: &mut [f32]) -> u32 {
    if least == 0 {
        return write_rows::<true>(b, room, COLS);
    }
    write_rows::<false>(b, room, COLS);
    least
}

/// A register tile of pairs as they are.
///
/// # Safety
/// As [`tiles`], of up to 32 columns.
#[inline(always)]
unsafe fn by_parts_of_pairs(
    normal: bool,
    init: Init<'_, f32>,
    a: Strided<'_, Pair>,
    b: Strided<'_, Pair>,
    c: &mut Tile<'_, f32>,
    ahead: usize,
) {
    by_parts((2, 4), init, a, b, c, |init, a, b, c| {
        if normal {
            // SAFETY: the caller's word; parts are of the shapes listed.
            unsafe { half::tile(init, a, b, c, ahead) }
        } else {
            // SAFETY: as above.
            unsafe { half_flushed::tile(init, a, b, c, ahead) }
        }
    });
}

/// Writes the steps of up to 12 rows of pairs, each as two of f32, the way they lie. Gives their least exponent too.
#[target_feature(enable = "avx2")]
fn write_left<'a>(a: Strided<'_, Pair>, out: &'a mut [f32; ROWS * LEFT_STEP]) -> (Strided<'a, f32>, u32) {
    let (rows, steps) = (a.rows(), a.cols());
    if !a.has_adjacent_columns() {
        let least = write_rows::<true>(a.turned(), out, ROWS);
        return (Strided::new(out, rows, 2 * steps, 1, ROWS), least);
    }
    let mut least = Least::new();
    for (row, out) in out.chunks_mut(LEFT_STEP).take(rows).enumerate() {
        for (pairs, out) in a.row(row).chunks(LANES).zip(out.chunks_exact_mut(2 * LANES)) {
            let mask = first(pairs.len());
            // SAFETY: pairs are as large as f32, and the lanes beyond these are masked.
            let pairs = unsafe { load_part(mask, pairs.as_ptr().cast()) };
            least.add(pairs);
            let (later, earlier) = (half_of(0, pairs), half_of(1, pairs));
            let (low, high) = (_mm256_unpacklo_ps(later, earlier), _mm256_unpackhi_ps(later, earlier));
            let in_turn =
                [_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high)];
            for (out, vector) in out.chunks_exact_mut(LANES).zip(in_turn) {
                // SAFETY: eight numbers.
                unsafe { store(out.as_mut_ptr(), vector) };
            }
        }
    }
    (Strided::new(out, rows, 2 * steps, LEFT_STEP, 1), least.exponent())
}

/// Writes rows of adjacent pairs, each as two of f32 so many elements apart, that of the later step first. Gives their least
/// exponent, if asked to look.
#[target_feature(enable = "avx2")]
fn write_rows<const LOOK: bool>(pairs: Strided<'_, Pair>, out: &mut [f32], apart: usize) -> u32 {
    let mut least = Least::new();
    for (row, out) in out.chunks_exact_mut(2 * apart).take(pairs.rows()).enumerate() {
        let (whole, rest) = pairs.row(row).as_chunks::<LANES>();
        let (later, earlier) = out.split_at_mut(apart);
        let halves = later.as_chunks_mut::<LANES>().0.iter_mut().zip(earlier.as_chunks_mut::<LANES>().0);
        for (pairs, (later, earlier)) in whole.iter().zip(halves) {
            // SAFETY: eight pairs, which are as large as f32.
            let pairs = unsafe { load(pairs.as_ptr().cast()) };
            if LOOK {
                least.add(pairs);
            }
            for (pass, to) in [later, earlier].into_iter().enumerate() {
                let half = half_of(pass, pairs);
                // SAFETY: eight numbers.
                unsafe { store(to.as_mut_ptr(), half) };
            }
        }
        if !rest.is_empty() {
            let mask = first(rest.len());
            // SAFETY: the lanes beyond these are masked.
            let pairs = unsafe { load_part(mask, rest.as_ptr().cast()) };
            if LOOK {
                least.add(pairs);
            }
            for (pass, to) in [later, earlier].into_iter().enumerate() {
                let (to, half) = (&mut to[whole.len() * LANES..][..rest.len()], half_of(pass, pairs));
                // SAFETY: as many numbers; the lanes beyond are masked.
                unsafe { store_part(to.as_mut_ptr(), mask, half) };
            }
        }
    }
    least.exponent()
}

/// Whether all sums of all chains are 0 or normal for sure, by the least exponents of both operands.
///
/// They are if all numbers that are added are multiples of 2⁻¹²⁶, for then sums are, rounded or not. A number of bf16 of
/// exponent e is a multiple of 2^(e − 7), and so a product is one of 2^(e + f − 14), where e and f are the least exponents
/// of factors that are not 0. A start of exponent g is one of 2^(g − 23).
#[target_feature(enable = "avx2")]
fn stays_normal(init: Init<'_, f32>, c: &mut Tile<'_, f32>, left: u32, right: u32) -> bool {
    /// The exponent 0 in the bits.
    const BIAS: u32 = 127;
    // Bits without the sign, twice over: no number but 0 is less than 2⁻¹⁰³.
    let large = |row: &[f32]| {
        let least = row.iter().fold(u32::MAX, |least, x| least.min((x.to_bits() << 1).wrapping_sub(1)));
        least >= ((BIAS - 103) << 24) - 1
    };
    let starts = match init {
        Init::Zero => true,
        Init::Bias(bias) => large(&bias[..c.cols()]),
        Init::Accumulate => (0..c.rows()).all(|row| large(c.row(row))),
    };
    starts && left + right + 126 >= 2 * BIAS + 14
}

/// [`least_exponent`] of numbers in one row.
#[target_feature(enable = "avx2")]
pub(in super::super::super) fn least_of_all(pairs: &[Pair]) -> u32 {
    least_exponent(Strided::new(pairs, 1, pairs.len(), pairs.len(), 1))
}

/// [`least_exponent`] of a left operand, whichever way it lies.
#[target_feature(enable = "avx2")]
fn least_of_left(a: Strided<'_, Pair>) -> u32 {
    least_exponent(if a.has_adjacent_columns() { a } else { a.turned() })
}

/// The least exponent, as it is in the bits, of the numbers that are not 0; more than any if all are.
#[target_feature(enable = "avx2")]
fn least_exponent(pairs: Strided<'_, Pair>) -> u32 {
    let mut least = Least::new();
    for row in 0..pairs.rows() {
        let (whole, rest) = pairs.row(row).as_chunks::<LANES>();
        for eight in whole {
            // SAFETY: eight pairs, which are as large as f32.
            least.add(unsafe { load(eight.as_ptr().cast()) });
        }
        if !rest.is_empty() {
            let mask = first(rest.len());
            // SAFETY: the lanes beyond these are masked.
            least.add(unsafe { load_part(mask, rest.as_ptr().cast()) });
        }
    }
    least.exponent()
}

/// The least magnitude of what has been looked through, but for 0.
struct Least(__m256i);

impl Least {
    #[target_feature(enable = "avx2")]
    fn new() -> Self {
        Least(_mm256_set1_epi16(-1))
    }

    #[target_feature(enable = "avx2")]
    fn add(&mut self, pairs: Vector) {
        let bits = _mm256_castps_si256(pairs);
        // Twice, so without the sign, and 0 last.
        let twice = _mm256_add_epi16(bits, bits);
        self.0 = _mm256_min_epu16(self.0, _mm256_add_epi16(twice, _mm256_set1_epi16(-1)));
    }

    #[target_feature(enable = "avx2")]
    fn exponent(self) -> u32 {
        let mut lanes = [0_u16; 2 * LANES];
        // SAFETY: as many bytes.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), self.0) };
        (u32::from(lanes.into_iter().fold(u16::MAX, u16::min)) + 1) >> 8
    }
}
