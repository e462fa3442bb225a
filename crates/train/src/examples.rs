//! Examples to fine-tune on: tokens of which some are answers, packed into rows.
//!
//! A row holds several documents one after another, as many as fit; attention does not go from one to another (see
//! [`Rows::starts`](selvedge_model::Rows::starts)), so packing changes how long it takes and which examples share a step,
//! never what an example is. What is left of a row is a document without targets.

use selvedge_model::tensor::cross_entropy::IGNORE;

use crate::Error;
use crate::loader::Batch;
use crate::order::Order;

/// Rows that are looked at for room for the next document.
const OPEN: usize = 64;

/// A document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Example {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// For each token whether it is part of an answer: whether predicting it counts.
    pub answer: Vec<bool>,
}

impl Example {
    /// Appends tokens that are part of an answer, or are not.
    pub fn push(&mut self, tokens: &[u32], answer: bool) {
        self.tokens.extend_from_slice(tokens);
        self.answer.resize(self.tokens.len(), answer);
    }
}

/// What became of the examples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Examples that are there, whole or cut.
    pub kept: usize,
    /// Of these, examples of which the end was cut off, for they were longer than a row.
    pub cut: usize,
    /// Examples without an answer within a row, left out.
    pub dropped: usize,
    /// Tokens that are predicted and count.
    pub targets: usize,
    /// Tokens of kept examples; the rest of the rows is empty.
    pub tokens: usize,
}

/// Rows of documents.
#[derive(Clone, Debug)]
pub struct Packed {
    context: usize,
    tokens: Vec<u32>,
    targets: Vec<u32>,
    starts: Vec<u32>,
    report: Report,
}

impl Packed {
    /// Packs examples into rows of `context` tokens, in their order, each into the first row that has room; or, if `share`
    /// is false, each into a row of its own.
    ///
    /// # Errors
    /// [`Error::Setting`] for a context of 0, and [`Error::NoExamples`] if no example has an answer that fits.
    ///
    /// # Panics
    /// If an example has not as many tokens as flags.
    pub fn new(examples: &[Example], context: usize, share: bool) -> Result<Self, Error> {
        if !(1..=1 << 28).contains(&context) {
            return Err(Error::setting("context", context, "from 1 to 2^28 tokens"));
        }
        let mut packed =
            Packed { context, tokens: vec![], targets: vec![], starts: vec![], report: Report::default() };
        let mut filled: Vec<usize> = Vec::new();
        for example in examples {
            assert_eq!(example.tokens.len(), example.answer.len(), "a flag for every token");
            // The last token is predicted and predicts nothing.
            let len = example.tokens.len().saturating_sub(1).min(context);
            let counted = example.answer.iter().skip(1).take(len).filter(|&&answer| answer).count();
            if counted == 0 {
                packed.report.dropped += 1;
                continue;
            }
            let first = if share { filled.len().saturating_sub(OPEN) } else { filled.len() };
            let found = (first..filled.len()).find(|&row| filled[row] + len <= context);
            let row = found.unwrap_or_else(|| {
                packed.add_row();
                filled.push(0);
                filled.len() - 1
            });
            packed.put(row, filled[row], example, len);
            filled[row] += len;
            let report = &mut packed.report;
            report.kept += 1;
            report.cut += usize::from(example.tokens.len() > context + 1);
            report.targets += counted;
            report.tokens += len;
        }
        if filled.is_empty() {
            return Err(Error::NoExamples { examples: examples.len(), context });
        }
        for (row, filled) in filled.into_iter().enumerate() {
            let rest = row * context + filled..(row + 1) * context;
            packed.starts[rest].fill(filled as u32);
        }
        Ok(packed)
    }

    fn add_row(&mut self) {
        let len = self.tokens.len() + self.context;
        self.tokens.resize(len, 0);
        self.targets.resize(len, IGNORE);
        self.starts.resize(len, 0);
    }

