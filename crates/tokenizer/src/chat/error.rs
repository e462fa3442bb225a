//! What can go wrong with a chat template.

use std::error::Error as StdError;

/// Everything that reading or rendering a chat template can report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Larger than any real template.
    #[error("{bytes} bytes are too many for a chat template: the limit is {limit}")]
    TooLarge {
        /// Size found.
        bytes: usize,
        /// Most bytes read.
        limit: usize,
    },
    /// A line longer than any of a real template, or as many lines.
    #[error(
        "a line of {bytes} bytes, or that many lines, are too many for a chat template: the limit is {limit}"
    )]
    LongLine {
        /// Length found.
        bytes: usize,
        /// Longest line read.
        limit: usize,
    },
    /// Not a Jinja template, or one of a dialect that is not known here.
    #[error("the chat template is malformed at line {line}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// What the parser says.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A name that this crate keeps for itself.
    #[error("the chat template uses the name {name:?}, which is reserved: rename it")]
    Reserved {
        /// The name.
        name: String,
    },
    /// Something that no chat template needs: another template, thousands of operators in one expression.
    #[error("the chat template has {what} at line {line}, which is not supported")]
    Unsupported {
        /// Line, from 1.
        line: usize,
        /// What it is.
        what: String,
    },
    /// The template refused the conversation, by `raise_exception`.
    #[error("the chat template refuses the conversation: {message}")]
    Raised {
        /// The template's own words.
        message: String,
    },
    /// The template asked for what it cannot have: an unknown filter, an attribute of nothing, a sum of a string and a number.
    #[error("the chat template failed at line {line}")]
    Render {
        /// Line, from 1; 0 if it is not known.
        line: usize,
        /// The engine's reason.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The template asked for the time, and the conversation has none.
    #[error("the chat template asks for the time: set `now` of the conversation")]
    NoClock,
    /// The template ran for too long.
    #[error("the chat template runs for more than {limit} steps")]
    Steps {
        /// Most steps allowed.
        limit: u64,
    },
    /// The template moved too much data for a conversation of this size.
    #[error("the chat template moves more than {limit} bytes")]
    Work {
        /// Most bytes allowed.
        limit: u64,
    },
    /// Values nested too deeply, or within themselves.
    #[error("the chat template nests values more than {limit} deep")]
    Depth {
        /// Deepest nesting allowed.
        limit: usize,
    },
    /// The prompt is longer than any model reads.
    #[error("the chat template writes more than {limit} bytes")]
    Output {
        /// Most bytes allowed.
        limit: usize,
    },
    /// JSON that is no message.
    #[error("a message must have a field {field:?} that is {expected}")]
    Message {
        /// The field.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// Text that is not JSON.
    #[error("not JSON: line {line}, column {column}")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// The parser's own words.
        source: serde_json::Error,
    },
}

/// Why a filter or function of ours stopped a template; travels as the source of the engine's error.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stop {
    #[error("raised: {0}")]
    Raised(String),
    #[error("no clock")]
    NoClock,
    #[error("more than {0} bytes moved")]
    Work(u64),
    #[error("nested more than {0} deep")]
    Depth(usize),
}

impl From<Stop> for minijinja::Error {
    fn from(stop: Stop) -> Self {
        minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, "stopped").with_source(stop)
    }
}

/// The typed error behind an error of the engine.
pub(super) fn rendering(error: minijinja::Error, steps: u64) -> Error {
    if error.kind() == minijinja::ErrorKind::OutOfFuel {
        return Error::Steps { limit: steps };
    }
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(inner) = cause {
        if let Some(inner) = inner.downcast_ref::<minijinja::Error>()
            && inner.kind() == minijinja::ErrorKind::OutOfFuel
        {
            return Error::Steps { limit: steps };
        }
        match inner.downcast_ref() {
            Some(Stop::Raised(message)) => return Error::Raised { message: message.clone() },
            Some(Stop::NoClock) => return Error::NoClock,
            Some(Stop::Work(limit)) => return Error::Work { limit: *limit },
            Some(Stop::Depth(limit)) => return Error::Depth { limit: *limit },
            None => cause = inner.source(),
        }
    }
    Error::Render { line: error.line().unwrap_or(0), source: Box::new(error) }
}
