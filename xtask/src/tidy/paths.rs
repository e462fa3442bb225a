//! The rule of portable texts: no paths of one machine, no addresses of package registries.

use crate::tidy::tree::{Finding, Tree};

/// Folders of one machine, in parts so that this file does not break its own rule.
const FOLDERS: [&str; 5] = [
    concat!("/", "home/"),
    concat!("/", "root/"),
    concat!("/", "work/"),
    concat!("/", "tmp/"),
    concat!("/", "Users/"),
];

/// Parts of the addresses under which registries, their mirrors and their files are reached.
const REGISTRIES: [&str; 9] = [
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("crates.io", "-index"),
    concat!("pypi.org", "/simple"),
    concat!("files.", "pythonhosted.org"),
    concat!("registry", ".npmjs.org"),
    concat!("sparse", "+http"),
    concat!("--index", "-url"),
    concat!("/artifact", "ory/"),
];

/// How cargo names the usual registry in a lock file; any other registry there is a finding.
const LOCKED: &str = concat!("registry", "+https://github.com/rust-lang/crates.io", "-index");

/// How it names any registry.
const OTHER: &str = concat!("registry", "+");

/// Machine paths and registry addresses.
pub(crate) fn paths(tree: &Tree) -> Vec<Finding> {
    const RULE: &str = "paths";
    let mut findings = Vec::new();
    for file in &tree.files {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(folder) =
                FOLDERS.iter().find(|folder| line.match_indices(*folder).any(|(at, _)| begins(line, at)))
            {
                findings.push(file.finding(index, RULE, format!("a path under {folder} is of one machine")));
            }
            let line = line.replace(LOCKED, "");
            let registry = REGISTRIES.iter().find(|registry| line.contains(*registry));
            if let Some(registry) = registry.copied().or_else(|| line.contains(OTHER).then_some(OTHER)) {
                findings.push(file.finding(
                    index,
                    RULE,
                    format!("`{registry}`: the address of a registry is its user's own"),
                ));
            }
        }
    }
    findings
}

/// Whether an absolute path begins at `at`, and not the middle of a longer or relative one.
fn begins(line: &str, at: usize) -> bool {
    !line[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || "_-.~$}/*".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<usize> {
        paths(&Tree::of(&[(path, text)])).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        for folder in FOLDERS {
            assert_eq!(found("a.md", &format!("Fine.\nSee {folder}me/x.\n")), [2], "{folder}");
            assert_eq!(found("a.rs", &format!("let x = \"{folder}me\";")), [1], "{folder}");
            assert_eq!(
                found("a.md", &format!("crates{folder}x and https://host.org{folder}x\n")),
                [0; 0],
                "{folder}"
            );
        }
    }

    #[test]
    fn registries_are_found() {
        for registry in REGISTRIES {
            assert_eq!(found("a.toml", &format!("x\nurl = \"{registry}/x\"\n")), [2], "{registry}");
        }
        assert_eq!(found("Cargo.lock", &format!("source = \"{LOCKED}\"\n")), [0; 0]);
        assert_eq!(
            found("Cargo.lock", concat!("source = \"registry", "+https://mirror.example/index\"\n")),
            [1]
        );
    }
}
