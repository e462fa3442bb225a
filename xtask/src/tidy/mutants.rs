//! The rule of broken variants: crates/sync plants exactly those that its lists name, or the lists prove less than they
//! say.

use crate::mutants::{LOOM, SHUTTLE, parse};
use crate::tidy::tree::{Finding, Tree};

/// The macros of crates/sync that plant a variant by the name in their first argument.
const MACROS: [&str; 4] = ["planted!(", "weaken!(", "keep!(", "in_order!("];

/// Variants that are listed and not planted, or planted and not listed.
pub(crate) fn mutants(tree: &Tree) -> Vec<Finding> {
    const RULE: &str = "mutants";
    let (mut findings, mut lists) = (Vec::new(), Vec::new());
    for list in [LOOM, SHUTTLE].into_iter().filter_map(|list| tree.file(list)) {
        match parse(&list.path, &list.text) {
            Ok(listed) => lists.push((list, listed)),
            Err(error) => return vec![list.finding(0, RULE, error.to_string())],
        }
    }
    let listed = |name: &str| lists.iter().any(|(_, list)| list.iter().any(|mutant| mutant.name == name));
    let mut planted = Vec::new();
    for (file, source) in tree.sources().filter(|(file, _)| file.path.starts_with("crates/sync/src/")) {
        for (index, name) in names(&file.text, &source.code) {
            if !lists.is_empty() && !listed(&name) {
                findings.push(file.finding(
                    index,
                    RULE,
                    format!("`{name}` is not in {LOOM}, nor in {SHUTTLE}"),
                ));
            }
            planted.push(name);
        }
    }
    for (file, list) in &lists {
        for mutant in list.iter().filter(|mutant| !planted.contains(&mutant.name)) {
            findings.push(file.finding(mutant.line - 1, RULE, format!("nothing plants `{}`", mutant.name)));
        }
    }
    findings
}

/// The names that a file plants, with the lines of their macros.
fn names(text: &str, code: &[String]) -> Vec<(usize, String)> {
    // One byte a character, so that a place in the code is the same place in the text.
    let plain = |line: &str| line.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect::<String>();
    let text = text.lines().map(plain).collect::<Vec<_>>().join("\n");
    let code = code.iter().map(|line| plain(line)).collect::<Vec<_>>().join("\n");
    let mut names = Vec::new();
    for opening in MACROS {
        for (at, _) in code.match_indices(opening) {
            let argument = text[at + opening.len()..].trim_start().strip_prefix('"');
            if let Some((name, _)) = argument.and_then(|argument| argument.split_once('"')) {
                names.push((code[..at].matches('\n').count(), name.to_owned()));
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_and_code_are_held_together() {
        let tree = Tree::of(&[
            (
                "crates/sync/mutants.txt",
                "# list\ngone\tloom_x\tbroken\nthere\tloom_x\tb\nwrapped\tloom_x\tb\n",
            ),
            (
                "crates/sync/mutants-shuttle.txt",
                "there\tshuttle_x\tb\nlost\tshuttle_x\tb\nprotocol\tshuttle_x\tb\n",
            ),
            ("crates/sync/src/shuttle_tests/x.rs", "//! X.\nif keep!(\"protocol\") {}\n"),
            (
                "crates/sync/src/a.rs",
                "//! `keep!(\"name\")`\nif keep!(\"there\") {}\n/* ü */ weaken!(\"new\", Release);\nin_order!(\n    \"wrapped\",\n    a, b);\n\
                 macro_rules! m { ($n:literal) => { planted!($n) } }\n",
            ),
        ]);
        let found: Vec<_> = mutants(&tree).into_iter().map(|finding| finding.to_string()).collect();
        assert_eq!(
            found,
            [
                "crates/sync/src/a.rs:3: mutants: `new` is not in crates/sync/mutants.txt, nor in crates/sync/mutants-shuttle.txt",
                "crates/sync/mutants.txt:2: mutants: nothing plants `gone`",
                "crates/sync/mutants-shuttle.txt:2: mutants: nothing plants `lost`",
            ]
        );
    }
}
