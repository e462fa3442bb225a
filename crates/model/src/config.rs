//! What a model is: architecture, sizes, and the arithmetic that follows from them.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::rope_scaling::RopeScaling;

/// Which block wiring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// Learned positions, layer normalization with bias, GELU (Radford et al. 2019).
    Gpt2,
    /// Rotary positions, RMS normalization, SwiGLU, no biases (Touvron et al. 2023); with [`Config::qkv_bias`] Qwen2, with
    /// [`Config::qk_norm`] Qwen3.
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
    /// Elements a head, D, where that is not C/H (Llama).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_size: Option<usize>,
    /// Queries, keys and values have biases (Llama; GPT-2 always has them).
    #[serde(default, skip_serializing_if = "is_false")]
    pub qkv_bias: bool,
    /// Every head of queries and keys is normalized before it is turned (Llama).
    #[serde(default, skip_serializing_if = "is_false")]
    pub qk_norm: bool,
    /// How the rotary frequencies were stretched (Llama).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
}

/// Longest context taken over from a file, for architectures without a table of positions.
pub const LONGEST_CONTEXT: usize = 1 << 17;

/// The longest context taken over from a file with heads of this size: a number in a file does not decide how large a
/// rotary table gets, which is at most that of [`LONGEST_CONTEXT`] with heads of 128.
pub(crate) fn longest_context(head_size: usize) -> usize {
    (LONGEST_CONTEXT * 128 / head_size.max(128)).max(1)
}

