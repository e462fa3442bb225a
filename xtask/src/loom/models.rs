//! The models as their source declares them: what each shows, its threads, its bound.

use crate::tidy::tree::{File, Finding, Tree};

/// Where the models stand.
const FOLDER: &str = "crates/sync/src/loom_tests/";
/// The rule of tidy that a declaration breaks.
const RULE: &str = "models";

/// A model as its doc comment and its call of `explore` declare it.
#[derive(Debug, PartialEq)]
pub(crate) struct Declared {
    pub(crate) name: String,
    /// The file it stands in, without its ending: the primitive.
    pub(crate) module: String,
    /// The first paragraph of its text, on one line.
    pub(crate) property: String,
    pub(crate) threads: usize,
    /// The most preemptions of a schedule; none explores them all.
    pub(crate) bound: Option<usize>,
    /// Whether the order of loads is explored too.
    pub(crate) loads: bool,
    /// What the text says that it explores, such as `8 schedules, under 0.1 s`.
    pub(crate) explores: String,
    /// The names in backticks in the sentence `Kills …` of the second paragraph.
    pub(crate) kills: Vec<String>,
    pub(crate) path: String,
    /// The line of its function, counted from 0.
    pub(crate) line: usize,
}

/// All models of the tree in the order of files and lines, and what is wrong with those that cannot be read.
pub(crate) fn declared(tree: &Tree) -> (Vec<Declared>, Vec<Finding>) {
    let (mut models, mut findings) = (Vec::new(), Vec::new());
    for file in tree.files.iter().filter(|file| file.path.starts_with(FOLDER)) {
        let lines: Vec<&str> = file.text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let Some((name, _)) = line.strip_prefix("fn loom_").and_then(|rest| rest.split_once('(')) else {
                continue;
            };
            match read(file, &lines, index, &format!("loom_{name}")) {
                Ok(model) => models.push(model),
                Err(why) => findings.push(file.finding(index, RULE, format!("`loom_{name}`: {why}"))),
            }
        }
    }
    (models, findings)
}

/// The doc comment above the function in line `index`, as line numbers.
fn comment(lines: &[&str], index: usize) -> std::ops::Range<usize> {
    let mut end = index;
    while end > 0 && lines[end - 1].starts_with("#[") {
        end -= 1;
    }
    let mut start = end;
    while start > 0 && lines[start - 1].starts_with("///") {
        start -= 1;
    }
    start..end
}

fn read(file: &File, lines: &[&str], index: usize, name: &str) -> Result<Declared, String> {
    let text: Vec<&str> =
        lines[comment(lines, index)].iter().map(|line| line.trim_start_matches('/').trim()).collect();
    let paragraphs: Vec<String> = text.split(|line| line.is_empty()).map(|lines| lines.join(" ")).collect();
    let [property, facts] = paragraphs.as_slice() else {
        return Err("its text has one paragraph for the property and one for what it takes".into());
    };
    let form = "its second paragraph begins `N threads, no bound on preemptions: N schedules, N s.`, or with `at \
                most N preemptions`";
    let facts_of = || -> Option<(usize, Option<usize>, String)> {
        let (head, rest) = facts.split_once(": ")?;
        let (threads, bound) = head.split_once(" threads, ")?;
        let bound = bound.strip_suffix(", order of loads").unwrap_or(bound);
        let bound = match bound.strip_suffix(" preemptions")? {
            "no bound on" => None,
            number => Some(number.trim_start_matches("at most ").parse().ok()?),
        };
        let (schedules, rest) = rest.split_once(" schedules, ")?;
        let (time, _) = rest.split_once(" s.")?;
        Some((threads.parse().ok()?, bound, format!("{schedules} schedules, {time} s")))
    };
    let (threads, bound, explores) = facts_of().ok_or(form)?;
    let argument_of = |function: &str| {
        let call = format!(" {function}(\"{name}\", ");
        lines[index..].iter().find_map(|line| line.split_once(&call)?.1.split(',').next())
    };
    let (plain, loads) = (argument_of("explore"), argument_of("explore_loads"));
    let explored = match plain.or(loads) {
        None => return Err(format!("it does not call `explore(\"{name}\", …)`")),
        Some("ALL") => None,
        Some(number) => Some(number.parse().map_err(|_| format!("its bound is no number: {number}"))?),
    };
    if explored != bound {
        return Err(format!("its text says {}, its call {}", preemptions(bound), preemptions(explored)));
    }
    let list =
        facts.split_once("Kills ").and_then(|(_, rest)| rest.split(['.', ';']).next()).unwrap_or_default();
    let kills = list.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let module = file.path.trim_start_matches(FOLDER).trim_end_matches(".rs").to_owned();
    Ok(Declared {
        name: name.to_owned(),
        module,
        property: property.clone(),
        threads,
        bound,
        loads: plain.is_none(),
        explores,
        kills,
        path: file.path.clone(),
        line: index,
    })
}

