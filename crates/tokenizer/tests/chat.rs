//! Chat templates against transformers, and what hostile ones come to.
//!
//! `goldens/make_chat.py` makes what is expected. Published templates are not kept here: with `SELVEDGE_CHAT_TEMPLATES` set
//! to a folder of them with an `expected.json` of that program, all are compared.
#![expect(clippy::unwrap_used, reason = "a test ends where something goes wrong")]
#![expect(clippy::print_stderr, reason = "says what was compared")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use selvedge_tokenizer::chat::{ChatTemplate, Conversation, DateTime, Error, Json, MAX_TEMPLATE, Message};

#[derive(serde::Deserialize)]
struct Goldens {
    conversations: BTreeMap<String, Given>,
    templates: Vec<Case>,
}

/// Items of lists are JSON as text.
#[derive(serde::Deserialize)]
struct Given {
    messages: Vec<String>,
    #[serde(default)]
    add_generation_prompt: bool,
    tools: Option<Vec<String>>,
    documents: Option<Vec<String>>,
    #[serde(default)]
    variables: BTreeMap<String, serde_json::Value>,
}

#[derive(serde::Deserialize)]
struct Case {
    template: String,
    expected: BTreeMap<String, Expected>,
}

#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Text(String),
    Raised(String),
    Failed(String),
}

fn list(items: &[String]) -> Vec<Json> {
    items.iter().map(|item| item.parse().unwrap()).collect()
}

impl Given {
    fn conversation(&self) -> Conversation {
        Conversation {
            messages: self.messages.iter().map(|message| message.parse().unwrap()).collect(),
            add_generation_prompt: self.add_generation_prompt,
            bos_token: Some("<s>".to_owned()),
            eos_token: Some("</s>".to_owned()),
            tools: self.tools.as_deref().map(list),
            documents: self.documents.as_deref().map(list),
            variables: self
                .variables
                .iter()
                .map(|(name, value)| (name.clone(), value.to_string().parse().unwrap()))
                .collect(),
            now: Some(DateTime { year: 2026, month: 3, day: 5, hour: 14, minute: 7, second: 9 }),
        }
    }
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/chat")
}

/// Renders every template of a folder; how many renderings there were, and which differ.
fn compare(folder: &Path) -> (usize, Vec<String>) {
    let goldens: Goldens = serde_json::from_slice(&fs::read(folder.join("expected.json")).unwrap()).unwrap();
    let (mut count, mut differences) = (0, Vec::new());
    for case in &goldens.templates {
        let source = fs::read_to_string(folder.join(&case.template)).unwrap();
        let template = ChatTemplate::new(&source);
        for (name, expected) in &case.expected {
            count += 1;
            let rendered = match &template {
                Ok(template) => template.render(&goldens.conversations[name].conversation()),
                Err(error) => {
                    differences.push(format!("{}, {name}: {error:?}", case.template));
                    continue;
                }
            };
            let same = match (&rendered, expected) {
                (Ok(found), Expected::Text(text)) => found == text,
                (Err(Error::Raised { message }), Expected::Raised(text)) => message == text,
                // Python says it in its own words.
                (Err(Error::Render { .. }), Expected::Failed(_)) => true,
                _ => false,
            };
            if !same {
                differences
                    .push(format!("{}, {name}:\nexpected {expected:?}\nfound {rendered:?}", case.template));
            }
        }
    }
    (count, differences)
}

#[test]
fn templates_render_as_transformers_renders_them() {
    let (count, differences) = compare(&folder());
    assert!(count >= 64, "{count}");
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

#[test]
#[ignore = "needs SELVEDGE_CHAT_TEMPLATES, a folder of published templates with an expected.json"]
fn published_templates_render_as_transformers_renders_them() {
    let folder = std::env::var("SELVEDGE_CHAT_TEMPLATES").unwrap();
    let (count, differences) = compare(Path::new(&folder));
    for difference in &differences {
        eprintln!("{difference}\n");
    }
    eprintln!("{} of {count} agree", count - differences.len());
    assert!(differences.is_empty());
}
