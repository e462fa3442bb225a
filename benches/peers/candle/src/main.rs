//! Training steps in candle: GPT-2 wiring, tied head, dropout 0, its own AdamW, f32.
//!
//! candle's fused layer norm and softmax have no backward and cut the gradients of what is below them, so these are composed
//! of operations that have one; every parameter is checked to get a gradient.

use anyhow::ensure;
use candle_core::{D, DType, Device, Tensor};
use candle_nn::loss::cross_entropy;
use candle_nn::ops::{layer_norm_slow, softmax};
use candle_nn::{
    AdamW, Embedding, Init, Linear, Module as _, Optimizer as _, ParamsAdamW, VarBuilder, VarMap, embedding,
    linear,
};
use peer_job::{Shape, args, measure, split};

type Result<T> = candle_core::Result<T>;

struct Norm {
    weight: Tensor,
    bias: Tensor,
}

impl Norm {
    fn new(channels: usize, vars: VarBuilder<'_>) -> Result<Self> {
        let weight = vars.get_with_hints(channels, "weight", Init::Const(1.0))?;
        Ok(Self { weight, bias: vars.get_with_hints(channels, "bias", Init::Const(0.0))? })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        layer_norm_slow(x, &self.weight, &self.bias, 1e-5)
    }
}

struct Block {
    heads: usize,
    norm_1: Norm,
    qkv: Linear,
    attn_out: Linear,
    norm_2: Norm,
    mlp_up: Linear,
    mlp_down: Linear,
}

impl Block {
    fn new(Shape { channels: c, heads, .. }: Shape, vars: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            heads,
            norm_1: Norm::new(c, vars.pp("norm_1"))?,
            qkv: linear(c, 3 * c, vars.pp("qkv"))?,
            attn_out: linear(c, c, vars.pp("attn_out"))?,
            norm_2: Norm::new(c, vars.pp("norm_2"))?,
            mlp_up: linear(c, 4 * c, vars.pp("mlp_up"))?,
            mlp_down: linear(4 * c, c, vars.pp("mlp_down"))?,
        })
    }

    /// x is (B, T, C), the mask (T, T): 0 where a query sees a key, else minus infinity.
    fn forward(&self, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (b, t, c) = x.dims3()?;
        let size = c / self.heads;
        let qkv = self.qkv.forward(&self.norm_1.forward(x)?)?;
        let head = |at: usize| {
            let part = qkv.narrow(D::Minus1, at * c, c)?.reshape((b, t, self.heads, size))?;
            part.transpose(1, 2)?.contiguous()
        };
        let (q, k, v) = (head(0)?, head(1)?, head(2)?);
        let scores = (q.matmul(&k.transpose(2, 3)?.contiguous()?)? / (size as f64).sqrt())?;
        let mixed = softmax(&scores.broadcast_add(mask)?, D::Minus1)?.matmul(&v)?;
        let mixed = mixed.transpose(1, 2)?.contiguous()?.reshape((b, t, c))?;
        let x = (x + self.attn_out.forward(&mixed)?)?;
        let up = self.mlp_up.forward(&self.norm_2.forward(&x)?)?.gelu()?;
        x + self.mlp_down.forward(&up)?
    }
}

struct Gpt2 {
    tokens: Embedding,
    positions: Embedding,
    blocks: Vec<Block>,
    norm_f: Norm,
    mask: Tensor,
}

impl Gpt2 {
    fn new(shape: Shape, vars: VarBuilder<'_>) -> Result<Self> {
        let (t, c) = (shape.context, shape.channels);
        let sees = |at: usize| if at % t <= at / t { 0.0 } else { f32::NEG_INFINITY };
        let mask: Vec<f32> = (0..t * t).map(sees).collect();
        Ok(Self {
            tokens: embedding(shape.vocab, c, vars.pp("tokens"))?,
            positions: embedding(t, c, vars.pp("positions"))?,
            blocks: (0..shape.layers).map(|at| Block::new(shape, vars.pp(at))).collect::<Result<_>>()?,
            norm_f: Norm::new(c, vars.pp("norm_f"))?,
            mask: Tensor::from_vec(mask, (t, t), vars.device())?,
        })
    }

    /// The mean cross-entropy of rows of T tokens.
    fn loss(&self, inputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let (b, t) = inputs.dims2()?;
        let positions = Tensor::arange(0, t as u32, inputs.device())?;
        let mut x = self.tokens.forward(inputs)?.broadcast_add(&self.positions.forward(&positions)?)?;
        for block in &self.blocks {
            x = block.forward(&x, &self.mask)?;
        }
        let x = self.norm_f.forward(&x)?.reshape((b * t, ()))?;
        cross_entropy(&x.matmul(&self.tokens.embeddings().t()?)?, targets)
    }
}

fn main() -> anyhow::Result<()> {
    let args = args()?;
    let (shape, device) = (args.shape, Device::Cpu);
    let (b, t) = (shape.batch, shape.context);
    let map = VarMap::new();
    let model = Gpt2::new(shape, VarBuilder::from_varmap(&map, DType::F32, &device))?;
    let vars = map.all_vars();
    // Parameters begin with deviations of 0.02, as GPT-2's do: candle's of 1 make embeddings that the tied head overflows.
    for var in vars.iter().filter(|var| var.rank() == 2) {
        var.set(&Tensor::randn(0.0_f32, 0.02, var.shape(), &device)?)?;
    }
    let settings = ParamsAdamW { lr: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };
    let mut optimizer = AdamW::new(vars.clone(), settings)?;
    let mut checked = false;
    measure(&args, |tokens| {
        let (inputs, targets) = split(tokens, t);
        let inputs = Tensor::from_vec(inputs, (b, t), &device)?;
        let targets = Tensor::from_vec(targets, b * t, &device)?;
        let loss = model.loss(&inputs, &targets)?;
        let gradients = loss.backward()?;
        if !checked {
            let missing = vars.iter().filter(|var| gradients.get(var).is_none()).count();
            ensure!(missing == 0, "{missing} parameters got no gradient");
            checked = true;
        }
        optimizer.step(&gradients)?;
        Ok(loss.to_scalar()?)
    })
}
