//! Weights that are kept for long, side by side in large pages.
//!
//! A row of x reads every weight of a model once. In pages of 4 KiB, looking up where they are costs as much as a third of
//! the reading, and the matrices of small models are smaller than a large page each.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use bytemuck::Pod;

use crate::Buffer;

/// A cache line.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u8; LINE]);

const LINE: usize = 64;

/// Bytes that are moved at a time, or one weight if it is larger: so much more than the weights take is held meanwhile.
const AT_ONCE: usize = 32 << 20;

/// Moves weights side by side, in their order, into large pages where the system gives them. Their bits stay.
pub fn gather(weights: &mut [&mut dyn Gather]) {
    gather_by(AT_ONCE, weights);
}

fn gather_by(at_once: usize, mut rest: &mut [&mut dyn Gather]) {
    while !rest.is_empty() {
        let mut lines = 0;
        let count = rest.iter().take_while(|weight| {
            let fits = lines == 0 || (lines + weight.kept().lines()) * LINE <= at_once;
            lines += if fits { weight.kept().lines() } else { 0 };
            fits
        });
        let (now, later) = rest.split_at_mut(count.count());
        rest = later;
        let mut buffer = Buffer::zeroed(lines);
        let mut start = 0;
        let places = now.iter().map(|weight| {
            let bytes = weight.kept().bytes();
            let place = start..start + weight.kept().lines();
            bytemuck::cast_slice_mut(&mut buffer[place.clone()])[..bytes.len()].copy_from_slice(bytes);
            start = place.end;
            place
        });
        let places: Vec<Range<usize>> = places.collect();
        let buffer = Arc::new(buffer);
        for (weight, place) in now.iter_mut().zip(places) {
            weight.kept_mut().move_to(Arc::clone(&buffer), place);
        }
    }
}

/// A weight that [`gather`] can move: [`Packed`](crate::Packed) or [`Quantized`](crate::Quantized).
#[expect(private_bounds, reason = "no others: what is moved is private to the two")]
pub trait Gather: Hold {}

impl<W: Hold> Gather for W {}

/// What has kept elements.
pub(crate) trait Hold {
    fn kept(&self) -> &dyn Move;
    fn kept_mut(&mut self) -> &mut dyn Move;
}

/// [`Kept`] of any element.
pub(crate) trait Move {
    fn bytes(&self) -> &[u8];
    fn move_to(&mut self, buffer: Arc<Buffer<Line>>, place: Range<usize>);

    fn lines(&self) -> usize {
        self.bytes().len().div_ceil(LINE)
    }
}

/// Elements on their own, or in a buffer with those of others.
#[derive(Clone)]
pub(crate) enum Kept<T> {
    Own(Vec<T>),
    Beside {
        buffer: Arc<Buffer<Line>>,
        place: Range<usize>,
        /// Elements, the last line may have room for more.
        len: usize,
    },
}

impl<T: Pod> Move for Kept<T> {
    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self)
    }

    fn move_to(&mut self, buffer: Arc<Buffer<Line>>, place: Range<usize>) {
        *self = Kept::Beside { buffer, place, len: self.len() };
    }
}

impl<T: Pod> Deref for Kept<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Kept::Own(elements) => elements,
            Kept::Beside { buffer, place, len } => &bytemuck::cast_slice(&buffer[place.clone()])[..*len],
        }
    }
}

impl<T> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = match self {
            Kept::Own(elements) => elements.len(),
            Kept::Beside { len, .. } => *len,
        };
        f.debug_struct("Kept").field("len", &len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, s};
    use selvedge_sync::Team;

    use super::*;
    use crate::quantized::Form;
    use crate::testing::random;
    use crate::{Context, Init, Isa, Operand, Packed, Quantized, product};

    #[test]
    fn moved_weights_lie_side_by_side_and_multiply_as_before() {
        let cx = &mut Context::<f32>::new(Team::new(2).unwrap(), Isa::detect());
        let (weight, x) = (random::<f32>(1, (70, 48)), random(2, (3, 48)));
        let mut packed = Packed::new(cx, weight.t());
        // As long as no whole number of lines.
        let mut odd = Packed::new(cx, weight.slice(s![..3, ..1]).reversed_axes());
        let [mut narrow, mut wide] =
            [Form::Q4_0, Form::Q8_0].map(|form| Quantized::of(&Context::<f32>::solo(), form, weight.view()));

        let mut products = |narrow: &Quantized, wide: &Quantized, packed: &Packed<f32>, odd: &Packed<f32>| {
            let mut multiply = |n: usize, k: usize, w: Operand<'_, f32>| {
                let mut y = Array2::zeros((3, n));
                product(cx, y.view_mut(), Init::Zero, x.slice(s![.., ..k]), w);
                y
            };
            let quantized = [narrow, wide].map(|w| multiply(70, 48, Operand::Quantized(w)));
            (quantized, multiply(70, 48, Operand::Packed(packed)), multiply(3, 1, Operand::Packed(odd)))
        };
        let expected = products(&narrow, &wide, &packed, &odd);
        // Two by two.
        let at_once = packed.bytes() + odd.bytes();
        gather_by(at_once, &mut [&mut narrow, &mut wide, &mut packed, &mut odd]);

        let ends = |weight: &dyn Hold| {
            let lines = weight.kept().bytes().as_ptr().addr();
            (lines, lines + weight.kept().lines() * LINE)
        };
        assert_eq!(ends(&narrow).1, ends(&wide).0);
        assert_eq!(ends(&packed).1, ends(&odd).0);
        assert_eq!(products(&narrow, &wide, &packed, &odd), expected);
    }
}
