//! Lines put together to what was meant: a backslash at the end of one goes on to the next, and `"""` stands around many.

const QUOTES: &str = "\"\"\"";

/// A message in the making.
#[derive(Debug, Default)]
pub(super) struct Lines {
    text: String,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum State {
    #[default]
    Empty,
    Continued,
    Block,
}

/// What was put together.
#[derive(Debug, PartialEq)]
pub(super) enum Whole {
    /// Lines that may be a command.
    Line(String),
    /// What stood between quotes.
    Block(String),
}

impl Lines {
    /// Whether more lines are expected.
    pub(super) fn is_open(&self) -> bool {
        self.state != State::Empty
    }

    /// Adds a line without its end; gives what is whole with it.
    pub(super) fn push(&mut self, line: &str) -> Option<Whole> {
        let mut line = line;
        if self.state == State::Empty
            && let Some(rest) = line.trim_start().strip_prefix(QUOTES)
        {
            if let Some(text) = rest.trim_end().strip_suffix(QUOTES) {
                return Some(Whole::Block(text.to_owned()));
            }
            (self.state, line) = (State::Block, rest);
            if line.trim().is_empty() {
                return None;
            }
        }
        if self.state == State::Block {
            let end = line.trim_end().strip_suffix(QUOTES);
            let rest = end.unwrap_or(line);
            let is_only_end = end.is_some() && rest.trim().is_empty();
            if !self.text.is_empty() && !is_only_end {
                self.text.push('\n');
            }
            self.text.push_str(rest.trim_end_matches(['\r']));
            return end.and_then(|_| self.finish());
        }
        match line.strip_suffix('\\') {
            Some(rest) => {
                self.text.push_str(rest);
                self.text.push('\n');
                self.state = State::Continued;
                None
            }
            None => {
                self.text.push_str(line);
                self.state = State::Continued;
                self.finish()
            }
        }
    }

    /// What there is at the end of the input.
    pub(super) fn finish(&mut self) -> Option<Whole> {
        let (text, state) = (std::mem::take(&mut self.text), std::mem::take(&mut self.state));
        match state {
            State::Empty => None,
            State::Continued => Some(Whole::Line(text)),
            State::Block => Some(Whole::Block(text)),
        }
    }

    /// Forgets what there is.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(lines: &[&str]) -> Vec<Whole> {
        let mut open = Lines::default();
        let mut all: Vec<Whole> = lines.iter().filter_map(|line| open.push(line)).collect();
        all.extend(open.finish());
        assert!(!open.is_open());
        all
    }

    #[test]
    fn lines_become_messages() {
        let line = |text: &str| Whole::Line(text.to_owned());
        let block = |text: &str| Whole::Block(text.to_owned());
        assert_eq!(whole(&["a", "", "b"]), [line("a"), line(""), line("b")]);
        assert_eq!(whole(&["a\\", "b\\", "c", "d"]), [line("a\nb\nc"), line("d")]);
        assert_eq!(whole(&["a\\"]), [line("a\n")]);
        assert_eq!(whole(&["\"\"\"", "/a", "  b", "\"\"\"", "c"]), [block("/a\n  b"), line("c")]);
        assert_eq!(whole(&["\"\"\"a", "", "b\"\"\""]), [block("a\n\nb")]);
        assert_eq!(whole(&["\"\"\" one \"\"\""]), [block(" one ")]);
        assert_eq!(whole(&["\"\"\"a", "b"]), [block("a\nb")]);
        assert_eq!(whole(&["say \"\"\"", "b"]), [line("say \"\"\""), line("b")]);
    }
}