    fn put(&mut self, row: usize, start: usize, example: &Example, len: usize) {
        let at = row * self.context + start;
        self.tokens[at..at + len].copy_from_slice(&example.tokens[..len]);
        self.starts[at..at + len].fill(start as u32);
        let next = example.tokens[1..].iter().zip(&example.answer[1..]);
        for (target, (&token, &answer)) in self.targets[at..at + len].iter_mut().zip(next) {
            *target = if answer { token } else { IGNORE };
        }
    }

    /// What became of the examples.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// How many rows there are; at least 1.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.tokens.len() / self.context
    }

    /// Rows `first..first + count` of a run that reads all rows in an order, epoch after epoch.
    #[must_use]
    pub fn batch(&self, seed: u64, first: u64, count: usize) -> Batch {
        let order = Order::new(seed, self.rows() as u64);
        let row = |row| {
            let (epoch, index) = order.at(row);
            order.window(epoch, index) as usize
        };
        self.collect(first, (first..first + count as u64).map(row))
    }

    /// All rows in their order, so many at a time, for an evaluation.
    pub fn all(&self, at_once: usize) -> impl Iterator<Item = Batch> {
        let at_once = at_once.max(1);
        (0..self.rows()).step_by(at_once).map(move |first| {
            let rows = first..self.rows().min(first + at_once);
            self.collect(first as u64, rows)
        })
    }

    fn collect(&self, start: u64, rows: impl Iterator<Item = usize>) -> Batch {
        let mut batch = Batch::new(start, 0, self.context);
        for row in rows {
            let at = row * self.context..(row + 1) * self.context;
            batch.tokens.extend_from_slice(&self.tokens[at.clone()]);
            batch.targets.extend_from_slice(&self.targets[at.clone()]);
            batch.starts.extend_from_slice(&self.starts[at]);
            batch.rows += 1;
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example(tokens: std::ops::Range<u32>, asked: usize) -> Example {
        let mut example = Example::default();
        let tokens: Vec<u32> = tokens.collect();
        example.push(&tokens[..asked], false);
        example.push(&tokens[asked..], true);
        example
    }

    #[test]
    fn documents_share_rows_and_only_answers_count() {
        let examples = [example(10..15, 3), example(20..28, 2), example(30..33, 1), example(40..44, 4)];
        let packed = Packed::new(&examples, 6, true).unwrap();
        let batch = packed.all(9).next().unwrap();
        assert_eq!(batch.tokens, [10, 11, 12, 13, 30, 31, 20, 21, 22, 23, 24, 25]);
        let i = IGNORE;
        assert_eq!(batch.targets, [i, i, 13, 14, 31, 32, i, 22, 23, 24, 25, 26]);
        assert_eq!(batch.starts, [0, 0, 0, 0, 4, 4, 0, 0, 0, 0, 0, 0]);
        assert_eq!(*packed.report(), Report { kept: 3, cut: 1, dropped: 1, targets: 9, tokens: 12 });
        let alone = Packed::new(&examples, 6, false).unwrap();
        assert_eq!(alone.rows(), 3);
        assert_eq!(alone.all(9).next().unwrap().starts[..6], [0, 0, 0, 0, 4, 4]);
        assert!(matches!(
            Packed::new(&examples[3..], 6, true),
            Err(Error::NoExamples { examples: 1, context: 6 })
        ));
    }

    proptest! {
        #[test]
        fn every_kept_document_is_there_once(lens in prop::collection::vec(2usize..20, 1..80), context in 1usize..16) {
            let mut at = 0;
            let examples: Vec<Example> = lens.iter().map(|&len| {
                at += 100;
                example(at..at + len as u32, 1)
            }).collect();
            let packed = Packed::new(&examples, context, true).unwrap();
            let mut found = Vec::new();
            for batch in packed.all(3) {
                for (at, (&token, &start)) in batch.tokens.iter().zip(&batch.starts).enumerate() {
                    if at % context == start as usize && token != 0 {
                        found.push(token);
                    }
                    if batch.targets[at] != IGNORE {
                        prop_assert_eq!(batch.targets[at], token + 1);
                    }
                }
            }
            found.sort_unstable();
            prop_assert!(found.into_iter().eq((1..=lens.len() as u32).map(|n| n * 100)));
        }
    }
}
