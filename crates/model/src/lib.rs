#![doc = include_str!("../README.md")]

mod architecture;
mod batch;
mod config;
mod error;
mod generate;
pub mod gguf;
mod gpt2;
mod held;
pub mod hf;
mod hidden;
mod init;
mod layout;
mod llama;
pub mod lora;
mod plain_file;
mod rope_scaling;
mod sampling;
mod score;
mod sequences;
mod weight;
mod weights;

pub use architecture::{
    Architecture, Fold, LossSum, Mode, Ragged, Rows, Tunable, build, build_tunable, layout,
};
pub use batch::{Batch, Sequence};
pub use config::{Activation, Arch, Config, LONGEST_CONTEXT};
pub use error::Error;
pub use generate::Generator;
pub use held::{Storage, Weights};
pub use hidden::hidden_states;
pub use init::{CounterRng, initialize};
pub use layout::{Init, Layout, Slot, Span};
pub use rope_scaling::RopeScaling;
pub use sampling::{Choice, Sampler, Sampling, StopStrings};
pub use score::{Score, Scorer};
/// The kernels models run on, for those who build a context to run one.
pub use selvedge_tensor as tensor;
pub use weights::{from_named, named};
