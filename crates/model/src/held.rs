//! Weights as generation reads them: packed for products or quantized, and plain for what is looked up or added.

use std::ops::Deref;

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut2, s};
use selvedge_tensor::quantized::Form;
use selvedge_tensor::{Context, Operand, Packed, Quantized, Real, embedding, linear};

use crate::Config;
use crate::architecture::is_product;
use crate::layout::{Layout, Slot};

/// How the weights of products are kept for generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In the precision of the context.
    Packed,
    /// In 4 to 8 bits each, which the products compute with.
    Quantized(Form),
}

/// The weights of a model for [`Architecture::generate`](crate::Architecture::generate), in the order of its layout.
#[derive(Debug)]
pub struct Weights<'a, T>(pub(crate) Vec<Held<'a, T>>);

impl<'a, T: Real> Weights<'a, T> {
    /// Packs the weights of products; vectors and tables that are looked up are read where they lie in `params`.
    pub fn pack(
        cx: &mut Context<T>,
        config: &Config,
        layout: &Layout,
        params: &'a [T],
        storage: Storage,
    ) -> Self {
        let mut hold = |slot: &Slot| {
            let numbers = Numbers::Lent(&params[slot.span.range()]);
            if !is_product(slot, config.tied) {
                return Held { parts: Vec::new(), numbers: Some(numbers) };
            }
            let part = Part::new(cx, slot.span.view(params), storage);
            Held { parts: vec![part], numbers: is_table(slot).then_some(numbers) }
        };
        Weights(layout.slots().iter().map(&mut hold).collect())
    }

    /// # Panics
    /// If they are not those of the layout.
    #[track_caller]
    pub(crate) fn check(&self, layout: &Layout) {
        let slots = layout.slots().len();
        assert_eq!(self.0.len(), slots, "weights for a layout of {slots}");
    }

    /// Bytes held, those of `params` not counted.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(Held::bytes).sum()
    }
}

/// Whether rows of a weight are looked up.
pub(crate) fn is_table(slot: &Slot) -> bool {
    slot.name.ends_with("embedding")
}

/// One weight.
#[derive(Debug)]
pub(crate) struct Held<'a, T> {
    /// As products read it, outputs after outputs; none of what is in no product.
    pub(crate) parts: Vec<Part<T>>,
    /// As numbers, row-major; not of what is read by products alone, nor of what is looked up in quantized parts.
    pub(crate) numbers: Option<Numbers<'a, T>>,
}

/// The numbers of a weight.
#[derive(Debug)]
pub(crate) enum Numbers<'a, T> {
    /// In a flat buffer of parameters.
    Lent(&'a [T]),
    Own(Vec<T>),
}

impl<T> Deref for Numbers<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Numbers::Lent(numbers) => numbers,
            Numbers::Own(numbers) => numbers,
        }
    }
}

impl<T> Held<'_, T> {
    fn bytes(&self) -> usize {
        let own = match &self.numbers {
            Some(Numbers::Own(numbers)) => size_of_val(numbers.as_slice()),
            _ => 0,
        };
        own + self.parts.iter().map(Part::bytes).sum::<usize>()
    }
}

/// Consecutive outputs of a weight, all kept in one way.
#[derive(Debug)]
pub(crate) enum Part<T> {
    Packed(Packed<T>),
    Quantized(Quantized),
}

impl<T> Part<T> {
    fn bytes(&self) -> usize {
        match self {
            Part::Packed(packed) => packed.bytes(),
            Part::Quantized(weights) => weights.bytes(),
        }
    }

    fn outputs(&self) -> usize {
        match self {
            Part::Packed(packed) => packed.cols(),
            Part::Quantized(weights) => weights.outputs(),
        }
    }

    fn operand(&self) -> Operand<'_, T> {
        match self {
            Part::Packed(packed) => Operand::Packed(packed),
            Part::Quantized(weights) => Operand::Quantized(weights),
        }
    }
}

impl<T: Real> Part<T> {
    /// Packs a weight of shape (OC, C).
    pub(crate) fn new(cx: &mut Context<T>, weight: ArrayView2<'_, T>, storage: Storage) -> Self {
        match storage {
            Storage::Packed => Part::Packed(Packed::new(cx, weight.reversed_axes())),
            Storage::Quantized(form) => {
                Part::Quantized(Quantized::of(form, weight.mapv(|w| w.to_f64() as f32).view()))
            }
        }
    }
}

/// One weight as a wiring reads it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weight<'a, T> {
    /// Its numbers; empty where there are none.
    pub(crate) view: ArrayView2<'a, T>,
    parts: &'a [Part<T>],
}

impl<'a, T: Real> Weight<'a, T> {
    pub(crate) fn plain(view: ArrayView2<'a, T>) -> Self {
        Weight { view, parts: &[] }
    }

    pub(crate) fn held(slot: &Slot, held: &'a Held<'_, T>) -> Self {
        let view = held.numbers.as_ref().map_or_else(
            || ArrayView2::from_shape((0, slot.span.cols), &[]),
            |numbers| ArrayView2::from_shape((slot.span.rows, slot.span.cols), numbers),
        );
        Weight { view: view.expect("a weight has its slot's length"), parts: &held.parts }
    }

    /// The transposed weight as the right operand of a product.
    ///
    /// # Panics
    /// If it is in several parts.
    pub(crate) fn operand(&self) -> Operand<'_, T> {
        match self.parts {
            [] => Operand::View(self.view.t()),
            [part] => part.operand(),
            parts => panic!("a weight in {} parts is no single operand", parts.len()),
        }
    }

    /// y (N, OC) = x (N, C) · Wᵀ + bias.
    pub(crate) fn linear(
        &self,
        cx: &mut Context<T>,
        mut y: ArrayViewMut2<'_, T>,
        x: ArrayView2<'_, T>,
        bias: Option<ArrayView1<'_, T>>,
    ) {
        if self.parts.len() < 2 {
            return linear::forward(cx, y, x, self.operand(), bias);
        }
        let mut at = 0;
        for part in self.parts {
            let end = at + part.outputs();
            let bias = bias.map(|bias| bias.slice_move(s![at..end]));
            linear::forward(cx, y.slice_mut(s![.., at..end]), x, part.operand(), bias);
            at = end;
        }
    }

    /// Row n of `out` becomes the row of token n.
    pub(crate) fn look_up(&self, cx: &mut Context<T>, out: ArrayViewMut2<'_, T>, tokens: &[u32]) {
        match self.parts {
            [Part::Quantized(table)] if self.view.nrows() == 0 => {
                embedding::forward_quantized(cx, out, tokens, table);
            }
            _ => embedding::forward(cx, out, tokens, self.view),
        }
    }

    /// A vector.
    pub(crate) fn row(&self) -> ArrayView1<'_, T> {
        self.view.row(0)
    }
}
