//! A template's source, changed in two ways before the engine reads it.
//!
//! Operands of operators whose work grows with them pass through the filter [`GUARD`], which counts them, so that a
//! template cannot double a string forty times; `~` gets its operands as Python writes them, and text is counted too.
//! And `{% generation %}`, a tag of transformers that marks what a model wrote, becomes a block that changes nothing.

use std::ops::Range;

/// The filter that counts a value.
pub(super) const GUARD: &str = "__selvedge_guard";

/// The filter that counts a value and turns it into text.
pub(super) const TEXT: &str = "__selvedge_text";

/// The function that counts bytes of the template itself; writes nothing.
pub(super) const COUNT: &str = "__selvedge_count";

/// How our own names begin.
pub(super) const RESERVED: &str = "__selvedge";

/// Text up to this many bytes is covered by the count of steps.
const FREE_TEXT: usize = 64;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Word,
    Literal,
    Sign,
}

struct Token<'a> {
    at: usize,
    text: &'a str,
    kind: Kind,
}

impl Token<'_> {
    fn end(&self) -> usize {
        self.at + self.text.len()
    }

    /// Whether an expression may end with it.
    fn ends_operand(&self) -> bool {
        match self.kind {
            Kind::Word => !is_keyword(self.text),
            Kind::Literal => true,
            Kind::Sign => matches!(self.text, ")" | "]" | "}"),
        }
    }

    fn separates(&self) -> bool {
        match self.kind {
            Kind::Word => is_keyword(self.text),
            Kind::Literal => false,
            Kind::Sign => matches!(self.text, "," | ":" | "=" | ")" | "]" | "}"),
        }
    }

    fn operates(&self) -> bool {
        self.guarded() || (self.kind == Kind::Sign && matches!(self.text, "-" | "/" | "//" | "%" | "**"))
    }

    fn guarded(&self) -> bool {
        matches!(
            (self.kind, self.text),
            (Kind::Sign, "+" | "~" | "*" | "==" | "!=" | "<" | ">" | "<=" | ">=") | (Kind::Word, "in")
        )
    }
}

fn is_keyword(word: &str) -> bool {
    matches!(word, "and" | "or" | "not" | "if" | "else" | "is" | "in" | "recursive")
}

/// The changed source, of a source that the engine's parser has accepted.
pub(super) fn rewrite(source: &str) -> String {
    let mut out = String::with_capacity(source.len() * 2);
    let mut rest = 0;
    while let Some(start) = source[rest..].find('{').map(|at| rest + at) {
        let (text, after) = (&source[rest..start], &source[start..]);
        let end = match after.as_bytes().get(1) {
            Some(b'#') => after.find("#}").map_or(source.len(), |at| start + at + 2),
            Some(b'%' | b'{') => {
                let (tokens, end) = lex(source, start + 2, after.as_bytes()[1] == b'%');
                push_text(text, &mut out);
                rest = if is_word(&tokens, "raw") {
                    let stop = source[end..].find("endraw").map_or(source.len(), |at| end + at);
                    let stop = source[stop..].find("%}").map_or(source.len(), |at| stop + at + 2);
                    out.push_str(&source[start..stop]);
                    stop
                } else {
                    push_tag(source, start..end, &tokens, after.as_bytes()[1] == b'%', &mut out);
                    end
                };
                continue;
            }
            _ => start + 1,
        };
        push_text(text, &mut out);
        out.push_str(&source[start..end]);
        rest = end;
    }
    push_text(&source[rest..], &mut out);
    out
}

fn is_word(tokens: &[Token], word: &str) -> bool {
    tokens.first().is_some_and(|token| token.kind == Kind::Word && token.text == word)
}

/// Counts long text right behind its first character that is no blank, where it changes no trimming.
fn push_text(text: &str, out: &mut String) {
    let solid = text.char_indices().find(|(_, character)| !character.is_whitespace());
    match solid {
        Some((at, character)) if text.len() > FREE_TEXT => {
            let (head, tail) = text.split_at(at + character.len_utf8());
            out.push_str(&format!("{head}{{{{ {COUNT}({}) }}}}", text.len()));
            // A newline first would be taken for one behind a tag by nobody: variables do not trim.
            out.push_str(tail);
        }
        _ => out.push_str(text),
    }
}

