//! One choice: logits, what is added and subtracted, filters, and a draw from what is left.

use super::Sampling;
use super::filter::{self, Candidate, by_score, weigh};
use super::history::History;
use super::ranking::{Entry, Ranking};
use crate::{CounterRng, Error};

/// The stream of draws, apart from those of initialization.
const STREAM: u64 = 0x5A3C;

/// The places of the bits that are set, lowest first.
fn ones(words: &[u32]) -> impl Iterator<Item = u32> {
    (0_u32..).zip(words).flat_map(|(word, &bits)| {
        let rest = |&bits: &u32| Some(bits & bits.wrapping_sub(1)).filter(|&bits| bits != 0);
        std::iter::successors(Some(bits).filter(|&bits| bits != 0), rest)
            .map(move |bits| 32 * word + bits.trailing_zeros())
    })
}

/// Working memory, used again by each choice.
#[derive(Clone, Debug, Default)]
pub(super) struct Draw {
    scores: Vec<f64>,
    candidates: Vec<Candidate>,
    ranking: Ranking,
}

impl Draw {
    /// The token chosen from `logits` (V) for the position `position`, among those of `allowed`, a bit each as
    /// [`Sampler::sample_among`](super::Sampler::sample_among) has them. A bias for a token outside V has no effect.
    ///
    /// # Errors
    /// [`Error::Logit`], [`Error::AllTokensBanned`], and [`Error::NoTokenAllowed`] instead where not all are allowed.
    pub(super) fn choose(
        &mut self,
        settings: &Sampling,
        history: &History,
        logits: &[f32],
        allowed: Option<&[u32]>,
        position: u64,
    ) -> Result<u32, Error> {
        if let Some((token, &value)) = (0..).zip(logits).find(|(_, x)| x.is_nan() || **x == f32::INFINITY) {
            return Err(Error::Logit { token, value });
        }
        // No sum or product of f32 overflows f64.
        self.scores.clear();
        self.scores.extend(logits.iter().map(|&x| f64::from(x)));
        for &(token, bias) in &settings.logit_bias {
            if let Some(score) = self.scores.get_mut(token as usize) {
                *score += f64::from(bias);
            }
        }
        history.penalize(settings, &mut self.scores);
        self.candidates.clear();
        let scores = &self.scores;
        let possible = |id: u32| {
            let score = scores.get(id as usize).copied().filter(|score| score.is_finite())?;
            Some(Candidate { id, score, weight: 0.0 })
        };
        // What is not among them is as if its score were −∞.
        match allowed {
            None => self.candidates.extend((0..scores.len() as u32).filter_map(possible)),
            Some(words) => self.candidates.extend(ones(words).filter_map(possible)),
        }
        let likeliest = self.candidates.iter().copied().reduce(|best, c| {
            // The first of equals stays.
            if c.score.total_cmp(&best.score).is_gt() { c } else { best }
        });
        let Some(likeliest) = likeliest else {
            return Err(if allowed.is_some() { Error::NoTokenAllowed } else { Error::AllTokensBanned });
        };
        if settings.temperature <= 0.0 {
            return Ok(likeliest.id);
        }
        filter::apply(settings, &mut self.candidates, &mut self.ranking);
        if let [only] = self.candidates[..] {
            return Ok(only.id);
        }
        let unit = (CounterRng::new(settings.seed, STREAM).at(position) >> 11) as f64 / (1u64 << 53) as f64;
        Ok(self.draw(f64::from(settings.temperature), unit).unwrap_or(likeliest.id))
    }

    /// The candidate at the share `unit` of all weight, the likeliest first.
    fn draw(&mut self, temperature: f64, unit: f64) -> Option<u32> {
        let total = weigh(&mut self.candidates, temperature);
        self.ranking.fill(self.candidates.iter().map(|c| Entry {
            key: by_score(c),
            id: c.id,
            weight: c.weight,
        }));
        let (mut left, mut rank) = (unit * total, 0);
        // A likely token is found among the first few, so that most of the vocabulary stays unsorted.
        while let Some(entry) = self.ranking.get(rank) {
            left -= entry.weight;
            if left < 0.0 {
                return Some(entry.id);
            }
            rank += 1;
        }
        // Rounding ate the last of it.
        None
    }
}
