//! The rules of shape: how a file begins, how long it is, what a crate's folder holds.

use crate::tidy::tree::{Finding, Tree};

/// The most lines a Rust file may have, tests aside.
const LONGEST: usize = 600;

/// Rust files that do not say in their first line what they are.
pub(crate) fn head(tree: &Tree) -> Vec<Finding> {
    let starts = |text: &str| text.starts_with("//!") || text.starts_with("#![doc");
    let files = tree.sources().filter(|(file, _)| !starts(&file.text));
    files
        .map(|(file, _)| {
            file.finding(0, "head", "the first line is not a `//!` line that says what this file is")
        })
        .collect()
}

/// Rust files that are too long.
pub(crate) fn length(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, source) in tree.sources().filter(|(file, _)| !file.is_test()) {
        let mut lines = source.outside_tests().map(|(index, _)| index);
        let count = source.test.iter().filter(|&&test| !test).count();
        if let Some(first) = lines.nth(LONGEST) {
            findings.push(file.finding(
                first,
                "length",
                format!("{count} lines without tests, at most {LONGEST}: one idea a file"),
            ));
        }
    }
    findings
}

/// Crates without a README.
pub(crate) fn readme(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &tree.packages {
        let Some(folder) = package.manifest.strip_suffix("Cargo.toml") else { continue };
        let readme = format!("{folder}README.md");
        if folder.starts_with("crates/") && tree.paths.binary_search(&readme).is_err() {
            let message = format!("{} has no README.md", package.name);
            findings.push(Finding { path: package.manifest.clone(), line: 1, rule: "readme", message });
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_does_not_introduce_itself_is_found() {
        let tree = Tree::of(&[
            ("a.rs", "//! A.\n"),
            ("b.rs", "#![doc = \"B\"]\n"),
            ("c.rs", "\n//! C.\n"),
            ("d.rs", ""),
            ("e.py", "x\n"),
        ]);
        let found: Vec<_> = head(&tree).into_iter().map(|f| f.to_string()).collect();
        assert_eq!(found.len(), 2);
        assert!(found[0].starts_with("c.rs:1: head:") && found[1].starts_with("d.rs:1: head:"), "{found:?}");
    }

    #[test]
    fn a_long_file_is_found_and_tests_do_not_count() {
        let (long, tests) = ("x();\n".repeat(601), "y();\n".repeat(400));
        let halves = format!("{}#[cfg(test)]\nmod tests {{\n{tests}}}\n", "x();\n".repeat(600));
        let tree = Tree::of(&[
            ("src/a.rs", &long),
            ("src/b.rs", &halves),
            ("src/tests.rs", &long),
            ("tests/it/c.rs", &long),
        ]);
        let found: Vec<_> = length(&tree).into_iter().map(|f| f.to_string()).collect();
        assert_eq!(found, ["src/a.rs:601: length: 601 lines without tests, at most 600: one idea a file"]);
    }

    #[test]
    fn a_crate_without_a_readme_is_found() {
        let tree = Tree::of(&[("crates/a/README.md", "")])
            .with_package("a", "crates/a/Cargo.toml", &[])
            .with_package("b", "crates/b/Cargo.toml", &[])
            .with_package("xtask", "xtask/Cargo.toml", &[]);
        let found: Vec<_> = readme(&tree).into_iter().map(|f| f.to_string()).collect();
        assert_eq!(found, ["crates/b/Cargo.toml:1: readme: b has no README.md"]);
    }
}
