//! The rule of commands: a command of this runner that a text names exists.

use crate::COMMANDS;
use crate::tidy::markdown;
use crate::tidy::tree::{File, Finding, Tree};

/// Commands named in code of Markdown files, in comments of Rust files, and in other texts, that this runner does not
/// have.
pub(crate) fn commands(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        for (index, line) in code(file).iter().enumerate() {
            for name in named(line) {
                if !COMMANDS.iter().any(|command| command.name == name) {
                    findings.push(file.finding(
                        index,
                        "commands",
                        format!("`cargo xtask {name}` does not exist"),
                    ));
                }
            }
        }
    }
    findings
}

/// The parts of a file's lines where a command is meant to be typed.
fn code(file: &File) -> Vec<String> {
    if let Some(source) = &file.source {
        let spans = source.comments.iter().flat_map(|comment| markdown::lines(comment));
        return spans.map(|line| line.code).collect();
    }
    if file.path.ends_with(".md") {
        return markdown::lines(&file.text).into_iter().map(|line| line.code).collect();
    }
    file.text.lines().map(str::to_owned).collect()
}

/// The words after `cargo xtask` that can be a command's name.
fn named(line: &str) -> impl Iterator<Item = &str> {
    const RUNNER: &str = "cargo xtask ";
    line.match_indices(RUNNER).filter_map(|(at, _)| {
        let rest = &line[at + RUNNER.len()..];
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '-').unwrap_or(rest.len());
        rest.starts_with(|c: char| c.is_ascii_lowercase()).then_some(&rest[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_do_not_exist_are_found() {
        let tree = Tree::of(&[
            (
                "a.md",
                "Run `cargo xtask trian --steps 3`.\n\n```sh\ncargo xtask loom && cargo xtask lom\n```\n",
            ),
            ("b.rs", "//! See `cargo xtask benhc`.\nlet x = \"cargo xtask none\";\n"),
            (".ci/run", "cargo xtask cii\n"),
        ]);
        let found: Vec<_> = commands(&tree).into_iter().map(|finding| finding.to_string()).collect();
        assert_eq!(
            found,
            [
                "a.md:1: commands: `cargo xtask trian` does not exist",
                "a.md:4: commands: `cargo xtask lom` does not exist",
                "b.rs:1: commands: `cargo xtask benhc` does not exist",
                ".ci/run:1: commands: `cargo xtask cii` does not exist",
            ]
        );
    }

    #[test]
    fn prose_and_placeholders_name_none() {
        let tree = Tree::of(&[(
            "a.md",
            "With cargo xtask everything is near: `cargo xtask COMMAND`, `cargo xtask --help`.\n",
        )]);
        assert_eq!(commands(&tree), []);
    }
}
