//! Runs of white space: the only place where the patterns look ahead.

use super::classes::{Class, class_at};

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
