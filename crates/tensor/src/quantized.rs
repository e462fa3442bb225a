//! Weights of 4 to 8 bits, multiplied as they are: y = x·Wᵀ with W (N, K) in blocks of 32 along K.
//!
//! A weight is scale·(code − offset), or scale·code + least, with one scale (and least) a block, in f16. In the forms named K,
//! eight blocks share a scale (and a least) in f16, and a block, or half of one, has an integer that it is multiplied by: the
//! product, exact in f32, is the scale. The rows of x are rounded to 8 bits as they come, in the same blocks, with one scale
//! each in f32. Where weights have one scale, codes are multiplied and added as integers, which is exact; then the sum is
//! scaled and added to the output by one fused multiply-add, block after block. So every instruction set, number of threads
//! and number of rows gives the same bits.
//!
//! The forms are those of GGUF files of the same names, and so is the rounding of x to 8 bits
//! ([ggml](https://github.com/ggml-org/ggml), `Q8_0`).

#[cfg(target_arch = "x86_64")]
mod avx2;
mod block;
mod dequantize;
mod form;
mod gated;
mod kernel;
mod layout;
#[cfg(target_arch = "aarch64")]
mod neon;
mod panel;
mod product;
mod rounding;
mod rows;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod vnni;

use ndarray::{Array2, ArrayView2};
use selvedge_sync::chunks;

pub use block::{Block, Parts, SuperBlock};
pub use form::Form;
pub(crate) use gated::gated;
use layout::Line;
pub(crate) use product::multiply;

use crate::gather::{Hold, Kept, Move};
use crate::{Context, Real};

/// Weights of a block.
pub const BLOCK: usize = 32;
/// Weights of a super-block.
pub const SUPER_BLOCK: usize = 256;
/// Outputs whose weights lie side by side.
const COLS: usize = 32;
/// Steps of k that one instruction takes.
const GROUP: usize = 4;

/// Quantized weights, the right operand of a product.
///
/// They lie in panels of 32 outputs, block after block, each as scales, leasts and codes: a row of x streams them from end
/// to end.
#[derive(Clone, Debug)]
pub struct Quantized {
    form: Form,
    outputs: usize,
    inputs: usize,
    lines: Kept<Line>,
}

impl Quantized {
    /// Weights (N, K) out of blocks, of which `block(n, b)` is that of the weights `32·b..` of output n; what the last one
    /// has beyond K does not count. Panels of outputs are shared among the threads of the context.
    ///
    /// # Panics
    /// If the form is one of super-blocks, or a code is larger than its bits allow.
    pub fn new<T: Real>(
        cx: &Context<T>,
        form: Form,
        dim: (usize, usize),
        block: impl Fn(usize, usize) -> Block + Sync,
    ) -> Self {
        assert!(!form.has_factors(), "{form:?} is made of super-blocks");
        Self::fill(cx, form, dim, |panel, b, n| layout::put_block(form, panel, b, n % COLS, &block(n, b)))
    }

    /// Weights (N, K) out of super-blocks, of which `block(n, b)` is that of the weights `256·b..` of output n; what the last
    /// one has beyond K does not count, nor is memory taken for its blocks there. Panels of outputs are shared among the
    /// threads of the context.
    ///
    /// # Panics
    /// If the form is one of blocks, the parts are another form's, or a code is larger than its bits allow.
    pub fn from_super_blocks<T: Real>(
        cx: &Context<T>,
        form: Form,
        dim: (usize, usize),
        block: impl Fn(usize, usize) -> SuperBlock + Sync,
    ) -> Self {
        assert!(form.has_factors(), "{form:?} is made of blocks");
        Self::fill(cx, form, dim, |panel, b, n| {
            layout::put_super_block(form, panel, b, n % COLS, &block(n, b))
        })
    }