fn preemptions(bound: Option<usize>) -> String {
    bound.map_or_else(|| "no bound".into(), |bound| format!("{bound} preemptions"))
}

/// The file's text with `explores` in the model's second paragraph, which is wrapped anew, if it says otherwise.
pub(crate) fn with_explored(text: &str, model: &Declared, explores: &str) -> Option<String> {
    /// The widest line of a comment.
    const WIDTH: usize = 120;
    if model.explores == explores {
        return None;
    }
    let lines: Vec<&str> = text.lines().collect();
    let range = comment(&lines, model.line);
    let start =
        lines[range.clone()].iter().position(|line| *line == "///").map(|blank| range.start + blank + 1)?;
    let facts: Vec<&str> =
        lines[start..range.end].iter().map(|line| line.trim_start_matches('/').trim()).collect();
    let facts = facts.join(" ").replacen(&model.explores, explores, 1);
    let mut wrapped = vec!["///".to_owned()];
    for word in facts.split(' ') {
        match wrapped.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => wrapped.push(format!("/// {word}")),
        }
    }
    let before = lines[..start].iter().map(|&line| line.to_owned());
    let after = lines[range.end..].iter().map(|&line| line.to_owned());
    let all: Vec<String> = before.chain(wrapped).chain(after).collect();
    Some(all.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "crates/sync/src/loom_tests/latch.rs";
    const SOURCE: &str = "//! Models.\n\n/// Opens once,\n/// for all.\n///\n/// 3 threads, at most 4 preemptions: 6,974 schedules,\n\
                          /// 0.4 s. Kills `latch_torn`,\n/// `latch_late`.\n#[test]\nfn loom_latch_opens() {\n    \
                          explore(\"loom_latch_opens\", 4, || {});\n}\n";

    fn read(source: &str) -> (Vec<Declared>, Vec<String>) {
        let (models, findings) = declared(&Tree::of(&[(PATH, source), ("crates/sync/src/latch.rs", SOURCE)]));
        (models, findings.iter().map(Finding::to_string).collect())
    }

    #[test]
    fn a_declaration_is_read() {
        let (models, findings) = read(SOURCE);
        assert_eq!(findings, [""; 0]);
        let [model] = models.as_slice() else { panic!("{models:?}") };
        assert_eq!((model.name.as_str(), model.module.as_str()), ("loom_latch_opens", "latch"));
        assert_eq!(model.property, "Opens once, for all.");
        assert_eq!((model.threads, model.bound, model.loads), (3, Some(4), false));
        assert_eq!(model.explores, "6,974 schedules, 0.4 s");
        assert_eq!(model.kills, ["latch_torn", "latch_late"]);
        let all =
            SOURCE.replace("at most 4 preemptions", "no bound on preemptions").replace(", 4,", ", ALL,");
        assert_eq!(read(&all).0[0].bound, None);
        let loads = SOURCE
            .replace("explore(", "explore_loads(")
            .replace("preemptions:", "preemptions, order of loads:");
        let model = &read(&loads).0[0];
        assert_eq!((model.bound, model.loads), (Some(4), true));
    }

    #[test]
    fn a_text_that_its_code_contradicts_is_found() {
        let other = SOURCE.replace(", 4,", ", 5,");
        let found = "crates/sync/src/loom_tests/latch.rs:10: models: `loom_latch_opens`: its text says 4 preemptions, \
                     its call 5 preemptions";
        assert_eq!(read(&other).1, [found]);
        for broken in ["explore(\"loom_latch_shuts\"", "explore(\"loom_latch_opens\", x"] {
            let call = if broken.ends_with('x') {
                "explore(\"loom_latch_opens\", 4"
            } else {
                "explore(\"loom_latch_opens\""
            };
            assert_eq!(read(&SOURCE.replace(call, broken)).1.len(), 1, "{broken}");
        }
        assert_eq!(read(&SOURCE.replace("///\n", "")).1.len(), 1);
        assert_eq!(read(&SOURCE.replace("3 threads", "threads")).1.len(), 1);
    }

    #[test]
    fn figures_are_replaced_where_they_stand() {
        let model = &read(SOURCE).0[0];
        assert_eq!(with_explored(SOURCE, model, "6,974 schedules, 0.4 s"), None);
        let text = with_explored(SOURCE, model, "7,000 schedules, 12 s").unwrap();
        let models = read(&text).0;
        assert_eq!(models[0].explores, "7,000 schedules, 12 s");
        assert_eq!((&models[0].property, &models[0].kills), (&model.property, &model.kills));
        assert!(text.contains("\n/// 3 threads, at most 4 preemptions: 7,000 schedules, 12 s. Kills `latch_torn`, `latch_late`.\n#"));
    }
}
