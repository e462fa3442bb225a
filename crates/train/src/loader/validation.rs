//! Validation windows in file order, each exactly once.

use std::sync::Arc;

use super::Batch;
use crate::Error;
use crate::tokens::TokenFile;

/// The first windows of a token file, each exactly once, the last batch as short as it comes out.
///
/// Nothing is padded, repeated or dropped to fill a batch, so that a sum over the rows is the sum over the windows
/// whatever the batch size.
#[derive(Debug)]
pub struct ValidationRows {
    tokens: Arc<TokenFile>,
    rows: usize,
    scratch: Vec<u32>,
    next: u64,
    end: u64,
}

impl ValidationRows {
    /// Batches of at most `rows` rows of `context` tokens over the first `limit` windows, or over all.
    ///
    /// # Errors
    /// [`Error::ContextTooLong`] if there is no window, [`Error::Setting`] if `rows`, `context` or `limit` is 0.
    pub fn new(
        tokens: Arc<TokenFile>,
        rows: usize,
        context: usize,
        limit: Option<u64>,
    ) -> Result<Self, Error> {
        if rows == 0 {
            return Err(Error::setting("batch", rows, "at least 1 row"));
        }
        if limit == Some(0) {
            return Err(Error::setting("number of validation windows", 0, "at least 1"));
        }
        let windows = tokens.windows(context)?;
        let end = limit.map_or(windows, |limit| windows.min(limit));
        Ok(Self { tokens, rows, scratch: vec![0; context + 1], next: 0, end })
    }

    /// Number of windows that all batches together hold.
    #[must_use]
    pub fn windows(&self) -> u64 {
        self.end
    }
}

impl Iterator for ValidationRows {
    type Item = Result<Batch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let left = self.end - self.next;
        if left == 0 {
            return None;
        }
        let rows = left.min(self.rows as u64);
        let mut batch = Batch::new(self.next, rows as usize, self.scratch.len() - 1);
        for window in self.next..self.next + rows {
            if let Err(error) = batch.push(&self.tokens, window, &mut self.scratch) {
                self.next = self.end;
                return Some(Err(error));
            }
        }
        self.next += rows;
        Some(Ok(batch))
    }
}
