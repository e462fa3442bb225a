//! Markdown as far as the rules need it: which parts of a line are prose, and which are code.

/// One line of a Markdown file, taken apart; in both, what belongs to the other is blank, so that columns stay.
pub(crate) struct Line {
    pub(crate) prose: String,
    /// Fenced code, and what stands between backticks.
    pub(crate) code: String,
}

/// Takes the lines of a Markdown text apart.
pub(crate) fn lines(text: &str) -> Vec<Line> {
    // The fence that is open, by its marks.
    let mut fence: Option<&str> = None;
    let mut lines = Vec::new();
    for line in text.lines() {
        let start = line.trim_start();
        let marks = ["```", "~~~"].into_iter().find(|marks| start.starts_with(marks));
        let blank = " ".repeat(line.len());
        match (fence, marks) {
            (Some(open), Some(marks)) if open == marks => {
                fence = None;
                lines.push(Line { prose: blank.clone(), code: blank });
            }
            (Some(_), _) => lines.push(Line { prose: blank, code: line.to_owned() }),
            (None, Some(marks)) => {
                fence = Some(marks);
                lines.push(Line { prose: blank.clone(), code: blank });
            }
            (None, None) => lines.push(spans(line)),
        }
    }
    lines
}

/// A line of prose with its code spans. A span that goes on in the next line ends here.
fn spans(line: &str) -> Line {
    let (mut prose, mut code) = (String::new(), String::new());
    let mut inside = false;
    for c in line.chars() {
        if c == '`' {
            inside = !inside;
        }
        let is_code = inside && c != '`';
        prose.push(if is_code { ' ' } else { c });
        code.push(if is_code { c } else { ' ' });
    }
    Line { prose, code }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_prose_are_told_apart() {
        let lines = lines("a `b` c\n```sh\nd `e`\n```\nf");
        let prose: Vec<_> = lines.iter().map(|line| line.prose.trim_end()).collect();
        let code: Vec<_> = lines.iter().map(|line| line.code.trim()).collect();
        assert_eq!(prose, ["a ` ` c", "", "", "", "f"]);
        assert_eq!(code, ["b", "", "d `e`", "", ""]);
    }
}
