//! One weight as a wiring reads it, forward and backward: plain, packed or quantized, and with adapters or without.
//!
//! Products of generation read quantized weights as they are. Where there is a backward, they are turned into numbers, some
//! outputs at a time, for the forward too: so the backward is that of what was computed. Those of 16 bits always are. The
//! chains of the products are the same however the outputs are cut.

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis, s};
use selvedge_tensor::gelu::{self, Form};
use selvedge_tensor::rmsnorm::{self, Norm};
use selvedge_tensor::{Context, Init, Operand, Quantized, Real, embedding, linear};

use crate::architecture::Fold;
use crate::held::{Held, Part};
use crate::layout::Slot;
use crate::lora::Applied;

/// Elements that are turned into numbers at a time, about: 4 MiB of f32.
const AT_ONCE: usize = 1 << 20;

/// A weight of shape (OC, C), or a vector.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weight<'a, T> {
    /// Its numbers; empty where there are none.
    pub(crate) view: ArrayView2<'a, T>,
    parts: &'a [Part<T>],
    /// Whether products read the numbers that codes stand for.
    exact: bool,
    adapters: Option<Applied<'a, T>>,
}

impl<'a, T: Real> Weight<'a, T> {
    pub(crate) fn plain(view: ArrayView2<'a, T>) -> Self {
        Weight { view, parts: &[], exact: false, adapters: None }
    }

    pub(crate) fn held(slot: &Slot, held: &'a Held<'_, T>) -> Self {
        let view = held.numbers.as_ref().map_or_else(
            || ArrayView2::from_shape((0, slot.span.cols), &[]),
            |numbers| ArrayView2::from_shape((slot.span.rows, slot.span.cols), numbers),
        );
        let view = view.expect("a weight has its slot's length");
        Weight { view, parts: &held.parts, exact: false, adapters: None }
    }

    /// The same for a backward: see the head of this file.
    pub(crate) fn exact(self) -> Self {
        Weight { exact: true, ..self }
    }

    /// The same with adapters, if there are any.
    pub(crate) fn with_adapters(self, adapters: Option<Applied<'a, T>>) -> Self {
        Weight { adapters, ..self }
    }

    /// Calls `product` with all outputs, some after another: the columns of the output that they are, and the transposed
    /// weight as the right operand.
    fn by_outputs(
        &self,
        cx: &mut Context<T>,
        mut product: impl FnMut(&mut Context<T>, std::ops::Range<usize>, Operand<'_, T>),
    ) {
        if self.parts.is_empty() {
            return product(cx, 0..self.view.nrows(), Operand::View(self.view.t()));
        }
        let mut at = 0;
        for part in self.parts {
            let end = at + part.outputs();
            match part {
                Part::Packed(packed) => product(cx, at..end, Operand::Packed(packed)),
                Part::Quantized(weights) if !self.exact => {
                    product(cx, at..end, Operand::Quantized(weights));
                }
                Part::Quantized(weights) => {
                    let decode = |cx: &mut Context<T>, first, to: &mut [T]| weights.dequantize(cx, first, to);
                    by_decoded(cx, at, (weights.outputs(), weights.inputs()), decode, &mut product);
                }
                Part::Half(weights) => {
                    let decode = |cx: &mut Context<T>, first, to: &mut [T]| weights.decode(cx, first, to);
                    by_decoded(cx, at, (weights.rows(), weights.columns()), decode, &mut product);
                }
            }
            at = end;
        }
    }

    /// The weight as products of generation read it, if it is quantized as a whole, and all there is.
    pub(crate) fn quantized(&self) -> Option<&'a Quantized> {
        match self.parts {
            [Part::Quantized(weights)] if !self.exact && self.adapters.is_none() => Some(weights),
            _ => None,
        }
    }

