//! Questions whose answer is a text: which of some endings, or which last word, a model holds likeliest.
//!
//! Knows only token ids; `file.rs` reads questions as text, `make.rs` makes them from one.

mod file;
mod make;

pub use file::{CHOICES_EXAMPLE, Choices, LAST_WORDS_EXAMPLE, LastWord, read_choices, read_last_words};
pub use make::{make_choices, make_last_words};

use selvedge_model::Scorer;
use selvedge_model::tensor::Context;

use super::{Mean, MeasureError, Share};

/// A question in tokens: what all its answers have before them, and the rest of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    shared: Vec<u32>,
    answers: Vec<Vec<u32>>,
    is_cut: bool,
}

/// What a question needs to know of the model.
#[derive(Clone, Copy, Debug)]
pub struct Room<'a> {
    /// Tokens that stand before a text.
    pub prefix: &'a [u32],
    /// What stands there where there are none, for something must come before the first token.
    pub start: u32,
    /// Positions, [`Scorer::capacity`] less one.
    pub context: usize,
}

impl Question {
    /// Out of the tokens of the context alone and of the context with each answer. The tokens that differ from those of the
    /// context alone are the answer's: at the joint a token may be another than without an answer. If it is too long, tokens
    /// at the beginning of the context are left out. `line` is for messages.
    ///
    /// # Errors
    /// [`MeasureError::EmptyAnswer`] or [`MeasureError::LongAnswer`].
    pub fn new(
        room: Room<'_>,
        context: &[u32],
        wholes: &[Vec<u32>],
        line: usize,
    ) -> Result<Self, MeasureError> {
        let mut common = context.len();
        for (answer, whole) in wholes.iter().enumerate() {
            let Some(most) = whole.len().checked_sub(1) else {
                return Err(MeasureError::EmptyAnswer { line, answer });
            };
            common = common.min(most);
            common = whole.iter().zip(&context[..common]).take_while(|(a, b)| a == b).count();
        }
        let longest = wholes.iter().map(|whole| whole.len() - common).max().unwrap_or(0);
        let start =
            if room.prefix.is_empty() && common == 0 { vec![room.start] } else { room.prefix.to_vec() };
        // Nothing is computed of the last token.
        let least = start.len() + usize::from(start.is_empty());
        let Some(kept) = (room.context + 1).checked_sub(longest).filter(|&kept| kept >= least) else {
            return Err(MeasureError::LongAnswer { line, tokens: longest, context: room.context });
        };
        let kept = common.min(kept - start.len());
        let mut shared = start;
        shared.extend_from_slice(&context[common - kept..common]);
        let answers = wholes.iter().map(|whole| whole[common..].to_vec()).collect();
        Ok(Question { shared, answers, is_cut: kept < common })
    }

    /// Whether the beginning was left out.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// What the model makes of each answer; what stands before them is computed once.
    ///
    /// # Errors
    /// What the scorer says.
    pub fn answers(&self, cx: &mut Context, scorer: &mut Scorer<'_>) -> Result<Vec<Answer>, MeasureError> {
        scorer.clear();
        scorer.push(&self.shared)?;
        let answer = |tokens: &Vec<u32>| -> Result<Answer, MeasureError> {
            let scores = scorer.score(cx, tokens)?;
            scorer.truncate(self.shared.len());
            Ok(Answer {
                log_probability: scores.iter().map(|score| f64::from(score.log_probability)).sum(),
                tokens: tokens.len(),
                is_greedy: scores.iter().all(|score| score.is_likeliest),
            })
        };
        self.answers.iter().map(answer).collect()
    }
}

/// What a model makes of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// Natural logarithm of its probability.
    pub log_probability: f64,
    /// Its tokens.
    pub tokens: usize,
    /// Whether it is what the model would have written, always taking the likeliest token.
    pub is_greedy: bool,
}

/// Results of questions with endings to choose from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChoiceResult {
    /// The right ending was the likeliest.
    pub accuracy: Share,
    /// The right ending had the highest log-probability a byte.
    pub accuracy_by_bytes: Share,
    /// Questions whose beginning was left out.
    pub cut: u64,
}

impl ChoiceResult {
    /// Counts a question: its answers, the bytes of each, and which is right. Of equals the first is the model's choice.
    pub fn add(&mut self, question: &Question, answers: &[Answer], bytes: &[usize], label: usize) {
        let plain = answers.iter().map(|answer| answer.log_probability);
        let each = answers.iter().zip(bytes).map(|(answer, &bytes)| answer.log_probability / bytes as f64);
        self.accuracy.add(first_highest(plain) == Some(label));
        self.accuracy_by_bytes.add(first_highest(each) == Some(label));
        self.cut += u64::from(question.is_cut());
    }
}

