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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Ids and probabilities of those left.
    type Distribution = Vec<(u32, f64)>;

    fn softmax(scores: &[(u32, f64)]) -> Distribution {
        let total: f64 = scores.iter().map(|&(_, score)| score.exp()).sum();
        scores.iter().map(|&(id, score)| (id, score.exp() / total)).collect()
    }

    /// What `settings` leave, by the definitions: sort everything, renormalize after each filter.
    fn naive(settings: &Sampling, scores: &[f64]) -> Vec<u32> {
        let mut left: Vec<(u32, f64)> = (0..).zip(scores.iter().copied()).collect();
        left.sort_by(|a, b| b.1.total_cmp(&a.1));
        if settings.top_k > 0 {
            left.truncate(settings.top_k);
        }
        let shortest = |p: &[f64], mass: f32| {
            let mut sum = 0.0;
            let enough = p.iter().position(|p| {
                sum += p;
                sum >= f64::from(mass)
            });
            enough.map_or(p.len(), |last| last + 1)
        };
        if settings.typical < 1.0 {
            let p = softmax(&left);
            let entropy: f64 = p.iter().map(|&(_, p)| -p * p.ln()).sum();
            let mut order: Vec<(f64, u32, f64)> =
                p.iter().map(|&(id, p)| ((-p.ln() - entropy).abs(), id, p)).collect();
            // Rounding here and there must not part equals.
            order.sort_by_key(|&(off, id, _)| ((off * 1e9).round() as i64, id));
            let probabilities: Vec<f64> = order.iter().map(|&(_, _, p)| p).collect();
            order.truncate(shortest(&probabilities, settings.typical));
            left.retain(|(id, _)| order.iter().any(|(_, kept, _)| kept == id));
        }
        if settings.top_p < 1.0 {
            let probabilities: Vec<f64> = softmax(&left).iter().map(|&(_, p)| p).collect();
            left.truncate(shortest(&probabilities, settings.top_p));
        }
        let p = softmax(&left);
        let mut ids: Vec<u32> = p
            .iter()
            .filter(|q| q.1 >= f64::from(settings.min_p) * p[0].1 * (1.0 - 1e-12))
            .map(|q| q.0)
            .collect();
        ids.sort_unstable();
        ids
    }

    fn kept(settings: &Sampling, scores: &[f64]) -> Vec<u32> {
        let candidate = |(id, &score): (u32, &f64)| Candidate { id, score, weight: 0.0 };
        let mut candidates: Vec<Candidate> = (0..).zip(scores).map(candidate).collect();
        apply(settings, &mut candidates, &mut Ranking::default());
        candidates.iter().map(|c| c.id).collect()
    }

    /// Scores with equals among them.
    fn scores() -> impl Strategy<Value = Vec<f64>> {
        let score = prop_oneof![-6.0_f32..6.0, (-3_i8..4).prop_map(f32::from)];
        prop::collection::vec(score.prop_map(f64::from), 1..300)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn each_filter_alone_keeps_what_its_definition_does(
            scores in scores(), k in 0_usize..320, share in 0.001_f32..0.999,
        ) {
            for settings in [
                Sampling { top_k: k, ..Sampling::default() },
                Sampling { typical: share, ..Sampling::default() },
                Sampling { top_p: share, ..Sampling::default() },
                Sampling { min_p: share, ..Sampling::default() },
            ] {
                prop_assert_eq!(kept(&settings, &scores), naive(&settings, &scores), "{:?}", settings);
            }
        }

        #[test]
        fn filters_in_turn_see_what_those_before_left(
            scores in scores(), top_k in 0_usize..320, typical in 0.3_f32..1.2, top_p in 0.3_f32..1.2, min_p in 0.0_f32..0.5,
        ) {
            let settings = Sampling { top_k, typical, top_p, min_p, ..Sampling::default() };
            prop_assert_eq!(kept(&settings, &scores), naive(&settings, &scores));
        }
    }

    #[test]
    fn typical_may_drop_the_likeliest_and_top_p_may_not() {
        // 0.4 and six of 0.1: surprises 0.92 and 2.3 about an entropy of 1.75.
        let scores: Vec<f64> = [0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1].iter().map(|p: &f64| p.ln()).collect();
        let typical = Sampling { typical: 0.45, ..Sampling::default() };
        assert_eq!(kept(&typical, &scores), [1, 2, 3, 4, 5]);
        let nucleus = Sampling { top_p: 0.45, ..Sampling::default() };
        assert_eq!(kept(&nucleus, &scores), [0, 1]);
    }

    #[test]
    fn the_narrowest_settings_leave_one() {
        let scores = [1.0, 3.0, 3.0, -800.0];
        for (settings, want) in [
            (Sampling { top_k: 1, ..Sampling::default() }, &[1][..]),
            (Sampling { top_p: 0.0, ..Sampling::default() }, &[1]),
            (Sampling { typical: 0.0, ..Sampling::default() }, &[1]),
            (Sampling { min_p: 1.0, ..Sampling::default() }, &[1, 2]),
            (Sampling::default(), &[0, 1, 2, 3]),
        ] {
            assert_eq!(kept(&settings, &scores), want, "{settings:?}");
        }
    }
}
