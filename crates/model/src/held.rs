//! Weights as generation reads them: packed for products or quantized, and plain for what is looked up or added.

use std::convert::Infallible;
use std::ops::Deref;

use ndarray::ArrayView2;
use selvedge_tensor::quantized::Form;
use selvedge_tensor::{Context, Gather, HalfMatrix, Packed, Precision, Quantized, Real, gather};

use crate::Config;
use crate::architecture::is_product;
use crate::layout::{Layout, Slot};
use crate::lora::Adapters;
use crate::weight::Weight;

/// How the weights of products are kept for generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In the precision of the context.
    Packed,
    /// In 4 to 8 bits each, which the products compute with.
    Quantized(Form),
}

/// The weights of a model for [`Architecture::generate`](crate::Architecture::generate), in the order of its layout, and
/// adapters on top of them, if there are any.
#[derive(Debug)]
pub struct Weights<'a, T>(pub(crate) Vec<Held<'a, T>>, pub(crate) Option<(Adapters, Vec<T>)>);

impl<'a, T: Real> Weights<'a, T> {
    /// Weights in the order of a layout; those of products are put side by side as they come, so that the memory they were
    /// made in serves the next ones.
    ///
    /// # Errors
    /// The first of those given.
    pub(crate) fn new<E>(weights: impl Iterator<Item = Result<Held<'a, T>, E>>) -> Result<Self, E> {
        /// Bytes that are moved at a time: large pages enough.
        const TOGETHER: usize = 32 << 20;
        let (mut all, mut moved, mut bytes) = (Vec::new(), 0, 0);
        for held in weights {
            let held = held?;
            bytes += held.parts.iter().map(Part::bytes).sum::<usize>();
            all.push(held);
            if bytes >= TOGETHER {
                put_side_by_side(&mut all[moved..]);
                (moved, bytes) = (all.len(), 0);
            }
        }
        put_side_by_side(&mut all[moved..]);
        Ok(Weights(all, None))
    }

    /// [`Weights::new`] where nothing fails.
    pub(crate) fn of(weights: impl Iterator<Item = Held<'a, T>>) -> Self {
        let Ok(weights) = Self::new(weights.map(Ok::<_, Infallible>));
        weights
    }

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
        Weights::of(layout.slots().iter().map(&mut hold))
    }

    /// The same out of wherever the weights are: `read` fills in one after another, and beside what is packed there is memory
    /// for the largest of them. A table that is packed is looked up there, if it is kept as it is.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn pack_from<E>(
        cx: &mut Context<T>,
        config: &Config,
        layout: &Layout,
        storage: Storage,
        mut read: impl FnMut(&Slot, &mut [T]) -> Result<(), E>,
    ) -> Result<Weights<'static, T>, E> {
        let hold = |slot: &Slot| {
            let mut numbers = vec![T::ZERO; slot.span.len()];
            read(slot, &mut numbers)?;
            Ok(Held::of(cx, slot, config.tied, storage, numbers))
        };
        Weights::new(layout.slots().iter().map(hold))
    }

    /// Bytes that [`Weights::pack_from`] will hold, at most.
    pub fn bytes_of(precision: Precision, config: &Config, layout: &Layout, storage: Storage) -> usize {
        let bytes = |slot: &Slot| Held::<T>::bytes_of(precision, slot, config.tied, storage);
        layout.slots().iter().map(bytes).sum()
    }

    /// Plain numbers, copied out of a flat buffer: the frozen base of a fine-tuning.
    pub fn plain(layout: &Layout, params: &[T]) -> Weights<'static, T> {
        let hold = |slot: &Slot| {
            let numbers = Numbers::Own(params[slot.span.range()].to_vec());
            Held { parts: Vec::new(), numbers: Some(numbers) }
        };
        Weights::of(layout.slots().iter().map(hold))
    }

    /// The same with adapters, whose parameters are laid out as by [`Adapters::layout`].
    ///
    /// # Panics
    /// If `params` has another length.
    #[must_use]
    pub fn with_adapters(self, adapters: Adapters, params: Vec<T>) -> Self {
        assert_eq!(params.len(), adapters.layout().len(), "a buffer of the adapters' layout");
        Weights(self.0, Some((adapters, params)))
    }

    /// The weights one after another, as products of generation read them.
    pub(crate) fn read<'w>(&'w self) -> impl FnMut(&Slot) -> Weight<'w, T> + use<'w, 'a, T> {
        let mut held = self.0.iter().enumerate();
        move |slot| {
            let (index, held) = held.next().expect("a weight for each slot");
            let weight = Weight::held(slot, held);
            match &self.1 {
                Some((adapters, params)) => weight.with_adapters(adapters.of(index, params, None)),
                None => weight,
            }
        }
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

