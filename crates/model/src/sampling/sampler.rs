//! Choosing token after token of one sequence.

use selvedge_tensor::Real;

use super::Sampling;
use super::draw::Draw;
use super::history::History;
use super::ranking::{Entry, Ranking};
use crate::Error;

/// A chosen token and how likely the model held it and others.
///
/// Log-probabilities are natural logarithms of the softmax of the logits as given, before bias, penalties, filters and
/// temperature: they say what the model thinks, not what was done to it. (vLLM's and llama.cpp's server give the same,
/// if nothing else is asked for.)
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The token.
    pub token: u32,
    /// Its log-probability, if [`Sampling::top_logprobs`] asks for it.
    pub logprob: Option<f32>,
    /// The likeliest tokens and their log-probabilities, likeliest first: as many as asked for, or fewer if
    /// fewer have a logit above −∞.
    pub top: Vec<(u32, f32)>,
}

/// Settings and the tokens so far of one sequence. Memory is reused from choice to choice; only [`Choice::top`] is
/// allocated, if it is asked for.
#[derive(Clone, Debug)]
pub struct Sampler {
    settings: Sampling,
    history: History,
    draw: Draw,
    likeliest: Ranking,
    vocab: usize,
}

impl Sampler {
    /// A sampler of a new sequence over a vocabulary of `vocab` tokens.
    ///
    /// # Errors
    /// [`Error::Sampling`] for a setting outside its range, or a bias for a token outside the vocabulary.
    pub fn new(settings: Sampling, vocab: usize) -> Result<Self, Error> {
        settings.validate()?;
        if let Some(&(token, _)) = settings.logit_bias.iter().find(|&&(token, _)| token as usize >= vocab) {
            return Err(Error::Sampling {
                field: "logit_bias",
                value: format!("a bias for token {token}"),
                rule: "must name tokens of the vocabulary",
            });
        }
        // A window that nobody looks at need not be kept.
        let window = if settings.repetition_penalty == 1.0 { Some(0) } else { settings.last_n };
        let history = History::new(window, vocab);
        Ok(Sampler { settings, history, draw: Draw::default(), likeliest: Ranking::default(), vocab })
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &Sampling {
        &self.settings
    }

    /// Forgets the sequence; the next token is the first of a new one.
    pub fn clear(&mut self) {
        self.history.clear();
    }

    /// Appends tokens of the prompt, which the repetition penalty counts and the others do not.
    ///
    /// # Errors
    /// [`Error::TokenOutsideVocabulary`]; nothing is appended then.
    pub fn prompt(&mut self, tokens: &[u32]) -> Result<(), Error> {
        self.append(tokens, false)
    }

    /// Appends tokens that count as generated though another chose them. What [`Sampler::sample`] returns is appended
    /// already.
    ///
    /// # Errors
    /// [`Error::TokenOutsideVocabulary`]; nothing is appended then.
    pub fn accept(&mut self, tokens: &[u32]) -> Result<(), Error> {
        self.append(tokens, true)
    }

    fn append(&mut self, tokens: &[u32], generated: bool) -> Result<(), Error> {
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= self.vocab) {
            return Err(Error::TokenOutsideVocabulary { token, vocab: self.vocab });
        }
        tokens.iter().for_each(|&token| self.history.push(token, generated));
        Ok(())
    }

    /// Chooses a token from `logits` (V) and appends it to the sequence. Where it is drawn, the draw is a pure function of
    /// seed and `position`, so positions should differ from token to token.
    ///
    /// Costs O(V), and sorts only as far as the filters and the draw reach into the tail.
    ///
    /// # Errors
    /// [`Error::LogitsLength`], [`Error::Logit`] for a logit that is NaN or +∞, [`Error::AllTokensBanned`] if all are −∞;
    /// nothing is appended then.
    pub fn sample(&mut self, logits: &[f32], position: u64) -> Result<Choice, Error> {
        self.choose(logits, None, position)
    }

    /// The same among the tokens of a set, as if the logits of all others were −∞, but for log-probabilities, which stay those
    /// of the logits as given.
    ///
    /// `allowed` has a bit for each token: token t is bit t % 32, from the least significant on, of word t / 32. There are
    /// ⌈V / 32⌉ words; bits at V and beyond mean nothing. The cost of a set is O(V / 32) and what is done with its tokens.
    ///
    /// # Errors
    /// [`Error::MaskLength`], [`Error::NoTokenAllowed`] if all tokens of the set have logits of −∞ or there are none, and
    /// [`Error::LogitsLength`] and [`Error::Logit`] as of [`Sampler::sample`], for tokens outside the set too: they tell of
    /// damage. Nothing is appended then.
    pub fn sample_among(&mut self, logits: &[f32], allowed: &[u32], position: u64) -> Result<Choice, Error> {
        let words = self.vocab.div_ceil(32);
        if allowed.len() != words {
            return Err(Error::MaskLength { found: allowed.len(), words, vocab: self.vocab });
        }
        self.choose(logits, Some(allowed), position)
    }

    fn choose(&mut self, logits: &[f32], allowed: Option<&[u32]>, position: u64) -> Result<Choice, Error> {
        if logits.len() != self.vocab {
            return Err(Error::LogitsLength { found: logits.len(), vocab: self.vocab });
        }
        let token = self.draw.choose(&self.settings, &self.history, logits, allowed, position)?;
        self.history.push(token, true);
        let Some(count) = self.settings.top_logprobs else {
            return Ok(Choice { token, logprob: None, top: Vec::new() });
        };
        let highest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let total: f64 = logits.iter().map(|&x| Real::exp(f64::from(x) - highest)).sum();
        let log_total = Real::ln(total);
        let logprob = |logit: f64| ((logit - highest) - log_total) as f32;
        let mut top = Vec::new();
        if count > 0 {
            let possible = (0..).zip(logits).filter(|(_, x)| x.is_finite());
            let entry = |(id, &x): (u32, &f32)| Entry { key: -f64::from(x), id, weight: 0.0 };
            self.likeliest.fill(possible.map(entry));
            let ranked = (0..count.min(self.vocab)).map_while(|rank| self.likeliest.get(rank));
            top.extend(ranked.map(|entry| (entry.id, logprob(-entry.key))));
        }
        Ok(Choice { token, logprob: Some(logprob(f64::from(logits[token as usize]))), top })
    }
}
