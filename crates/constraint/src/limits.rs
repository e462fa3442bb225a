//! Limits, so that a grammar from outside takes bounded time and memory.

use llguidance::api::ParserLimits;

/// Most bytes of a grammar's text.
pub(crate) const MAX_TEXT: usize = 128 << 10;
/// Stack of the thread that compiles a grammar, which is recursive: about 5 kB a level, and with [`MAX_TEXT`] there are no more
/// than 13,000 levels, references followed. Only what is used is taken.
pub(crate) const STACK: usize = 128 << 20;
/// Deepest nesting of brackets.
pub(crate) const MAX_DEPTH: usize = 64;
/// Most places in a schema that references lead to: each may be resolved inside another.
pub(crate) const MAX_REFERENCES: usize = 256;
/// Largest product of alternatives of patterns that must hold at once.
pub(crate) const MAX_FACTORS: u64 = 1 << 16;
/// Most patterns of names in a schema: each is compared with each.
pub(crate) const MAX_PATTERN_PROPERTIES: usize = 16;
/// Most bytes of such a pattern.
pub(crate) const MAX_PATTERN_PROPERTY: usize = 64;
/// Largest number in a schema. Bounds are computed with in 64 bits, and beyond 2^53 not every integer is a number of JSON.
pub(crate) const MAX_NUMBER: f64 = 1e15;

/// What compiling, and the mask of one token, may take.
pub(crate) fn of_parser() -> ParserLimits {
    ParserLimits {
        // About 50 MB at most, at 1 to 2 kB a state. States are counted while masks are computed, so none are made beforehand.
        max_lexer_states: 25_000,
        precompute_large_lexemes: false,
        // Errors are for people: what they wrote, not the parser's state.
        verbose_errors: false,
        ..ParserLimits::default()
    }
}
