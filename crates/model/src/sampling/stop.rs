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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is shown and which string stops, by looking at every end in turn.
    fn naive(stops: &[String], text: &str) -> (String, Option<usize>) {
        for end in 1..=text.len() {
            let there = (0..stops.len()).filter(|&i| text.as_bytes()[..end].ends_with(stops[i].as_bytes()));
            if let Some(index) = there.max_by_key(|&i| (stops[i].len(), std::cmp::Reverse(i))) {
                return (text[..end - stops[index].len()].to_owned(), Some(index));
            }
        }
        (text.to_owned(), None)
    }

    /// How much of the end of `text` may yet become a stop string.
    fn withheld(stops: &[String], text: &str) -> usize {
        let starts = text.char_indices().map(|(at, _)| &text[at..]);
        let mut open = starts.filter(|end| stops.iter().any(|stop| stop.starts_with(end)));
        open.next().map_or(0, str::len)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn any_cutting_shows_what_a_search_of_the_whole_text_does(
            stops in prop::collection::vec("[abä€]{1,5}", 0..4),
            pieces in prop::collection::vec("[abä€]{0,4}", 0..16),
        ) {
            let text = pieces.concat();
            let (want, index) = naive(&stops, &text);
            let mut matcher = StopStrings::new(&stops).unwrap();
            // The second text must see nothing of the first.
            for _ in 0..2 {
                let (mut shown, mut read) = (String::new(), String::new());
                let mut stopped = None;
                for piece in &pieces {
                    stopped = matcher.push(piece, &mut shown);
                    read.push_str(piece);
                    prop_assert!(want.starts_with(&shown), "{:?} of {:?}", shown, want);
                    if stopped.is_none() {
                        prop_assert_eq!(read.len() - shown.len(), withheld(&stops, &read));
                    }
                }
                matcher.finish(&mut shown);
                prop_assert_eq!(stopped, index);
                prop_assert_eq!(&shown, &want);
            }
        }
    }

    #[test]
    fn beginnings_are_held_back_and_given_up() {
        let mut matcher = StopStrings::new(["</s>", "User:"]).unwrap();
        let mut shown = String::new();
        assert_eq!(matcher.push("1 <", &mut shown), None);
        assert_eq!(shown, "1 ");
        assert_eq!(matcher.push(" 2 Us", &mut shown), None);
        assert_eq!(shown, "1 < 2 ");
        assert_eq!(matcher.push("er: no", &mut shown), Some(1));
        assert_eq!(matcher.push("more", &mut shown), Some(1));
        matcher.finish(&mut shown);
        assert_eq!(shown, "1 < 2 ");
    }

    #[test]
    fn an_empty_string_is_refused() {
        assert!(matches!(StopStrings::new(["a", ""]), Err(Error::EmptyStopString { index: 1 })));
        let mut shown = String::new();
        let mut none = StopStrings::default();
        assert_eq!(none.push("all of it", &mut shown), None);
        assert_eq!(shown, "all of it");
    }
}
