//! A frozen base and adapters, as wirings read them and as gradients are put down.

use super::{Adapters, Draw};
use crate::architecture::Rows;
use crate::held::Weights;
use crate::layout::{Carver, Layout, Slot};
use crate::weight::{Gradient, Weight};
use selvedge_tensor::Real;

/// What is computed with: weights that stay as they are, and adapters that are trained.
#[derive(Clone, Copy, Debug)]
pub struct Adapted<'a, T> {
    pub(super) base: &'a Weights<'a, T>,
    pub(super) adapters: &'a Adapters,
    pub(super) params: &'a [T],
    /// Seed of dropout.
    pub(super) seed: u64,
}

impl<'a, T: Real> Adapted<'a, T> {
    /// The weights one after another. In training, for `rows`, inputs of adapters are dropped.
    pub(crate) fn weights(&self, rows: Option<&Rows<'_>>) -> impl FnMut(&Slot) -> Weight<'a, T> {
        let Adapted { base, adapters, params, seed } = *self;
        let draw = rows.map(|rows| Draw { seed, first: rows.first.wrapping_mul(rows.time as u64) });
        let mut held = base.0.iter().enumerate();
        move |slot| {
            let (index, held) = held.next().expect("a weight for each slot");
            Weight::held(slot, held).exact().with_adapters(adapters.of(index, params, draw))
        }
    }

    /// Where gradients go, one weight after another: those of adapters into `grads`; those of vectors, which nobody reads,
    /// into `vectors`; and those of matrices nowhere.
    pub(crate) fn gradients<'g>(
        &self,
        grads: &'g mut [T],
        vectors: &'g mut [T],
    ) -> impl FnMut(&Slot) -> Gradient<'g, T>
    where
        'a: 'g,
    {
        let (mut carver, mut vectors, mut index) = (Carver::new(grads), vectors, 0);
        let adapters = self.adapters;
        let mut places = adapters.places().iter().peekable();
        move |slot| {
            let view = (!slot.decay).then(|| {
                let (mine, rest) = std::mem::take(&mut vectors).split_at_mut(slot.span.len());
                vectors = rest;
                mine.fill(T::ZERO);
                ndarray::ArrayViewMut2::from_shape((1, mine.len()), mine).expect("a vector")
            });
            let mine = std::iter::from_fn(|| places.next_if(|place| place.slot == index));
            let adapters = mine.map(|place| [carver.take(&place.a), carver.take(&place.b)]).collect();
            index += 1;
            Gradient { view, adapters }
        }
    }
}

/// Elements that the gradients of all vectors take.
pub(crate) fn vectors(layout: &Layout) -> usize {
    layout.slots().iter().filter(|slot| !slot.decay).map(|slot| slot.span.len()).sum()
}
