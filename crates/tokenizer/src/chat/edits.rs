//! What is changed within one tag: operands, loops, slices and products.

use std::collections::BTreeSet;

use super::lex::{Kind, Token};
use super::rewrite::{GUARD, ITEMS, NUMBER, PART, SLICE, SPREAD, TEXT, TIMES};

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

/// Whether an expression may end with it.
pub(super) fn ends_operand(token: &Token) -> bool {
    match token.kind {
        Kind::Word => !is_keyword(token.text),
        Kind::Literal => true,
        Kind::Sign => matches!(token.text, ")" | "]" | "}"),
    }
}

pub(super) fn is_keyword(word: &str) -> bool {
    matches!(word, "and" | "or" | "not" | "if" | "elif" | "else" | "is" | "in" | "recursive")
}

pub(super) fn operates(token: &Token) -> bool {
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

pub(super) fn opens(token: &Token) -> bool {
    token.kind == Kind::Sign && matches!(token.text, "(" | "[" | "{")
}

fn closes(token: &Token) -> bool {
    token.kind == Kind::Sign && matches!(token.text, ")" | "]" | "}")
}

/// A keyword that stands where a value should: the engine would take it for a variable, and nothing would count it.
pub(super) fn misplaced<'a>(tokens: &[Token<'a>], block: bool) -> Option<&'a str> {
    let keyword = |token: &Token| token.kind == Kind::Word && is_keyword(token.text);
    for at in usize::from(block)..tokens.len() {
        let (token, next) = (&tokens[at], tokens.get(at + 1));
        let before = at.checked_sub(1).map(|before| &tokens[before]);
        if !keyword(token) {
            // `in` is a keyword itself.
            if let Some(next) = next.filter(|next| keyword(next) && (operates(token) || token.is_sign("."))) {
                return Some(next.text);
            }
            continue;
        }
        let behind = match next {
            None => token.text == "recursive",
            Some(next) if keyword(next) => {
                next.text == "not" || next.text == "in" && matches!(token.text, "not" | "is")
            }
            Some(next) => next.kind != Kind::Sign || opens(next) || next.is_sign("-") || next.is_sign("+"),
        };
        let ahead = token.text == "not"
            || before.is_some_and(ends_operand)
            || token.text == "in"
                && before.is_some_and(|before| before.is_word("not") || before.is_word("is"));
        if !behind || !ahead {
            return Some(token.text);
        }
    }
    None
}

/// Changes to one tag.
#[derive(Default)]
pub(super) struct Edits {
    /// Where, in which order among those at one place, how many bytes go, and what comes.
    list: Vec<(usize, usize, usize, String)>,
    /// Operands of `~` that are wrapped already.
    texts: BTreeSet<(usize, usize)>,
}

impl Edits {
    pub(super) fn of_tag(&mut self, tokens: &[Token], word: &str) {
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
    pub(super) fn apply(mut self, tag: &str, start: usize, out: &mut String) {
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
