//! Rules in the notation of Lark: what would make them costly, before they are parsed by recursion.

use crate::error::{Error, Kind};
use crate::limits::{MAX_DEPTH, MAX_RULES};

/// Refuses rules that are nested too deeply or too many, and directives that bring in other grammars.
pub(super) fn check(text: &str) -> Result<(), Error> {
    let kind = Kind::Lark;
    if text.lines().count() > MAX_RULES {
        return Err(Error::TooManyNames { kind, names: "lines", limit: MAX_RULES });
    }
    // Brackets in strings count as well: so it is never too few.
    let mut depth = 0_usize;
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(Error::TooDeep { kind, limit: MAX_DEPTH });
        }
    }
    let directives = text.split('%').skip(1);
    match directives.map(|rest| rest.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or("")).find(
        |name| ["import", "json", "llguidance", "regex", "override", "extend", "declare"].contains(name),
    ) {
        Some(name) => {
            Err(Error::Grammar { kind, reason: format!("of directives there is `%ignore`, not `%{name}`") })
        }
        None => Ok(()),
    }
}
