//! Files of examples: JSON, one a line.
//!
//! Three forms, also mixed: `{"messages": [{"role": …, "content": …}, …]}`, `{"prompt": …, "completion": …}`, and
//! `{"text": …}`. Other fields are not looked at.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;

use crate::Error;

/// Longest line, in bytes.
const LONGEST: u64 = 64 << 20;

/// What was accepted.
const FORMS: &str =
    r#"{"messages": [{"role": …, "content": …}, …]}, {"prompt": …, "completion": …} or {"text": …}"#;

/// What somebody says in a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who: "system", "user", "assistant", or what else the model's template knows.
    pub role: String,
    /// What.
    pub content: String,
}

/// One example, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A conversation; the assistant's messages are answers.
    Chat(Vec<Message>),
    /// A text and its continuation, which is the answer.
    Completion {
        /// The text.
        prompt: String,
        /// What follows it.
        completion: String,
    },
    /// A text, all of which is to be learnt.
    Text(String),
}

/// The examples of a file, with the line each is on. Empty lines are passed over.
///
/// # Errors
/// [`Error::Io`] of the system; [`Error::ExampleLine`] for a line that is none of the three forms, has a conversation
/// without an answer, or is longer than 64 MiB.
pub fn read(path: &Path) -> Result<Vec<(usize, Record)>, Error> {
    let about = std::fs::metadata(path).map_err(Error::io("read", path))?;
    if !about.is_file() {
        // A pipe would wait for its other end.
        return Err(Error::CorpusNotAFile { path: path.to_path_buf() });
    }
    let mut reader = BufReader::new(File::open(path).map_err(Error::io("read", path))?);
    let (mut records, mut line, mut number) = (Vec::new(), Vec::new(), 0);
    loop {
        line.clear();
        let read = reader.by_ref().take(LONGEST + 1).read_until(b'\n', &mut line);
        if read.map_err(Error::io("read", path))? == 0 {
            return Ok(records);
        }
        number += 1;
        let wrong =
            |what| Error::ExampleLine { path: path.to_path_buf(), line: number, what, expected: FORMS };
        if line.len() as u64 > LONGEST {
            return Err(wrong(format!("it is longer than {LONGEST} bytes")));
        }
        // Some editors put a mark before the first line.
        let text = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| number == 1).unwrap_or(&line);
        if !text.trim_ascii().is_empty() {
            records.push((number, record(text).map_err(wrong)?));
        }
    }
}

/// One line; an error says what is wrong with it.
fn record(line: &[u8]) -> Result<Record, String> {
    let value: Value = serde_json::from_slice(line).map_err(|error| format!("it is not JSON: {error}"))?;
    let string = |of: &Value, field: &str| match of.get(field) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(format!("{field:?} is {}, no string", kind(other))),
        None => Err(format!("it has no {field:?}")),
    };
    if let Some(messages) = value.get("messages") {
        let Value::Array(messages) = messages else {
            return Err(format!("\"messages\" is {}, no list", kind(messages)));
        };
        let message = |(at, of): (usize, &Value)| {
            let part = |field| string(of, field).map_err(|what| format!("message {at}: {what}"));
            Ok(Message { role: part("role")?, content: part("content")? })
        };
        let messages = messages.iter().enumerate().map(message).collect::<Result<Vec<_>, String>>()?;
        if !messages.iter().any(|message| message.role == ANSWERS) {
            return Err(format!("no message has the role {ANSWERS:?}, so there is nothing to learn"));
        }
        return Ok(Record::Chat(messages));
    }
    if value.get("prompt").is_some() || value.get("completion").is_some() {
        let completion = string(&value, "completion")?;
        return Ok(Record::Completion { prompt: string(&value, "prompt")?, completion });
    }
    if value.is_object() {
        string(&value, "text").map(Record::Text)
    } else {
        Err(format!("it is {}", kind(&value)))
    }
}

/// The role whose messages are answers.
pub const ANSWERS: &str = "assistant";

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &[u8]) -> Result<Vec<(usize, Record)>, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.jsonl");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    const GOOD: &str = "\u{feff}{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"ho\"}]}\n\n\
        {\"prompt\":\"a\",\"completion\":\"b\",\"id\":7}\r\n{\"text\":\"c\"}";

    #[test]
    fn three_forms_are_read_with_their_lines() {
        let message = |role: &str, content: &str| Message { role: role.into(), content: content.into() };
        let chat = Record::Chat(vec![message("user", "hi"), message("assistant", "ho")]);
        let completion = Record::Completion { prompt: "a".into(), completion: "b".into() };
        let want = [(1, chat), (3, completion), (4, Record::Text("c".into()))];
        assert_eq!(read_text(GOOD.as_bytes()).unwrap(), want);
    }

    #[test]
    fn a_bad_line_is_named_with_its_field() {
        for (line, named) in [
            ("[1]", "it is a list"),
            ("{", "not JSON"),
            ("{\"messages\":3}", "\"messages\" is a number"),
            ("{\"messages\":[]}", "assistant"),
            ("{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", "assistant"),
            ("{\"messages\":[{\"role\":\"user\",\"content\":[]}]}", "message 0: \"content\" is a list"),
            ("{\"messages\":[4]}", "message 0: it has no \"role\""),
            ("{\"prompt\":\"a\"}", "no \"completion\""),
            ("{\"completion\":\"a\",\"prompt\":null}", "\"prompt\" is null"),
            ("{\"txt\":\"a\"}", "no \"text\""),
            ("\"a\"", "it is a string"),
        ] {
            let error =
                read_text(format!("{{\"text\":\"fine\"}}\n{line}\n").as_bytes()).unwrap_err().to_string();
            assert!(error.contains("data.jsonl, line 2") && error.contains(named), "{line}: {error}");
        }
    }

    #[test]
    fn damaged_files_are_refused_or_read() {
        for at in 0..GOOD.len() {
            let _ = read_text(&GOOD.as_bytes()[..at]);
            for flip in [1, 0x20, 0x80, 0xff] {
                let mut bytes = GOOD.as_bytes().to_vec();
                bytes[at] ^= flip;
                let _ = read_text(&bytes);
            }
        }
    }
}
