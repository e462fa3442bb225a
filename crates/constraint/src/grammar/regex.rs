//! Regular expressions: read once here, so that errors say where.

use llguidance::regex_to_lark;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind, Look};

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
    handed_on(inner, &hir)?;
    Ok(inner)
}

/// Checks a pattern of a schema, which is looked for in a text and may say with anchors where.
pub(super) fn check_search(pattern: &str) -> Result<(), Error> {
    let hir = parsed(pattern, 0)?;
    if !looks_at_ends(&hir, true, true) {
        return Err(Error::InnerAnchor);
    }
    handed_on(pattern, &hir)
}

/// Checks that it is the same once it is handed on: line breaks and tabs are escapes then, which verbose mode does not skip.
fn handed_on(pattern: &str, hir: &Hir) -> Result<(), Error> {
    match parsed(&regex_to_lark(pattern, ""), 0) {
        Ok(handed) if handed == *hir => Ok(()),
        _ => Err(Error::Verbose),
    }
}

/// Whether it asks for the place of what it matches.
fn looks(hir: &Hir) -> bool {
    !hir.properties().look_set().is_empty()
}

/// Whether it asks for places at the ends of the text only: at its own beginning, if that is where a text may begin, and at
/// its own end. Its depth is bounded by [`MAX_DEPTH`].
fn looks_at_ends(hir: &Hir, begins: bool, ends: bool) -> bool {
    match hir.kind() {
        HirKind::Look(Look::Start) => begins,
        HirKind::Look(Look::End) => ends,
        HirKind::Look(_) => false,
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) => true,
        HirKind::Repetition(repetition) => looks_at_ends(&repetition.sub, false, false),
        HirKind::Capture(capture) => looks_at_ends(&capture.sub, begins, ends),
        HirKind::Alternation(parts) => parts.iter().all(|part| looks_at_ends(part, begins, ends)),
        HirKind::Concat(parts) => {
            let is = |part: &Hir, look| matches!(part.kind(), HirKind::Look(found) if *found == look);
            let first = parts.iter().position(|part| !is(part, Look::Start)).unwrap_or(parts.len());
            let last = parts.iter().rposition(|part| !is(part, Look::End)).unwrap_or(0);
            let mut parts = parts.iter().enumerate();
            parts.all(|(at, part)| looks_at_ends(part, begins && at <= first, ends && at >= last))
        }
    }
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
