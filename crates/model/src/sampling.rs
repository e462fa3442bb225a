//! How the next token is chosen from logits: settings, and the choice without a history.
//!
//! Stages come in the order of llama.cpp's default chain: bias, repetition penalty, frequency and presence penalties,
//! top-k, typical, top-p, min-p, temperature, draw. So filters judge by the model's own probabilities: what is let in
//! does not depend on the temperature, which only says how those let in share the draws. (vLLM divides by the
//! temperature first, so that a hot draw reaches further into the tail.) Where only some tokens are allowed, it is as if the
//! logits of the others were −∞ from the beginning.

mod draw;
mod filter;
mod history;
mod ranking;
mod sampler;
mod stop;

use crate::Error;
use draw::Draw;
use history::History;

pub use sampler::{Choice, Sampler};
pub use stop::StopStrings;

/// How the next token is chosen. [`Sampling::default`] draws from the model's distribution as it is, with seed 0.
///
/// Arithmetic is in f64 over software exponentials and logarithms, summed in the order of ids, so that a choice is the
/// same on every machine. Ties go to the lower id.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by this; 0 takes the likeliest token after bias and penalties, whatever the filters say.
    pub temperature: f32,
    /// Only the likeliest so many are considered; 0 considers all.
    pub top_k: usize,
    /// Locally typical sampling (Meister et al. 2022): only tokens whose surprise −ln p is nearest to the entropy, as few
    /// as together have this probability; 1 considers all. The likeliest token may not be among them.
    pub typical: f32,
    /// Nucleus sampling (Holtzman et al. 2020): only the likeliest tokens, as few as together have this probability; 1
    /// considers all, 0 one.
    pub top_p: f32,
    /// Only tokens of at least this probability, as a share of the likeliest one's (Nguyen et al. 2024); 0 considers all.
    pub min_p: f32,
    /// Positive logits of tokens among the last `last_n` are divided by this, others multiplied (Keskar et al. 2019); 1
    /// changes nothing.
    pub repetition_penalty: f32,
    /// How many of the last tokens, prompt and generated, the repetition penalty sees; `None` is all.
    pub last_n: Option<usize>,
    /// Subtracted from the logits of tokens generated before (OpenAI's definition: tokens of the prompt do not count).
    pub presence_penalty: f32,
    /// Subtracted from a token's logit as many times as it was generated before.
    pub frequency_penalty: f32,
    /// Pairs of a token and what is added to its logit; −∞ bans it. Of a token named twice both count.
    pub logit_bias: Vec<(u32, f32)>,
    /// Whether [`Sampler::sample`] tells log-probabilities, which takes an exponential for each token of the vocabulary, and
    /// of how many of the likeliest tokens besides the chosen one.
    pub top_logprobs: Option<usize>,
    /// The draw at position n is a pure function of (seed, n).
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            temperature: 1.0,
            top_k: 0,
            typical: 1.0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            last_n: None,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            top_logprobs: None,
            seed: 0,
        }
    }
}

impl Sampling {
    /// The likeliest token, always.
    pub fn greedy() -> Self {
        Sampling { temperature: 0.0, ..Sampling::default() }
    }

    /// Looks for numbers that make no sense.
    ///
    /// # Errors
    /// [`Error::Sampling`], naming the first field outside its range.
    pub fn validate(&self) -> Result<(), Error> {
        let finite: (fn(f32) -> bool, _) = (f32::is_finite, "must be finite");
        let share: (fn(f32) -> bool, _) = (|x| (0.0..=1.0).contains(&x), "must be from 0 to 1");
        let positive: (fn(f32) -> bool, _) = (|x| x.is_finite() && x > 0.0, "must be positive and finite");
        let not_negative: (fn(f32) -> bool, _) =
            (|x| x.is_finite() && x >= 0.0, "must be finite and not negative");
        for (field, value, (good, rule)) in [
            ("temperature", self.temperature, not_negative),
            ("typical", self.typical, share),
            ("top_p", self.top_p, share),
            ("min_p", self.min_p, share),
            ("repetition_penalty", self.repetition_penalty, positive),
            ("presence_penalty", self.presence_penalty, finite),
            ("frequency_penalty", self.frequency_penalty, finite),
        ] {
            if !good(value) {
                return Err(Error::Sampling { field, value: value.to_string(), rule });
            }
        }
        match self.logit_bias.iter().find(|(_, bias)| bias.is_nan() || *bias == f32::INFINITY) {
            Some((token, bias)) => Err(Error::Sampling {
                field: "logit_bias",
                value: format!("{bias} for token {token}"),
                rule: "must be finite or −∞",
            }),
            None => Ok(()),
        }
    }

    /// The token drawn from `logits` (V) for the position `position`, as the first of a sequence: there is nothing to
    /// repeat. [`Sampler`] remembers the tokens before, reuses its memory and reports what is wrong.
    ///
    /// Where a [`Sampler`] would give an error, it is the first of the largest logits in IEEE 754's total order, or 0.
    pub fn pick(&self, logits: &[f32], position: u64) -> u32 {
        let drawn = Draw::default().choose(self, &History::default(), logits, None, position);
        drawn.unwrap_or_else(|_| {
            let largest = (0_u32..).zip(logits).max_by(|(i, x), (j, y)| x.total_cmp(y).then(j.cmp(i)));
            largest.map_or(0, |(token, _)| token)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_out_of_range_are_named() {
        let good = Sampling { logit_bias: vec![(3, f32::NEG_INFINITY), (4, -1.5)], ..Sampling::default() };
        good.validate().unwrap();
        Sampling::greedy().validate().unwrap();
        Sampling { top_p: 0.0, typical: 0.0, min_p: 1.0, ..Sampling::greedy() }.validate().unwrap();
        type Set = fn(&mut Sampling, f32);
        let wrong: [(&str, Set, &[f32]); 8] = [
            ("temperature", |s, x| s.temperature = x, &[-0.1, f32::INFINITY]),
            ("typical", |s, x| s.typical = x, &[-0.1, 1.1]),
            ("top_p", |s, x| s.top_p = x, &[-0.1, 1.1]),
            ("min_p", |s, x| s.min_p = x, &[-0.1, 1.1]),
            ("repetition_penalty", |s, x| s.repetition_penalty = x, &[0.0, -1.0, f32::INFINITY]),
            ("presence_penalty", |s, x| s.presence_penalty = x, &[f32::INFINITY, f32::NEG_INFINITY]),
            ("frequency_penalty", |s, x| s.frequency_penalty = x, &[f32::INFINITY, f32::NEG_INFINITY]),
            ("logit_bias", |s, x| s.logit_bias.push((9, x)), &[f32::INFINITY]),
        ];
        for (named, set, values) in wrong {
            for &value in values.iter().chain(&[f32::NAN]) {
                let mut sampling = good.clone();
                set(&mut sampling, value);
                let error = sampling.validate().unwrap_err();
                assert!(matches!(&error, Error::Sampling { field, .. } if *field == named), "{error}");
            }
        }
    }
}
