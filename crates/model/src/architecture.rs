//! What training, evaluation and generation need of any architecture, and pieces their wirings share.

use std::fmt::Debug;
use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2, s};
use selvedge_tensor::attention::{self, CacheType, KvCache, Segment};
use selvedge_tensor::{Context, Init, Real, cross_entropy, rope};

use crate::config::{Arch, Config};
use crate::error::Error;
use crate::gpt2::{self, Gpt2};
use crate::held::{Weights, is_table};
use crate::layout::{Layout, Slot, flat, read};
use crate::llama::{self, Llama};
use crate::lora::Adapted;
use crate::sequences::Sequences;
use crate::weight::{Gradient, Weight, linear_backward};

/// What the activations are for, which decides what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Forward and backward; everything the backward reads is kept.
    Train,
    /// Forward and backward; of each block only its output is kept, and the backward runs its forward again.
    Recompute,
    /// Losses only.
    Evaluate,
    /// Forward of one sequence; the output of each block is kept.
    HiddenStates,
    /// Logits of some rows only, through caches.
    Generate {
        /// How many rows, at most.
        logits: usize,
    },
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
        if self.has_backward() || self == Mode::HiddenStates { layers } else { layers.min(2) }
    }

    /// Rows whose norm the head reads.
    pub(crate) fn head_rows(self, rows: usize) -> usize {
        if let Mode::Generate { logits } = self { rows.min(logits) } else { rows }
    }

    /// Rows of logits there are at once; none where they go to the caller, or are not computed.
    pub(crate) fn logit_rows(self, rows: usize, vocab: usize) -> usize {
        if matches!(self, Mode::Generate { .. } | Mode::HiddenStates) { 0 } else { logit_rows(rows, vocab) }
    }

    /// Copies of the rows that the head reads, where those are not all.
    pub(crate) fn picks(self) -> bool {
        matches!(self, Mode::Generate { .. })
    }
}

/// What the gradient of some rows is put into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// A buffer that holds nothing yet: it is overwritten, and need not have been zeroed.
    First,
    /// A buffer that holds the gradient of rows before these: it is added to.
    Next,
}

impl Fold {
    /// What the chains of a weight's gradient start from.
    pub(crate) fn init<'a, T>(self) -> Init<'a, T> {
        match self {
            Fold::First => Init::Zero,
            Fold::Next => Init::Accumulate,
        }
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

/// Rows of one length, row-major (B, T): a sequence each, or several documents one after another.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// Inputs, each below the vocabulary.
    pub tokens: &'a [u32],
    /// What follows each input, or [`IGNORE`](cross_entropy::IGNORE).
    pub targets: &'a [u32],
    /// T.
    pub time: usize,
    /// For each input the place in its row at which its document begins; empty where every row is one. A document sees
    /// no other, and its positions count from its beginning.
    pub starts: &'a [u32],
    /// Number of the first row in a run, which is what dropout depends on.
    pub first: u64,
}

impl<'a> Rows<'a> {
    /// Whole sequences, the first of a run.
    pub fn new(tokens: &'a [u32], targets: &'a [u32], time: usize) -> Self {
        Rows { tokens, targets, time, starts: &[], first: 0 }
    }

    /// How many rows there are, B.
    pub fn batch(&self) -> usize {
        self.tokens.len() / self.time.max(1)
    }
}

/// Rows of several sequences, computed at once: a ragged batch.
#[derive(Clone, Copy, Debug)]
pub struct Ragged<'a> {
    /// Each below the vocabulary; those of one segment after those of another.
    pub tokens: &'a [u32],
    /// Which sequences of the caches the rows are of, and where in them; as many rows as tokens.
    pub segments: &'a [Segment],
    /// The position of each row, by the segments.
    pub positions: &'a [u32],
    /// Rows whose logits are wanted.
    pub wanted: &'a [usize],
}

