//! Places in a JSON schema, written as a `$ref` to them is.

use std::fmt::{self, Write as _};

/// Most characters that are told of a place.
const LONGEST: usize = 200;

/// The keys and indices that lead to a place.
#[derive(Clone, Debug, Default)]
pub(super) struct Place<'a>(Vec<Step<'a>>);

#[derive(Clone, Debug)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl<'a> Place<'a> {
    pub(super) fn push_key(&mut self, key: &'a str) {
        self.0.push(Step::Key(key));
    }

    pub(super) fn push_index(&mut self, index: usize) {
        self.0.push(Step::Index(index));
    }

    /// Back to what the last key or index was in.
    pub(super) fn pop(&mut self) {
        self.0.pop();
    }
}

/// In one line, and cut off where it is long.
impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.0.iter().map(|step| match step {
            Step::Key(key) => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Step::Index(index) => format!("/{index}"),
        });
        let mut text = String::from("#");
        text.extend(steps);
        for (index, character) in text.chars().enumerate() {
            match character {
                _ if index == LONGEST => return f.write_char('…'),
                c if c.is_control() => write!(f, "{}", c.escape_default())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
