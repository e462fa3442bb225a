//! What the rules look at: the text files that git knows, and the packages as cargo sees them.

use crate::cargo;
use crate::tidy::source::Source;
use anyhow::{Context, Result};
use serde_json::Value;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A broken rule at a place; sorted by place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) path: String,
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) rule: &'static str,
    pub(crate) message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, rule, message } = self;
        write!(f, "{path}:{line}: {rule}: {message}")
    }
}

/// A text file.
pub(crate) struct File {
    /// From the workspace's root, with `/` between folders.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Code and comments apart, for a Rust file.
    pub(crate) source: Option<Source>,
}

impl File {
    pub(crate) fn new(path: &str, text: String) -> Self {
        let source = path.ends_with(".rs").then(|| Source::new(&text));
        Self { path: path.to_owned(), text, source }
    }

    /// Whether the whole file is test code, by its name.
    pub(crate) fn is_test(&self) -> bool {
        let mut parts = self.path.rsplit('/');
        let name = parts.next().unwrap_or_default().trim_end_matches(".rs");
        let named = |name: &str| name == "tests" || name == "loom_tests" || name.ends_with("_tests");
        named(name) || parts.any(named)
    }

    /// A finding in line `index`, counted from 0.
    pub(crate) fn finding(&self, index: usize, rule: &'static str, message: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line: index + 1, rule, message: message.into() }
    }
}

/// A package of the workspace.
pub(crate) struct Package {
    pub(crate) name: String,
    /// The path of its manifest from the workspace's root.
    pub(crate) manifest: String,
    pub(crate) dependencies: Vec<Dependency>,
}

/// A dependency as a manifest names it.
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `dev`, `build`, or `normal`.
    pub(crate) kind: String,
}

/// The workspace.
#[derive(Default)]
pub(crate) struct Tree {
    /// Text files, sorted by path.
    pub(crate) files: Vec<File>,
    /// Paths of all files, the other ones too, sorted.
    pub(crate) paths: Vec<String>,
    pub(crate) packages: Vec<Package>,
}

impl Tree {
    /// Reads what git tracks or would add, and the packages.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut git = Command::new("git");
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
        let list = cargo::output(&mut git).context("tidy checks the files that git lists")?;
        let list = String::from_utf8(list).context("a file's name is not UTF-8")?;
        let mut tree = Self::default();
        for path in list.split('\0').filter(|path| !path.is_empty()) {
            let full = root.join(path);
            // Listed and not there: deleted and not committed yet.
            if !full.is_file() {
                continue;
            }
            let bytes = fs::read(&full).with_context(|| format!("cannot read {path}"))?;
            tree.paths.push(path.to_owned());
            if let Ok(text) = String::from_utf8(bytes) {
                tree.files.push(File::new(path, text));
            }
        }
        tree.paths.sort_unstable();
        tree.paths.dedup();
        tree.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        tree.files.dedup_by(|a, b| a.path == b.path);
        tree.packages = packages(root, &cargo::metadata(&["--no-deps"])?)?;
        Ok(tree)
    }

    /// Rust files with their code.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&File, &Source)> {
        self.files.iter().filter_map(|file| Some((file, file.source.as_ref()?)))
    }

    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// A tree of these files, for tests.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self {
            files: files.iter().map(|(path, text)| File::new(path, (*text).to_owned())).collect(),
            paths: files.iter().map(|(path, _)| (*path).to_owned()).collect(),
            packages: Vec::new(),
        }
    }

    /// The tree with one package more, which has these dependencies of these kinds.
    #[cfg(test)]
    pub(crate) fn with_package(mut self, name: &str, manifest: &str, dependencies: &[(&str, &str)]) -> Self {
        let dependency =
            |(name, kind): &(&str, &str)| Dependency { name: (*name).into(), kind: (*kind).into() };
        let dependencies = dependencies.iter().map(dependency).collect();
        self.packages.push(Package { name: name.into(), manifest: manifest.into(), dependencies });
        self
    }
}

fn packages(root: &Path, metadata: &Value) -> Result<Vec<Package>> {
    // Cargo prints paths with links resolved.
    let root = fs::canonicalize(root).context("cannot find the workspace's root")?;
    let mut packages = Vec::new();
    for package in metadata["packages"].as_array().context("cargo metadata lists no packages")? {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let manifest = text(&package["manifest_path"]).context("a package has no manifest")?;
        let manifest = Path::new(&manifest).strip_prefix(&root).unwrap_or(Path::new(&manifest));
        let dependency = |dependency: &Value| {
            let kind = text(&dependency["kind"]).unwrap_or_else(|| "normal".into());
            Some(Dependency { name: text(&dependency["name"])?, kind })
        };
        packages.push(Package {
            name: text(&package["name"]).context("a package has no name")?,
            manifest: manifest.to_string_lossy().replace('\\', "/"),
            dependencies: package["dependencies"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(dependency)
                .collect(),
        });
    }
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_code_is_known_by_its_name() {
        let is_test = |path: &str| File::new(path, String::new()).is_test();
        for path in [
            "crates/a/tests/x.rs",
            "a/src/loom_tests/x.rs",
            "a/src/loom_tests.rs",
            "a/src/tests.rs",
            "a/b_tests.rs",
        ] {
            assert!(is_test(path), "{path}");
        }
        assert!(!is_test("crates/a/src/attests.rs"));
        assert!(!is_test("crates/a/src/testing.rs"));
    }
}
