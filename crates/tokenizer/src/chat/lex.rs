//! A template's source cut into text and tags, and tags into tokens: as far as [`rewrite`](super::rewrite) must know.
//!
//! Takes any source in one pass, malformed ones too.

use std::ops::Range;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    Literal,
    Sign,
}

/// A word, a literal or a sign of a tag.
#[derive(Clone, Copy)]
pub(super) struct Token<'a> {
    /// Where it begins in the source.
    pub(super) at: usize,
    pub(super) text: &'a str,
    pub(super) kind: Kind,
}

impl Token<'_> {
    pub(super) fn end(&self) -> usize {
        self.at + self.text.len()
    }

    pub(super) fn is_sign(&self, sign: &str) -> bool {
        self.kind == Kind::Sign && self.text == sign
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text == word
    }
}

/// A part of a source.
pub(super) enum Piece<'a> {
    /// Text that is written as it is.
    Text(Range<usize>),
    /// A comment, or text between `raw` and `endraw` with these tags.
    Verbatim(Range<usize>),
    /// `{% ... %}` if `block`, else `{{ ... }}`; the signs that trim are not among the tokens.
    Tag { range: Range<usize>, block: bool, tokens: Vec<Token<'a>> },
}

/// The pieces of a source, in order and without gaps.
pub(super) fn pieces(source: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut done, mut at) = (0, 0);
    while let Some(start) = source[at..].find('{').map(|found| at + found) {
        let end = match source.as_bytes().get(start + 1) {
            Some(b'#') => {
                // The sign that opens a comment does not close it as well, nor does one of trimming belong to what does.
                let inside =
                    start + 2 + usize::from(matches!(source.as_bytes().get(start + 2), Some(b'-' | b'+')));
                source[inside..].find("#}").map_or(source.len(), |found| inside + found + 2)
            }
            Some(b'%' | b'{') => start + 2,
            _ => {
                at = start + 1;
                continue;
            }
        };
        if done < start {
            pieces.push(Piece::Text(done..start));
        }
        let block = source.as_bytes()[start + 1] == b'%';
        (done, at) = if source.as_bytes()[start + 1] == b'#' {
            pieces.push(Piece::Verbatim(start..end));
            (end, end)
        } else {
            let (tokens, end) = tokens(source, end, block);
            let tokens = trimmed(tokens);
            let end = if block && matches!(&tokens[..], [only] if only.is_word("raw")) {
                let end = end_of_raw(source, end);
                pieces.push(Piece::Verbatim(start..end));
                end
            } else {
                pieces.push(Piece::Tag { range: start..end, block, tokens });
                end
            };
            (end, end)
        };
    }
    if done < source.len() {
        pieces.push(Piece::Text(done..source.len()));
    }
    pieces
}

/// The end of the first `{% endraw %}`, exactly as the engine finds it: what is taken for text must be text to it.
fn end_of_raw(source: &str, from: usize) -> usize {
    let blanks = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_whitespace()).len();
    let mut at = from;
    while let Some(start) = source[at..].find("{%").map(|found| at + found + 2) {
        let inside = source[start..].strip_prefix(['-', '+']).unwrap_or(&source[start..]);
        let behind = inside[blanks(inside)..].strip_prefix("endraw").and_then(|rest| {
            let rest = &rest[blanks(rest)..];
            rest.strip_prefix(['-', '+']).unwrap_or(rest).strip_prefix("%}")
        });
        if let Some(behind) = behind {
            return source.len() - behind.len();
        }
        at = start;
    }
    source.len()
}

/// Without the signs of trimming, which are no operators.
fn trimmed(mut tokens: Vec<Token<'_>>) -> Vec<Token<'_>> {
    let trims = |token: &Token| token.is_sign("-") || token.is_sign("+");
    if tokens.last().is_some_and(trims) {
        tokens.pop();
    }
    if tokens.first().is_some_and(trims) {
        tokens.remove(0);
    }
    tokens
}

/// The tokens from `from` to the end of the tag, and where that is.
fn tokens(source: &str, from: usize, block: bool) -> (Vec<Token<'_>>, usize) {
    let bytes = source.as_bytes();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii();
    let (mut at, mut braces, mut tokens) = (from, 0_usize, Vec::new());
    while at < bytes.len() {
        let pair = &bytes[at..bytes.len().min(at + 2)];
        if (block && pair == b"%}") || (!block && pair == b"}}" && braces == 0) {
            return (tokens, at + 2);
        }
        let (start, byte) = (at, bytes[at]);
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
            _ if is_word(byte) => {
                while at < bytes.len() && is_word(bytes[at]) {
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
