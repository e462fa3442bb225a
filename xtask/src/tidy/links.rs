//! The rule of links: what a Markdown file links to in this workspace is there.

use crate::tidy::markdown;
use crate::tidy::tree::{Finding, Tree};

/// Relative links whose target is not there.
pub(crate) fn links(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| file.path.ends_with(".md")) {
        for (index, line) in markdown::lines(&file.text).into_iter().enumerate() {
            for target in targets(&line.prose).into_iter().filter(|target| is_relative(target)) {
                let path = target.split(['#', '?']).next().unwrap_or_default();
                if !path.is_empty() && !resolve(&file.path, path).is_some_and(|path| exists(tree, &path)) {
                    findings.push(file.finding(index, "links", format!("there is no `{target}` from here")));
                }
            }
        }
    }
    findings
}

/// Targets of `[text](target)`, `[name]: target`, and of `src` and `href` in HTML.
fn targets(line: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    let until = |text: &'_ str, ends: &[char]| text.find(|c| ends.contains(&c));
    for (at, opening) in line.match_indices("](") {
        let rest = &line[at + opening.len()..];
        targets.extend(until(rest, &[')', ' ']).map(|end| &rest[..end]));
    }
    let definition = line.trim_start().strip_prefix('[').and_then(|line| line.split_once("]: "));
    targets.extend(definition.and_then(|(_, rest)| rest.split_whitespace().next()));
    for name in ["src=\"", "href=\""] {
        for (at, opening) in line.match_indices(name) {
            let rest = &line[at + opening.len()..];
            targets.extend(until(rest, &['"']).map(|end| &rest[..end]));
        }
    }
    targets
}

/// Whether a target is a file of this workspace: no address, no place in the same file, no item of rustdoc's.
fn is_relative(target: &str) -> bool {
    !target.contains("://")
        && !target.contains("::")
        && !target.starts_with('#')
        && !target.starts_with("mailto:")
}

/// The path that `target` names from the file `from`, from the workspace's root; none if it leaves it.
fn resolve(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    if target.starts_with('/') {
        return None;
    }
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// Whether the path is a file or a folder of the tree.
fn exists(tree: &Tree, path: &str) -> bool {
    let folder = format!("{path}/");
    path.is_empty() || tree.paths.iter().any(|file| file == path || file.starts_with(&folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let text = "[a](missing.md) [b](../README.md)\n![c](gone.png)\n[d]: ../gone/\n<img src=\"no.svg\">\n[e](../../x)\n";
        let tree = Tree::of(&[("docs/a.md", text), ("README.md", "")]);
        let found: Vec<_> = links(&tree).into_iter().map(|finding| finding.to_string()).collect();
        assert_eq!(
            found,
            [
                "docs/a.md:1: links: there is no `missing.md` from here",
                "docs/a.md:2: links: there is no `gone.png` from here",
                "docs/a.md:3: links: there is no `../gone/` from here",
                "docs/a.md:4: links: there is no `no.svg` from here",
                "docs/a.md:5: links: there is no `../../x` from here",
            ]
        );
    }

    #[test]
    fn links_that_resolve_and_foreign_ones_are_fine() {
        let text = "[a](b/c.md#part) [b](b) [c](./b/) [d](#here) [e](https://x.org/y) [f](crate::Team)\n\
                    `[g](gone)`\n```\n[h](gone)\n```\n[i]: b/c.md \"title\"\n[j](../a.md)\n";
        let tree = Tree::of(&[("docs/a.md", &text.replace("../a.md", "../docs/a.md")), ("docs/b/c.md", "")]);
        assert_eq!(links(&tree), []);
    }
}
