//! Rotary frequencies of models whose context was stretched after the first training.

use selvedge_tensor::rope;
use serde::{Deserialize, Serialize};

/// How the rotary frequencies θ^(−2i/D) are changed. Names and formulas are those of transformers (`rope_type`). A
/// frequency f makes f·T/2π turns over the T positions of the first training, `original_context`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum RopeScaling {
    /// All are divided by `factor`: positions lie closer together.
    Linear {
        /// At least 1 in practice.
        factor: f64,
    },
    /// Llama 3.1's. A frequency of fewer than `low_freq_factor` turns is divided by `factor`, one of more than
    /// `high_freq_factor` stays, and in between both are mixed, linearly in the number of turns.
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
    /// YaRN (Peng et al. 2023). Frequencies before the one of `beta_fast` turns stay, those after the one of `beta_slow`
    /// turns are divided by `factor`, and in between both are mixed, linearly in the index of the frequency. Turned pairs
    /// get `attention_factor` times as long.
    Yarn {
        /// What low frequencies are divided by.
        factor: f64,
        /// Amplitude of sines and cosines; 0.1·ln(factor) + 1 in the paper.
        attention_factor: f64,
        /// Turns of the first frequency that changes; 32 in the paper.
        beta_fast: f64,
        /// Turns of the first frequency that changes fully; 1 in the paper.
        beta_slow: f64,
        /// Whether the two places are moved outwards to whole indices.
        truncate: bool,
        /// Context of the first training.
        original_context: usize,
    },
    /// Each frequency is divided by a number of its own, as GGUF files of Llama 3.1 and later say it.
    Table {
        /// One for each of the D/2 frequencies, the fastest first.
        factors: Vec<f32>,
    },
}

/// A field, what it is, and what it must satisfy.
type Fault = (&'static str, String, &'static str);

impl RopeScaling {
    /// The first number that makes no sense for heads of `head_size` elements, with base θ = `theta`.
    pub(crate) fn fault(&self, head_size: usize, theta: f64) -> Option<Fault> {
        match *self {
            RopeScaling::Table { ref factors } if factors.len() != head_size / 2 => {
                let rule = "must be half as many numbers as a head has elements";
                Some(("rope_scaling.factors", format!("{} numbers", factors.len()), rule))
            }
            RopeScaling::Table { ref factors } => {
                factors.iter().find_map(|&factor| not_positive("rope_scaling.factors", f64::from(factor)))
            }
            RopeScaling::Linear { factor } => not_positive("rope_scaling.factor", factor),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                not_positive("rope_scaling.factor", factor)
                    .or_else(|| not_positive("rope_scaling.low_freq_factor", low_freq_factor))
                    .or_else(|| not_positive("rope_scaling.high_freq_factor", high_freq_factor))
                    .or_else(|| {
                        let rule = "must be more than low_freq_factor";
                        (high_freq_factor <= low_freq_factor)
                            .then(|| ("rope_scaling.high_freq_factor", high_freq_factor.to_string(), rule))
                    })
                    .or_else(|| no_context(original_context))
            }
            RopeScaling::Yarn {
                factor, attention_factor, beta_fast, beta_slow, original_context, ..
            } => not_positive("rope_scaling.factor", factor)
                .or_else(|| not_positive("rope_scaling.attention_factor", attention_factor))
                .or_else(|| not_positive("rope_scaling.beta_slow", beta_slow))
                .or_else(|| not_positive("rope_scaling.beta_fast", beta_fast))
                .or_else(|| {
                    let rule = "must be at least beta_slow";
                    (beta_fast < beta_slow).then(|| ("rope_scaling.beta_fast", beta_fast.to_string(), rule))
                })
                .or_else(|| no_context(original_context))
                .or_else(|| {
                    let rule = "must be more than 1 for yarn";
                    (theta <= 1.0).then(|| ("rope_theta", theta.to_string(), rule))
                }),
        }
    }

    /// How much longer a pair gets when it is turned.
    pub(crate) fn amplitude(&self) -> f64 {
        match *self {
            RopeScaling::Yarn { attention_factor, .. } => attention_factor,
            RopeScaling::Linear { .. } | RopeScaling::Llama3 { .. } | RopeScaling::Table { .. } => 1.0,
        }
    }

    fn apply(&self, frequencies: &mut [f64], theta: f64) {
        match *self {
            RopeScaling::Table { ref factors } => {
                let pairs = frequencies.iter_mut().zip(factors);
                pairs.for_each(|(frequency, &factor)| *frequency /= f64::from(factor));
            }
            RopeScaling::Linear { factor } => {
                frequencies.iter_mut().for_each(|frequency| *frequency /= factor)
            }
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                for frequency in frequencies {
                    let turns = original_context as f64 * *frequency / std::f64::consts::TAU;
                    let kept = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    *frequency = mixed(*frequency, factor, kept);
                }
            }
            RopeScaling::Yarn { factor, beta_fast, beta_slow, truncate, original_context, .. } => {
                let size = (2 * frequencies.len()) as f64;
                // The index, fractional, of the frequency that makes so many turns.
                let index = |turns: f64| {
                    let wavelength = original_context as f64 / (turns * std::f64::consts::TAU);
                    size * libm::log(wavelength) / (2.0 * libm::log(theta))
                };
                let (mut first, mut last) = (index(beta_fast), index(beta_slow));
                if truncate {
                    (first, last) = (libm::floor(first), libm::ceil(last));
                }
                (first, last) = (first.max(0.0), last.min(size - 1.0));
                if first == last {
                    last += 0.001;
                }
                for (i, frequency) in frequencies.iter_mut().enumerate() {
                    *frequency = mixed(*frequency, factor, 1.0 - (i as f64 - first) / (last - first));
                }
            }
        }
    }
}

