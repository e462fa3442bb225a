//! A template's source, changed before the engine reads it, so that what it does can be counted.
//!
//! What is taken by an operator, a filter, a test, a subscript or a loop passes through a filter that counts it
//! ([`budget`](super::budget)): a template cannot double a string forty times. `~` gets its operands as Python writes
//! them; `*` becomes a function, since it makes long texts of short ones, and so do slices, since the engine's own fail on
//! empty lists. Long text between tags is counted too.
//! And `{% generation %}`, a tag of transformers that marks what a model wrote, becomes a block that changes nothing.

use std::borrow::Cow;

use super::edits::{Edits, ends_operand, is_keyword, misplaced, opens, operates};
use super::error::Error;
use super::lex::{Kind, Piece, pieces};

/// How our own names begin.
pub(super) const RESERVED: &str = "__selvedge";

/// The filter that counts a value.
pub(super) const GUARD: &str = "__selvedge_guard";

/// The filter that counts a value of which a list may be made, character by character.
pub(super) const SPREAD: &str = "__selvedge_spread";

/// The same, which refuses none.
pub(super) const ITEMS: &str = "__selvedge_items";

/// The filter that counts a value of which a part is taken.
pub(super) const PART: &str = "__selvedge_part";

/// The filter that takes a slice.
pub(super) const SLICE: &str = "__selvedge_slice";

/// The filter that counts a value and turns it into text.
pub(super) const TEXT: &str = "__selvedge_text";

/// The filter that multiplies.
pub(super) const TIMES: &str = "__selvedge_times";

/// The filter that lets nothing but numbers through.
pub(super) const NUMBER: &str = "__selvedge_number";

/// The function that counts bytes of the template itself; writes nothing.
pub(super) const COUNT: &str = "__selvedge_count";

/// Text up to this many bytes is covered by the count of steps.
const FREE_TEXT: usize = 64;

/// No text between tags has more blanks and nothing else.
const MAX_BLANKS: usize = 4096;

/// No tag has a longer chain of operators, filters, attributes and calls: the engine goes down it by recursion, and each
/// operator copies what those before it made.
const MAX_CHAIN: usize = 400;

/// The source without the tags of transformers.
pub(super) fn without_generation(source: &str) -> Cow<'_, str> {
    if !source.contains("generation") {
        return Cow::Borrowed(source);
    }
    let (mut out, mut done) = (String::with_capacity(source.len()), 0);
    for piece in pieces(source) {
        let Piece::Tag { block: true, tokens, .. } = piece else { continue };
        let [only] = &tokens[..] else { continue };
        let plain = match only.text {
            "generation" => "with",
            "endgeneration" => "endwith",
            _ => continue,
        };
        out.push_str(&source[done..only.at]);
        out.push_str(plain);
        done = only.end();
    }
    out.push_str(&source[done..]);
    Cow::Owned(out)
}

/// Refuses tags, and sequences of `elif`, that are too long a chain for the engine.
pub(super) fn check_chains(source: &str) -> Result<(), Error> {
    // How many `elif` each open `if` has, and all of them.
    let (mut open, mut branches) = (Vec::new(), 0);
    for piece in pieces(source) {
        let Piece::Tag { range, block, tokens } = piece else { continue };
        match tokens.first().map_or("", |token| token.text) {
            "if" if block => open.push(0),
            "endif" if block => branches -= open.pop().unwrap_or(0),
            "elif" if block => {
                branches += 1;
                match open.last_mut() {
                    Some(own) => *own += 1,
                    None => open.push(1),
                }
                if branches > MAX_CHAIN {
                    return Err(unsupported(source, range.start, format!("{branches} branches with elif")));
                }
            }
            _ => {}
        }
        let links = |at: &usize| {
            let token = &tokens[*at];
            operates(token)
                || token.kind == Kind::Word && is_keyword(token.text)
                || token.is_sign("|")
                || token.is_sign(".")
                || opens(token) && *at > 0 && ends_operand(&tokens[at - 1])
        };
        let links = (0..tokens.len()).filter(links).count();
        if links > MAX_CHAIN {
            return Err(unsupported(source, range.start, format!("{links} operators and calls in one tag")));
        }
    }
    Ok(())
}

/// The changed source, of a source that the engine's parser has accepted.
pub(super) fn rewrite(source: &str) -> Result<String, Error> {
    let mut out = String::with_capacity(source.len() * 2);
    for piece in pieces(source) {
        match piece {
            Piece::Verbatim(range) => out.push_str(&source[range]),
            Piece::Text(range) => {
                let text = &source[range.clone()];
                let blanks = text.len() - text.trim_start().len();
                if blanks == text.len() && blanks > MAX_BLANKS {
                    return Err(unsupported(source, range.start, format!("{blanks} blanks in a row")));
                }
                out.push_str(&text[..blanks]);
                // Behind a variable and before what is no blank, nothing is trimmed otherwise.
                if text.len() > FREE_TEXT && blanks < text.len() {
                    out.push_str(&format!("{{{{ {COUNT}({}) }}}}", text.len()));
                }
                out.push_str(&text[blanks..]);
            }
            Piece::Tag { range, block, tokens } => {
                let word = if block { tokens.first().map_or("", |token| token.text) } else { "" };
                if matches!(word, "include" | "import" | "from" | "extends" | "block") {
                    return Err(unsupported(source, range.start, format!("the statement `{word}`")));
                }
                if let Some(word) = misplaced(&tokens, block) {
                    let what = format!("the word `{word}` where a value should be");
                    return Err(unsupported(source, range.start, what));
                }
                let mut edits = Edits::default();
                edits.of_tag(&tokens, word);
                edits.apply(&source[range.clone()], range.start, &mut out);
            }
        }
    }
    Ok(out)
}

fn unsupported(source: &str, at: usize, what: String) -> Error {
    Error::Unsupported { line: 1 + source[..at].matches('\n').count(), what }
}
