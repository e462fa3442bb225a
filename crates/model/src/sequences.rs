//! Which rows of a call are sequences of their own: whole rows, or the documents that are packed into them.
//!
//! Attention and positions know nothing of packing: each document is computed as the sequence that it is alone, from
//! position 0 on, so its outputs have the bits that it has alone.

use std::ops::Range;

use crate::architecture::Rows;

/// Sequences of one length that lie one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sequences {
    /// Rows of the call.
    pub(crate) rows: Range<usize>,
    /// Rows of a sequence.
    pub(crate) time: usize,
}

impl Sequences {
    /// How many there are.
    pub(crate) fn batch(&self) -> usize {
        self.rows.len() / self.time.max(1)
    }

    /// Those of `rows`, in order.
    pub(crate) fn of(rows: &Rows<'_>) -> Vec<Sequences> {
        let (n, time) = (rows.tokens.len(), rows.time.max(1));
        if rows.starts.is_empty() {
            return vec![Sequences { rows: 0..n, time: rows.time }];
        }
        assert_eq!(rows.starts.len(), n, "a start for every token");
        let begins = |row: &usize| row.is_multiple_of(time) || rows.starts[*row] as usize == row % time;
        let mut groups: Vec<Sequences> = Vec::new();
        let mut starts = (0..n).filter(begins).peekable();
        while let Some(start) = starts.next() {
            let end = starts.peek().copied().unwrap_or(n);
            match groups.last_mut() {
                Some(last) if last.time == end - start => last.rows.end = end,
                _ => groups.push(Sequences { rows: start..end, time: end - start }),
            }
        }
        groups
    }
}

/// The position of every row in its sequence.
pub(crate) fn positions(sequences: &[Sequences]) -> Vec<u32> {
    let position = |row: usize, time: usize| u32::try_from(row % time).unwrap_or(u32::MAX);
    sequences.iter().flat_map(|of| (0..of.rows.len()).map(|row| position(row, of.time))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_sequences_and_equal_ones_are_together() {
        let tokens = [0; 12];
        let plain = Rows::new(&tokens, &tokens, 6);
        assert_eq!(Sequences::of(&plain), [Sequences { rows: 0..12, time: 6 }]);
        assert_eq!(positions(&Sequences::of(&plain))[5..8], [5, 0, 1]);
        let starts = [0, 0, 2, 2, 4, 4, 0, 0, 0, 0, 0, 5];
        let packed = Sequences::of(&Rows { starts: &starts, ..plain });
        let group = |rows, time| Sequences { rows, time };
        assert_eq!(packed, [group(0..6, 2), group(6..11, 5), group(11..12, 1)]);
        assert_eq!(packed[0].batch(), 3);
        assert_eq!(positions(&packed), [0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 4, 0]);
    }
}
