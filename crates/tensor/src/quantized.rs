//! Weights of 4 or 8 bits, multiplied as they are: y = x·Wᵀ with W (N, K) in blocks of 32 along K.
//!
//! A weight is scale·(code − offset), or scale·code + least, with one scale (and least) a block, in f16. The rows of x are
//! rounded to 8 bits as they come, in the same blocks, with one scale each in f32. Inside a block codes are multiplied and
//! added as integers, which is exact; then the block's sum is scaled and added to the output by one fused multiply-add,
//! block after block. So every instruction set, number of threads and number of rows gives the same bits.
//!
//! The forms are those of GGUF files of the same names, and so is the rounding of x to 8 bits
//! ([ggml](https://github.com/ggml-org/ggml), `Q8_0`).

mod kernel;
mod product;
mod rows;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod vnni;

use half::f16;
use ndarray::{Array2, ArrayView2};

pub(crate) use product::multiply;

/// Weights of a block.
pub const BLOCK: usize = 32;
/// Outputs whose weights lie side by side.
const COLS: usize = 32;
/// Steps of k that one instruction takes.
const GROUP: usize = 4;

/// How a weight is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// 8 bits: scale·(code − 128), codes 1 to 255. (A GGUF file has code − 128.)
    Q8_0,
    /// 4 bits: scale·(code − 8).
    Q4_0,
    /// 4 bits: scale·code + least.
    Q4_1,
}

impl Form {
    /// What the product of a code is too large by.
    fn offset(self) -> i32 {
        match self {
            Form::Q8_0 => 128,
            Form::Q4_0 => 8,
            Form::Q4_1 => 0,
        }
    }

    fn has_least(self) -> bool {
        self == Form::Q4_1
    }

    /// Whether two codes share a byte.
    fn is_narrow(self) -> bool {
        self != Form::Q8_0
    }

    /// Cache lines of a block of 32 outputs: scales, leasts, codes.
    fn lines(self) -> usize {
        let codes = if self.is_narrow() { COLS * BLOCK / 2 } else { COLS * BLOCK };
        1 + usize::from(self.has_least()) + codes / size_of::<Line>()
    }
}

/// 32 weights of one output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    /// What codes are multiplied by.
    pub scale: f16,
    /// What is added, in forms that have it.
    pub least: f16,
    /// One a weight, below 16 in forms of 4 bits.
    pub codes: [u8; BLOCK],
}

impl Block {
    /// The nearest block. Weights that are not finite, or beyond what a scale in f16 reaches (8 million, half a million with
    /// 4 bits), make a block of which products are NaN or infinite.
    pub fn of(form: Form, weights: &[f32; BLOCK]) -> Block {
        let largest = weights.iter().fold(0.0_f32, |a, &b| if b.abs() > a.abs() { b } else { a });
        let (low, high) =
            weights.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &w| (l.min(w), h.max(w)));
        let (scale, least) = match form {
            Form::Q8_0 => (largest.abs() / 127.0, 0.0),
            // The largest, of whichever sign, becomes −8, which is once more than the other end has.
            Form::Q4_0 => (largest / -8.0, 0.0),
            Form::Q4_1 => ((high - low) / 15.0, low),
        };
        let strange = weights.iter().any(|w| !w.is_finite());
        let (scale, least) =
            if strange { (f16::NAN, f16::NAN) } else { (f16::from_f32(scale), f16::from_f32(least)) };
        let most = if form.is_narrow() { 15.0 } else { 255.0 };
        let codes = weights.map(|w| match scale.to_f32() {
            0.0 => form.offset() as u8,
            step => {
                ((w - least.to_f32()) / step + form.offset() as f32).round_ties_even().clamp(0.0, most) as u8
            }
        });
        Block { scale, least, codes }
    }

    /// What the block stands for.
    pub fn weights(&self, form: Form) -> [f32; BLOCK] {
        let (scale, offset) = (self.scale.to_f32(), form.offset());
        let least = if form.has_least() { self.least.to_f32() } else { 0.0 };
        self.codes.map(|code| scale * (i32::from(code) - offset) as f32 + least)
    }
}

/// One cache line.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Quantized weights, the right operand of a product.
///
/// They lie in panels of 32 outputs, block after block, each as scales, leasts and codes: a row of x streams them from end
/// to end.
#[derive(Clone, Debug)]
pub struct Quantized {
    form: Form,
    outputs: usize,
    inputs: usize,
    lines: Vec<Line>,
}

