//! What training, evaluation and generation need of any architecture, and pieces their wirings share.

use std::fmt::Debug;

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut2, s};
use selvedge_tensor::attention::{self, KvCache};
use selvedge_tensor::{Context, Init, Operand, Packed, Real, cross_entropy, linear};

use crate::config::{Arch, Config};
use crate::error::Error;
use crate::gpt2::Gpt2;
use crate::layout::Layout;
use crate::llama::Llama;

/// What the activations are for, which decides what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Forward and backward; everything the backward reads is kept.
    Train,
    /// Forward and backward; of each block only its output is kept, and the backward runs its forward again.
    Recompute,
    /// Losses only.
    Evaluate,
    /// Logits of the last row only, through a cache.
    Generate,
}

impl Mode {
    pub(crate) fn has_backward(self) -> bool {
        matches!(self, Mode::Train | Mode::Recompute)
    }

    /// Blocks whose inner activations are kept, of `layers`.
    pub(crate) fn kept_blocks(self, layers: usize) -> usize {
        if self == Mode::Train { layers } else { 1 }
    }

    /// Block outputs kept: each, or the two at hand.
    pub(crate) fn kept_outputs(self, layers: usize) -> usize {
        if self.has_backward() { layers } else { layers.min(2) }
    }

    /// Rows the head computes.
    pub(crate) fn head_rows(self, rows: usize) -> usize {
        if self == Mode::Generate { rows.min(1) } else { rows }
    }
}

/// Sum of losses and the number of tokens they are of; divided once, at the very end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSum {
    /// Nats.
    pub sum: f64,
    /// Tokens that counted.
    pub tokens: u64,
}

impl LossSum {
    /// Adds the losses of rows in their order; rows of ignored targets do not count.
    pub(crate) fn add_rows<T: Real>(&mut self, losses: &[T], targets: &[u32]) {
        for (loss, &target) in losses.iter().zip(targets) {
            if target != cross_entropy::IGNORE {
                self.sum += loss.to_f64();
                self.tokens += 1;
            }
        }
    }

    /// Mean loss in nats a token; NaN of nothing.
    pub fn mean(&self) -> f64 {
        self.sum / self.tokens as f64
    }
}

impl std::ops::AddAssign for LossSum {
    fn add_assign(&mut self, other: LossSum) {
        self.sum += other.sum;
        self.tokens += other.tokens;
    }
}

/// Whole sequences of one length, row-major (B, T).
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// Inputs, each below the vocabulary.
    pub tokens: &'a [u32],
    /// What follows each input, or [`cross_entropy::IGNORE`].
    pub targets: &'a [u32],
    /// T.
    pub time: usize,
}

/// A transformer over a flat parameter buffer. Holds no parameters itself: they are passed as slices laid
/// out by [`Architecture::layout`].
///
/// All methods panic on buffers of the wrong length and on tokens outside the vocabulary; what comes from
/// outside is checked before it gets here.
pub trait Architecture<T: Real>: Debug + Send + Sync {
    /// Its shape.
    fn config(&self) -> &Config;

    /// Its weights.
    fn layout(&self) -> &Layout;

    /// Elements of the activation buffer for `batch` sequences of `time` rows.
    fn activations(&self, batch: usize, time: usize, mode: Mode) -> usize;

    /// Adds the losses of `rows` to `sum`; mode [`Mode::Evaluate`].
    fn loss(&self, cx: &mut Context<T>, params: &[T], acts: &mut [T], rows: Rows<'_>, sum: &mut LossSum);

    /// Adds the losses of `rows` to `sum` and the gradient of their sum to `grads`, but for the embeddings:
    /// the gradient of their output goes to `dinput` (B·T, C), overwritten.
    ///
    /// [`Architecture::embedding_gradient`] folds it in once all rows of a shard are done, so that a tied
    /// table takes all contributions of the head before those of the input, however the rows were split.
    fn loss_and_gradient(
        &self,
        cx: &mut Context<T>,
        params: &[T],
        grads: &mut [T],
        acts: &mut [T],
        mode: Mode,
        rows: Rows<'_>,
        dinput: ArrayViewMut2<'_, T>,
        sum: &mut LossSum,
    );

    /// Adds the gradient of the embeddings, given that of their output (rows, C) for sequences of `time`.
    fn embedding_gradient(
        &self,
        cx: &mut Context<T>,
        grads: &mut [T],
        dinput: ArrayView2<'_, T>,
        tokens: &[u32],
        time: usize,
    );

    /// Packs the weights of products once, for [`Architecture::generate`].
    fn pack(&self, cx: &mut Context<T>, params: &[T]) -> PackedWeights<T>;

    /// Runs `tokens` at positions `first..` of one sequence, extends its caches (one a layer), and writes the
    /// logits (V) of the last one; activations of mode [`Mode::Generate`] for one sequence of as many rows.
    fn generate(
        &self,
        cx: &mut Context<T>,
        params: &[T],
        packed: &PackedWeights<T>,
        acts: &mut [T],
        caches: &mut [KvCache<T>],
        tokens: &[u32],
        first: usize,
        logits: &mut [T],
    );
}

/// The architecture a configuration names.
///
/// # Errors
/// [`Error::Config`] for sizes that make no model.
pub fn build<T: Real>(config: Config) -> Result<Box<dyn Architecture<T>>, Error> {
    config.validate()?;
    Ok(match config.arch {
        Arch::Gpt2 => Box::new(Gpt2::new(config)),
        Arch::Llama => Box::new(Llama::new(config)),
    })
}

/// Weights of products in packed form, in the order of the listing; `None` for the rest.
#[derive(Debug)]
pub struct PackedWeights<T>(pub(crate) Vec<Option<Packed<T>>>);

/// One weight as a wiring reads it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weight<'a, T> {
    pub(crate) view: ArrayView2<'a, T>,
    packed: Option<&'a Packed<T>>,
}

