//! A Rust file taken apart into code and comments, line by line, so that no rule mistakes a string for code.

/// The lines of a Rust file, twice: once code alone, once comments alone. What is left out is blank, so that columns
/// stay; of strings and characters in the code only the quotes stay.
pub(crate) struct Source {
    pub(crate) code: Vec<String>,
    pub(crate) comments: Vec<String>,
    /// Whether a line belongs to an item under `#[cfg(test)]`.
    pub(crate) test: Vec<bool>,
}

/// Where the reader stands.
enum In {
    Code,
    LineComment,
    /// How many are open inside each other.
    BlockComment(usize),
    /// A string or character that ends with this quote, or with `"` and so many `#` if it is raw.
    Quoted(char),
    Raw(usize),
}

impl Source {
    pub(crate) fn new(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let (mut code, mut comments) = (String::new(), String::new());
        let mut state = In::Code;
        let mut at = 0;
        while at < chars.len() {
            let (now, next) = (chars[at], chars.get(at + 1).copied());
            // How many characters this step takes, and whether they are code or comment.
            let (step, is_code, is_comment);
            (state, step, is_code, is_comment) = match state {
                In::Code => match (now, next) {
                    ('/', Some('/')) => (In::LineComment, 2, false, true),
                    ('/', Some('*')) => (In::BlockComment(1), 2, false, true),
                    ('"', _) => (In::Quoted('"'), 1, true, false),
                    ('\'', _) if is_character(&chars[at..]) => (In::Quoted('\''), 1, true, false),
                    _ => match raw_string(&chars, at) {
                        Some((step, hashes)) => (In::Raw(hashes), step, true, false),
                        None => (In::Code, 1, true, false),
                    },
                },
                In::LineComment => (if now == '\n' { In::Code } else { In::LineComment }, 1, false, true),
                In::BlockComment(depth) => match (now, next) {
                    ('*', Some('/')) if depth == 1 => (In::Code, 2, false, true),
                    ('*', Some('/')) => (In::BlockComment(depth - 1), 2, false, true),
                    ('/', Some('*')) => (In::BlockComment(depth + 1), 2, false, true),
                    _ => (In::BlockComment(depth), 1, false, true),
                },
                In::Quoted(quote) => match now {
                    '\\' => (In::Quoted(quote), 2, false, false),
                    _ if now == quote => (In::Code, 1, true, false),
                    _ => (In::Quoted(quote), 1, false, false),
                },
                In::Raw(hashes) => {
                    let ends = now == '"'
                        && chars[at + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes;
                    if ends {
                        (In::Code, 1 + hashes, true, false)
                    } else {
                        (In::Raw(hashes), 1, false, false)
                    }
                }
            };
            for &c in &chars[at..(at + step).min(chars.len())] {
                let blank = if c == '\n' { '\n' } else { ' ' };
                code.push(if is_code { c } else { blank });
                comments.push(if is_comment { c } else { blank });
            }
            at += step;
        }
        let code: Vec<String> = code.lines().map(str::to_owned).collect();
        let test = test_lines(&code);
        Self { code, comments: comments.lines().map(str::to_owned).collect(), test }
    }

    /// Lines of code that are not under `#[cfg(test)]`, with their index.
    pub(crate) fn outside_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.iter().map(String::as_str).enumerate().filter(|&(index, _)| !self.test[index])
    }
}

/// Whether a `'` opens a character and not a lifetime: it closes after one character, or an escape follows.
fn is_character(chars: &[char]) -> bool {
    chars.get(1) == Some(&'\\') || (chars.get(2) == Some(&'\'') && chars.get(1) != Some(&'\''))
}

/// Whether a raw string opens at `at`: how long its opening is, and its number of `#`.
fn raw_string(chars: &[char], at: usize) -> Option<(usize, usize)> {
    let before = at.checked_sub(1).map(|before| chars[before]);
    if chars[at] != 'r' || before.is_some_and(|c| is_word(c) && c != 'b' && c != 'c') {
        return None;
    }
    let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
    (chars.get(at + 1 + hashes) == Some(&'"')).then_some((hashes + 2, hashes))
}

/// Marks the lines of every item under an attribute `#[cfg(test)]` or `#[cfg(all(test, …))]`.
fn test_lines(code: &[String]) -> Vec<bool> {
    let mut test = vec![false; code.len()];
    let mut line = 0;
    while line < code.len() {
        let text = code[line].trim_start();
        if text.starts_with("#[cfg(test") || text.starts_with("#[cfg(all(test") {
            let end = item_end(code, line);
            test[line..=end].fill(true);
            line = end;
        }
        line += 1;
    }
    test
}

/// The line in which the item that begins in line `start` ends: with its outermost brace, or with a semicolon.
fn item_end(code: &[String], start: usize) -> usize {
    let mut depth = 0usize;
    for (index, text) in code.iter().enumerate().skip(start) {
        for c in text.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth <= 1 => return index,
                '}' => depth -= 1,
                ';' if depth == 0 => return index,
                _ => {}
            }
        }
    }
    code.len() - 1
}

/// Whether the character can stand in a Rust name.
pub(crate) fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Where `word` stands in `text` as a whole word, as byte offsets.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        Source::new(text).code.join("\n")
    }

    #[test]
    fn strings_and_comments_are_not_code() {
        assert_eq!(code("a(\"x // y\"); // z").trim_end(), "a(\"      \");");
        assert_eq!(code("a /* b /* c */ d */ e"), "a                   e");
        assert_eq!(code("r#\"a \" b\"# c"), "r#\"      \"# c".replace("      ", "     "));
        assert_eq!(code("\"a\\\"b\" c"), "\"    \" c");
        assert_eq!(code("'\"' 'a' '\\'' <'a>(&'a str) \"x\""), "' ' ' ' '  ' <'a>(&'a str) \" \"");
        assert_eq!(Source::new("a // b\nc").comments, ["  // b", " "]);
    }

    #[test]
    fn columns_and_lines_stay() {
        let text = "let s = \"ü\n\\\n x\"; // ä\nfn f() {}\n";
        let source = Source::new(text);
        assert_eq!(source.code.len(), 4);
        assert_eq!(source.comments.len(), 4);
        assert_eq!(source.code[2], "  \";     ");
        assert_eq!(source.comments[2], "     // ä");
    }

    #[test]
    fn items_under_cfg_test_are_marked() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n#[cfg(all(test, unix))]\nuse d;\nfn e() {}";
        let source = Source::new(text);
        assert_eq!(source.test, [false, true, true, true, true, false, true, true, false]);
        let outside: Vec<_> = source.outside_tests().map(|(index, _)| index).collect();
        assert_eq!(outside, [0, 5, 8]);
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(words("a ab a_b (a)", "a").collect::<Vec<_>>(), [0, 10]);
    }
}
