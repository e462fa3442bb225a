//! Files of questions: a JSON object a line.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::evaluate::MeasureError;

/// A line of a file of endings to choose from.
pub const CHOICES_EXAMPLE: &str =
    r#"{"context": "She opened the", "endings": ["door.", "sky."], "label": 0}"#;
/// A line of a file of last words.
pub const LAST_WORDS_EXAMPLE: &str = r#"{"text": "She opened the door"}"#;

/// A beginning and endings to choose from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choices {
    /// What stands before any ending.
    pub context: String,
    /// Two or more.
    pub endings: Vec<String>,
    /// Which is right, from 0.
    pub label: usize,
    /// The line of its file, from 1.
    #[serde(skip)]
    pub line: usize,
}

/// A beginning and the word that ends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastWord {
    /// What stands before the word.
    pub context: String,
    /// The word, with the white space before it if there is any.
    pub target: String,
    /// The line of its file, from 1.
    #[serde(skip)]
    pub line: usize,
}

/// Questions with endings to choose from out of `bytes`, the content of a file: objects with `context`, `endings` and
/// `label`, as HellaSwag's are; other fields are not looked at, and a label may be written as a string. `path` is for messages.
///
/// # Errors
/// [`MeasureError::Json`], [`MeasureError::Field`] or [`MeasureError::NoQuestions`].
pub fn read_choices(path: &Path, bytes: &[u8]) -> Result<Vec<Choices>, MeasureError> {
    read(path, bytes, CHOICES_EXAMPLE, |line| {
        let endings = match line.get("endings") {
            Some(Value::Array(endings)) if endings.len() >= 2 => endings,
            Some(Value::Array(_)) => return Err(line.bad("endings", "must be two or more")),
            Some(_) => return Err(line.bad("endings", "is no list of strings")),
            None => return Err(line.bad("endings", "is missing")),
        };
        let ending = |value: &Value| match value.as_str() {
            Some("") => Err(line.bad("endings", "has an empty string")),
            Some(ending) => Ok(ending.to_owned()),
            None => Err(line.bad("endings", "has something that is no string")),
        };
        let label = match line.get("label") {
            Some(Value::String(digits)) => digits.parse().ok(),
            Some(number) => number.as_u64(),
            None => return Err(line.bad("label", "is missing")),
        };
        let label = label.and_then(|label| usize::try_from(label).ok());
        let Some(label) = label.filter(|&label| label < endings.len()) else {
            let problem = format!("is not from 0 to {}, the last ending", endings.len() - 1);
            return Err(line.bad("label", problem));
        };
        Ok(Choices {
            context: line.string("context")?.to_owned(),
            endings: endings.iter().map(ending).collect::<Result<_, _>>()?,
            label,
            line: line.number,
        })
    })
}

/// Questions for a last word out of `bytes`, the content of a file: objects with `text`, as LAMBADA's are, whose last word is
/// asked for, or with `context` and `target`. `path` is for messages.
///
/// # Errors
/// As [`read_choices`].
pub fn read_last_words(path: &Path, bytes: &[u8]) -> Result<Vec<LastWord>, MeasureError> {
    read(path, bytes, LAST_WORDS_EXAMPLE, |line| {
        if line.get("text").is_some() {
            let text = line.string("text")?.trim_end();
            // The white space before a word is part of its token.
            let word = text.rfind(char::is_whitespace).unwrap_or(0);
            let before = text[..word].trim_end();
            if before.is_empty() {
                return Err(line.bad("text", "must have two words or more"));
            }
            let (context, target) = text.split_at(before.len());
            return Ok(LastWord {
                context: context.to_owned(),
                target: target.to_owned(),
                line: line.number,
            });
        }
        if line.get("target").is_none() {
            return Err(line.bad("text", "is missing, and so is target"));
        }
        let target = line.string("target")?;
        if target.trim().is_empty() {
            return Err(line.bad("target", "is empty"));
        }
        let context = line.string("context")?.to_owned();
        Ok(LastWord { context, target: target.to_owned(), line: line.number })
    })
}

/// An object and where it stands.
struct Line<'a> {
    path: &'a Path,
    number: usize,
    example: &'static str,
    object: Map<String, Value>,
}

impl Line<'_> {
    fn get(&self, field: &str) -> Option<&Value> {
        self.object.get(field)
    }

    fn string(&self, field: &'static str) -> Result<&str, MeasureError> {
        match self.get(field) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(self.bad(field, "is no string")),
            None => Err(self.bad(field, "is missing")),
        }
    }

    fn bad(&self, field: &'static str, problem: impl Into<String>) -> MeasureError {
        MeasureError::Field {
            path: self.path.to_owned(),
            line: self.number,
            field,
            problem: problem.into(),
            example: self.example,
        }
    }
}

