//! A report of one part as a Markdown file with its charts, and the index of those that are there.

use std::fmt::Display;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::chart::Chart;

/// Text and charts of one part.
#[derive(Debug)]
pub(crate) struct Page {
    /// The name of its files.
    name: &'static str,
    text: String,
    /// Names and drawings.
    charts: Vec<(String, String)>,
}

impl Page {
    /// A page that says who wrote it, when and where, and with what.
    pub(crate) fn new(name: &'static str, title: &str, head: &str) -> Self {
        let text =
            format!("# {title}\n\nWritten by `cargo xtask bench`; not to be edited by hand.\n\n{head}\n");
        Self { name, text, charts: Vec::new() }
    }

    pub(crate) fn heading(&mut self, text: impl Display) {
        self.text.push_str(&format!("\n## {text}\n"));
    }

    pub(crate) fn paragraph(&mut self, text: impl Display) {
        self.text.push_str(&format!("\n{text}\n"));
    }

    pub(crate) fn table<S: AsRef<str>>(&mut self, header: &[S], rows: &[Vec<String>]) {
        let header: Vec<&str> = header.iter().map(AsRef::as_ref).collect();
        self.text.push_str(&format!("\n| {} |\n|{}\n", header.join(" | "), " --- |".repeat(header.len())));
        for row in rows {
            self.text.push_str(&format!("| {} |\n", row.join(" | ")));
        }
    }

    /// A chart, in a file of its own called after the page and `name`.
    pub(crate) fn chart(&mut self, name: &str, chart: &Chart) {
        let file = format!("{}-{name}.svg", self.name);
        self.text.push_str(&format!("\n![{}]({file})\n", chart.title));
        self.charts.push((file, chart.svg()));
    }

    /// What could not be measured, and why.
    pub(crate) fn missing(&mut self, reasons: &[String]) {
        if reasons.is_empty() {
            return;
        }
        self.heading("Not measured");
        for reason in reasons {
            self.text.push_str(&format!("\n```text\n{}\n```\n", reason.trim_end()));
        }
    }

    /// Writes charts and page, and the index anew.
    pub(crate) fn write(self, folder: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for (file, svg) in &self.charts {
            replace(folder, file, svg)?;
        }
        replace(folder, &format!("{}.md", self.name), &self.text)?;
        replace(folder, "README.md", &index(folder))?;
        eprintln!("wrote {}", folder.join(format!("{}.md", self.name)).display());
        Ok(())
    }
}

/// All pages that there can be: file and title.
const PAGES: [(&str, &str); 4] = [
    ("kernels.md", "Matrix products beside other crates and PyTorch"),
    ("training.md", "Training steps beside PyTorch and other crates"),
    ("growth.md", "Growth with threads, layers, channels, context and batch"),
    ("sync.md", "Primitives beside their peers"),
];

/// A list of the pages that are in the folder.
fn index(folder: &Path) -> String {
    let there = PAGES.iter().filter(|(file, _)| folder.join(file).is_file());
    let list: Vec<String> = there.map(|(file, title)| format!("- [{title}]({file})\n")).collect();
    let list = if list.is_empty() { "None has been written yet.\n".to_owned() } else { list.concat() };
    format!(
        "# Reports\n\nWritten by `cargo xtask bench`, each by the last run that measured its part; not to be edited by \
         hand.\n\n{list}"
    )
}

/// Puts a file in its place whole: nobody finds half of it.
fn replace(folder: &Path, file: &str, text: &str) -> anyhow::Result<()> {
    let (path, partial) = (folder.join(file), folder.join(format!(".{file}.{}", std::process::id())));
    fs::write(&partial, text).with_context(|| format!("cannot write {}", partial.display()))?;
    fs::rename(&partial, &path).with_context(|| format!("cannot write {}", path.display()))
}

/// A number with thousands set apart.
pub(crate) fn whole(value: f64) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    let digits = format!("{value:.0}");
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or("")).collect();
    groups.join(",")
}

/// A number with so many places.
pub(crate) fn decimal(value: f64, places: usize) -> String {
    if value.is_finite() { format!("{value:.places$}") } else { "–".into() }
}

/// A share in percent.
pub(crate) fn percent(value: f64) -> String {
    if value.is_finite() { format!("{:.0} %", value * 100.0) } else { "–".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_nothing_is_a_dash() {
        assert_eq!([999.6, 1234567.0, 12.0, f64::NAN].map(whole), ["1,000", "1,234,567", "12", "–"]);
        assert_eq!((decimal(1.256, 2), percent(0.987)), ("1.26".into(), "99 %".into()));
    }

    #[test]
    fn the_index_names_the_pages_that_are_there() {
        let folder = tempfile::tempdir().unwrap();
        assert!(index(folder.path()).contains("None has been"));
        let mut page = Page::new("growth", "Growth", "Today.");
        page.table(&["a", "b"], &[vec!["1".into(), "2".into()]]);
        page.missing(&["no PyTorch".into()]);
        page.write(folder.path()).unwrap();
        let text = fs::read_to_string(folder.path().join("growth.md")).unwrap();
        assert!(
            text.contains("| a | b |\n| --- | --- |\n| 1 | 2 |\n") && text.contains("no PyTorch"),
            "{text}"
        );
        let list = fs::read_to_string(folder.path().join("README.md")).unwrap();
        assert!(list.contains("(growth.md)") && !list.contains("(sync.md)"), "{list}");
        // Nothing but the two is left.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
