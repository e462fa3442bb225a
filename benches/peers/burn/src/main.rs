//! Training steps in burn, on its CPU backend `flex`: GPT-2 wiring, tied head, dropout 0, its own
//! AdamW, f32.

use anyhow::ensure;
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Embedding, EmbeddingConfig, Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::activation::gelu_approximate;
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Device, Int, Tensor, TensorData};
use peer_job::{Shape, args, measure, split};

#[derive(Module, Debug)]
struct Block {
    norm_1: LayerNorm,
    qkv: Linear,
    attn_out: Linear,
    norm_2: LayerNorm,
    mlp_up: Linear,
    mlp_down: Linear,
    heads: usize,
}

const INIT: Initializer = Initializer::Normal { mean: 0.0, std: 0.02 };

fn linear(inputs: usize, outputs: usize, device: &Device) -> Linear {
    LinearConfig::new(inputs, outputs).with_initializer(INIT).init(device)
}

impl Block {
    fn new(Shape { channels: c, heads, .. }: Shape, device: &Device) -> Self {
        Self {
            norm_1: LayerNormConfig::new(c).init(device),
            qkv: linear(c, 3 * c, device),
            attn_out: linear(c, c, device),
            norm_2: LayerNormConfig::new(c).init(device),
            mlp_up: linear(c, 4 * c, device),
            mlp_down: linear(4 * c, c, device),
            heads,
        }
    }

    /// x is (B, T, C).
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [b, t, c] = x.dims();
        let size = c / self.heads;
        let qkv = self.qkv.forward(self.norm_1.forward(x.clone()));
        let head =
            |at: usize| qkv.clone().narrow(2, at * c, c).reshape([b, t, self.heads, size]).swap_dims(1, 2);
        let options = AttentionModuleOptions { is_causal: true, ..Default::default() };
        let mixed = attention(head(0), head(1), head(2), None, None, options);
        let x = x + self.attn_out.forward(mixed.swap_dims(1, 2).reshape([b, t, c]));
        let up = gelu_approximate(self.mlp_up.forward(self.norm_2.forward(x.clone())));
        x + self.mlp_down.forward(up)
    }
}

#[derive(Module, Debug)]
struct Gpt2 {
    tokens: Embedding,
    positions: Embedding,
    blocks: Vec<Block>,
    norm_f: LayerNorm,
}

impl Gpt2 {
    fn new(shape: Shape, device: &Device) -> Self {
        let table = |rows| EmbeddingConfig::new(rows, shape.channels).with_initializer(INIT).init(device);
        Self {
            tokens: table(shape.vocab),
            positions: table(shape.context),
            blocks: (0..shape.layers).map(|_| Block::new(shape, device)).collect(),
            norm_f: LayerNormConfig::new(shape.channels).init(device),
        }
    }

    /// The mean cross-entropy of rows of T tokens.
    fn loss(&self, inputs: Tensor<2, Int>, targets: Tensor<1, Int>) -> Tensor<1> {
        let [b, t] = inputs.dims();
        let device = inputs.device();
        let positions = Tensor::<1, Int>::arange(0..t as i64, &device).unsqueeze::<2>();
        let mut x = self.tokens.forward(inputs) + self.positions.forward(positions);
        for block in &self.blocks {
            x = block.forward(x);
        }
        let [_, _, c] = x.dims();
        let x = self.norm_f.forward(x).reshape([b * t, c]);
        let logits = x.matmul(self.tokens.weight.val().transpose());
        CrossEntropyLossConfig::new().init(&device).forward(logits, targets)
    }
}

fn main() -> anyhow::Result<()> {
    let args = args()?;
    let (shape, device) = (args.shape, Device::flex().autodiff());
    let (b, t) = (shape.batch, shape.context);
    // Each step takes the model and gives it back.
    let mut held = Some(Gpt2::new(shape, &device));
    let settings = AdamWConfig::new().with_beta_1(0.9).with_beta_2(0.95).with_epsilon(1e-8);
    let mut optimizer = settings.with_weight_decay(0.1).init();
    // Of a block twelve, of the last norm two, of the tables one each.
    let parameters = 12 * shape.layers + 4;
    measure(&args, |tokens| {
        let model = held.take().expect("each step gives the model back");
        let (inputs, targets) = split(tokens, t);
        let data = |ids: Vec<u32>| ids.into_iter().map(|id| id as i32).collect::<Vec<_>>();
        let inputs = Tensor::<2, Int>::from_data(TensorData::new(data(inputs), [b, t]), &device);
        let targets = Tensor::<1, Int>::from_data(TensorData::new(data(targets), [b * t]), &device);
        let loss = model.loss(inputs, targets);
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        ensure!(
            gradients.len() == parameters,
            "{} of {parameters} parameters got gradients",
            gradients.len()
        );
        held = Some(optimizer.step(1e-3, model, gradients));
        Ok(loss.into_scalar::<f32>())
    })
}