/// What `question` makes of each line that is not blank.
fn read<Q>(
    path: &Path,
    bytes: &[u8],
    example: &'static str,
    question: impl Fn(&Line<'_>) -> Result<Q, MeasureError>,
) -> Result<Vec<Q>, MeasureError> {
    let mut questions = Vec::new();
    for (index, bytes) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let bytes = bytes.trim_ascii();
        if bytes.is_empty() {
            continue;
        }
        let number = index + 1;
        let object = serde_json::from_slice(bytes).map_err(|source| MeasureError::Json {
            path: path.to_owned(),
            line: number,
            example,
            source,
        })?;
        questions.push(question(&Line { path, number, example, object })?);
    }
    if questions.is_empty() {
        return Err(MeasureError::NoQuestions { path: path.to_owned(), example });
    }
    Ok(questions)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn choices(text: &str) -> Result<Vec<Choices>, MeasureError> {
        read_choices(Path::new("q.jsonl"), text.as_bytes())
    }

    fn last_words(text: &str) -> Result<Vec<LastWord>, MeasureError> {
        read_last_words(Path::new("q.jsonl"), text.as_bytes())
    }

    #[test]
    fn lines_are_read_and_blank_ones_passed_over() {
        let text = format!(
            "{CHOICES_EXAMPLE}\r\n\n  \n{}",
            r#"{"endings":["a","b","c"],"context":"","label":"2","ind":7}"#
        );
        let all = choices(&text).unwrap();
        assert_eq!((all.len(), all[0].label, all[0].line), (2, 0, 1));
        assert_eq!((&all[0].context[..], &all[0].endings[1][..]), ("She opened the", "sky."));
        assert_eq!((all[1].label, all[1].line, all[1].endings.len()), (2, 4, 3));
    }

    #[test]
    fn the_last_word_of_a_text_takes_the_space_before_it_along() {
        let line = |text: &str| serde_json::json!({ "text": text }).to_string();
        let all = last_words(&[line("one two  three \n"), line("naïve été"), line("a\u{2003}b")].join("\n"))
            .unwrap();
        let pairs: Vec<_> = all.iter().map(|q| (&q.context[..], &q.target[..])).collect();
        assert_eq!(pairs, [("one two", "  three"), ("naïve", " été"), ("a", "\u{2003}b")]);
        let all = last_words(r#"{"target": "door", "context": "the"}"#).unwrap();
        assert_eq!((&all[0].context[..], &all[0].target[..]), ("the", "door"));
    }

    #[test]
    fn what_is_no_question_is_refused_by_line_and_field() {
        let refused = |result: Result<(), MeasureError>, parts: &[&str]| {
            let said = result.unwrap_err().to_string();
            assert!(parts.iter().all(|part| said.contains(part)), "{said}");
        };
        let bad = |line: &str, parts: &[&str]| {
            refused(
                choices(&format!("{CHOICES_EXAMPLE}\n{line}")).map(drop),
                &[parts, &["q.jsonl", "line 2", CHOICES_EXAMPLE]].concat(),
            );
        };
        bad("{", &["not JSON"]);
        bad("[1]", &["not JSON", "object"]);
        bad(r#"{"endings":["a","b"],"label":0}"#, &["context is missing"]);
        bad(r#"{"context":1,"endings":["a","b"],"label":0}"#, &["context is no string"]);
        bad(r#"{"context":"","label":0}"#, &["endings is missing"]);
        bad(r#"{"context":"","endings":"a","label":0}"#, &["endings is no list"]);
        bad(r#"{"context":"","endings":["a"],"label":0}"#, &["endings must be two"]);
        bad(r#"{"context":"","endings":["a",""],"label":0}"#, &["endings has an empty"]);
        bad(r#"{"context":"","endings":["a",null],"label":0}"#, &["endings has something"]);
        bad(r#"{"context":"","endings":["a","b"]}"#, &["label is missing"]);
        for label in ["2", "-1", "0.5", "null", "\"x\"", "18446744073709551616"] {
            bad(
                &format!(r#"{{"context":"","endings":["a","b"],"label":{label}}}"#),
                &["label is not from 0 to 1"],
            );
        }
        for text in ["", "\n\n"] {
            refused(choices(text).map(drop), &["no questions", CHOICES_EXAMPLE]);
            refused(last_words(text).map(drop), &["no questions", LAST_WORDS_EXAMPLE]);
        }
        for (line, part) in [
            ("{}", "text is missing"),
            (r#"{"text":" word "}"#, "text must have two words"),
            (r#"{"text":""}"#, "text must have two words"),
            (r#"{"text":[]}"#, "text is no string"),
            (r#"{"target":"a"}"#, "context is missing"),
            (r#"{"target":" ","context":""}"#, "target is empty"),
        ] {
            refused(last_words(line).map(drop), &["line 1", part]);
        }
        // Deeper than anyone's stack.
        let deep = "[".repeat(100_000);
        refused(choices(&deep).map(drop), &["not JSON"]);
    }

    #[test]
    fn every_byte_may_be_another() {
        for (index, bit) in (0..CHOICES_EXAMPLE.len()).flat_map(|index| (0..8).map(move |bit| (index, bit))) {
            let mut bytes = CHOICES_EXAMPLE.as_bytes().to_vec();
            bytes[index] ^= 1 << bit;
            let _ = read_choices(Path::new("q"), &bytes);
            let _ = read_last_words(Path::new("q"), &bytes);
            let _ = read_choices(Path::new("q"), &CHOICES_EXAMPLE.as_bytes()[..index]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_text_is_its_context_and_its_target(text in "\\PC{0,20}") {
            if let Ok(all) = last_words(&serde_json::json!({ "text": text }).to_string()) {
                prop_assert_eq!(format!("{}{}", all[0].context, all[0].target), text.trim_end());
                prop_assert!(!all[0].target.trim_start().contains(char::is_whitespace));
            }
        }
    }
}