/// YaRN's amplitude for a factor, where nothing else is said (Peng et al. 2023, equation 22, squared there).
pub(crate) fn yarn_amplitude(factor: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * libm::log(factor) + 1.0 }
}

/// What each frequency is divided by.
pub(crate) fn factors(head_size: usize, theta: f64, scaling: &RopeScaling) -> Vec<f32> {
    let (plain, scaled) = (rope::frequencies(head_size, theta), frequencies(head_size, theta, Some(scaling)));
    plain.iter().zip(&scaled).map(|(plain, scaled)| (plain / scaled) as f32).collect()
}

/// The scaling that a table of factors stands for: Llama 3.1's, if its formula gives the table.
///
/// A formula is told from a table because only the formula can be written into a `config.json`, and because factors are
/// rounded to f32.
pub(crate) fn of_table(factors: Vec<f32>, theta: f64) -> RopeScaling {
    let size = 2 * factors.len();
    let near = |a: f32, b: f32| (a - b).abs() <= 4.0 * f32::EPSILON * b.abs();
    // What a low frequency is divided by; the slowest may be slow enough or not.
    let factor = factors.last().copied().unwrap_or(1.0);
    for original_context in (3..=20).map(|power| 1_usize << power) {
        for (low_freq_factor, high_freq_factor) in [(1.0, 4.0), (1.0, 3.0), (1.0, 2.0)] {
            let factor = f64::from(factor);
            let scaling = RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context };
            if scaling.fault(size, theta).is_some() {
                continue;
            }
            let got = self::factors(size, theta, &scaling);
            if got.iter().zip(&factors).all(|(&got, &want)| near(got, want)) {
                return scaling;
            }
        }
    }
    RopeScaling::Table { factors }
}

/// As much of a frequency as is `kept`, from 0 to 1, and for the rest the frequency by `factor`.
fn mixed(frequency: f64, factor: f64, kept: f64) -> f64 {
    let kept = kept.clamp(0.0, 1.0);
    if kept == 1.0 { frequency } else { (1.0 - kept) * frequency / factor + kept * frequency }
}

fn not_positive(field: &'static str, value: f64) -> Option<Fault> {
    let good = value.is_finite() && value > 0.0;
    (!good).then(|| (field, value.to_string(), "must be a positive number"))
}