impl<'a, T: Real> Weight<'a, T> {
    pub(crate) fn plain(view: ArrayView2<'a, T>) -> Self {
        Weight { view, packed: None }
    }

    pub(crate) fn with_packed(view: ArrayView2<'a, T>, packed: Option<&'a Packed<T>>) -> Self {
        Weight { view, packed }
    }

    /// The transposed weight as the right operand of a product.
    pub(crate) fn operand(&self) -> Operand<'_, T> {
        match self.packed {
            Some(packed) => Operand::Packed(packed),
            None => Operand::View(self.view.t()),
        }
    }

    /// A vector.
    pub(crate) fn row(&self) -> ArrayView1<'_, T> {
        self.view.row(0)
    }
}

/// Where attention finds keys and values.
pub(crate) enum Attend<'a, T> {
    /// In the rows at hand: whole sequences.
    Rows,
    /// In a cache of one sequence, after the rows at hand, which start at position `first`, are stored there.
    Cached { cache: &'a mut KvCache<T>, first: usize },
}

impl<T> Attend<'_, T> {
    /// Position of the first row.
    pub(crate) fn first(&self) -> usize {
        match self {
            Attend::Rows => 0,
            Attend::Cached { first, .. } => *first,
        }
    }
}

/// out (B·T, H·D) = attention over `qkv`, by way of `attend`.
pub(crate) fn attend<T: Real>(
    cx: &mut Context<T>,
    out: ArrayViewMut2<'_, T>,
    lse: &mut ArrayViewMut2<'_, T>,
    qkv: ArrayView2<'_, T>,
    shape: &attention::Shape,
    attend: Attend<'_, T>,
) {
    let lse = lse.as_slice_mut().expect("activations are contiguous");
    match attend {
        Attend::Rows => attention::forward(cx, out, lse, qkv, shape),
        Attend::Cached { cache, first } => {
            let (q_end, k_end) = (shape.query_cols(), shape.query_cols() + shape.kv_cols());
            let (k, v) = (qkv.slice(s![.., q_end..k_end]), qkv.slice(s![.., k_end..]));
            cache.store(cx, first, k, v);
            attention::forward_cached(cx, out, lse, qkv.slice(s![.., ..q_end]), cache, shape, first);
        }
    }
}

/// The input and the output of block `l`, when `outs` holds the outputs of the last `outs.len()` blocks.
pub(crate) fn input_output<'a, T: Real>(
    embedded: &'a ArrayViewMut2<'_, T>,
    outs: &'a mut [ArrayViewMut2<'_, T>],
    l: usize,
) -> (ArrayView2<'a, T>, ArrayViewMut2<'a, T>) {
    let n = outs.len();
    if l == 0 {
        return (embedded.view(), outs[0].view_mut());
    }
    let pair = outs.get_disjoint_mut([(l - 1) % n, l % n]);
    let [input, output] = pair.expect("two blocks have two outputs");
    (input.view(), output.view_mut())
}

/// Positions 0, 1, …, T − 1 for each of the sequences of `rows` rows.
pub(crate) fn positions(rows: usize, time: usize, first: usize) -> Vec<u32> {
    (0..rows).map(|row| u32::try_from(first + row % time).unwrap_or(u32::MAX)).collect()
}

/// Losses of `logits`, which become the gradient of their sum where one is wanted.
pub(crate) fn losses<T: Real>(
    cx: &mut Context<T>,
    losses: &mut ArrayViewMut2<'_, T>,
    logits: ArrayViewMut2<'_, T>,
    targets: &[u32],
    gradient: bool,
    sum: &mut LossSum,
) {
    let losses = losses.as_slice_mut().expect("activations are contiguous");
    if gradient {
        cross_entropy::forward_backward(cx, losses, logits, targets);
    } else {
        cross_entropy::forward(cx, losses, logits, targets);
    }
    sum.add_rows(losses, targets);
}

/// dx = dy · W and dW += dyᵀ · x, db += Σ dy.
#[track_caller]
pub(crate) fn linear_backward<T: Real>(
    cx: &mut Context<T>,
    dx: ArrayViewMut2<'_, T>,
    dw: &mut ArrayViewMut2<'_, T>,
    dbias: Option<&mut ArrayViewMut2<'_, T>>,
    dy: ArrayView2<'_, T>,
    x: ArrayView2<'_, T>,
    w: &Weight<'_, T>,
) {
    linear::backward_weight(cx, dw.view_mut(), dbias.map(|b| b.row_mut(0)), dy, x);
    linear::backward_input(cx, dx, Init::Zero, dy, w.view);
}