/// The positions of the rows of a segment.
pub(crate) fn row_positions(of: &Segment) -> impl Iterator<Item = u32> {
    (of.position..of.position + of.rows).map(|position| u32::try_from(position).unwrap_or(u32::MAX))
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

    /// Adds the losses of `rows` to `sum`, and puts the gradient of their sum into `grads`, but for the embeddings:
    /// the gradient of their output goes to `dinput` (B·T, C), overwritten.
    ///
    /// [`Architecture::embedding_gradient`] folds it in once all rows of a shard are done, so that a tied
    /// table takes all contributions of the head before those of the input, however the rows were split.
    fn loss_and_gradient(
        &self,
        cx: &mut Context<T>,
        params: &[T],
        grads: &mut [T],
        fold: Fold,
        acts: &mut [T],
        mode: Mode,
        rows: Rows<'_>,
        dinput: ArrayViewMut2<'_, T>,
        sum: &mut LossSum,
    );

    /// Adds the gradient of the embeddings, given that of their output (rows, C); of `rows` the targets are not read.
    fn embedding_gradient(
        &self,
        cx: &mut Context<T>,
        grads: &mut [T],
        dinput: ArrayView2<'_, T>,
        rows: Rows<'_>,
    );

    /// Runs rows of several sequences, extends their caches (one a layer), and writes the logits (wanted, V) of some of them;
    /// activations of mode [`Mode::Generate`] for one sequence of as many rows, or more. A row's logits are those it has
    /// alone, bit for bit.
    fn generate(
        &self,
        cx: &mut Context<T>,
        weights: &Weights<'_, T>,
        acts: &mut [T],
        caches: &mut [KvCache<T>],
        rows: Ragged<'_>,
        logits: &mut [T],
    );

    /// Runs one sequence and gives L + 2 views (T, C) into its activations, which are of mode [`Mode::HiddenStates`]: the
    /// residual stream after the embeddings, after each block, and normalized as the head reads it.
    /// [`hidden_states`](crate::hidden_states) is the same for tokens from outside.
    fn hidden_states<'a>(
        &self,
        cx: &mut Context<T>,
        weights: &Weights<'_, T>,
        acts: &'a mut [T],
        tokens: &[u32],
    ) -> Vec<ArrayView2<'a, T>>;
}

/// What fine-tuning with adapters needs of a wiring; [`Tuned`](crate::lora::Tuned) is what is used.
pub trait Tunable<T: Real>: Architecture<T> {
    /// As [`Architecture::loss`], over a frozen base with adapters.
    fn adapted_loss(
        &self,
        cx: &mut Context<T>,
        adapted: Adapted<'_, T>,
        acts: &mut [T],
        rows: Rows<'_>,
        sum: &mut LossSum,
    );

    /// As [`Architecture::loss_and_gradient`], for the parameters of the adapters alone. Behind the activations `acts` has
    /// an element for each of a vector: biases and scales, whose gradients nobody reads.
    fn adapted_loss_and_gradient(
        &self,
        cx: &mut Context<T>,
        adapted: Adapted<'_, T>,
        grads: &mut [T],
        fold: Fold,
        acts: &mut [T],
        mode: Mode,
        rows: Rows<'_>,
        dinput: ArrayViewMut2<'_, T>,
        sum: &mut LossSum,
    );
}

/// The architecture a configuration names.
///
/// # Errors
/// [`Error::Config`] for sizes that make no model.
pub fn build<T: Real>(config: Config) -> Result<Box<dyn Architecture<T>>, Error> {
    Ok(build_tunable(config)?)
}

/// The same for fine-tuning with adapters.
///
/// # Errors
/// As [`build`].
pub fn build_tunable<T: Real>(config: Config) -> Result<Box<dyn Tunable<T>>, Error> {
    config.validate()?;
    Ok(match config.arch {
        Arch::Gpt2 => Box::new(Gpt2::new(config)),
        Arch::Llama => Box::new(Llama::new(config)),
    })
}

/// Where the weights of a configuration lie, without building its wiring.
///
/// # Errors
/// [`Error::Config`] for sizes that make no model.
pub fn layout(config: &Config) -> Result<Layout, Error> {
    config.validate()?;
    Ok(match config.arch {
        Arch::Gpt2 => gpt2::layout(config),
        Arch::Llama => llama::layout(config),
    })
}

/// Where attention finds keys and values.
pub(crate) enum Attend<'a, T> {
    /// In the rows at hand: whole sequences.
    Rows,
    /// In a cache, after those of the rows at hand are stored there.
    Cached { cache: &'a mut KvCache<T>, segments: &'a [Segment], positions: &'a [u32] },
}

impl<T: Real> Attend<'_, T> {
    /// Turns queries and keys by their positions.
    pub(crate) fn turn(
        &self,
        cx: &mut Context<T>,
        mut x: ArrayViewMut2<'_, T>,
        table: &rope::Table<T>,
        sequences: &[Sequences],
    ) {
        match self {
            Attend::Rows => {
                for of in sequences {
                    rope::forward(cx, x.slice_mut(s![of.rows.clone(), ..]), table, of.time, 0);
                }
            }
            Attend::Cached { positions, .. } => rope::forward_at(cx, x, table, positions),
        }
    }
}