impl Quantized {
    /// Weights (N, K) out of blocks, of which `block(n, b)` is that of the weights `32·b..` of output n; what the last one
    /// has beyond K does not count.
    ///
    /// # Panics
    /// If a code is 16 or more in a form of 4 bits.
    pub fn new(form: Form, (n, k): (usize, usize), mut block: impl FnMut(usize, usize) -> Block) -> Self {
        let blocks = k.div_ceil(BLOCK);
        let mut lines = vec![Line([0; 64]); n.div_ceil(COLS) * blocks * form.lines()];
        if blocks > 0 {
            for (panel, lines) in lines.chunks_exact_mut(blocks * form.lines()).enumerate() {
                for (b, lines) in lines.chunks_exact_mut(form.lines()).enumerate() {
                    for col in 0..COLS.min(n - panel * COLS) {
                        put(form, lines, col, &block(panel * COLS + col, b));
                    }
                }
            }
        }
        Quantized { form, outputs: n, inputs: k, lines }
    }

    /// The nearest weights to `weight` (N, K), see [`Block::of`].
    pub fn of(form: Form, weight: ArrayView2<'_, f32>) -> Self {
        Self::new(form, weight.dim(), |n, b| {
            let mut block = [0.0; BLOCK];
            let row = weight.row(n);
            let part = row.iter().skip(b * BLOCK);
            block.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
            Block::of(form, &block)
        })
    }

    /// The weights (N, K) that these stand for.
    pub fn weights(&self) -> Array2<f32> {
        let mut weights = Array2::zeros((self.outputs, self.inputs));
        let blocks = self.blocks();
        for (n, mut row) in weights.rows_mut().into_iter().enumerate() {
            for (b, mut part) in row.axis_chunks_iter_mut(ndarray::Axis(0), BLOCK).enumerate() {
                let at = (n / COLS * blocks + b) * self.form.lines();
                let block = take(self.form, &self.lines[at..at + self.form.lines()], n % COLS);
                part.iter_mut().zip(block.weights(self.form)).for_each(|(to, from)| *to = from);
            }
        }
        weights
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

    fn blocks(&self) -> usize {
        self.inputs.div_ceil(BLOCK)
    }

    /// The blocks of 32 outputs.
    fn panel(&self, panel: usize) -> &[Line] {
        let len = self.blocks() * self.form.lines();
        &self.lines[panel * len..(panel + 1) * len]
    }
}

/// Where the code of weight k of an output lies in a block: line of codes, byte, and whether it is the upper half.
fn place(form: Form, col: usize, k: usize) -> (usize, usize, bool) {
    let (mut group, at) = (k / GROUP, k % GROUP);
    let groups = BLOCK / GROUP;
    let upper = form.is_narrow() && group >= groups / 2;
    if upper {
        group -= groups / 2;
    }
    // Two lines a group: 16 outputs each.
    let half = COLS / 2;
    (2 * group + col / half, col % half * GROUP + at, upper)
}

fn put(form: Form, lines: &mut [Line], col: usize, block: &Block) {
    let half =
        |line: &mut Line, x: f16| line.0[2 * col..2 * col + 2].copy_from_slice(&x.to_bits().to_le_bytes());
    half(&mut lines[0], block.scale);
    if form.has_least() {
        half(&mut lines[1], block.least);
    }
    let codes = &mut lines[1 + usize::from(form.has_least())..];
    for (k, &code) in block.codes.iter().enumerate() {
        assert!(!form.is_narrow() || code < 16, "a code of {code} in {form:?}");
        let (line, byte, upper) = place(form, col, k);
        codes[line].0[byte] |= if upper { code << 4 } else { code };
    }
}

fn take(form: Form, lines: &[Line], col: usize) -> Block {
    let half = |line: &Line| f16::from_bits(u16::from_le_bytes([line.0[2 * col], line.0[2 * col + 1]]));
    let codes = &lines[1 + usize::from(form.has_least())..];
    Block {
        scale: half(&lines[0]),
        least: if form.has_least() { half(&lines[1]) } else { f16::ZERO },
        codes: std::array::from_fn(|k| {
            let (line, byte, upper) = place(form, col, k);
            let code = codes[line].0[byte];
            match (form.is_narrow(), upper) {
                (false, _) => code,
                (true, false) => code & 15,
                (true, true) => code >> 4,
            }
        }),
    }
}
