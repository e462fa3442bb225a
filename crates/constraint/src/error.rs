//! What can go wrong with a grammar and with a text that is to be of it.

use std::fmt;

use selvedge_sync::{SpawnError, ThreadPanicked};

/// What a grammar was given as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A JSON schema.
    JsonSchema,
    /// A regular expression.
    Regex,
    /// A list of texts, of which one is to be written.
    Choice,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::JsonSchema => "JSON schema",
            Kind::Regex => "regular expression",
            Kind::Choice => "list of choices",
        })
    }
}

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// More text than is taken.
    #[error("the {kind} has {bytes} bytes, and at most {limit} are taken; make it shorter")]
    TooLong {
        /// What it is.
        kind: Kind,
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Brackets in brackets in brackets.
    #[error("the {kind} is nested more than {limit} deep; make it flatter")]
    TooDeep {
        /// What it is.
        kind: Kind,
        /// The limit.
        limit: usize,
    },
    /// More names than are taken.
    #[error("the {kind} names more than {limit} {names}; use fewer")]
    TooManyNames {
        /// What it is.
        kind: Kind,
        /// What they are the names of.
        names: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A schema that is no JSON.
    #[error("the JSON schema is not JSON, line {line}, column {column}: {reason}; correct it there")]
    NotJson {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A regular expression that is none.
    #[error("the regular expression is wrong at byte {at}: {reason}; correct it there")]
    Pattern {
        /// Where in the pattern.
        at: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A regular expression that looks beyond itself.
    #[error(
        "the regular expression asks for the place of what it matches, with `^`, `$` or `\\b` inside; leave them out: it matches the whole text"
    )]
    Anchor,
    /// An anchor where it is not understood.
    #[error(
        "the regular expression has `^` elsewhere than at its beginning, `$` elsewhere than at its end, or asks for the place with `\\b` or the like; leave that out"
    )]
    InnerAnchor,
    /// Line breaks or tabs in a pattern that skips them.
    #[error(
        "the regular expression has line breaks or tabs where `(?x)` skips them; write it in one line, with spaces and without comments"
    )]
    Verbose,
    /// A pattern of a JSON schema.
    #[error("at {place} in the JSON schema: {error}")]
    InSchema {
        /// Where, as a `$ref` to it is written.
        place: String,
        /// What is wrong with it.
        error: Box<Error>,
    },
    /// A pattern without characters.
    #[error("the regular expression is empty and would match the empty text only; give a pattern")]
    EmptyPattern,
    /// A list of no choices.
    #[error("there is nothing to choose from; give two choices or more")]
    NoChoices,
    /// A choice without characters.
    #[error("choice {index} is empty; leave it out, or give it a text")]
    EmptyChoice {
        /// Its place in the list, from 0.
        index: usize,
    },
    /// A grammar that says what is not understood, contradicts itself, or is beyond the limits.
    #[error("the {kind} cannot be used: {reason}; correct or simplify it")]
    Grammar {
        /// What it is.
        kind: Kind,
        /// Why not.
        reason: String,
    },
    /// A token that ends a text and that the model does not have.
    #[error("token {token} is to end a text, and the vocabulary has {vocab}; name one that is in it")]
    EndToken {
        /// The token.
        token: u32,
        /// Size of the model's vocabulary.
        vocab: usize,
    },
    /// A vocabulary from which no tree of tokens can be made.
    #[error(
        "no tree can be made of the vocabulary's {vocab} tokens: {reason}; is this the model's tokenizer?"
    )]
    Vocabulary {
        /// Size of the model's vocabulary.
        vocab: usize,
        /// Why not.
        reason: String,
    },
    /// A token that the grammar does not have there.
    #[error("token {token} cannot come here by the grammar; accept only tokens of the mask")]
    NotAllowed {
        /// The token.
        token: u32,
    },
    /// The grammar demands a byte that no token has, or is of no text at all.
    #[error(
        "no token can come next by the grammar; does it contradict itself, or demand bytes that the vocabulary lacks?"
    )]
    Stuck,
    /// The grammar takes too much time or memory at this place of the text.
    #[error("the grammar has become too costly after {tokens} tokens: {reason}; simplify it")]
    TooCostly {
        /// Tokens accepted so far.
        tokens: usize,
        /// Which limit.
        reason: String,
    },
    /// A defect: what the text was followed with does not work any more.
    #[error("the grammar can be followed no further after {tokens} tokens: {reason}")]
    Broken {
        /// Tokens accepted so far.
        tokens: usize,
        /// What happened.
        reason: String,
    },
    /// A text of the thread that there is not.
    #[error("text {index} of {texts} was asked for; name one that there is")]
    NoSuchText {
        /// Its number.
        index: usize,
        /// How many there are.
        texts: usize,
    },
    /// A text of the thread whose grammar could be followed no further, as was said.
    #[error("text {index} has failed before; begin it anew")]
    Failed {
        /// Its number.
        index: usize,
    },
    /// The thread that computes masks could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The thread that computes masks is gone.
    #[error("no more masks are computed; start again")]
    Thread(#[from] ThreadPanicked),
}

/// What a foreign error says to people: its first line, and what an error of a pattern has at its end. Elsewhere there may be
/// the state of a parser.
pub(crate) fn brief(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or("no reason is known").trim_end_matches(':');
    let first = first.strip_prefix("panic: ").unwrap_or(first);
    match lines.find_map(|line| line.strip_prefix("error: ")) {
        Some(last) => format!("{first}: {last}"),
        None => first.to_owned(),
    }
}