fn lex(source: &str, from: usize, block: bool) -> (Vec<Token<'_>>, usize) {
    let bytes = source.as_bytes();
    let (mut at, mut braces, mut tokens) = (from, 0_usize, Vec::new());
    while at < bytes.len() {
        let pair = &bytes[at..bytes.len().min(at + 2)];
        if (block && pair == b"%}") || (!block && pair == b"}}" && braces == 0) {
            return (tokens, at + 2);
        }
        let start = at;
        let byte = bytes[at];
        let kind = match byte {
            _ if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'\'' | b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != byte {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at = (at + 1).min(bytes.len());
                Kind::Literal
            }
            _ if byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii() => {
                while at < bytes.len()
                    && (bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_' || !bytes[at].is_ascii())
                {
                    at += 1;
                }
                if byte.is_ascii_digit() { Kind::Literal } else { Kind::Word }
            }
            _ => {
                at += if matches!(pair, b"**" | b"//" | b"==" | b"!=" | b"<=" | b">=") { 2 } else { 1 };
                match byte {
                    b'{' => braces += 1,
                    b'}' => braces = braces.saturating_sub(1),
                    _ => {}
                }
                Kind::Sign
            }
        };
        tokens.push(Token { at: start, text: &source[start..at], kind });
    }
    (tokens, bytes.len())
}

fn push_tag(source: &str, tag: Range<usize>, tokens: &[Token], block: bool, out: &mut String) {
    // The signs of trimming are no operators.
    let first = usize::from(tokens.first().is_some_and(|token| matches!(token.text, "-" | "+")));
    let last = tokens.len()
        - usize::from(tokens.len() > first && matches!(tokens[tokens.len() - 1].text, "-" | "+"));
    let body = &tokens[first..last];
    if block {
        for (name, plain) in [("generation", "with"), ("endgeneration", "endwith")] {
            if body.len() == 1 && is_word(body, name) {
                out.push_str(&source[tag.start..body[0].at]);
                out.push_str(plain);
                out.push_str(&source[body[0].end()..tag.end]);
                return;
            }
        }
    }
    let mut inserts: Vec<(usize, String)> = Vec::new();
    let mut skip = 0;
    if block && (is_word(body, "for") || is_word(body, "set")) {
        let sign = if is_word(body, "for") { "in" } else { "=" };
        skip = body.iter().position(|token| token.text == sign).map_or(body.len(), |at| at + 1);
        if sign == "=" && skip < body.len() {
            inserts.push((body[skip].at, "(".to_owned()));
        }
    } else if block && is_word(body, "macro") {
        skip = body.len();
    }
    for (at, token) in body.iter().enumerate().skip(skip) {
        if token.guarded() {
            guard(body, at, &mut inserts);
        }
    }
    if inserts.first().is_some_and(|(_, text)| text == "(") {
        inserts.push((body[body.len() - 1].end(), format!(")|{GUARD}")));
    }
    inserts.sort_by_key(|(at, _)| *at);
    inserts.dedup();
    let mut done = tag.start;
    for (at, text) in inserts {
        out.push_str(&source[done..at]);
        out.push_str(&text);
        done = at;
    }
    out.push_str(&source[done..tag.end]);
}

/// Notes where the operands on both sides of an operator end.
fn guard(body: &[Token], at: usize, inserts: &mut Vec<(usize, String)>) {
    let filter = if body[at].text == "~" { TEXT } else { GUARD };
    let mut left = at;
    if left > 0 && body[at].text == "in" && body[left - 1].text == "not" {
        left -= 1;
    }
    let Some(before) = left.checked_sub(1) else { return };
    if !body[before].ends_operand() {
        return;
    }
    inserts.push((body[before].end(), format!("|{filter}")));
    let mut depth = 0_usize;
    let mut end = at + 1;
    while end < body.len() {
        let token = &body[end];
        match token.text {
            "(" | "[" | "{" if token.kind == Kind::Sign => depth += 1,
            ")" | "]" | "}" if token.kind == Kind::Sign && depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            _ if end > at + 1 && (token.separates() || token.operates()) => break,
            _ => {}
        }
        end += 1;
    }
    if body[end - 1].ends_operand() {
        inserts.push((body[end - 1].end(), format!("|{filter}")));
    }
}
