//! Dropout (Srivastava et al. 2014): an element stays, larger by 1/(1 − rate), or becomes 0, as a hash of its place says.
//!
//! Which elements stay is a pure function of a key and of the element's place in the whole run, so that no cut of the rows into
//! calls, workers or threads changes it, and the backward, which adds, finds the same ones again.

use ndarray::{ArrayView2, ArrayViewMut1, ArrayViewMut2};
use selvedge_sync::chunks;

use crate::isa::dispatch;
use crate::{Context, Real};

/// Rows a task takes.
const ROWS: usize = 16;

/// Which elements stay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mask {
    /// Chance of an element to become 0; from 0 to below 1.
    pub rate: f64,
    /// Distinguishes one use from another: of the seed and of the layer.
    pub key: u64,
    /// Number of the first row of a call in the run.
    pub first: u64,
}

impl Mask {
    /// Hashes below it become 0.
    fn threshold(&self) -> u64 {
        // Exact in f64 up to the last 11 bits, whatever the machine.
        (self.rate * 18_446_744_073_709_551_616.0) as u64
    }
}

/// y (N, C) = x, with the elements that do not stay 0.
///
/// # Panics
/// If shapes differ or y is not contiguous.
#[track_caller]
pub fn forward<T: Real>(cx: &mut Context<T>, y: ArrayViewMut2<'_, T>, x: ArrayView2<'_, T>, mask: Mask) {
    assert_eq!(y.dim(), x.dim(), "dropout output and input");
    apply(cx, y, Some(x), mask);
}

/// dx (N, C) += dy of the elements that stayed; dy is overwritten.
///
/// # Panics
/// If shapes differ or a view is not contiguous.
#[track_caller]
pub fn backward<T: Real>(
    cx: &mut Context<T>,
    mut dx: ArrayViewMut2<'_, T>,
    mut dy: ArrayViewMut2<'_, T>,
    mask: Mask,
) {
    assert_eq!(dx.dim(), dy.dim(), "dropout gradients");
    apply(cx, dy.view_mut(), None, mask);
    let (isa, c) = (cx.isa(), dx.ncols());
    let (dx, dy) = (dx.as_slice_mut().expect("contiguous dx"), dy.as_slice().expect("contiguous dy"));
    cx.for_each(chunks(dx, (ROWS * c).max(1)), |index, dx| {
        crate::linear::add(isa, dx, &dy[index * ROWS * c..][..dx.len()]);
    });
}

/// Scales the elements that stay, and makes 0 of the others; those of x, if there is one, else of y.
#[track_caller]
fn apply<T: Real>(cx: &Context<T>, mut y: ArrayViewMut2<'_, T>, x: Option<ArrayView2<'_, T>>, mask: Mask) {
    let (isa, c) = (cx.isa(), y.ncols().max(1));
    let scale = T::from_f64(1.0 / (1.0 - mask.rate));
    let y = y.as_slice_mut().expect("contiguous rows");
    cx.for_each(chunks(y, ROWS * c), |index, y| {
        for (row, y) in y.chunks_mut(c).enumerate() {
            let row = index * ROWS + row;
            if let Some(x) = x {
                ArrayViewMut1::from(&mut *y).assign(&x.row(row));
            }
            let row = mask.first.wrapping_add(row as u64);
            keep(isa, y, mask, row.wrapping_mul(c as u64), scale);
        }
    });
}

dispatch! {
    /// One row, whose first element is at `place`.
    fn keep<T>(row: &mut [T], mask: Mask, place: u64, scale: T) = keep_body;
}

#[inline(always)]
fn keep_body<T: Real>(row: &mut [T], mask: Mask, place: u64, scale: T) {
    let threshold = mask.threshold();
    for (at, x) in row.iter_mut().enumerate() {
        let stays = hash(mask.key, place.wrapping_add(at as u64)) >= threshold;
        *x = if stays { *x * scale } else { T::ZERO };
    }
}

/// Value `place` of the stream `key`: the finalizer of SplitMix64 (Steele, Lea, Flood 2014) over a Weyl sequence.
#[inline(always)]
fn hash(key: u64, place: u64) -> u64 {
    let mut z = key.wrapping_add(place.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, s};
    use selvedge_sync::Team;

    use super::*;
    use crate::Isa;
    use crate::testing::{check_gradient, dot, random, same_bits};

    #[test]
    fn the_share_that_stays_is_the_rate_and_the_mean_is_kept() {
        let mask = Mask { rate: 0.3, key: 7, first: 0 };
        let x = Array2::from_elem((100, 200), 1.0f32);
        let y = same_bits(|cx| {
            let mut y = Array2::zeros(x.dim());
            forward(cx, y.view_mut(), x.view(), mask);
            y.into_raw_vec_and_offset().0
        });
        let gone = y.iter().filter(|&&y| y == 0.0).count();
        // Of 20,000 draws the deviation is 65.
        assert!((5700..6300).contains(&gone), "{gone} of 20000");
        assert!(y.iter().all(|&y| y == 0.0 || (y - 1.0 / 0.7).abs() < 1e-6));
    }

    #[test]
    fn rows_in_two_calls_are_those_of_one_and_keys_differ() {
        let (x, cx) = (random::<f32>(1, (21, 33)), &mut Context::solo());
        let mut run = |part: ArrayView2<'_, f32>, key, first| {
            let mut y = Array2::zeros(part.dim());
            forward(cx, y.view_mut(), part, Mask { rate: 0.5, key, first });
            y
        };
        let whole = run(x.view(), 5, 40);
        assert_eq!(run(x.slice(s![17.., ..]), 5, 57), whole.slice(s![17.., ..]));
        assert_ne!(run(x.view(), 6, 40), whole);
    }

    #[test]
    fn any_number_of_threads_drops_the_same_out_of_rows_wherever_they_lie() {
        let (wide, mask) = (random::<f32>(1, (70, 40)), Mask { rate: 0.5, key: 5, first: 3 });
        let x = wide.slice(s![.., 4..37]);
        let run = |threads| {
            let cx = &mut Context::new(Team::new(threads).unwrap(), Isa::detect());
            let mut y = Array2::from_elem(x.dim(), f32::NAN);
            forward(cx, y.view_mut(), x, mask);
            y
        };
        let want = run(1);
        assert_eq!(run(3), want);
        let scaled = x.mapv(|x| x * 2.0);
        assert!(want.iter().zip(&scaled).all(|(y, x)| y == x || *y == 0.0));
    }

    #[test]
    fn backward_agrees_with_differences() {
        let (x, dy) = (random(1, (5, 9)), random(2, (5, 9)));
        let (mask, cx) = (Mask { rate: 0.4, key: 3, first: 11 }, &mut Context::solo());
        let mut dx = random(3, (5, 9));
        let before = dx.clone();
        backward(cx, dx.view_mut(), dy.clone().view_mut(), mask);
        check_gradient("x", &x, (dx - before).view(), |x| {
            let mut y = Array2::zeros(x.dim());
            forward(cx, y.view_mut(), x.view(), mask);
            dot(&y, &dy)
        });
    }
}
