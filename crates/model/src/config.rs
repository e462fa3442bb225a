//! What a model is: architecture, sizes, and the arithmetic that follows from them.

use serde::{Deserialize, Serialize};

use crate::Error;

/// Which block wiring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// Learned positions, layer normalization with bias, GELU (Radford et al. 2019).
    Gpt2,
    /// Rotary positions, RMS normalization, SwiGLU, no biases (Touvron et al. 2023).
    Llama,
}

/// The function inside the MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// GELU by its tanh approximation.
    GeluTanh,
    /// GELU by erf.
    Gelu,
    /// SiLU of a gate times an up projection.
    Silu,
}

/// A model's shape. Letters in shapes: B batch, T time, C channels, H heads, HKV key heads, D head size,
/// F hidden, V vocabulary, L layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Block wiring.
    pub arch: Arch,
    /// Tokens in the vocabulary, V.
    pub vocab: usize,
    /// Longest sequence.
    pub context: usize,
    /// Blocks, L.
    pub layers: usize,
    /// Query heads, H.
    pub heads: usize,
    /// Key and value heads, HKV; equal to `heads` for GPT-2.
    pub kv_heads: usize,
    /// Width of the residual stream, C.
    pub channels: usize,
    /// Width inside the MLP, F.
    pub hidden: usize,
    /// ε of the normalizations.
    pub norm_eps: f64,
    /// Base of the rotary angles (Llama).
    #[serde(default = "default_theta")]
    pub rope_theta: f64,
    /// Function inside the MLP.
    pub activation: Activation,
    /// The output head is the token embedding.
    pub tied: bool,
}

fn default_theta() -> f64 {
    10_000.0
}

impl Config {
    /// A GPT-2 of the given sizes, F = 4C, tied, GELU by tanh.
    pub fn gpt2(vocab: usize, context: usize, layers: usize, heads: usize, channels: usize) -> Config {
        Config {
            arch: Arch::Gpt2,
            vocab,
            context,
            layers,
            heads,
            kv_heads: heads,
            channels,
            hidden: 4 * channels,
            norm_eps: 1e-5,
            rope_theta: default_theta(),
            activation: Activation::GeluTanh,
            tied: true,
        }
    }

    /// A Llama of the given sizes, tied, F = 8C/3 rounded up to a multiple of 32, one key head a query head.
    pub fn llama(vocab: usize, context: usize, layers: usize, heads: usize, channels: usize) -> Config {
        Config {
            arch: Arch::Llama,
            hidden: (8 * channels).div_ceil(3).next_multiple_of(32),
            activation: Activation::Silu,
            ..Config::gpt2(vocab, context, layers, heads, channels)
        }
    }

    /// Elements a head, D.
    pub fn head_size(&self) -> usize {
        self.channels / self.heads
    }

    /// Checks that the sizes make a model.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and what it must satisfy.
    pub fn validate(&self) -> Result<(), Error> {
        let reject = |field: &'static str, value: usize, rule: &'static str| {
            Err(Error::Config { field, value: value.to_string(), rule })
        };
        let sizes = [
            ("vocab", self.vocab, 1 << 24),
            ("context", self.context, 1 << 24),
            ("layers", self.layers, 1 << 12),
            ("heads", self.heads, 1 << 12),
            ("kv_heads", self.kv_heads, 1 << 12),
            ("channels", self.channels, 1 << 18),
            ("hidden", self.hidden, 1 << 20),
        ];
        for (field, value, most) in sizes {
            if value == 0 {
                return reject(field, value, "must be at least 1");
            }
            if value > most {
                return reject(field, value, "is beyond any model this program can hold");
            }
        }
        if !self.channels.is_multiple_of(self.heads) {
            return reject("channels", self.channels, "must be a multiple of heads");
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return reject("heads", self.heads, "must be a multiple of kv_heads");
        }
        if !(self.norm_eps.is_finite() && self.norm_eps > 0.0) {
            let value = self.norm_eps.to_string();
            return Err(Error::Config { field: "norm_eps", value, rule: "must be positive" });
        }
        match self.arch {
            Arch::Gpt2 if self.kv_heads != self.heads => {
                reject("kv_heads", self.kv_heads, "must equal heads for gpt2")
            }
            Arch::Gpt2 if self.activation == Activation::Silu => {
                let value = "silu".to_owned();
                Err(Error::Config { field: "activation", value, rule: "must be gelu or gelu_tanh for gpt2" })
            }
            Arch::Llama if self.activation != Activation::Silu => {
                let value = format!("{:?}", self.activation);
                Err(Error::Config { field: "activation", value, rule: "must be silu for llama" })
            }
            Arch::Llama if !self.head_size().is_multiple_of(2) => {
                reject("channels", self.channels, "must give heads of even size, for rope")
            }
            Arch::Llama if !(self.rope_theta.is_finite() && self.rope_theta > 0.0) => {
                let value = self.rope_theta.to_string();
                Err(Error::Config { field: "rope_theta", value, rule: "must be positive" })
            }
            _ => Ok(()),
        }
    }

    /// The dimensions of attention for B sequences of T rows.
    pub(crate) fn attention(&self, batch: usize, time: usize) -> selvedge_tensor::attention::Shape {
        selvedge_tensor::attention::Shape {
            batch,
            time,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_size: self.head_size(),
        }
    }

    /// Floating-point operations of one training step a token, forward and backward: 6 for each weight of
    /// a product and 6·L·C·T for causal attention (half of the full square), T being the length trained on.
    pub fn training_flops_per_token(&self, time: usize) -> f64 {
        let (c, kv) = (self.channels, self.kv_heads * self.head_size());
        let mlp = if self.activation == Activation::Silu { 3 } else { 2 } * c * self.hidden;
        let block = c * (c + 2 * kv) + c * c + mlp;
        let weights = self.layers * block + self.vocab * c;
        6.0 * weights as f64 + 6.0 * (self.layers * c * time) as f64
    }
}
