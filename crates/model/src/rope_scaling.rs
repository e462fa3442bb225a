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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama_3_frequencies_are_those_of_transformers() {
        // Llama 3.1 8B, by transformers 5.23 with float64 in the place of float32.
        let want = [
            (0, 1.0),
            (1, 0.8146172338565447),
            (28, 0.0032114459947525913),
            (29, 0.002166570763503359),
            (31, 0.0008567514129196321),
            (34, 0.00017850781276799638),
            (35, 9.556212353964683e-5),
            (36, 7.78465527393245e-5),
            (63, 3.068925988914511e-7),
        ];
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 8192,
        };
        let got = frequencies(128, 500_000.0, Some(&scaling));
        assert_eq!(got.len(), 64);
        for (i, want) in want {
            assert!((got[i] - want).abs() < 1e-13 * want, "{} instead of {want} at {i}", got[i]);
        }
    }

    #[test]
    fn linear_scaling_divides_and_none_changes_nothing() {
        let plain = frequencies(10, 10_000.0, None);
        assert_eq!(plain, rope::frequencies(10, 10_000.0));
        let half: Vec<f64> = plain.iter().map(|f| f / 2.0).collect();
        assert_eq!(frequencies(10, 10_000.0, Some(&RopeScaling::Linear { factor: 2.0 })), half);
    }
}
