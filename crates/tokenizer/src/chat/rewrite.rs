//! A template's source, changed before the engine reads it, so that what it does can be counted.
//!
//! What is taken by an operator, a filter, a test, a subscript or a loop passes through a filter that counts it
//! ([`budget`](super::budget)): a template cannot double a string forty times. `~` gets its operands as Python writes
//! them; `*` becomes a function, since it makes long texts of short ones, and so do slices, since the engine's own fail on
//! empty lists. Long text between tags is counted too.
//! And `{% generation %}`, a tag of transformers that marks what a model wrote, becomes a block that changes nothing.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::error::Error;
use super::lex::{Kind, Piece, Token, pieces};

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

/// Filters that make text of a text; others may make a list of its characters.
const OF_TEXT: [&str; 22] = [
    "trim",
    "tojson",
    "length",
    "count",
    "upper",
    "lower",
    "title",
    "capitalize",
    "replace",
    "indent",
    "string",
    "safe",
    "escape",
    "e",
    "default",
    "d",
    "int",
    "float",
    "round",
    "abs",
    "attr",
    "bool",
];

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

/// Whether an expression may end with it.
fn ends_operand(token: &Token) -> bool {
    match token.kind {
        Kind::Word => !is_keyword(token.text),
        Kind::Literal => true,
        Kind::Sign => matches!(token.text, ")" | "]" | "}"),
    }
}

fn is_keyword(word: &str) -> bool {
    matches!(word, "and" | "or" | "not" | "if" | "elif" | "else" | "is" | "in" | "recursive")
}

fn operates(token: &Token) -> bool {
    match token.kind {
        Kind::Word => token.text == "in",
        Kind::Sign => {
            matches!(token.text, "+" | "~" | "==" | "!=" | "<" | ">" | "<=" | ">=" | "-") || multiplies(token)
        }
        Kind::Literal => false,
    }
}

/// Operators that bind more closely than `~`.
fn multiplies(token: &Token) -> bool {
    token.kind == Kind::Sign && matches!(token.text, "*" | "/" | "//" | "%" | "**")
}

fn separates(token: &Token) -> bool {
    match token.kind {
        Kind::Word => is_keyword(token.text),
        Kind::Literal => false,
        Kind::Sign => matches!(token.text, "," | ":" | "="),
    }
}

fn opens(token: &Token) -> bool {
    token.kind == Kind::Sign && matches!(token.text, "(" | "[" | "{")
}

fn closes(token: &Token) -> bool {
    token.kind == Kind::Sign && matches!(token.text, ")" | "]" | "}")
}

/// Changes to one tag.
#[derive(Default)]
struct Edits {
    /// Where, in which order among those at one place, how many bytes go, and what comes.
    list: Vec<(usize, usize, usize, String)>,
    /// Operands of `~` that are wrapped already.
    texts: BTreeSet<(usize, usize)>,
}

impl Edits {
    fn of_tag(&mut self, tokens: &[Token], word: &str) {
        let mut first = 0;
        match word {
            "for" => {
                let Some(sign) = tokens.iter().position(|token| token.is_word("in")) else { return };
                first = sign + 1;
                let end = forward(tokens, first, |token| token.is_word("if") || token.is_word("recursive"));
                self.wrap(tokens, first, end, ITEMS);
            }
            "set" => {
                let Some(sign) = tokens.iter().position(|token| token.is_sign("=")) else { return };
                first = sign + 1;
                self.wrap(tokens, first, tokens.len(), GUARD);
            }
            _ => {}
        }
        for at in first..tokens.len() {
            let token = &tokens[at];
            // `not in` is one operator.
            let before = at
                .checked_sub(1 + usize::from(token.is_word("in") && at > 0 && tokens[at - 1].is_word("not")));
            let Some(before) = before.filter(|&before| before >= first && ends_operand(&tokens[before]))
            else {
                continue;
            };
            match token.text {
                "|" if token.kind == Kind::Sign => {
                    let name = tokens.get(at + 1).map_or("", |token| token.text);
                    let filter = match name {
                        _ if OF_TEXT.contains(&name) => GUARD,
                        // These look for items when they are asked for them.
                        "map" | "select" | "reject" | "selectattr" | "rejectattr" => SPREAD,
                        _ => ITEMS,
                    };
                    self.push(token.at, usize::MAX, 0, format!("|{filter}"));
                }
                "is" if token.kind == Kind::Word => {
                    self.push(tokens[before].end(), usize::MAX, 0, format!("|{GUARD} "))
                }
                "[" if token.kind == Kind::Sign => {
                    self.push(tokens[chain(tokens, before)].at, 0, 0, "(".to_owned());
                    if !self.slice(tokens, at) {
                        self.push(token.at, usize::MAX, 0, format!("|{PART})"));
                    }
                }
                "~" if token.kind == Kind::Sign => {
                    let left = backward(tokens, first, at, |token| operates(token) && !multiplies(token));
                    self.text(tokens, left, at);
                    let right = forward(tokens, at + 1, |token| {
                        separates(token) || operates(token) && !multiplies(token)
                    });
                    self.text(tokens, at + 1, right);
                }
                "*" if token.kind == Kind::Sign => self.product(tokens, first, at),
                _ if operates(token) && !multiplies(token) && !token.is_sign("-") => {
                    self.push(tokens[before].end(), usize::MAX, 0, format!("|{GUARD} "));
                    let end = forward(tokens, at + 1, |token| separates(token) || operates(token));
                    self.guard(tokens, end);
                }
                _ => {}
            }
        }
    }