    /// y (N, OC) = norm(x) (N, C) · Wᵀ + bias, where the normalized rows are kept, and what they were divided by, if they are
    /// read again or anything but quantized weights.
    pub(crate) fn linear_normed(
        &self,
        cx: &mut Context<T>,
        y: ArrayViewMut2<'_, T>,
        x: ArrayView2<'_, T>,
        norm: Norm<'_, T>,
        (mut normed, rstd): (ArrayViewMut2<'_, T>, &mut [T]),
        bias: Option<ArrayView1<'_, T>>,
    ) {
        if let Some(weights) = self.quantized() {
            return linear::forward_normed(cx, y, x, norm, weights, bias);
        }
        rmsnorm::forward(cx, normed.view_mut(), rstd, x, norm.weight.into(), norm.epsilon);
        self.linear(cx, y, normed.view(), bias);
    }

    /// y (N, OC) = x (N, C) · Wᵀ + bias.
    pub(crate) fn linear(
        &self,
        cx: &mut Context<T>,
        mut y: ArrayViewMut2<'_, T>,
        x: ArrayView2<'_, T>,
        bias: Option<ArrayView1<'_, T>>,
    ) {
        self.by_outputs(cx, |cx, outputs, w| {
            let bias = bias.map(|bias| bias.slice_move(s![outputs.clone()]));
            linear::forward(cx, y.slice_mut(s![.., outputs]), x, w, bias);
        });
        if let Some(adapters) = &self.adapters {
            adapters.forward(cx, y, x);
        }
    }

    /// y (N, OC) = residual (N, OC) + (x (N, C) · Wᵀ + bias).
    pub(crate) fn linear_onto(
        &self,
        cx: &mut Context<T>,
        mut y: ArrayViewMut2<'_, T>,
        residual: ArrayView2<'_, T>,
        x: ArrayView2<'_, T>,
        bias: Option<ArrayView1<'_, T>>,
    ) {
        self.by_outputs(cx, |cx, outputs, w| {
            let bias = bias.map(|bias| bias.slice_move(s![outputs.clone()]));
            let residual = residual.slice(s![.., outputs.clone()]);
            linear::forward_onto(cx, y.slice_mut(s![.., outputs]), residual, x, w, bias);
        });
        if let Some(adapters) = &self.adapters {
            adapters.forward(cx, y, x);
        }
    }

    /// y (N, OC) = gelu(x (N, C) · Wᵀ + bias), and its slopes.
    pub(crate) fn linear_gelu(
        &self,
        cx: &mut Context<T>,
        mut y: ArrayViewMut2<'_, T>,
        mut slopes: Option<ArrayViewMut2<'_, T>>,
        x: ArrayView2<'_, T>,
        bias: ArrayView1<'_, T>,
        form: Form,
    ) {
        if let Some(adapters) = &self.adapters {
            // What they add must be there when the function is taken: the chains of the product go on from it.
            let bias = bias.to_slice().expect("a bias is contiguous");
            linear::start_from(cx, y.view_mut(), Init::Bias(bias));
            adapters.forward(cx, y.view_mut(), x);
        }
        self.by_outputs(cx, |cx, outputs, w| {
            let init = match self.adapters {
                Some(_) => Init::Accumulate,
                None => Init::Bias(&bias.to_slice().expect("a bias is contiguous")[outputs.clone()]),
            };
            let slopes = slopes.as_mut().map(|slopes| slopes.slice_mut(s![.., outputs.clone()]));
            gelu::linear_forward(cx, y.slice_mut(s![.., outputs]), slopes, x, w, init, form);
        });
    }

    /// Row n of `out` becomes the row of token n.
    pub(crate) fn look_up(&self, cx: &mut Context<T>, out: ArrayViewMut2<'_, T>, tokens: &[u32]) {
        match self.parts {
            [Part::Quantized(table)] if self.view.nrows() == 0 => {
                embedding::forward_quantized(cx, out, tokens, table);
            }
            [Part::Packed(table)] if self.view.nrows() == 0 => {
                embedding::forward_packed(cx, out, tokens, table);
            }
            [Part::Half(table)] if self.view.nrows() == 0 => embedding::forward_half(cx, out, tokens, table),
            _ => embedding::forward(cx, out, tokens, self.view),
        }
    }

    /// A vector.
    pub(crate) fn row(&self) -> ArrayView1<'a, T> {
        self.view.index_axis_move(Axis(0), 0)
    }