fn default_theta() -> f64 {
    10_000.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_false(flag: &bool) -> bool {
    !flag
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
            head_size: None,
            qkv_bias: false,
            qk_norm: false,
            rope_scaling: None,
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
        self.head_size.unwrap_or(self.channels / self.heads)
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
        match self.head_size {
            Some(size) if size == 0 || size > 1 << 12 => {
                return reject("head_size", size, "must be from 1 to 4096");
            }
            None if !self.channels.is_multiple_of(self.heads) => {
                return reject("channels", self.channels, "must be a multiple of heads");
            }
            _ => {}
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return reject("heads", self.heads, "must be a multiple of kv_heads");
        }
        if !(self.norm_eps.is_finite() && self.norm_eps > 0.0) {
            let value = self.norm_eps.to_string();
            return Err(Error::Config { field: "norm_eps", value, rule: "must be positive" });
        }
        match self.arch {
            Arch::Gpt2 => self.validate_gpt2(),
            Arch::Llama => self.validate_llama(),
        }
    }

    fn validate_gpt2(&self) -> Result<(), Error> {
        let reject = |field: &'static str, value: String, rule: &'static str| {
            Err(Error::Config { field, value, rule })
        };
        if self.kv_heads != self.heads {
            return reject("kv_heads", self.kv_heads.to_string(), "must equal heads for gpt2");
        }
        if self.activation == Activation::Silu {
            return reject("activation", "silu".to_owned(), "must be gelu or gelu_tanh for gpt2");
        }
        if self.heads.checked_mul(self.head_size()) != Some(self.channels) {
            return reject("head_size", self.head_size().to_string(), "must be channels/heads for gpt2");
        }
        for (field, set) in [("qkv_bias", self.qkv_bias), ("qk_norm", self.qk_norm)] {
            if set {
                return reject(field, "true".to_owned(), "is not for gpt2");
            }
        }
        match &self.rope_scaling {
            Some(scaling) => reject("rope_scaling", format!("{scaling:?}"), "is not for gpt2"),
            None => Ok(()),
        }
    }

    fn validate_llama(&self) -> Result<(), Error> {
        let reject = |field: &'static str, value: String, rule: &'static str| {
            Err(Error::Config { field, value, rule })
        };
        if self.activation != Activation::Silu {
            return reject("activation", format!("{:?}", self.activation), "must be silu for llama");
        }
        if !self.head_size().is_multiple_of(2) {
            let (field, value) = match self.head_size {
                Some(size) => ("head_size", size),
                None => ("channels", self.channels),
            };
            return reject(field, value.to_string(), "must give heads of even size, for rope");
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 0.0) {
            return reject("rope_theta", self.rope_theta.to_string(), "must be positive");
        }
        match self.rope_scaling.as_ref().and_then(|scaling| scaling.fault(self.head_size(), self.rope_theta))
        {
            Some((field, value, rule)) => reject(field, value, rule),
            None => Ok(()),
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
    /// a product and 6·L·H·D·T for causal attention (half of the full square), T being the length trained on.
    pub fn training_flops_per_token(&self, time: usize) -> f64 {
        let (c, q, kv) = (self.channels, self.heads * self.head_size(), self.kv_heads * self.head_size());
        let mlp = if self.activation == Activation::Silu { 3 } else { 2 } * c * self.hidden;
        let block = c * (q + 2 * kv) + q * c + mlp;
        let weights = self.layers * block + self.vocab * c;
        6.0 * weights as f64 + 6.0 * (self.layers * q * time) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_of_before_read_as_they_were_and_are_written_as_they_were() {
        let old = r#"{"arch":"llama","vocab":61,"context":16,"layers":2,"heads":4,"kv_heads":2,"channels":32,"hidden":44,"norm_eps":0.00001,"rope_theta":10000.0,"activation":"silu","tied":true}"#;
        let config: Config = serde_json::from_str(old).unwrap();
        assert_eq!(config, Config { kv_heads: 2, hidden: 44, ..Config::llama(61, 16, 2, 4, 32) });
        assert_eq!(serde_json::to_string(&config).unwrap(), old);
    }

    #[test]
    fn what_makes_no_model_is_named() {
        let llama = Config::llama(61, 16, 2, 4, 32);
        let gpt2 = Config::gpt2(61, 16, 2, 4, 32);
        let llama3 = |low_freq_factor, high_freq_factor, original_context| {
            Some(RopeScaling::Llama3 { factor: 8.0, low_freq_factor, high_freq_factor, original_context })
        };
        let yarn = |beta_fast, original_context| {
            let (attention_factor, beta_slow, truncate) = (1.1, 1.0, true);
            Some(RopeScaling::Yarn {
                factor: 4.0,
                attention_factor,
                beta_fast,
                beta_slow,
                truncate,
                original_context,
            })
        };
        let linear = |factor| Some(RopeScaling::Linear { factor });
        for (config, named) in [
            (Config { head_size: Some(0), ..llama.clone() }, "head_size"),
            (Config { head_size: Some(usize::MAX), ..llama.clone() }, "head_size"),
            (Config { head_size: Some(7), ..llama.clone() }, "head_size"),
            (Config { heads: 5, kv_heads: 5, ..llama.clone() }, "channels"),
            (Config { rope_scaling: linear(0.0), ..llama.clone() }, "rope_scaling.factor"),
            (Config { rope_scaling: linear(f64::INFINITY), ..llama.clone() }, "rope_scaling.factor"),
            (Config { rope_scaling: llama3(0.0, 4.0, 8), ..llama.clone() }, "rope_scaling.low_freq_factor"),
            (Config { rope_scaling: llama3(4.0, 4.0, 8), ..llama.clone() }, "rope_scaling.high_freq_factor"),
            (Config { rope_scaling: llama3(1.0, 4.0, 0), ..llama.clone() }, "rope_scaling.original_context"),
            (Config { rope_scaling: yarn(0.5, 8), ..llama.clone() }, "rope_scaling.beta_fast"),
            (Config { rope_scaling: yarn(32.0, 0), ..llama.clone() }, "rope_scaling.original_context"),
            (Config { rope_scaling: yarn(32.0, 8), rope_theta: 1.0, ..llama.clone() }, "rope_theta"),
            (Config { head_size: Some(16), ..gpt2.clone() }, "head_size"),
            (Config { qkv_bias: true, ..gpt2.clone() }, "qkv_bias"),
            (Config { qk_norm: true, ..gpt2.clone() }, "qk_norm"),
            (Config { rope_scaling: linear(2.0), ..gpt2 }, "rope_scaling"),
        ] {
            let error = config.validate().unwrap_err();
            assert!(matches!(error, Error::Config { field, .. } if field == named), "{error}");
        }
        for scaling in [llama3(1.0, 4.0, 8), linear(4.0), yarn(32.0, 8)] {
            let config =
                Config { heads: 5, kv_heads: 5, head_size: Some(10), rope_scaling: scaling, ..llama.clone() };
            config.validate().unwrap();
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);
        }
    }
}
