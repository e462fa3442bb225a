//! Limits, so that a grammar from outside takes bounded time and memory.

use llguidance::api::ParserLimits;

/// Most bytes of a grammar's text.
pub(crate) const MAX_TEXT: usize = 128 << 10;
/// Deepest nesting of brackets. Parsers recurse once a level or more.
pub(crate) const MAX_DEPTH: usize = 64;
/// Most places in a schema that references lead to: each may be resolved inside another.
pub(crate) const MAX_REFERENCES: usize = 256;
/// Most rules of a grammar: each may be compiled inside another.
pub(crate) const MAX_RULES: usize = 256;

/// What compiling, and the mask of one token, may take.
pub(crate) fn of_parser() -> ParserLimits {
    ParserLimits {
        // About 50 MB at most, at 1 to 2 kB a state.
        max_lexer_states: 25_000,
        // Errors are for people: what they wrote, not the parser's state.
        verbose_errors: false,
        ..ParserLimits::default()
    }
}