    /// Counts the operand that ends before `end`.
    fn guard(&mut self, tokens: &[Token], end: usize) {
        if let Some(last) = tokens[..end].last().filter(|last| ends_operand(last)) {
            self.push(last.end(), usize::MAX - last.at, 0, format!("|{GUARD} "));
        }
    }

    /// `a * b` becomes `a|times(b)`, unless a quotient, rest or power is multiplied: then `b` may only be a number.
    fn product(&mut self, tokens: &[Token], first: usize, at: usize) {
        let ends = |token: &Token| separates(token) || operates(token) && !token.is_sign("**");
        let end = forward(tokens, at + 1, ends);
        if end == at + 1 {
            return;
        }
        let left = backward(tokens, first, at, |token| operates(token) && !multiplies(token));
        let others = backward(tokens, left, at, |token| multiplies(token) && !token.is_sign("*"));
        if others > left {
            self.wrap(tokens, at + 1, end, NUMBER);
        } else {
            self.push(tokens[at].at, usize::MAX, 1, format!("|{TIMES}("));
            self.push(tokens[end - 1].end(), usize::MAX - tokens[at + 1].at, 0, ")".to_owned());
        }
    }

    /// `[a:b]` becomes `|slice(a, b))`, if it is of that kind.
    fn slice(&mut self, tokens: &[Token], open: usize) -> bool {
        let mut colons = Vec::new();
        let mut end = open + 1;
        loop {
            end = forward(tokens, end, |token| token.is_sign(":"));
            match tokens.get(end) {
                Some(token) if token.is_sign(":") => colons.push(end),
                Some(token) if token.is_sign("]") && !colons.is_empty() => break,
                _ => return false,
            }
            end += 1;
        }
        // What is left out is none.
        let value = |at: usize| if colons.contains(&(at + 1)) || at + 1 == end { "none" } else { "" };
        self.push(tokens[open].at, usize::MAX, 1, format!("|{SLICE}({}", value(open)));
        for &colon in &colons {
            self.push(tokens[colon].at, usize::MAX, 1, format!(",{}", value(colon)));
        }
        self.push(tokens[end].at, usize::MAX, 1, "))".to_owned());
        true
    }

    fn text(&mut self, tokens: &[Token], start: usize, end: usize) {
        if start < end && self.texts.insert((start, end)) {
            self.wrap(tokens, start, end, TEXT);
        }
    }

    fn wrap(&mut self, tokens: &[Token], start: usize, end: usize, filter: &str) {
        if start < end {
            self.push(tokens[start].at, 0, 0, "(".to_owned());
            self.push(tokens[end - 1].end(), usize::MAX - tokens[start].at, 0, format!(")|{filter}"));
        }
    }

    fn push(&mut self, at: usize, order: usize, removed: usize, text: String) {
        self.list.push((at, order, removed, text));
    }

    /// The tag, which begins at `start`, with the changes.
    fn apply(mut self, tag: &str, start: usize, out: &mut String) {
        self.list.sort_by_key(|edit| (edit.0, edit.1));
        let mut done = 0;
        for (at, _, removed, text) in self.list {
            out.push_str(&tag[done..at - start]);
            out.push_str(&text);
            done = at - start + removed;
        }
        out.push_str(&tag[done..]);
    }
}

/// Where an operand that begins at `from` ends: at the first token outside brackets of which `stop` is true.
fn forward(tokens: &[Token], from: usize, stop: impl Fn(&Token) -> bool) -> usize {
    let (mut depth, mut at) = (0_usize, from);
    while at < tokens.len() {
        let token = &tokens[at];
        if opens(token) {
            depth += 1;
        } else if closes(token) {
            let Some(outer) = depth.checked_sub(1) else { break };
            depth = outer;
        } else if depth == 0 && stop(token) && !is_prefix(tokens, from, at) {
            break;
        }
        at += 1;
    }
    at
}

/// Where an operand that ends before `end` begins: behind the last separator or token outside brackets of which `stop` is
/// true.
fn backward(tokens: &[Token], first: usize, end: usize, stop: impl Fn(&Token) -> bool) -> usize {
    let (mut depth, mut start) = (0_usize, end);
    while start > first {
        let token = &tokens[start - 1];
        if closes(token) {
            depth += 1;
        } else if opens(token) {
            let Some(outer) = depth.checked_sub(1) else { break };
            depth = outer;
        } else if depth == 0 && (separates(token) || stop(token)) && !is_prefix(tokens, first, start - 1) {
            break;
        }
        start -= 1;
    }
    start
}

/// Whether a sign stands before its operand instead of between two.
fn is_prefix(tokens: &[Token], first: usize, at: usize) -> bool {
    matches!(tokens[at].text, "-" | "+")
        && tokens[at].kind == Kind::Sign
        && (at == first || !ends_operand(&tokens[at - 1]))
}

/// Where the name, brackets and attributes begin that end with `last`.
fn chain(tokens: &[Token], last: usize) -> usize {
    let mut at = last;
    loop {
        if closes(&tokens[at]) {
            let mut depth = 0_usize;
            loop {
                if closes(&tokens[at]) {
                    depth += 1;
                } else if opens(&tokens[at]) {
                    depth -= 1;
                }
                if depth == 0 || at == 0 {
                    break;
                }
                at -= 1;
            }
            // A call or subscript belongs to what is before it.
            if at > 0 && ends_operand(&tokens[at - 1]) && !tokens[at].is_sign("{") {
                at -= 1;
                continue;
            }
        }
        if at >= 2 && tokens[at - 1].is_sign(".") {
            at -= 2;
        } else {
            return at;
        }
    }
}
