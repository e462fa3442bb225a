//! The rule of models: what the loom models say of themselves agrees with their code, with the list of broken variants,
//! and with docs/loom.md.

use crate::loom::document::{self, Record};
use crate::loom::models::declared;
use crate::mutants::{self, parse};
use crate::tidy::tree::{Finding, Tree};

const RULE: &str = "models";

/// Models that cannot be read or that name other variants than the list does, and a document that says otherwise.
pub(crate) fn models(tree: &Tree) -> Vec<Finding> {
    let (Some(list), Some(text)) = (tree.file(mutants::LOOM), tree.file(document::FILE)) else {
        return Vec::new();
    };
    // What is wrong with the list is for the rule of broken variants to say.
    let Ok(all) = parse(mutants::LOOM, &list.text) else { return Vec::new() };
    let (models, mut findings) = declared(tree);
    let record = Record::read(&text.text);
    for model in &models {
        let file = tree.file(&model.path);
        let mut find = |message: String| {
            findings.extend(file.map(|file| file.finding(model.line, RULE, message)));
        };
        let own = |name: &&str| all.iter().any(|mutant| mutant.name == **name && mutant.model == model.name);
        let named: Vec<&str> = model.kills.iter().map(String::as_str).collect();
        for name in named.iter().filter(|name| !own(name)) {
            find(format!("says that it kills `{name}`, and {} does not", mutants::LOOM));
        }
        let listed = all.iter().filter(|mutant| mutant.model == model.name);
        for mutant in listed.filter(|mutant| !named.contains(&mutant.name.as_str())) {
            find(format!("does not say that it kills `{}`", mutant.name));
        }
        if let Some(explored) = record.explored.get(&model.name).filter(|e| e.shown() != model.explores) {
            find(format!("says {}, and {} {}", model.explores, document::FILE, explored.shown()));
        }
    }
    let wrong = |line: usize, why: &str| {
        text.finding(line, RULE, format!("{why}: `{}` writes this", document::WRITER))
    };
    match document::written(&text.text, &models, &all, &record) {
        Err(why) => findings.push(wrong(0, &why)),
        Ok(new) => {
            let differs = new.lines().zip(text.text.lines()).position(|(new, old)| new != old);
            let longer = new.lines().count() != text.text.lines().count();
            let end = new.lines().count().min(text.text.lines().count()).saturating_sub(1);
            if let Some(line) = differs.or(longer.then_some(end)) {
                findings.push(wrong(line, "the models and the list of broken variants say otherwise"));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "//! Models.\n\n/// Opens.\n///\n/// 2 threads, no bound on preemptions: 8 schedules, 0.4 s. \
                          Kills `torn`.\n#[test]\nfn loom_latch() {\n    explore(\"loom_latch\", ALL, || {});\n}\n";
    const LIST: &str = "torn\tloom_latch\ta load and a store\n";
    const DOCUMENT: &str = "# Loom
<!-- score: written by `cargo xtask loom --mutants --write` -->

**1 mutants, 1 killed. 1 models, 8 schedules, about 0 s of processor time in all.**

<!-- end of score -->
<!-- models: written by `cargo xtask loom --mutants --write` -->

| file | model | property | threads | preemptions | schedules | time |
| --- | --- | --- | --: | --: | --: | --: |
| `latch` | `loom_latch` | Opens. | 2 | all | 8 | 0.4 s |

<!-- end of models -->
<!-- mutants: written by `cargo xtask loom --mutants --write` -->

| mutant | what is broken | killed by |
| --- | --- | --- |
| `torn` | a load and a store | `loom_latch` |

<!-- end of mutants -->
";

    fn found(source: &str, list: &str, document: &str) -> Vec<String> {
        let path = "crates/sync/src/loom_tests/latch.rs";
        let tree = Tree::of(&[(path, source), (mutants::LOOM, list), (document::FILE, document)]);
        models(&tree).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_document_that_agrees_is_fine() {
        assert_eq!(found(SOURCE, LIST, DOCUMENT), [""; 0]);
    }

    #[test]
    fn every_disagreement_is_found() {
        let place = "crates/sync/src/loom_tests/latch.rs:7: models: ";
        let cases = [
            // The document: a stale row, a missing one, another property, another score, prose in a table.
            (SOURCE.into(), LIST.into(), DOCUMENT.replace("Opens.", "Shuts."), "docs/loom.md:11: "),
            (SOURCE.into(), LIST.into(), DOCUMENT.replace("1 killed", "2 killed"), "docs/loom.md:4: "),
            (
                SOURCE.into(),
                LIST.into(),
                DOCUMENT.replace("| `latch` |", "| latch |"),
                "no run of `loom_latch`",
            ),
            (
                SOURCE.into(),
                LIST.into(),
                DOCUMENT.replace("| `torn` |", "| `worn` |"),
                "no run that kills `torn`",
            ),
            (String::from("//! None.\n"), String::new(), DOCUMENT.into(), "docs/loom.md:4: "),
            (SOURCE.into(), LIST.into(), DOCUMENT.replace("<!-- end of score -->\n", ""), "the marks"),
            // The model's text: figures of another run, a variant of another model, one left out.
            (SOURCE.replace("8 sch", "9 sch"), LIST.into(), DOCUMENT.into(), "says 9 schedules, 0.4 s, and"),
            (SOURCE.replace("`torn`", "`worn`"), LIST.into(), DOCUMENT.into(), "says that it kills `worn`"),
            (
                SOURCE.replace("`torn`", "nothing"),
                LIST.into(),
                DOCUMENT.into(),
                "does not say that it kills `torn`",
            ),
        ];
        for (source, list, document, part) in cases {
            let found = found(&source, &list, &document);
            assert!(found.iter().any(|finding| finding.contains(part)), "{part}: {found:#?}");
        }
        let found = found(&SOURCE.replace("`torn`", "nothing"), LIST, DOCUMENT);
        assert!(found[0].starts_with(place), "{found:?}");
    }
}
