//! Grammars: what a text is to be, checked before any vocabulary is there.

mod place;
mod regex;
mod schema;

use std::fmt;
use std::panic::AssertUnwindSafe;

use llguidance::api::{GrammarInit, TopLevelGrammar};
use llguidance::panic_utils;
use selvedge_sync::OwnedThread;

use crate::error::{Error, Kind, brief};
use crate::limits::{self, MAX_TEXT};

/// The texts that may be written. A [`Constraint`](crate::Constraint) follows one of them.
#[derive(Clone)]
pub struct Grammar {
    init: GrammarInit,
    kind: Kind,
}

impl Grammar {
    /// Most bytes of a grammar's text.
    pub const MAX_TEXT: usize = MAX_TEXT;

    /// JSON of a schema (JSON Schema, draft 2020-12 or older). Properties are written in the order of the schema. Between tokens
    /// there may be one space, or a line break and an indentation.
    ///
    /// Understood are `type`, `enum`, `const`, `properties`, `required`, `additionalProperties`, `patternProperties`, `items`,
    /// `prefixItems`, `minItems`, `maxItems`, `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`, `multipleOf`,
    /// `minLength`, `maxLength`, `pattern`, the usual `format`s, `anyOf`, `allOf`, `oneOf` whose options exclude each other, and
    /// `$ref` to a place in the schema. What is not understood and would restrict the text is an error, not ignored.
    ///
    /// # Errors
    /// [`Error::NotJson`]; [`Error::InSchema`] for a pattern that [`Grammar::regex`] would not take either, unless it is in a
    /// definition that is not used; [`Error::Grammar`] for a schema that is not understood or that no JSON satisfies; those of the
    /// limits.
    pub fn json_schema(text: &str) -> Result<Self, Error> {
        checked_length(Kind::JsonSchema, text)?;
        let schema = schema::parse(text)?;
        Self::compile(Kind::JsonSchema, TopLevelGrammar::from_json_schema(schema))
    }

    /// Any JSON object.
    ///
    /// # Errors
    /// [`Error::Spawn`].
    pub fn json() -> Result<Self, Error> {
        Self::json_schema(r#"{"type": "object"}"#)
    }

    /// Texts that a regular expression matches as a whole, in the syntax of the crate `regex`. A `^` at the beginning and a
    /// `$` at the end change nothing. Patterns in verbose mode, `(?x)`, are written in one line.
    ///
    /// # Errors
    /// [`Error::Pattern`], [`Error::EmptyPattern`], [`Error::Anchor`], [`Error::Verbose`], [`Error::Grammar`], and those of
    /// the limits.
    pub fn regex(pattern: &str) -> Result<Self, Error> {
        checked_length(Kind::Regex, pattern)?;
        let pattern = regex::checked(pattern)?;
        Self::compile(Kind::Regex, TopLevelGrammar::from_regex(pattern))
    }

    /// One of some texts.
    ///
    /// # Errors
    /// [`Error::NoChoices`], [`Error::EmptyChoice`], and those of the limits.
    pub fn choice<S: AsRef<str>>(choices: &[S]) -> Result<Self, Error> {
        if let Some(index) = choices.iter().position(|choice| choice.as_ref().is_empty()) {
            return Err(Error::EmptyChoice { index });
        }
        if choices.is_empty() {
            return Err(Error::NoChoices);
        }
        let bytes = choices.iter().map(|choice| choice.as_ref().len()).sum();
        checked_bytes(Kind::Choice, bytes)?;
        let pattern: Vec<String> =
            choices.iter().map(|choice| regex_syntax::escape(choice.as_ref())).collect();
        Self::compile(Kind::Choice, TopLevelGrammar::from_regex(&pattern.join("|")))
    }

    fn compile(kind: Kind, grammar: TopLevelGrammar) -> Result<Self, Error> {
        let failed = |reason: String| Error::Grammar { kind, reason };
        let compile = move || {
            let compile = || GrammarInit::Serialized(grammar).to_internal(None, limits::of_parser());
            panic_utils::catch_unwind(AssertUnwindSafe(compile)).map_err(|error| brief(&error))
        };
        // Its recursion is as deep as the grammar, which the stack of the caller may not be.
        let thread = OwnedThread::spawn_with_stack("grammar", limits::STACK, compile)?;
        let compiled = thread.join().map_err(|panicked| failed(panicked.message))?;
        let (rules, lexer) = compiled.map_err(failed)?;
        Ok(Grammar { init: GrammarInit::Internal(rules, lexer), kind })
    }

    /// What it was given as.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn init(&self) -> GrammarInit {
        self.init.clone()
    }
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grammar").field("kind", &self.kind).finish_non_exhaustive()
    }
}

fn checked_length(kind: Kind, text: &str) -> Result<(), Error> {
    checked_bytes(kind, text.len())
}

fn checked_bytes(kind: Kind, bytes: usize) -> Result<(), Error> {
    if bytes > MAX_TEXT { Err(Error::TooLong { kind, bytes, limit: MAX_TEXT }) } else { Ok(()) }
}