fn no_context(original_context: usize) -> Option<Fault> {
    (original_context == 0).then(|| ("rope_scaling.original_context", "0".to_owned(), "must be at least 1"))
}

/// The frequencies of heads of an even size, in radians a position.
pub(crate) fn frequencies(head_size: usize, theta: f64, scaling: Option<&RopeScaling>) -> Vec<f64> {
    let mut frequencies = rope::frequencies(head_size, theta);
    if let Some(scaling) = scaling {
        scaling.apply(&mut frequencies, theta);
    }
    frequencies
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
    fn yarn_frequencies_are_those_of_transformers() {
        // By transformers 5.23 with float64 in the place of float32: Qwen's, and gpt-oss's without truncation.
        let scaling = |factor, truncate, original_context| RopeScaling::Yarn {
            factor,
            attention_factor: 1.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            truncate,
            original_context,
        };
        let truncated = [
            (0, 1.0),
            (23, 0.006978305848598663),
            (24, 0.005375321490790102),
            (32, 0.0006029411764705882),
            (39, 6.490394320837028e-5),
            (40, 4.445698525097307e-5),
            (63, 3.102344401879299e-7),
        ];
        let plain = [
            (0, 1.0),
            (15, 0.061214401986914205),
            (18, 0.03170569618466377),
            (27, 0.002863405525507723),
            (33, 0.00026735534088984065),
            (36, 3.8308812373753384e-5),
            (63, 2.5097773092278587e-7),
        ];
        for (theta, scaling, want) in
            [(1e6, scaling(4.0, true, 32_768), truncated), (150_000.0, scaling(32.0, false, 4096), plain)]
        {
            let got = frequencies(128, theta, Some(&scaling));
            for (i, want) in want {
                assert!((got[i] - want).abs() < 1e-12 * want, "{} instead of {want} at {i}", got[i]);
            }
        }
    }

    #[test]
    fn a_table_of_llama_3_is_known_again_and_another_stays_a_table() {
        let llama = |factor, original_context| RopeScaling::Llama3 {
            factor,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context,
        };
        for (size, theta, scaling) in [
            (128, 500_000.0, llama(8.0, 8192)),
            (64, 500_000.0, llama(32.0, 8192)),
            (6, 500_000.0, llama(4.0, 8)),
        ] {
            let table = factors(size, theta, &scaling);
            // As tables are that were computed in f32.
            let rough = table.iter().map(|x| x * (1.0 + f32::EPSILON)).collect();
            let found = of_table(rough, theta);
            let RopeScaling::Llama3 { original_context, .. } = found else { panic!("{found:?}") };
            let RopeScaling::Llama3 { original_context: want, .. } = scaling else { unreachable!() };
            assert_eq!(original_context, want);
            for (a, b) in
                frequencies(size, theta, Some(&found)).iter().zip(frequencies(size, theta, Some(&scaling)))
            {
                assert!((a / b - 1.0).abs() < 1e-6, "{a} instead of {b}");
            }
        }
        let odd = RopeScaling::Table { factors: vec![1.0, 2.5, 2.0] };
        assert_eq!(of_table(vec![1.0, 2.5, 2.0], 10_000.0), odd);
        let plain = rope::frequencies(6, 10_000.0);
        let got = frequencies(6, 10_000.0, Some(&odd));
        assert_eq!(got, [plain[0], plain[1] / 2.5, plain[2] / 2.0]);
        assert_eq!(odd.fault(8, 10_000.0).unwrap().0, "rope_scaling.factors");
        let zero = RopeScaling::Table { factors: vec![1.0, 0.0, 2.0] };
        assert_eq!(zero.fault(6, 10_000.0).unwrap().0, "rope_scaling.factors");
    }

    #[test]
    fn linear_scaling_divides_and_none_changes_nothing() {
        let plain = frequencies(10, 10_000.0, None);
        assert_eq!(plain, rope::frequencies(10, 10_000.0));
        let half: Vec<f64> = plain.iter().map(|f| f / 2.0).collect();
        assert_eq!(frequencies(10, 10_000.0, Some(&RopeScaling::Linear { factor: 2.0 })), half);
    }
}
