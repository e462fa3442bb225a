//! Strings that end a text: found across the pieces a text comes in, and never shown, not even in part.

use crate::Error;

/// One stop string and how much of it the text ends with (Knuth, Morris, Pratt 1977).
#[derive(Clone, Debug)]
struct Pattern {
    bytes: Vec<u8>,
    /// `border[n]`: the longest proper beginning of the first n + 1 bytes that is also their end.
    border: Vec<usize>,
    matched: usize,
}

impl Pattern {
    fn new(text: &str) -> Self {
        let bytes = text.as_bytes().to_vec();
        let mut border = vec![0; bytes.len()];
        for end in 1..bytes.len() {
            let mut length = border[end - 1];
            while length > 0 && bytes[length] != bytes[end] {
                length = border[length - 1];
            }
            border[end] = length + usize::from(bytes[length] == bytes[end]);
        }
        Pattern { bytes, border, matched: 0 }
    }

    /// Reads a byte; true if the text ends with the whole string now. Nothing may be read after that.
    fn step(&mut self, byte: u8) -> bool {
        while self.matched > 0 && self.bytes[self.matched] != byte {
            self.matched = self.border[self.matched - 1];
        }
        self.matched += usize::from(self.bytes[self.matched] == byte);
        self.matched == self.bytes.len()
    }
}

/// Looks for stop strings in a text that comes in pieces, and holds back what may be the beginning of one.
///
/// The text stops where the first occurrence is complete; of those complete at the same place the longest counts. What is
/// shown in all does not depend on how the text was cut, and no piece is held back longer than it may still become a stop
/// string.
#[derive(Clone, Debug, Default)]
pub struct StopStrings {
    patterns: Vec<Pattern>,
    held: String,
    stopped: Option<usize>,
}

impl StopStrings {
    /// A matcher of these strings at the beginning of a text.
    ///
    /// # Errors
    /// [`Error::EmptyStopString`]; it would stop every text at once.
    pub fn new<S: AsRef<str>>(strings: impl IntoIterator<Item = S>) -> Result<Self, Error> {
        let patterns: Vec<Pattern> = strings.into_iter().map(|text| Pattern::new(text.as_ref())).collect();
        match patterns.iter().position(|pattern| pattern.bytes.is_empty()) {
            Some(index) => Err(Error::EmptyStopString { index }),
            None => Ok(StopStrings { patterns, held: String::new(), stopped: None }),
        }
    }

    /// Reads the next piece and appends to `shown` what of the text so far can be shown. Returns the index of the stop
    /// string once one has occurred; later pieces are ignored.
    pub fn push(&mut self, piece: &str, shown: &mut String) -> Option<usize> {
        if self.stopped.is_some() {
            return self.stopped;
        }
        let read = self.held.len();
        self.held.push_str(piece);
        for (at, &byte) in self.held.as_bytes().iter().enumerate().skip(read) {
            let mut found: Option<(usize, usize)> = None;
            for (index, pattern) in self.patterns.iter_mut().enumerate() {
                if pattern.step(byte) && found.is_none_or(|(_, length)| pattern.bytes.len() > length) {
                    found = Some((index, pattern.bytes.len()));
                }
            }
            if let Some((index, length)) = found {
                shown.push_str(&self.held[..at + 1 - length]);
                self.held.clear();
                self.stopped = Some(index);
                return self.stopped;
            }
        }
        // The longest end of the text that may go on as a stop string. It begins as a string does, not within a character.
        let longest = self.patterns.iter().map(|pattern| pattern.matched).max().unwrap_or(0);
        shown.extend(self.held.drain(..self.held.len() - longest));
        None
    }

    /// Ends the text: appends to `shown` what was held back, and is ready for another text.
    pub fn finish(&mut self, shown: &mut String) {
        shown.push_str(&self.held);
        self.clear();
    }

    /// Forgets the text; the next piece is the first of a new one.
    pub fn clear(&mut self) {
        self.held.clear();
        self.stopped = None;
        self.patterns.iter_mut().for_each(|pattern| pattern.matched = 0);
    }
}
