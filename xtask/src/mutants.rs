//! The lists of broken variants: which exist, and which test must catch each.

use crate::cargo;
use anyhow::{Context, Result, bail};
use std::fs;

/// The list for the loom models, from the workspace's root.
pub(crate) const LOOM: &str = "crates/sync/mutants.txt";
/// The list for the protocols under shuttle.
pub(crate) const SHUTTLE: &str = "crates/sync/mutants-shuttle.txt";
/// The environment variable that plants one of them in a model's process.
pub(crate) const CHOOSE: &str = "SELVEDGE_MUTANT";

/// A broken variant of a primitive.
#[derive(Debug, PartialEq)]
pub(crate) struct Mutant {
    pub(crate) name: String,
    /// The test that must fail on it, without the modules it stands in.
    pub(crate) model: String,
    /// What is broken.
    pub(crate) description: String,
    /// Its line in the list.
    pub(crate) line: usize,
}

/// Reads a list.
pub(crate) fn read(list: &str) -> Result<Vec<Mutant>> {
    let path = cargo::root().join(list);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(list, &text)
}

/// Parses lines of `name<TAB>model<TAB>description`; empty lines and those that begin with `#` say nothing.
pub(crate) fn parse(list: &str, text: &str) -> Result<Vec<Mutant>> {
    let mut mutants: Vec<Mutant> = Vec::new();
    for (index, text) in text.lines().enumerate() {
        let line = index + 1;
        if text.trim().is_empty() || text.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = text.split('\t').map(str::trim).collect();
        let &[name, model, description] = fields.as_slice() else {
            bail!(
                "{list}:{line}: expected NAME, MODEL and DESCRIPTION with one tab between them, found {text:?}"
            );
        };
        if let Some(first) = mutants.iter().find(|mutant| mutant.name == name) {
            bail!("{list}:{line}: `{name}` is already in line {}", first.line);
        }
        mutants.push(Mutant {
            name: name.into(),
            model: model.into(),
            description: description.into(),
            line,
        });
    }
    Ok(mutants)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_variants_and_comments_are_not() {
        let mutants = parse(LOOM, "# head\n\ngate_open\tloom_team\topens nothing\n").unwrap();
        let expected = Mutant {
            name: "gate_open".into(),
            model: "loom_team".into(),
            description: "opens nothing".into(),
            line: 3,
        };
        assert_eq!(mutants, [expected]);
    }

    #[test]
    fn broken_lines_are_named() {
        let error = parse(LOOM, "a\tb\tc\nspaces instead of tabs\n").unwrap_err().to_string();
        assert!(error.starts_with("crates/sync/mutants.txt:2: "), "{error}");
        let error = parse(LOOM, "a\tb\tc\na\td\te\n").unwrap_err().to_string();
        assert!(error.contains(":2: `a` is already in line 1"), "{error}");
    }
}