    /// Calls `put` with a panel of zeros, the place of a block in it, and the output, for all of them.
    fn fill<T: Real>(
        cx: &Context<T>,
        form: Form,
        (n, k): (usize, usize),
        put: impl Fn(&mut [Line], usize, usize) + Sync,
    ) -> Self {
        let len = form.lines_of(k.div_ceil(BLOCK));
        let mut lines = vec![Line([0; 64]); n.div_ceil(COLS) * len];
        if len > 0 {
            cx.for_each(chunks(&mut lines, len), |panel, lines| {
                for b in 0..k.div_ceil(form.block_len()) {
                    (panel * COLS..n.min((panel + 1) * COLS)).for_each(|n| put(lines, b, n));
                }
            });
        }
        Quantized { form, outputs: n, inputs: k, lines: Kept::Own(lines) }
    }

    /// Weights near `weight` (N, K), see [`Block::of`] and [`SuperBlock::of`]. Panels of outputs are shared among the threads
    /// of the context.
    pub fn of<T: Real>(cx: &Context<T>, form: Form, weight: ArrayView2<'_, f32>) -> Self {
        let dim = weight.dim();
        if form.has_factors() {
            Self::from_super_blocks(cx, form, dim, |n, b| SuperBlock::of(form, &part(weight, n, b)))
        } else {
            Self::new(cx, form, dim, |n, b| Block::of(form, &part(weight, n, b)))
        }
    }

    /// The weights (N, K) that these stand for.
    pub fn weights(&self) -> Array2<f32> {
        let mut weights = Array2::zeros((self.outputs, self.inputs));
        for (n, mut row) in weights.rows_mut().into_iter().enumerate() {
            row.iter_mut().zip(self.row(n)).for_each(|(to, from)| *to = from);
        }
        weights
    }

    /// What the codes of output `n` stand for, K weights.
    ///
    /// # Panics
    /// If there is no such output.
    pub fn row(&self, n: usize) -> impl Iterator<Item = f32> {
        assert!(n < self.outputs, "output {n} of {}", self.outputs);
        let blocks = (0..self.inputs.div_ceil(BLOCK))
            .flat_map(move |b| layout::weights(self.form, self.panel(n / COLS), b, n % COLS));
        blocks.take(self.inputs)
    }

    /// How weights are coded.
    pub fn form(&self) -> Form {
        self.form
    }

    /// N, the number of outputs.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// K, the number of inputs.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Bytes they take.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.lines)
    }

    /// Bytes that weights (N, K) would take.
    pub fn bytes_of(form: Form, (n, k): (usize, usize)) -> usize {
        n.div_ceil(COLS) * form.lines_of(k.div_ceil(BLOCK)) * size_of::<Line>()
    }

    fn blocks(&self) -> usize {
        self.inputs.div_ceil(BLOCK)
    }

    /// The lines of `blocks` blocks from block `from` of a panel on, or of the next panel if that is its end; what there are.
    #[cfg(target_arch = "x86_64")]
    fn after(&self, panel: usize, from: usize, blocks: usize) -> &[Line] {
        let of_panel = self.form.lines_of(self.blocks());
        let begin = panel * of_panel + self.form.lines_of(from).min(of_panel);
        &self.lines[begin..self.lines.len().min(begin + self.form.lines_of(blocks))]
    }

    /// The blocks of 32 outputs.
    fn panel(&self, panel: usize) -> &[Line] {
        let len = self.form.lines_of(self.blocks());
        &self.lines[panel * len..(panel + 1) * len]
    }
}

impl Hold for Quantized {
    fn kept(&self) -> &dyn Move {
        &self.lines
    }

    fn kept_mut(&mut self) -> &mut dyn Move {
        &mut self.lines
    }
}

/// Block `b` of row n, of L weights; zeros beyond the end.
fn part<const L: usize>(weight: ArrayView2<'_, f32>, n: usize, b: usize) -> [f32; L] {
    let mut block = [0.0; L];
    let row = weight.row(n);
    block.iter_mut().zip(row.iter().skip(b * L)).for_each(|(to, from)| *to = *from);
    block
}
