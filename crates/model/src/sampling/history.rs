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
