//! The tokens of one sequence so far, as penalties count them.

use std::collections::VecDeque;

use super::Sampling;

/// Counts by token. An empty history has no counts at all.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// What the window holds, oldest first; unused if the window is the whole sequence.
    recent: VecDeque<u32>,
    window: Option<usize>,
    /// Times a token is in the window (V).
    seen: Vec<u32>,
    /// Times a token was generated (V).
    generated: Vec<u32>,
}

impl History {
    pub(super) fn new(window: Option<usize>, vocab: usize) -> Self {
        History { recent: VecDeque::new(), window, seen: vec![0; vocab], generated: vec![0; vocab] }
    }

    pub(super) fn clear(&mut self) {
        self.recent.clear();
        self.seen.fill(0);
        self.generated.fill(0);
    }

    /// Appends a token below V.
    pub(super) fn push(&mut self, token: u32, generated: bool) {
        if generated {
            let count = &mut self.generated[token as usize];
            *count = count.saturating_add(1);
        }
        if self.window == Some(0) {
            return;
        }
        if let Some(window) = self.window {
            if self.recent.len() == window
                && let Some(oldest) = self.recent.pop_front()
            {
                self.seen[oldest as usize] -= 1;
            }
            self.recent.push_back(token);
        }
        let count = &mut self.seen[token as usize];
        *count = count.saturating_add(1);
    }

    /// Applies the penalties of `settings` to the logits `scores` (V), repetition first, as llama.cpp and vLLM do.
    pub(super) fn penalize(&self, settings: &Sampling, scores: &mut [f64]) {
        let [repetition, presence, frequency] =
            [settings.repetition_penalty, settings.presence_penalty, settings.frequency_penalty]
                .map(f64::from);
        if repetition != 1.0 {
            for (score, _) in scores.iter_mut().zip(&self.seen).filter(|&(_, &count)| count > 0) {
                *score = if *score > 0.0 { *score / repetition } else { *score * repetition };
            }
        }
        if presence != 0.0 || frequency != 0.0 {
            for (score, &count) in scores.iter_mut().zip(&self.generated).filter(|&(_, &count)| count > 0) {
                *score -= f64::from(count) * frequency + presence;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn penalties_are_their_formulae(
            logits in prop::collection::vec(-9.0_f32..9.0, 12),
            tokens in prop::collection::vec((0_u32..12, any::<bool>()), 0..30),
            last_n in prop::option::of(0_usize..12),
            repetition in prop_oneof![Just(1.0_f32), 0.5_f32..2.0],
            presence in prop_oneof![Just(0.0_f32), -2.0_f32..2.0],
            frequency in prop_oneof![Just(0.0_f32), -2.0_f32..2.0],
        ) {
            let settings = Sampling {
                repetition_penalty: repetition,
                presence_penalty: presence,
                frequency_penalty: frequency,
                ..Sampling::default()
            };
            let window = &tokens[tokens.len() - last_n.unwrap_or(usize::MAX).min(tokens.len())..];
            let want = (0..).zip(&logits).map(|(id, &logit)| {
                let mut x = f64::from(logit);
                if window.iter().any(|&(token, _)| token == id) {
                    let penalty = f64::from(repetition);
                    x = if x > 0.0 { x / penalty } else { x * penalty };
                }
                let count = tokens.iter().filter(|&&token| token == (id, true)).count();
                if count > 0 { x - (count as f64 * f64::from(frequency) + f64::from(presence)) } else { x }
            });
            let want: Vec<f64> = want.collect();
            let mut history = History::new(last_n, 12);
            for _ in 0..2 {
                tokens.iter().for_each(|&(token, generated)| history.push(token, generated));
                let mut got: Vec<f64> = logits.iter().map(|&x| f64::from(x)).collect();
                history.penalize(&settings, &mut got);
                prop_assert_eq!(&got, &want);
                history.clear();
            }
        }
    }
}
