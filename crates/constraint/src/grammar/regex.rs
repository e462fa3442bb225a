//! Regular expressions: read once here, so that errors say where.

use llguidance::regex_to_lark;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::Hir;

use crate::error::{Error, Kind};
use crate::limits::MAX_DEPTH;

/// The pattern without the anchors at its ends, one at each, which say what holds anyway.
pub(super) fn checked(pattern: &str) -> Result<&str, Error> {
    let mut hir = parsed(pattern, 0)?;
    let mut inner = pattern;
    if looks(&hir) {
        inner = pattern.strip_prefix('^').unwrap_or(pattern);
        let from = pattern.len() - inner.len();
        inner = match inner.strip_suffix('$') {
            // After an odd number of backslashes it is a dollar sign.
            Some(rest) if (rest.len() - rest.trim_end_matches('\\').len()) % 2 == 0 => rest,
            _ => inner,
        };
        if inner.len() < pattern.len() {
            hir = parsed(inner, from)?;
        }
        if looks(&hir) {
            return Err(Error::Anchor);
        }
    }
    if inner.is_empty() {
        return Err(Error::EmptyPattern);
    }
    // Line breaks and tabs are handed on as escapes, which verbose mode does not skip.
    match parsed(&regex_to_lark(inner, ""), 0) {
        Ok(handed) if handed == hir => Ok(inner),
        _ => Err(Error::Verbose),
    }
}

/// Whether it asks for the place of what it matches.
fn looks(hir: &Hir) -> bool {
    !hir.properties().look_set().is_empty()
}

/// The part of a pattern that begins at byte `from`.
fn parsed(part: &str, from: usize) -> Result<Hir, Error> {
    let limit = u32::try_from(MAX_DEPTH).unwrap_or(u32::MAX);
    ParserBuilder::new().nest_limit(limit).build().parse(part).map_err(|error| {
        let (reason, at) = match &error {
            regex_syntax::Error::Parse(error) => {
                if matches!(error.kind(), regex_syntax::ast::ErrorKind::NestLimitExceeded(_)) {
                    return Error::TooDeep { kind: Kind::Regex, limit: MAX_DEPTH };
                }
                (error.kind().to_string(), error.span().start.offset)
            }
            regex_syntax::Error::Translate(error) => (error.kind().to_string(), error.span().start.offset),
            _ => ("it cannot be read".to_owned(), 0),
        };
        Error::Pattern { at: from + at, reason }
    })
}
