//! docs/loom.md: three parts of it are written from the models' declarations, the list of broken variants, and the last
//! recorded run. Everything but the figures can be written again without a run, so tidy can tell whether it agrees.

use crate::loom::models::Declared;
use crate::mutants::{self, Mutant};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The document, from the workspace's root.
pub(crate) const FILE: &str = "docs/loom.md";
/// What writes it.
pub(crate) const WRITER: &str = "cargo xtask loom --mutants --write";

/// What a run took: schedules, and seconds of processor time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Explored {
    pub(crate) schedules: u64,
    pub(crate) seconds: f64,
}

impl Explored {
    /// Reads `…, 1234 schedules, 0.52 s` of a model's log, or `1,234 schedules, 0.5 s` of a text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (before, after) = text.split_once(" schedules, ")?;
        let schedules = before.rsplit(' ').next()?.replace(',', "").parse().ok()?;
        let time = after.strip_suffix(" s")?;
        let seconds = if time == "under 0.1" { 0.0 } else { time.parse().ok()? };
        Some(Self { schedules, seconds })
    }

    /// As the texts say it.
    pub(crate) fn shown(&self) -> String {
        format!("{} schedules, {}", thousands(self.schedules), self.time())
    }

    fn time(&self) -> String {
        match self.seconds {
            seconds if seconds < 0.1 => "under 0.1 s".into(),
            seconds if seconds < 9.95 => format!("{seconds:.1} s"),
            seconds => format!("{seconds:.0} s"),
        }
    }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What the document records of runs: each model's figures, and which broken variants were killed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Record {
    pub(crate) explored: BTreeMap<String, Explored>,
    pub(crate) killed: Vec<String>,
}

impl Record {
    /// Reads it from the document's tables.
    pub(crate) fn read(document: &str) -> Self {
        let mut record = Self::default();
        for row in rows(part(document, "models").unwrap_or_default()) {
            if let [_, name, .., schedules, time] = row.as_slice()
                && let Some(explored) = Explored::parse(&format!("{schedules} schedules, {time}"))
            {
                record.explored.insert(plain(name), explored);
            }
        }
        for row in rows(part(document, "mutants").unwrap_or_default()) {
            if let [name, _, _] = row.as_slice() {
                record.killed.push(plain(name));
            }
        }
        record
    }
}

/// The document's text with its three parts written anew.
///
/// # Errors
/// What is missing: a part's marks, or the record of a model or a broken variant.
pub(crate) fn written(
    document: &str,
    models: &[Declared],
    mutants: &[Mutant],
    record: &Record,
) -> Result<String, String> {
    let text = replaced(document, "score", &score(models, mutants, record)?)?;
    let text = replaced(&text, "models", &models_table(models, record)?)?;
    replaced(&text, "mutants", &mutants_table(mutants, record)?)
}

fn score(models: &[Declared], mutants: &[Mutant], record: &Record) -> Result<String, String> {
    let mut sum = Explored { schedules: 0, seconds: 0.0 };
    for model in models {
        let shown = explored(model, record)?.shown();
        // As the table says it, so that the sum is the same once the table has been read again.
        let explored = Explored::parse(&shown).ok_or(shown)?;
        sum.schedules += explored.schedules;
        sum.seconds += explored.seconds;
    }
    let killed = mutants.iter().filter(|mutant| record.killed.contains(&mutant.name)).count();
    Ok(format!(
        "**{} mutants, {killed} killed. {} models, {} schedules, about {:.0} s of processor time in all.**\n",
        mutants.len(),
        models.len(),
        thousands(sum.schedules),
        sum.seconds
    ))
}

fn models_table(models: &[Declared], record: &Record) -> Result<String, String> {
    let mut text = String::from(
        "| file | model | property | threads | preemptions | schedules | time |\n\
         | --- | --- | --- | --: | --: | --: | --: |\n",
    );
    for model in models {
        let explored = explored(model, record)?;
        let mut bound = model.bound.map_or_else(|| "all".into(), |bound| format!("≤ {bound}"));
        if model.loads {
            bound.push_str(", loads");
        }
        let (module, name, threads) = (&model.module, &model.name, model.threads);
        let (property, schedules) = (cell(&model.property), thousands(explored.schedules));
        let time = explored.time();
        let _ = writeln!(
            text,
            "| `{module}` | `{name}` | {property} | {threads} | {bound} | {schedules} | {time} |"
        );
    }
    Ok(text)
}

fn explored<'a>(model: &Declared, record: &'a Record) -> Result<&'a Explored, String> {
    record.explored.get(&model.name).ok_or_else(|| format!("no run of `{}` is recorded", model.name))
}