    /// Calls `product` with all outputs, some after another, as [`Weight::linear`] read them: the columns of the output's
    /// gradient, W (some of OC, C), and whether they are the last.
    fn backward_by_outputs(
        &self,
        cx: &mut Context<T>,
        mut product: impl FnMut(&mut Context<T>, std::ops::Range<usize>, ArrayView2<'_, T>, bool),
    ) {
        let all = self.parts.iter().map(Part::outputs).sum::<usize>();
        self.by_outputs(cx, |cx, outputs, w| match w {
            Operand::View(w) => {
                let is_last = outputs.end >= all;
                product(cx, outputs, w.reversed_axes(), is_last);
            }
            Operand::Packed(_) | Operand::Quantized(_) => {
                panic!("a weight packed for the forward has no backward")
            }
        });
    }
}

/// Calls `product` with all outputs of a part (N, K), which begins at `at`, some after another, as `decode` turns them into
/// numbers.
fn by_decoded<T: Real>(
    cx: &mut Context<T>,
    at: usize,
    (outputs, k): (usize, usize),
    decode: impl Fn(&mut Context<T>, usize, &mut [T]),
    product: &mut impl FnMut(&mut Context<T>, std::ops::Range<usize>, Operand<'_, T>),
) {
    // Panels are of 32 outputs.
    let most = (AT_ONCE / k.max(1) / 32 * 32).max(32);
    for first in (0..outputs).step_by(most) {
        let rows = most.min(outputs - first);
        cx.with_room(rows * k, |cx, room| {
            decode(cx, first, room);
            let numbers = ArrayView2::from_shape((rows, k), &*room).expect("rows of k");
            product(cx, at + first..at + first + rows, Operand::View(numbers.t()));
        });
    }
}

/// Where the gradient of a weight goes: into a matrix, or only into those of its adapters.
#[derive(Debug)]
pub(crate) struct Gradient<'a, T> {
    /// None of a matrix that is frozen.
    pub(crate) view: Option<ArrayViewMut2<'a, T>>,
    /// A and B of each adapter.
    pub(crate) adapters: Vec<[ArrayViewMut2<'a, T>; 2]>,
}

impl<'a, T: Real> Gradient<'a, T> {
    pub(crate) fn of(view: ArrayViewMut2<'a, T>) -> Self {
        Gradient { view: Some(view), adapters: Vec::new() }
    }

    /// That of a vector, which is added to.
    pub(crate) fn row(&mut self) -> ArrayViewMut1<'_, T> {
        self.view.as_mut().expect("gradients of vectors have a place").row_mut(0)
    }
}

/// dx = dy · W and what adapters add; dW = dyᵀ · x or `+=`, db += Σ dy, unless they are frozen.
#[track_caller]
pub(crate) fn linear_backward<T: Real>(
    cx: &mut Context<T>,
    mut dx: ArrayViewMut2<'_, T>,
    (dw, fold): (&mut Gradient<'_, T>, Fold),
    dbias: Option<&mut Gradient<'_, T>>,
    dy: ArrayView2<'_, T>,
    x: ArrayView2<'_, T>,
    w: &Weight<'_, T>,
) {
    backward_weight(cx, (dw, fold), dbias, dy, x);
    w.backward_by_outputs(cx, |cx, outputs, w, _| {
        let init = if outputs.start == 0 { Init::Zero } else { Init::Accumulate };
        linear::backward_input(cx, dx.view_mut(), init, dy.slice(s![.., outputs]), w);
    });
    if let Some(adapters) = &w.adapters {
        adapters.backward(cx, dx, (&mut dw.adapters, fold), dy, x);
    }
}

/// The same of a layer whose input x is gelu of something: `dup` is the gradient of that, dx ∘ slopes.
#[track_caller]
pub(crate) fn linear_gelu_backward<T: Real>(
    cx: &mut Context<T>,
    mut dup: ArrayViewMut2<'_, T>,
    (dw, fold): (&mut Gradient<'_, T>, Fold),
    dbias: Option<&mut Gradient<'_, T>>,
    dy: ArrayView2<'_, T>,
    x: ArrayView2<'_, T>,
    w: &Weight<'_, T>,
    slopes: ArrayView2<'_, T>,
) {
    backward_weight(cx, (dw, fold), dbias, dy, x);
    let mut init = Init::Zero;
    if let Some(adapters) = &w.adapters {
        linear::start_from(cx, dup.view_mut(), Init::Zero);
        adapters.backward(cx, dup.view_mut(), (&mut dw.adapters, fold), dy, x);
        init = Init::Accumulate;
    }
    w.backward_by_outputs(cx, |cx, outputs, w, is_last| {
        let dy = dy.slice(s![.., outputs]);
        if is_last {
            gelu::linear_backward(cx, dup.view_mut(), init, dy, w, slopes);
        } else {
            linear::backward_input(cx, dup.view_mut(), init, dy, w);
        }
        init = Init::Accumulate;
    });
}

/// dW = dyᵀ · x or `+=`, db += Σ dy, unless the weight is frozen.
#[track_caller]
fn backward_weight<T: Real>(
    cx: &mut Context<T>,
    (dw, fold): (&mut Gradient<'_, T>, Fold),
    dbias: Option<&mut Gradient<'_, T>>,
    dy: ArrayView2<'_, T>,
    x: ArrayView2<'_, T>,
) {
    if let Some(dw) = &mut dw.view {
        linear::backward_weight(cx, dw.view_mut(), fold.init(), dbias.map(Gradient::row), dy, x);
    }
}