/// Where the highest number is; of equals, the first.
fn first_highest(numbers: impl Iterator<Item = f64>) -> Option<usize> {
    numbers
        .enumerate()
        .reduce(|best, next| if next.1.total_cmp(&best.1).is_gt() { next } else { best })
        .map(|(place, _)| place)
}

/// Results of questions for a last word.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LastWordResult {
    /// The model would have written the word.
    pub accuracy: Share,
    /// Minus the logarithm of the probability of each word, in nats.
    pub nll: Mean,
    /// Tokens of all words.
    pub tokens: u64,
    /// Questions whose beginning was left out.
    pub cut: u64,
}

impl LastWordResult {
    /// Counts a question by what the model made of its word.
    pub fn add(&mut self, question: &Question, answer: &Answer) {
        self.accuracy.add(answer.is_greedy);
        self.nll.add(-answer.log_probability);
        self.tokens += answer.tokens as u64;
        self.cut += u64::from(question.is_cut());
    }

    /// e to the mean of nats a word.
    pub fn perplexity(&self) -> f64 {
        self.nll.mean().exp()
    }

    /// Standard error of [`perplexity`](Self::perplexity), to the first order.
    pub fn perplexity_error(&self) -> Option<f64> {
        Some(self.nll.standard_error()? * self.perplexity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room<'static> = Room { prefix: &[1], start: 0, context: 10 };

    #[test]
    fn answers_begin_where_tokens_differ_from_those_of_the_context() {
        let wholes = [vec![5, 6, 7, 8], vec![5, 6, 9]];
        let question = Question::new(ROOM, &[5, 6], &wholes, 1).unwrap();
        assert_eq!(
            (&question.shared[..], &question.answers[..]),
            (&[1, 5, 6][..], &[vec![7, 8], vec![9]][..])
        );
        // One answer changes the last token of the context: it counts for all.
        let wholes = [vec![5, 6, 7, 8], vec![5, 4]];
        let question = Question::new(ROOM, &[5, 6], &wholes, 1).unwrap();
        assert_eq!(
            (&question.shared[..], &question.answers[..]),
            (&[1, 5][..], &[vec![6, 7, 8], vec![4]][..])
        );
        // Another has no more tokens than the context.
        let question = Question::new(ROOM, &[5, 6], &[vec![5]], 1).unwrap();
        assert_eq!((&question.shared[..], &question.answers[..]), (&[1][..], &[vec![5]][..]));
    }

    #[test]
    fn something_stands_before_the_first_token() {
        let room = Room { prefix: &[], ..ROOM };
        let question = Question::new(room, &[], &[vec![7]], 1).unwrap();
        assert_eq!(question.shared, [0]);
        let question = Question::new(room, &[3], &[vec![3, 7]], 1).unwrap();
        assert_eq!(question.shared, [3]);
    }

    #[test]
    fn what_is_too_long_loses_the_beginning_of_its_context_and_no_answer() {
        let context: Vec<u32> = (20..40).collect();
        let whole = |rest: u32| [context.clone(), (50..50 + rest).collect()].concat();
        let question = Question::new(ROOM, &context, &[whole(2), whole(4)], 1).unwrap();
        assert!(question.is_cut());
        assert_eq!(question.shared, [&[1][..], &context[14..]].concat());
        assert_eq!(question.shared.len() + 4, 11);
        let question = Question::new(ROOM, &context, &[whole(10)], 1).unwrap();
        assert_eq!(question.shared, [1]);
        let error = Question::new(ROOM, &context, &[whole(11)], 3).unwrap_err();
        assert!(matches!(error, MeasureError::LongAnswer { line: 3, tokens: 11, context: 10 }), "{error}");
        let none = Room { prefix: &[], ..ROOM };
        Question::new(none, &context, &[whole(10)], 1).unwrap();
        Question::new(none, &context, &[whole(11)], 1).unwrap_err();
        let error = Question::new(ROOM, &[], &[vec![5], vec![]], 4).unwrap_err();
        assert!(matches!(error, MeasureError::EmptyAnswer { line: 4, answer: 1 }), "{error}");
    }

    #[test]
    fn the_first_of_equals_is_chosen() {
        assert_eq!(first_highest([-2.0, -1.0, -1.0].into_iter()), Some(1));
        let answer = |log_probability| Answer { log_probability, tokens: 1, is_greedy: false };
        let question = Question { shared: vec![], answers: vec![], is_cut: true };
        let mut result = ChoiceResult::default();
        result.add(&question, &[answer(-4.0), answer(-6.0)], &[4, 12], 1);
        assert_eq!((result.accuracy.hits, result.accuracy_by_bytes.hits, result.cut), (0, 1, 1));
    }
}
