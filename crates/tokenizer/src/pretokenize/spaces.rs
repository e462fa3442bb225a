//! Runs of white space: the only place where the patterns look ahead.

use super::classes::{Class, class_at, run_end};

/// A run of white space, scanned once.
///
/// Whatever part of a run a pattern takes, the rest is cut into at most two more pieces, so no run is scanned more than
/// three times, however long.
pub(crate) struct WhiteSpace {
    start: usize,
    /// Start of the last character.
    last: usize,
    /// Just behind the run.
    pub(crate) end: usize,
    /// Just behind the last `\r` or `\n`, if there is one.
    pub(crate) after_newline: Option<usize>,
}

/// Scans the run that begins at `start`, which is a white space character.
pub(crate) fn white_space(text: &[u8], start: usize) -> WhiteSpace {
    let mut run = WhiteSpace { start, last: start, end: start, after_newline: None };
    while let Some((Class::Space, len)) = class_at(text, run.end) {
        run.last = run.end;
        run.end += len;
        if let b'\r' | b'\n' = text[run.last] {
            run.after_newline = Some(run.end);
        }
    }
    run
}

impl WhiteSpace {
    /// The end of `\s+(?!\S)|\s+`: all of it at the end of the text, otherwise all but the last character, which goes
    /// with what follows; a single character stands alone.
    pub(crate) fn trailing(&self, text: &[u8]) -> usize {
        if self.end == text.len() || self.last == self.start { self.end } else { self.last }
    }
}

/// Where the run of white space at `i` ends.
pub(crate) fn space_after(text: &[u8], i: usize) -> usize {
    run_end(text, i, Class::Space)
}

/// Where the run of white space that ends at `i` begins, at `from` or behind.
pub(crate) fn space_before(text: &[u8], from: usize, mut i: usize) -> usize {
    // White space has at most three bytes in UTF-8.
    let space = |i: usize| {
        (1..=3.min(i - from)).find(|len| class_at(&text[..i], i - len) == Some((Class::Space, *len)))
    };
    while let Some(len) = space(i) {
        i -= len;
    }
    i
}
