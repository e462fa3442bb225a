//! The rule of arrows: which crate of the workspace may depend on which.

use crate::tidy::tree::{Dependency, Finding, Package, Tree};

const RULE: &str = "arrows";

/// What a package may depend on, by the shelf it stands on.
enum Allowed {
    Only(&'static [&'static str]),
    Any,
}

/// The arrows of docs/architecture.md. A crate that is not here may depend on none until it is.
fn allowed(package: &Package) -> Allowed {
    match package.name.as_str() {
        "selvedge" => Allowed::Any,
        "selvedge-tensor" => Allowed::Only(&["selvedge-sync"]),
        "selvedge-tensor-cuda" => Allowed::Only(&["selvedge-tensor"]),
        "selvedge-model" => Allowed::Only(&["selvedge-tensor"]),
        "selvedge-train" => Allowed::Only(&["selvedge-model", "selvedge-sync"]),
        "selvedge-constraint" => Allowed::Only(&["selvedge-tokenizer", "selvedge-sync"]),
        "selvedge-serve" => Allowed::Only(&["selvedge-model", "selvedge-tokenizer", "selvedge-sync"]),
        _ if package.manifest.starts_with("benches/") => Allowed::Any,
        _ => Allowed::Only(&[]),
    }
}

/// Arrows for tests alone, (from, to): tests of models make the team that a kernel's context borrows.
const FOR_TESTS: &[(&str, &str)] = &[("selvedge-model", "selvedge-sync")];

/// Dependencies between packages of the workspace that are not allowed, whatever their kind.
pub(crate) fn arrows(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &tree.packages {
        // A package names itself to say which of its features its tests have.
        let inside = |dependency: &&Dependency| {
            dependency.name != package.name && tree.packages.iter().any(|other| other.name == dependency.name)
        };
        for dependency in package.dependencies.iter().filter(inside) {
            let fine = match allowed(package) {
                Allowed::Any => true,
                Allowed::Only(names) => names.contains(&dependency.name.as_str()),
            };
            let arrow = (package.name.as_str(), dependency.name.as_str());
            if fine || (dependency.kind == "dev" && FOR_TESTS.contains(&arrow)) {
                continue;
            }
            let (kind, from, to) = (&dependency.kind, arrow.0, arrow.1);
            findings.push(Finding {
                path: package.manifest.clone(),
                line: line(tree, package, to),
                rule: RULE,
                message: format!("{from} must not depend on {to} ({kind} dependency)"),
            });
        }
    }
    findings
}

/// The line of the manifest that names the dependency, or its first.
fn line(tree: &Tree, package: &Package, dependency: &str) -> usize {
    let text = tree.file(&package.manifest).map_or("", |file| file.text.as_str());
    let names = |line: &str| {
        let rest = line.strip_prefix(dependency);
        rest.is_some_and(|rest| rest.trim_start().starts_with(['.', '=']))
    };
    text.lines().position(names).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_arrow_is_found_in_its_line() {
        let manifest =
            "[dependencies]\nselvedge-tensor-cuda.workspace = true\nselvedge-tensor.workspace = true\n";
        let tree = Tree::of(&[("crates/model/Cargo.toml", manifest)])
            .with_package("selvedge-tensor", "crates/tensor/Cargo.toml", &[])
            .with_package(
                "selvedge-tensor-cuda",
                "crates/tensor-cuda/Cargo.toml",
                &[("selvedge-tensor", "normal")],
            )
            .with_package(
                "selvedge-model",
                "crates/model/Cargo.toml",
                &[("selvedge-tensor", "normal"), ("selvedge-tensor-cuda", "normal"), ("serde", "normal")],
            );
        let findings = arrows(&tree);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(
            findings[0].to_string(),
            "crates/model/Cargo.toml:2: arrows: selvedge-model must not depend on selvedge-tensor-cuda (normal dependency)"
        );
    }

    #[test]
    fn an_arrow_for_tests_is_for_tests_alone() {
        for (kind, count) in [("dev", 0), ("normal", 1), ("build", 1)] {
            let tree = Tree::default()
                .with_package("selvedge-sync", "crates/sync/Cargo.toml", &[])
                .with_package("selvedge-model", "crates/model/Cargo.toml", &[("selvedge-sync", kind)]);
            assert_eq!(arrows(&tree).len(), count, "{kind}");
        }
    }

    #[test]
    fn a_package_may_name_itself() {
        let itself = [("selvedge-sync", "dev")];
        let tree = Tree::default().with_package("selvedge-sync", "crates/sync/Cargo.toml", &itself);
        assert_eq!(arrows(&tree).len(), 0);
    }

    #[test]
    fn tests_and_newcomers_are_bound_too() {
        let tree = Tree::default()
            .with_package("selvedge-sync", "crates/sync/Cargo.toml", &[("selvedge-tensor", "dev")])
            .with_package("selvedge-tensor", "crates/tensor/Cargo.toml", &[])
            .with_package("selvedge-new", "crates/new/Cargo.toml", &[("selvedge-sync", "normal")])
            .with_package("xtask", "xtask/Cargo.toml", &[("selvedge-sync", "build")])
            .with_package("selvedge-benches", "benches/Cargo.toml", &[("selvedge-sync", "normal")]);
        let from: Vec<_> = arrows(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(from, ["crates/sync/Cargo.toml", "crates/new/Cargo.toml", "xtask/Cargo.toml"]);
    }
}
