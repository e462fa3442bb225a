//! Rotary frequencies of models whose context was stretched after the first training.

use selvedge_tensor::rope;
use serde::{Deserialize, Serialize};

/// How the rotary frequencies θ^(−2i/D) are changed. Names and formulas are those of transformers (`rope_type`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum RopeScaling {
    /// All are divided by `factor`: positions lie closer together.
    Linear {
        /// At least 1 in practice.
        factor: f64,
    },
    /// Llama 3.1's. A frequency that turns fewer than `low_freq_factor` times over `original_context` positions is divided
    /// by `factor`, one that turns more than `high_freq_factor` times stays, and in between both are mixed, linearly in
    /// the number of turns.
    Llama3 {
        /// What low frequencies are divided by.
        factor: f64,
        /// Turns below which a frequency is low.
        low_freq_factor: f64,
        /// Turns above which a frequency is high; more than `low_freq_factor`.
        high_freq_factor: f64,
        /// Context of the first training.
        original_context: usize,
    },
}

impl RopeScaling {
    /// What is wrong with the numbers: the field, what it is, and what it must satisfy.
    pub(crate) fn fault(&self) -> Option<(&'static str, String, &'static str)> {
        let positive = |field, value: f64| {
            let good = value.is_finite() && value > 0.0;
            (!good).then(|| (field, value.to_string(), "must be a positive number"))
        };
        match *self {
            RopeScaling::Linear { factor } => positive("rope_scaling.factor", factor),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                positive("rope_scaling.factor", factor)
                    .or_else(|| positive("rope_scaling.low_freq_factor", low_freq_factor))
                    .or_else(|| positive("rope_scaling.high_freq_factor", high_freq_factor))
                    .or_else(|| {
                        (high_freq_factor <= low_freq_factor).then(|| {
                            let rule = "must be more than low_freq_factor";
                            ("rope_scaling.high_freq_factor", high_freq_factor.to_string(), rule)
                        })
                    })
                    .or_else(|| {
                        (original_context == 0)
                            .then(|| ("rope_scaling.original_context", "0".to_owned(), "must be at least 1"))
                    })
            }
        }
    }

    fn apply(&self, frequency: f64) -> f64 {
        match *self {
            RopeScaling::Linear { factor } => frequency / factor,
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                let turns = original_context as f64 * frequency / std::f64::consts::TAU;
                if turns < low_freq_factor {
                    frequency / factor
                } else if turns > high_freq_factor {
                    frequency
                } else {
                    let smooth = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                }
            }
        }
    }
}

/// The frequencies of heads of an even size, in radians a position.
pub(crate) fn frequencies(head_size: usize, theta: f64, scaling: Option<&RopeScaling>) -> Vec<f64> {
    let plain = rope::frequencies(head_size, theta);
    match scaling {
        Some(scaling) => plain.into_iter().map(|frequency| scaling.apply(frequency)).collect(),
        None => plain,
    }
}