fn put_side_by_side<T: Real>(weights: &mut [Held<'_, T>]) {
    let parts = weights.iter_mut().flat_map(|held| &mut held.parts);
    gather(&mut parts.filter_map(Part::streamed).collect::<Vec<_>>());
}

/// Whether rows of a weight are looked up.
pub(crate) fn is_table(slot: &Slot) -> bool {
    slot.name.ends_with("embedding")
}

/// Whether a weight can be kept as parts alone: all matrices but that of positions, which are added as numbers.
pub(crate) fn can_be_parts(slot: &Slot) -> bool {
    slot.decay && (!is_table(slot) || slot.name == "token_embedding")
}

/// One weight.
#[derive(Debug)]
pub(crate) struct Held<'a, T> {
    /// As products read it, outputs after outputs; none of what is in no product.
    pub(crate) parts: Vec<Part<T>>,
    /// As numbers, row-major; not of what is read by products alone, nor of what is looked up in a part.
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

impl<T: Real> Held<'_, T> {
    /// Whether some of it can be read by products of one direction alone.
    pub(crate) fn is_packed(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Packed(_)))
    }

    fn bytes(&self) -> usize {
        let own = match &self.numbers {
            Some(Numbers::Own(numbers)) => size_of_val(numbers.as_slice()),
            Some(Numbers::Lent(_)) | None => 0,
        };
        own + self.parts.iter().map(Part::bytes).sum::<usize>()
    }
}

impl<T: Real> Held<'static, T> {
    /// A weight for generation out of its numbers.
    pub(crate) fn of(
        cx: &mut Context<T>,
        slot: &Slot,
        tied: bool,
        storage: Storage,
        numbers: Vec<T>,
    ) -> Self {
        if !is_product(slot, tied) {
            return Held { parts: Vec::new(), numbers: Some(Numbers::Own(numbers)) };
        }
        let view = ArrayView2::from_shape((slot.span.rows, slot.span.cols), &numbers);
        let part = Part::new(cx, view.expect("a weight has its slot's length"), storage);
        let is_needed = is_table(slot) && !(storage == Storage::Packed && cx.precision().keeps(&numbers));
        let numbers = is_needed.then_some(Numbers::Own(numbers));
        Held { parts: vec![part], numbers }
    }

    /// Bytes that [`Held::of`] will hold, at most.
    pub(crate) fn bytes_of(precision: Precision, slot: &Slot, tied: bool, storage: Storage) -> usize {
        let (rows, columns) = (slot.span.rows, slot.span.cols);
        let numbers = slot.span.len() * size_of::<T>();
        if !is_product(slot, tied) {
            return numbers;
        }
        let is_in_part = storage == Storage::Packed && precision == Precision::F32;
        let part = match storage {
            Storage::Packed => Packed::<T>::bytes_of(precision, (columns, rows)),
            Storage::Quantized(form) => Quantized::bytes_of(form, (rows, columns)),
        };
        part + if is_table(slot) && !is_in_part { numbers } else { 0 }
    }
}

/// Consecutive outputs of a weight, all kept in one way.
#[derive(Debug)]
pub(crate) enum Part<T> {
    Packed(Packed<T>),
    Quantized(Quantized),
    /// Of a frozen base, and turned into numbers for each product.
    Half(HalfMatrix),
}

impl<T: Real> Part<T> {
    fn bytes(&self) -> usize {
        match self {
            Part::Packed(packed) => packed.bytes(),
            Part::Quantized(weights) => weights.bytes(),
            Part::Half(weights) => weights.bytes(),
        }
    }

    pub(crate) fn outputs(&self) -> usize {
        match self {
            Part::Packed(packed) => packed.cols(),
            Part::Quantized(weights) => weights.outputs(),
            Part::Half(weights) => weights.rows(),
        }
    }

    /// What products stream as it lies.
    fn streamed(&mut self) -> Option<&mut dyn Gather> {
        match self {
            Part::Packed(packed) => Some(packed),
            Part::Quantized(weights) => Some(weights),
            Part::Half(_) => None,
        }
    }

    /// Packs a weight of shape (OC, C).
    pub(crate) fn new(cx: &mut Context<T>, weight: ArrayView2<'_, T>, storage: Storage) -> Self {
        match storage {
            Storage::Packed => Part::Packed(Packed::new(cx, weight.reversed_axes())),
            Storage::Quantized(form) => {
                Part::Quantized(Quantized::of(cx, form, weight.mapv(|w| w.to_f64() as f32).view()))
            }
        }
    }
}
