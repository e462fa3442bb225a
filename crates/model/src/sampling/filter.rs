//! Filters: which candidates may be drawn. Each sees the distribution of those the filter before it left, and leaves
//! one or more.
//!
//! Candidates stay in the order of ids: a filter finds the last rank that it keeps and drops whatever ranks behind. So
//! sums do not depend on how a selection happens to arrange equal halves.

use selvedge_tensor::Real;

use super::Sampling;
use super::ranking::{Entry, Ranking, compare};

/// A token that may be drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) id: u32,
    /// Logit after bias and penalties; finite.
    pub(super) score: f64,
    /// e^score up to a common factor, once it is needed.
    pub(super) weight: f64,
}

/// Applies the filters of `settings` in their order.
pub(super) fn apply(settings: &Sampling, candidates: &mut Vec<Candidate>, ranking: &mut Ranking) {
    if settings.top_k > 0 && settings.top_k < candidates.len() {
        top_k(settings.top_k, candidates, ranking);
    }
    let (typical_on, top_p_on, min_p_on) =
        (settings.typical < 1.0, settings.top_p < 1.0, settings.min_p > 0.0);
    if !(typical_on || top_p_on || min_p_on) {
        return;
    }
    weigh(candidates, 1.0);
    if typical_on {
        typical(f64::from(settings.typical), candidates, ranking);
    }
    if top_p_on {
        top_p(f64::from(settings.top_p), candidates, ranking);
    }
    if min_p_on {
        min_p(f64::from(settings.min_p), candidates);
    }
}

/// Sets the weights to e^(score / temperature), the largest 1, and returns their sum.
pub(super) fn weigh(candidates: &mut [Candidate], temperature: f64) -> f64 {
    let highest = candidates.iter().map(|c| c.score).fold(f64::NEG_INFINITY, f64::max);
    candidates.iter_mut().fold(0.0, |total, c| {
        c.weight = Real::exp((c.score - highest) / temperature);
        total + c.weight
    })
}

/// The key that ranks the likeliest first.
pub(super) fn by_score(candidate: &Candidate) -> f64 {
    -candidate.score
}

fn top_k(k: usize, candidates: &mut Vec<Candidate>, ranking: &mut Ranking) {
    ranking.fill(candidates.iter().map(|c| Entry { key: by_score(c), id: c.id, weight: 0.0 }));
    let last = ranking.select(k - 1);
    keep_up_to(last, candidates, by_score);
}

fn typical(mass: f64, candidates: &mut Vec<Candidate>, ranking: &mut Ranking) {
    let total: f64 = candidates.iter().map(|c| c.weight).sum();
    let highest = candidates.iter().map(|c| c.score).fold(f64::NEG_INFINITY, f64::max);
    let surprise = |c: &Candidate| Real::ln(total) - (c.score - highest);
    // A weight that is 0 in f64 has a surprise of hundreds; 0 times that is 0, as in the limit.
    let entropy: f64 = candidates.iter().map(|c| c.weight / total * surprise(c)).sum();
    keep_mass(mass, candidates, ranking, |c| (surprise(c) - entropy).abs());
}

fn top_p(mass: f64, candidates: &mut Vec<Candidate>, ranking: &mut Ranking) {
    keep_mass(mass, candidates, ranking, by_score);
}

fn min_p(share: f64, candidates: &mut Vec<Candidate>) {
    let least = share * candidates.iter().map(|c| c.weight).fold(0.0, f64::max);
    candidates.retain(|c| c.weight >= least);
}

/// Keeps the first in the order of `key`, as few as together have the share `mass` of all weight.
fn keep_mass(
    mass: f64,
    candidates: &mut Vec<Candidate>,
    ranking: &mut Ranking,
    key: impl Fn(&Candidate) -> f64,
) {
    let total: f64 = candidates.iter().map(|c| c.weight).sum();
    ranking.fill(candidates.iter().map(|c| Entry { key: key(c), id: c.id, weight: c.weight }));
    let (mut sum, mut rank) = (0.0, 0);
    while let Some(entry) = ranking.get(rank) {
        sum += entry.weight;
        if sum >= mass * total {
            return keep_up_to(entry, candidates, key);
        }
        rank += 1;
    }
}

fn keep_up_to(last: Entry, candidates: &mut Vec<Candidate>, key: impl Fn(&Candidate) -> f64) {
    candidates.retain(|c| compare((key(c), c.id), (last.key, last.id)).is_le());
}