/// out (N, H·D) = attention over `qkv`, by way of `attend`.
pub(crate) fn attend<T: Real>(
    cx: &mut Context<T>,
    mut out: ArrayViewMut2<'_, T>,
    lse: &mut ArrayViewMut2<'_, T>,
    qkv: ArrayView2<'_, T>,
    config: &Config,
    sequences: &[Sequences],
    attend: Attend<'_, T>,
) {
    let lse = flat(lse);
    match attend {
        Attend::Rows => {
            for of in sequences {
                let shape = config.attention(of.batch(), of.time);
                let (out, qkv) = (out.slice_mut(s![of.rows.clone(), ..]), qkv.slice(s![of.rows.clone(), ..]));
                let lse = &mut lse[of.rows.start * shape.heads..of.rows.end * shape.heads];
                attention::forward(cx, out, lse, qkv, &shape);
            }
        }
        Attend::Cached { cache, segments, .. } => {
            let shape = &config.attention(1, qkv.nrows());
            attention::forward_cached(cx, out, qkv, cache, shape, segments);
        }
    }
}

/// What the head reads of the last block's output: all rows, or copies of those that are wanted.
pub(crate) fn head_input<'a, T: Real>(
    last: ArrayView2<'a, T>,
    picked: Option<&'a mut ArrayViewMut2<'_, T>>,
    wanted: &[usize],
) -> ArrayView2<'a, T> {
    let Some(picked) = picked else { return last };
    for (mut row, &from) in picked.rows_mut().into_iter().zip(wanted) {
        row.assign(&last.row(from));
    }
    picked.view()
}

/// Writes the logits of rows of `normed` (W, C).
pub(crate) fn head_logits<T: Real>(
    cx: &mut Context<T>,
    logits: &mut [T],
    normed: ArrayView2<'_, T>,
    head: &Weight<'_, T>,
    vocab: usize,
) {
    let logits = ArrayViewMut2::from_shape((normed.nrows(), vocab), logits);
    head.linear(cx, logits.expect("logits for each row that is wanted"), normed, None);
}

/// dqkv is overwritten by the gradient of what [`attend`] saw in the rows at hand, given dout and what it left.
pub(crate) fn attend_backward<T: Real>(
    cx: &mut Context<T>,
    dqkv: &mut ArrayViewMut2<'_, T>,
    dout: ArrayView2<'_, T>,
    out: ArrayView2<'_, T>,
    lse: &[T],
    qkv: ArrayView2<'_, T>,
    config: &Config,
    sequences: &[Sequences],
) {
    for of in sequences {
        let shape = config.attention(of.batch(), of.time);
        let [dout, out, qkv] = [dout, out, qkv].map(|all| all.slice_move(s![of.rows.clone(), ..]));
        let lse = &lse[of.rows.start * shape.heads..of.rows.end * shape.heads];
        attention::backward(cx, dqkv.slice_mut(s![of.rows.clone(), ..]), dout, out, lse, qkv, &shape);
    }
}

