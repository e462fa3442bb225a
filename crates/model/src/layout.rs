//! The flat buffer: where each weight or activation lies, and typed views of it.
//!
//! A model's weights live in one buffer. A struct generic in what it holds per field (`Params<Slot>`,
//! `Params<ArrayView2>`, …) has one `map` listing the fields in memory order; everything else — names,
//! views, gradients, decay groups — comes from that one list.

use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2};
use selvedge_tensor::Real;

/// Elements every field is padded to a multiple of: a cache line of f32 times four.
const PAD: usize = 64;

/// A matrix inside a flat buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First element.
    pub offset: usize,
    /// Rows; 1 for a vector.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
}

impl Span {
    /// Elements, without padding.
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its place in the buffer.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len()
    }

    /// The matrix in `buffer`.
    ///
    /// # Panics
    /// If the buffer is too short.
    #[track_caller]
    pub fn view<'a, T>(&self, buffer: &'a [T]) -> ArrayView2<'a, T> {
        ArrayView2::from_shape((self.rows, self.cols), &buffer[self.range()])
            .expect("a span has its shape's length")
    }
}

/// Lays fields out one after another.
#[derive(Debug, Default)]
pub(crate) struct Allocator {
    len: usize,
}

impl Allocator {
    pub(crate) fn span(&mut self, rows: usize, cols: usize) -> Span {
        let span = Span { offset: self.len, rows, cols };
        self.len += span.len().next_multiple_of(PAD);
        span
    }

    /// Elements laid out so far, padding included.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Allocator {
    /// The next weight: a matrix, which decays.
    pub(crate) fn matrix(
        &mut self,
        name: impl Into<String>,
        rows: usize,
        cols: usize,
        deviation: f64,
    ) -> Slot {
        let span = self.span(rows, cols);
        Slot { name: name.into(), span, init: Init::Normal(deviation), decay: true }
    }

    /// The next weight: a vector, which does not decay.
    pub(crate) fn vector(&mut self, name: impl Into<String>, len: usize, init: Init) -> Slot {
        Slot { name: name.into(), span: self.span(1, len), init, decay: false }
    }
}

/// The elements of a contiguous view, to write.
pub(crate) fn flat<'a, T>(view: &'a mut ArrayViewMut2<'_, T>) -> &'a mut [T] {
    view.as_slice_mut().expect("activations are contiguous")
}

/// The elements of a contiguous view.
pub(crate) fn read<'a, T>(view: &'a ArrayViewMut2<'_, T>) -> &'a [T] {
    view.as_slice().expect("activations are contiguous")
}

/// Cuts a buffer into mutable views, one a span, in memory order: no index, no pointer table.
#[derive(Debug)]
pub(crate) struct Carver<'a, T> {
    rest: &'a mut [T],
    at: usize,
}

impl<'a, T: Real> Carver<'a, T> {
    pub(crate) fn new(buffer: &'a mut [T]) -> Self {
        Carver { rest: buffer, at: 0 }
    }

    /// The view of `span`, which must lie after all spans taken before.
    #[track_caller]
    pub(crate) fn take(&mut self, span: &Span) -> ArrayViewMut2<'a, T> {
        let rest = std::mem::take(&mut self.rest);
        let (_, rest) = rest.split_at_mut(span.offset - self.at);
        let (mine, rest) = rest.split_at_mut(span.len());
        self.rest = rest;
        self.at = span.offset + span.len();
        ArrayViewMut2::from_shape((span.rows, span.cols), mine).expect("a span has its shape's length")
    }
}

/// How a weight starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All 0: biases.
    Zeros,
    /// All 1: scales of normalizations.
    Ones,
    /// Normal with this standard deviation.
    Normal(f64),
}

/// One weight: its name, place, start and whether it decays.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Name in files, such as `block.3.qkv.weight`.
    pub name: String,
    /// Place in the flat buffer.
    pub span: Span,
    /// How it starts.
    pub init: Init,
    /// Whether weight decay applies: to matrices and embeddings, not to biases and scales.
    pub decay: bool,
}

impl Slot {
    /// Shape in files: a vector for biases and scales.
    pub fn shape(&self) -> Vec<usize> {
        if self.decay { vec![self.span.rows, self.span.cols] } else { vec![self.span.cols] }
    }
}

/// All weights of a model in memory order.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    slots: Vec<Slot>,
    len: usize,
}

impl Layout {
    pub(crate) fn new(slots: Vec<Slot>, len: usize) -> Self {
        Layout { slots, len }
    }

    /// The weights, in memory order.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Elements of the flat buffer, padding included. Padding starts as 0 and stays 0.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no weight.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of parameters, padding not counted.
    pub fn parameters(&self) -> usize {
        self.slots.iter().map(|slot| slot.span.len()).sum()
    }

    /// Ranges of the flat buffer with one answer to "does it decay", covering all of it. Padding goes with
    /// the weight before it, where it is inert.
    pub fn decay_ranges(&self) -> Vec<(Range<usize>, bool)> {
        let mut ranges: Vec<(Range<usize>, bool)> = Vec::new();
        for slot in &self.slots {
            let start = slot.span.offset;
            match ranges.last_mut() {
                Some((range, decay)) if *decay == slot.decay => range.end = start + slot.span.len(),
                Some((range, _)) => {
                    range.end = start;
                    ranges.push((start..start + slot.span.len(), slot.decay));
                }
                None => ranges.push((0..start + slot.span.len(), slot.decay)),
            }
        }
        if let Some((range, _)) = ranges.last_mut() {
            range.end = self.len;
        }
        ranges
    }

    /// The weight that holds element `index` of the flat buffer.
    pub fn slot_at(&self, index: usize) -> Option<&Slot> {
        self.slots.iter().rev().find(|slot| slot.span.offset <= index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_follow_the_spans_and_do_not_overlap() {
        let mut allocator = Allocator::default();
        let spans = [allocator.span(2, 3), allocator.span(1, 65), allocator.span(4, 4)];
        assert_eq!(allocator.len(), 64 + 128 + 64);
        let mut buffer = vec![0.0f32; allocator.len()];
        let mut carver = Carver::new(&mut buffer);
        for (i, span) in spans.iter().enumerate() {
            carver.take(span).fill(i as f32 + 1.0);
        }
        for (i, span) in spans.iter().enumerate() {
            assert!(span.view(&buffer).iter().all(|&x| x == i as f32 + 1.0));
        }
        assert_eq!(buffer.iter().filter(|&&x| x != 0.0).count(), 6 + 65 + 16);
    }
}
