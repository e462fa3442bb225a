//! What the adapters of one weight add to its product, and their gradients.

use ndarray::{ArrayView2, ArrayViewMut2, s};
use selvedge_tensor::dropout::{self, Mask};
use selvedge_tensor::{Context, Init, Real, linear, product};

use super::{Place, Settings};
use crate::CounterRng;
use crate::architecture::Fold;

/// What decides which inputs are dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Draw {
    pub(crate) seed: u64,
    /// Number in the run of the first row of tokens of a call.
    pub(crate) first: u64,
}

/// The adapters of one weight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Applied<'a, T> {
    scale: f64,
    rate: f64,
    draw: Option<Draw>,
    /// The place of the first of them among all of the model.
    first: usize,
    places: &'a [Place],
    params: &'a [T],
}

impl<'a, T> Applied<'a, T> {
    pub(super) fn new(
        settings: &Settings,
        first: usize,
        places: &'a [Place],
        params: &'a [T],
        draw: Option<Draw>,
    ) -> Self {
        let draw = draw.filter(|_| settings.dropout > 0.0);
        Applied { scale: settings.scale(), rate: settings.dropout, draw, first, places, params }
    }
}

impl<T: Real> Applied<'_, T> {
    /// y (N, OC) += scale·(dropout(x)·Aᵀ)·Bᵀ, for each of them in its columns.
    pub(crate) fn forward(&self, cx: &mut Context<T>, mut y: ArrayViewMut2<'_, T>, x: ArrayView2<'_, T>) {
        for (index, place) in self.places.iter().enumerate() {
            let mask = self.mask(index);
            let (low, dropped) = (x.nrows() * place.a.rows, if mask.is_some() { x.len() } else { 0 });
            cx.with_room(low + dropped, |cx, room| {
                let (low, room) = room.split_at_mut(low);
                let x = drop(cx, room, x, mask);
                let low = self.low(cx, low, x, place);
                let y = y.slice_mut(s![.., place.outputs.clone()]);
                product(cx, y, Init::Accumulate, low, place.b.view(self.params).reversed_axes());
            });
        }
    }

    /// Reads upwards. dx is added to; A's and B's gradients are overwritten or added to.
    pub(crate) fn backward(
        &self,
        cx: &mut Context<T>,
        mut dx: ArrayViewMut2<'_, T>,
        (grads, fold): (&mut [[ArrayViewMut2<'_, T>; 2]], Fold),
        dy: ArrayView2<'_, T>,
        x: ArrayView2<'_, T>,
    ) {
        for (index, (place, [da, db])) in self.places.iter().zip(grads).enumerate() {
            let (a, b) = (place.a.view(self.params), place.b.view(self.params));
            let mask = self.mask(index);
            let (rows, rank) = (x.nrows(), place.a.rows);
            let (low, dropped) = (rows * rank, if mask.is_some() { x.len() } else { 0 });
            cx.with_room(2 * low + 2 * dropped, |cx, room| {
                let (room_low, room) = room.split_at_mut(low);
                let (room_dlow, room) = room.split_at_mut(low);
                let (room, room_dx) = room.split_at_mut(dropped);
                let x = drop(cx, room, x, mask);
                let low = self.low(cx, room_low, x, place);
                let dy = dy.slice(s![.., place.outputs.clone()]);
                linear::backward_weight(cx, db.view_mut(), fold.init(), None, dy, low);
                let mut dlow = matrix(room_dlow, rows, rank);
                linear::backward_input(cx, dlow.view_mut(), Init::Zero, dy, b);
                self.scale(&mut dlow);
                linear::backward_weight(cx, da.view_mut(), fold.init(), None, dlow.view(), x);
                let Some(mask) = mask else {
                    return linear::backward_input(cx, dx.view_mut(), Init::Accumulate, dlow.view(), a);
                };
                let mut dropped = matrix(room_dx, rows, dx.ncols());
                linear::backward_input(cx, dropped.view_mut(), Init::Zero, dlow.view(), a);
                dropout::backward(cx, dx.view_mut(), dropped, mask);
            });
        }
    }

    /// scale·(x·Aᵀ) (N, r).
    fn low<'b>(
        &self,
        cx: &mut Context<T>,
        room: &'b mut [T],
        x: ArrayView2<'_, T>,
        place: &Place,
    ) -> ArrayView2<'b, T> {
        let mut low = matrix(&mut *room, x.nrows(), place.a.rows);
        product(cx, low.view_mut(), Init::Zero, x, place.a.view(self.params).reversed_axes());
        self.scale(&mut low);
        ArrayView2::from_shape((x.nrows(), place.a.rows), room).expect("of this shape")
    }

    fn scale(&self, low: &mut ArrayViewMut2<'_, T>) {
        let scale = T::from_f64(self.scale);
        low.mapv_inplace(|x| x * scale);
    }

    /// Which inputs the adapter at `index` drops.
    fn mask(&self, index: usize) -> Option<Mask> {
        let stream = (self.first + index) as u64;
        self.draw.map(|draw| Mask {
            rate: self.rate,
            key: CounterRng::new(draw.seed, stream).at(0),
            first: draw.first,
        })
    }
}

/// x, or in `room` what is left of it.
fn drop<'b, T: Real>(
    cx: &mut Context<T>,
    room: &'b mut [T],
    x: ArrayView2<'b, T>,
    mask: Option<Mask>,
) -> ArrayView2<'b, T> {
    let Some(mask) = mask else { return x };
    dropout::forward(cx, matrix(&mut *room, x.nrows(), x.ncols()), x, mask);
    ArrayView2::from_shape(x.dim(), room).expect("of this shape")
}

fn matrix<T>(room: &mut [T], rows: usize, cols: usize) -> ArrayViewMut2<'_, T> {
    ArrayViewMut2::from_shape((rows, cols), room).expect("room of this shape")
}
