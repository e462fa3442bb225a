//! The rules of finished work: no marks for later, and a reason on every lint that is switched off.

use crate::tidy::source::{is_word, words};
use crate::tidy::tree::{Finding, Tree};

/// Words that mark unfinished work in a comment or a text.
const WORDS: [&str; 2] = ["TODO", "FIXME"];
/// Macros that stand for code that is not there.
const MACROS: [&str; 2] = ["todo", "unimplemented"];

/// Marks of unfinished work: macros in code, words in comments and in other text files.
pub(crate) fn marks(tree: &Tree) -> Vec<Finding> {
    const RULE: &str = "marks";
    let mut findings = Vec::new();
    for file in &tree.files {
        if let Some(source) = &file.source {
            for (index, line) in source.code.iter().enumerate() {
                for name in MACROS {
                    if words(line, name).any(|at| line[at + name.len()..].starts_with('!')) {
                        findings.push(file.finding(
                            index,
                            RULE,
                            format!("`{name}!` stands for code that is not there"),
                        ));
                    }
                }
            }
        }
        let texts: Vec<&str> = match &file.source {
            Some(source) => source.comments.iter().map(String::as_str).collect(),
            None => file.text.lines().collect(),
        };
        for (index, line) in texts.into_iter().enumerate() {
            for word in WORDS {
                // In backticks the word is spoken of.
                if words(line, word).any(|at| !line[..at].ends_with('`')) {
                    findings.push(file.finding(index, RULE, format!("{word}: do it, or leave it out")));
                }
            }
        }
    }
    findings
}

/// Attributes that switch a lint off and do not say why.
pub(crate) fn reasons(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, source) in tree.sources() {
        let code = source.code.join("\n");
        for attribute in attributes(&code) {
            let text = &code[attribute.clone()];
            let called = |name: &str| words(text, name).any(|at| text[at + name.len()..].starts_with('('));
            if (called("allow") || called("expect")) && words(text, "reason").next().is_none() {
                let line = code[..attribute.start].matches('\n').count();
                findings.push(file.finding(
                    line,
                    "reasons",
                    "a lint is switched off without `reason = \"…\"`",
                ));
            }
        }
    }
    findings
}

/// The byte ranges of the attributes in a file's code.
fn attributes(code: &str) -> Vec<std::ops::Range<usize>> {
    let mut ranges = Vec::new();
    for (start, _) in code.match_indices('#') {
        let rest = code[start + 1..].trim_start_matches('!');
        if !rest.starts_with('[') || code[..start].chars().next_back().is_some_and(is_word) {
            continue;
        }
        let mut depth = 0;
        for (at, c) in code[start..].char_indices() {
            match c {
                '[' => depth += 1,
                ']' if depth == 1 => {
                    ranges.push(start..start + at + 1);
                    break;
                }
                ']' => depth -= 1,
                _ => {}
            }
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(findings: Vec<Finding>) -> Vec<String> {
        findings.iter().map(|finding| format!("{}:{}", finding.path, finding.line)).collect()
    }

    #[test]
    fn marks_are_found_in_code_comments_and_texts() {
        let tree = Tree::of(&[
            (
                "a.rs",
                "//! A.\nfn a() { todo!() }\nfn b() { unimplemented!(\"x\") }\n// TODO: c\n/* FIXME */\n",
            ),
            ("b.md", "No `TODO` marks.\n\nTODO write this\n"),
            ("c.py", "# FIXME(x)\n"),
        ]);
        assert_eq!(found(marks(&tree)), ["a.rs:2", "a.rs:3", "a.rs:4", "a.rs:5", "b.md:3", "c.py:1"]);
    }

    #[test]
    fn marks_in_strings_and_longer_words_are_none() {
        let tree =
            Tree::of(&[("a.rs", "//! TODOS\nlet todo = \"TODO todo!()\";\nmy_todo!();\nif !todo != x {}\n")]);
        assert_eq!(found(marks(&tree)), [""; 0]);
    }

    #[test]
    fn a_lint_switched_off_without_reason_is_found() {
        let tree = Tree::of(&[(
            "a.rs",
            "//! A.\n#[allow(dead_code)]\nfn a() {}\n#[allow(\n    dead_code,\n    reason = \"x\"\n)]\nfn b() {}\n\
             #![expect(unsafe_code)]\n#[cfg_attr(test, allow(unused))]\n#[expect(unused, reason = \"[]\")]\n\
             fn c() { d.expect(\"allow(x)\") }\n#[test]\nfn allow(x: [u8; 2]) {}\n",
        )]);
        assert_eq!(found(reasons(&tree)), ["a.rs:2", "a.rs:9", "a.rs:10"]);
    }
}
