//! Whole models against PyTorch, against differences, and against themselves on other threads; files of models.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod batch;
mod frozen;
mod generation;
mod gguf;
mod gguf_export;
mod gguf_model;
mod goldens;
mod gradients;
mod hf;
mod hidden;
mod lora;
mod one_result;
mod published;
mod sampling;
mod scoring;
mod weights;

use selvedge_model::{Architecture, Config, Fold, LossSum, Mode, RopeScaling, Rows, build, initialize};
use selvedge_tensor::{Context, Real};

/// Small models of both wirings, heads tied and not, and with what Qwen and Llama 3 add.
fn configs() -> Vec<Config> {
    let gpt2 = Config::gpt2(37, 16, 2, 3, 24);
    let llama = Config { kv_heads: 2, hidden: 40, ..Config::llama(37, 16, 2, 4, 32) };
    let original_context = 24;
    let scaling =
        RopeScaling::Llama3 { factor: 4.0, low_freq_factor: 1.0, high_freq_factor: 3.0, original_context };
    let yarn = RopeScaling::Yarn {
        factor: 4.0,
        attention_factor: 1.2,
        beta_fast: 2.0,
        beta_slow: 0.5,
        truncate: false,
        original_context,
    };
    let wide = Config { head_size: Some(12), rope_scaling: Some(scaling), ..llama.clone() };
    vec![
        Config { tied: false, ..gpt2.clone() },
        gpt2,
        Config { tied: false, ..llama.clone() },
        llama.clone(),
        Config { qkv_bias: true, rope_scaling: Some(yarn), ..llama },
        Config { qk_norm: true, tied: false, ..wide },
    ]
}

/// Deterministic tokens below `vocab`.
fn tokens(count: usize, vocab: usize, seed: u64) -> Vec<u32> {
    let rng = selvedge_model::CounterRng::new(seed, 1);
    (0..count as u64).map(|i| (rng.at(i) % vocab as u64) as u32).collect()
}

/// Parameters larger than fresh ones, biases and scales included, so that every term matters.
fn params<T: Real>(model: &dyn Architecture<T>, seed: u64) -> Vec<T> {
    let mut params: Vec<T> = initialize(model.layout(), seed);
    let rng = selvedge_model::CounterRng::new(seed, 99);
    for slot in model.layout().slots() {
        for (i, p) in params[slot.span.range()].iter_mut().enumerate() {
            let unit = (rng.at((slot.span.offset + i) as u64) >> 11) as f64 / (1u64 << 53) as f64;
            *p += T::from_f64((unit - 0.5) * 0.6);
        }
    }
    params
}

/// Loss and gradient of whole sequences, cut into microbatches of `micro` sequences.
fn gradient<T: Real>(
    cx: &mut Context<T>,
    config: &Config,
    params: &[T],
    rows: Rows<'_>,
    micro: usize,
    mode: Mode,
) -> (LossSum, Vec<T>) {
    gradient_of(cx, &*build::<T>(config.clone()).unwrap(), params, rows, micro, mode)
}

/// The same for the parameters of any model.
fn gradient_of<T: Real>(
    cx: &mut Context<T>,
    model: &dyn Architecture<T>,
    params: &[T],
    rows: Rows<'_>,
    micro: usize,
    mode: Mode,
) -> (LossSum, Vec<T>) {
    let time = rows.time;
    let mut grads = vec![T::ZERO; model.layout().len()];
    for slot in model.layout().slots() {
        // The first rows overwrite whatever is there.
        grads[slot.span.range()].fill(T::from_f64(f64::NAN));
    }
    let mut fold = Fold::First;
    let mut acts = vec![T::ZERO; model.activations(micro, time, mode)];
    let mut dinput = ndarray::Array2::from_elem((rows.tokens.len(), model.config().channels), T::ZERO);
    let mut sum = LossSum::default();
    let starts = (0..rows.tokens.len()).step_by(micro * time);
    for start in starts {
        let end = (start + micro * time).min(rows.tokens.len());
        let part = Rows {
            tokens: &rows.tokens[start..end],
            targets: &rows.targets[start..end],
            time,
            starts: rows.starts.get(start..end).unwrap_or_default(),
            first: rows.first + (start / time) as u64,
        };
        let dinput = dinput.slice_mut(ndarray::s![start..end, ..]);
        model.loss_and_gradient(cx, params, &mut grads, fold, &mut acts, mode, part, dinput, &mut sum);
        fold = Fold::Next;
    }
    model.embedding_gradient(cx, &mut grads, dinput.view(), rows);
    (sum, grads)
}