/// Room for keys and values of so many sequences of the model's context, one a layer.
pub(crate) fn caches(config: &Config, sequences: usize, cache_type: CacheType) -> Vec<KvCache<f32>> {
    // Each made anew: pages of zeros take no memory until they are written, those of a copy do.
    let cache = || KvCache::new(sequences, config.context, config.kv_heads, config.head_size(), cache_type);
    (0..config.layers).map(|_| cache()).collect()
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

/// Rows of logits there are at once, of `rows`: some 16 MiB of f32, and enough rows to make packing the head worth while.
fn logit_rows(rows: usize, vocab: usize) -> usize {
    const LOGITS: usize = 4 << 20;
    const LEAST: usize = 256;
    rows.min(LEAST.max(LOGITS / vocab.max(1)))
}

/// Adds to `sum` the losses of rows of `normed` (N, C), and writes them to `losses` (1, N); `logits` (R, V) serves R
/// rows after another.
pub(crate) fn head_losses<T: Real>(
    cx: &mut Context<T>,
    logits: &mut ArrayViewMut2<'_, T>,
    losses: &mut ArrayViewMut2<'_, T>,
    normed: ArrayView2<'_, T>,
    head: &Weight<'_, T>,
    targets: &[u32],
    sum: &mut LossSum,
) {
    by_rows(logits, normed.nrows(), |mut logits, rows| {
        head.linear(cx, logits.view_mut(), normed.slice(s![rows.clone(), ..]), None);
        cross_entropy::forward(cx, &mut flat(losses)[rows.clone()], logits, &targets[rows]);
    });
    sum.add_rows(read(losses), targets);
}

/// As [`head_losses`], and the gradient of their sum: `dnormed` (N, C) is overwritten, and so is the head's, or added to.
pub(crate) fn head_losses_and_gradient<T: Real>(
    cx: &mut Context<T>,
    logits: &mut ArrayViewMut2<'_, T>,
    losses: &mut ArrayViewMut2<'_, T>,
    normed: ArrayView2<'_, T>,
    head: &Weight<'_, T>,
    targets: &[u32],
    mut dnormed: ArrayViewMut2<'_, T>,
    (dhead, fold): (&mut Gradient<'_, T>, Fold),
    sum: &mut LossSum,
) {
    let mut fold = fold;
    by_rows(logits, normed.nrows(), |mut logits, rows| {
        let normed = normed.slice(s![rows.clone(), ..]);
        head.linear(cx, logits.view_mut(), normed, None);
        let losses = &mut flat(losses)[rows.clone()];
        cross_entropy::forward_backward(cx, losses, logits.view_mut(), &targets[rows.clone()]);
        let dnormed = dnormed.slice_mut(s![rows, ..]);
        linear_backward(cx, dnormed, (dhead, fold), None, logits.view(), normed, head);
        fold = Fold::Next;
    });
    sum.add_rows(read(losses), targets);
}

/// Calls `part` with as much of `logits` as is needed, for so many rows at a time as it has.
fn by_rows<T: Real>(
    logits: &mut ArrayViewMut2<'_, T>,
    rows: usize,
    mut part: impl FnMut(ArrayViewMut2<'_, T>, Range<usize>),
) {
    let most = logits.nrows().max(1);
    for first in (0..rows).step_by(most) {
        let end = rows.min(first + most);
        part(logits.slice_mut(s![..end - first, ..]), first..end);
    }
}

/// Zeroes what a first fold adds to: all gradients but those of products, which [`linear_backward`] overwrites.
pub(crate) fn clear_additions<T: Real>(layout: &Layout, grads: &mut [T], tied: bool) {
    for slot in layout.slots().iter().filter(|slot| !is_product(slot, tied)) {
        grads[slot.span.range()].fill(T::ZERO);
    }
}

/// Whether a weight is the right operand of a product: a matrix, and of the embeddings only one that is the head.
pub(crate) fn is_product(slot: &Slot, tied: bool) -> bool {
    slot.decay && (!is_table(slot) || tied && slot.name == "token_embedding")
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    fn matrix(rows: usize, cols: usize, seed: u64) -> Array2<f32> {
        let rng = crate::CounterRng::new(seed, 0);
        Array2::from_shape_fn((rows, cols), |(r, c)| {
            (rng.at((r * cols + c) as u64) % 2001) as f32 / 1000.0 - 1.0
        })
    }

    /// Losses, their sum, and both gradients, through logits of `at_once` rows.
    fn run(at_once: usize) -> (LossSum, Array2<f32>, Array2<f32>, Array2<f32>) {
        let (n, c, vocab) = (11, 6, 9);
        let (normed, head) = (matrix(n, c, 1), matrix(vocab, c, 2));
        let mut targets: Vec<u32> = (0..n as u32).map(|i| i * 5 % vocab as u32).collect();
        targets[4] = cross_entropy::IGNORE;
        let mut logits = Array2::zeros((at_once, vocab));
        let (mut losses, mut dnormed) = (Array2::zeros((1, n)), Array2::zeros((n, c)));
        let mut dhead = Array2::from_elem((vocab, c), f32::NAN);
        let (cx, head) = (&mut Context::solo(), Weight::plain(head.view()));
        let mut sum = LossSum::default();
        head_losses_and_gradient(
            cx,
            &mut logits.view_mut(),
            &mut losses.view_mut(),
            normed.view(),
            &head,
            &targets,
            dnormed.view_mut(),
            (&mut Gradient::of(dhead.view_mut()), Fold::First),
            &mut sum,
        );
        let (mut alone, mut alone_losses) = (LossSum::default(), losses.clone());
        alone_losses.fill(f32::NAN);
        let (logits, into) = (&mut logits.view_mut(), &mut alone_losses.view_mut());
        head_losses(cx, logits, into, normed.view(), &head, &targets, &mut alone);
        assert_eq!((alone, &alone_losses), (sum, &losses));
        (sum, losses, dnormed, dhead)
    }

    #[test]
    fn logits_a_few_rows_at_a_time_give_the_bits_of_all_at_once() {
        let whole = run(11);
        assert_eq!(whole.0.tokens, 10);
        for at_once in [1, 3, 10] {
            assert_eq!(run(at_once), whole, "{at_once} rows");
        }
    }
}
