//! Regular expressions: read once here, so that errors say where.

use regex_syntax::ParserBuilder;

use crate::error::{Error, Kind};
use crate::limits::MAX_DEPTH;

/// The pattern without the anchors at its ends, which say what holds anyway.
pub(super) fn checked(pattern: &str) -> Result<&str, Error> {
    let limit = u32::try_from(MAX_DEPTH).unwrap_or(u32::MAX);
    let parsed = ParserBuilder::new().nest_limit(limit).build().parse(pattern);
    let hir = parsed.map_err(|error| {
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
        Error::Pattern { at, reason }
    })?;
    if hir.properties().look_set().is_empty() {
        return if pattern.is_empty() { Err(Error::EmptyPattern) } else { Ok(pattern) };
    }
    let inner = pattern.strip_prefix('^').unwrap_or(pattern);
    let inner = match inner.strip_suffix('$') {
        // After an odd number of backslashes it is a dollar sign.
        Some(rest) if (rest.len() - rest.trim_end_matches('\\').len()) % 2 == 0 => rest,
        _ => inner,
    };
    if inner.len() < pattern.len() { checked(inner) } else { Err(Error::Anchor) }
}