fn mutants_table(mutants: &[Mutant], record: &Record) -> Result<String, String> {
    let mut text = String::from("| mutant | what is broken | killed by |\n| --- | --- | --- |\n");
    for Mutant { name, description, model, .. } in mutants {
        if !record.killed.contains(name) {
            return Err(format!("no run that kills `{name}` of {} is recorded", mutants::LOOM));
        }
        let _ = writeln!(text, "| `{name}` | {} | `{model}` |", cell(description));
    }
    Ok(text)
}

/// A text in a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn plain(cell: &str) -> String {
    cell.trim_matches('`').to_owned()
}

/// The cells of the rows of a table, its head left out.
fn rows(table: &str) -> Vec<Vec<&str>> {
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

fn marks(name: &str) -> (String, String) {
    (format!("<!-- {name}: written by `{WRITER}` -->\n"), format!("<!-- end of {name} -->\n"))
}

/// What stands between the marks of this name.
fn part<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let (begin, end) = marks(name);
    let (_, rest) = document.split_once(&begin)?;
    Some(rest.split_once(&end)?.0)
}

fn replaced(document: &str, name: &str, new: &str) -> Result<String, String> {
    let (begin, end) = marks(name);
    let parts =
        document.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let (before, after) =
        parts.ok_or_else(|| format!("the marks `{}` … `{}` are gone", begin.trim(), end.trim()))?;
    Ok(format!("{before}{begin}\n{new}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str, property: &str) -> Declared {
        Declared {
            name: name.into(),
            module: "latch".into(),
            property: property.into(),
            threads: 2,
            bound: None,
            loads: true,
            explores: String::new(),
            kills: Vec::new(),
            path: String::new(),
            line: 0,
        }
    }

    fn mutant(name: &str) -> Mutant {
        Mutant { name: name.into(), model: "loom_a".into(), description: "d | e".into(), line: 1 }
    }

    fn empty() -> String {
        let part = |name: &str| {
            let (begin, end) = marks(name);
            format!("{begin}{end}")
        };
        format!("# Loom\n{}\nprose\n{}\n{}tail\n", part("score"), part("models"), part("mutants"))
    }

    #[test]
    fn what_is_written_is_read_again() {
        let explored = [("loom_a", 1_234_567, 12.45), ("loom_b", 8, 0.0), ("loom_c", 8, 0.14)];
        let explored =
            explored.map(|(name, schedules, seconds)| (name.to_owned(), Explored { schedules, seconds }));
        let record = Record { explored: explored.into(), killed: vec!["m".into()] };
        let models = [model("loom_a", "A | b."), model("loom_b", "B."), model("loom_c", "C.")];
        let text = written(&empty(), &models, &[mutant("m")], &record).unwrap();
        assert!(
            text.contains("**1 mutants, 1 killed. 3 models, 1,234,583 schedules, about 12 s of"),
            "{text}"
        );
        assert!(
            text.contains("| `latch` | `loom_a` | A \\| b. | 2 | all, loads | 1,234,567 | 12 s |\n"),
            "{text}"
        );
        assert!(text.ends_with("tail\n"));
        let again = Record::read(&text);
        assert_eq!(again.killed, record.killed);
        assert_eq!(again.explored["loom_b"], record.explored["loom_b"]);
        assert_eq!(written(&text, &models, &[mutant("m")], &again).unwrap(), text);
    }

    #[test]
    fn what_no_run_has_shown_is_not_written() {
        let record = Record::default();
        let error = written(&empty(), &[model("loom_a", "A.")], &[], &record).unwrap_err();
        assert!(error.contains("`loom_a`"), "{error}");
        let error = written(&empty(), &[], &[mutant("m")], &record).unwrap_err();
        assert!(error.contains("`m`"), "{error}");
        let error = written("# Loom\n", &[], &[], &record).unwrap_err();
        assert!(error.contains("<!-- score"), "{error}");
    }

    #[test]
    fn figures_are_read_from_logs_and_texts() {
        let explored = Explored { schedules: 1234, seconds: 0.52 };
        assert_eq!(Explored::parse("bound none, 1234 schedules, 0.52 s"), Some(explored.clone()));
        assert_eq!(explored.shown(), "1,234 schedules, 0.5 s");
        assert_eq!(Explored::parse("8 schedules, under 0.1 s").unwrap().shown(), "8 schedules, under 0.1 s");
        assert_eq!(Explored::parse("8 schedules"), None);
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
    }
}
