//! A conversation, and how templates see it.

use std::collections::BTreeMap;
use std::str::FromStr;

use minijinja::Value;
use minijinja::value::ValueKind;

use super::clock::DateTime;
use super::error::Error;

/// A JSON value whose objects keep the order of their keys, which templates write out.
#[derive(Debug, Clone)]
pub struct Json(Value);

impl FromStr for Json {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        serde_json::from_str(text).map(Self).map_err(|source| Error::Json {
            line: source.line(),
            column: source.column(),
            source,
        })
    }
}

/// What a message says.
#[derive(Debug, Clone)]
pub enum Content {
    /// Text.
    Text(String),
    /// Parts, each an object such as `{"type": "text", "text": "..."}`.
    Parts(Vec<Json>),
    /// Nothing: `null`, as with a message that only calls tools.
    Null,
    /// Nothing, and templates do not see the field.
    Absent,
}

/// One message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Who says it: `system`, `user`, `assistant`, `tool`.
    pub role: String,
    /// What is said.
    pub content: Content,
    /// Other fields in their order: `name`, `tool_calls`, `tool_call_id`, `reasoning_content`.
    pub fields: Vec<(String, Json)>,
}

impl Message {
    /// A message of text.
    pub fn new(role: impl Into<String>, text: impl Into<String>) -> Self {
        Self { role: role.into(), content: Content::Text(text.into()), fields: Vec::new() }
    }

    /// As transformers shows it: reasoning also has its other names.
    fn value(&self) -> Value {
        let mut fields: Vec<(String, Value)> = vec![("role".to_owned(), Value::from(self.role.as_str()))];
        match &self.content {
            Content::Text(text) => fields.push(("content".to_owned(), Value::from(text.as_str()))),
            Content::Parts(parts) => {
                fields.push(("content".to_owned(), parts.iter().map(|part| part.0.clone()).collect()));
            }
            Content::Null => fields.push(("content".to_owned(), Value::from(()))),
            Content::Absent => {}
        }
        fields.extend(self.fields.iter().map(|(name, value)| (name.clone(), value.0.clone())));
        let reasoning = ["reasoning_content", "thinking", "reasoning"].iter().find_map(|name| {
            fields
                .iter()
                .find(|(field, value)| field == name && !value.is_none())
                .map(|(_, value)| value.clone())
        });
        if let Some(reasoning) = reasoning {
            if !fields.iter().any(|(field, _)| field == "thinking") {
                fields.insert(0, ("thinking".to_owned(), reasoning.clone()));
            }
            match fields.iter_mut().find(|(field, _)| field == "reasoning_content") {
                Some((_, value)) => *value = reasoning,
                None => fields.push(("reasoning_content".to_owned(), reasoning)),
            }
        }
        fields.into_iter().collect()
    }
}

impl FromStr for Message {
    type Err = Error;

    /// A message as an object of JSON: `{"role": "user", "content": "Hello"}`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let Json(object) = text.parse()?;
        let text_of = |value: &Value| value.as_str().map(str::to_owned);
        let get = |key: &str| object.get_attr(key).unwrap_or_default();
        let role = text_of(&get("role")).ok_or(Error::Message { field: "role", expected: "a string" })?;
        let content = get("content");
        let has_content =
            object.try_iter().is_ok_and(|mut keys| keys.any(|key| key.as_str() == Some("content")));
        let content = match content.kind() {
            ValueKind::String => Content::Text(text_of(&content).unwrap_or_default()),
            ValueKind::Seq => Content::Parts(content.try_iter().into_iter().flatten().map(Json).collect()),
            ValueKind::None if has_content => Content::Null,
            _ if !has_content => Content::Absent,
            _ => return Err(Error::Message { field: "content", expected: "a string, a list or null" }),
        };
        let mut fields = Vec::new();
        for key in object.try_iter().into_iter().flatten() {
            if let Some(name) = text_of(&key).filter(|name| !matches!(name.as_str(), "role" | "content")) {
                fields.push((name, Json(object.get_item(&key).unwrap_or_default())));
            }
        }
        Ok(Self { role, content, fields })
    }
}

/// What a template renders.
#[derive(Debug, Clone, Default)]
pub struct Conversation {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// Whether the prompt ends with what begins an answer.
    pub add_generation_prompt: bool,
    /// The token that begins a text; not defined for the template if absent.
    pub bos_token: Option<String>,
    /// The token that ends a text; not defined for the template if absent.
    pub eos_token: Option<String>,
    /// Descriptions of tools, as JSON schemas.
    pub tools: Option<Vec<Json>>,
    /// Documents to answer from.
    pub documents: Option<Vec<Json>>,
    /// Further variables, such as `enable_thinking`.
    pub variables: BTreeMap<String, Json>,
    /// The time for `strftime_now`.
    pub now: Option<DateTime>,
}

impl Conversation {
    /// The template's variables, and about how many bytes they hold.
    pub(super) fn context(&self) -> (BTreeMap<String, Value>, u64) {
        let list = |items: &Option<Vec<Json>>| match items {
            Some(items) => items.iter().map(|item| item.0.clone()).collect(),
            None => Value::from(()),
        };
        let mut context: BTreeMap<String, Value> =
            self.variables.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect();
        context.insert("messages".to_owned(), self.messages.iter().map(Message::value).collect());
        context.insert("tools".to_owned(), list(&self.tools));
        context.insert("documents".to_owned(), list(&self.documents));
        context.insert("add_generation_prompt".to_owned(), Value::from(self.add_generation_prompt));
        for (name, token) in [("bos_token", &self.bos_token), ("eos_token", &self.eos_token)] {
            if let Some(token) = token {
                context.insert(name.to_owned(), Value::from(token.as_str()));
            }
        }
        let bytes = context.values().map(size).fold(0, u64::saturating_add);
        (context, bytes)
    }
}

/// About how many bytes a value of JSON holds.
fn size(value: &Value) -> u64 {
    let own = value.as_str().map_or(1, |text| text.len() as u64 + 1);
    let keys = match value.kind() {
        ValueKind::Map | ValueKind::Seq => value.try_iter(),
        _ => return own,
    };
    let inner = keys.map_or(0, |keys| {
        keys.map(|key| match value.kind() {
            ValueKind::Map => size(&key).saturating_add(value.get_item(&key).map_or(0, |item| size(&item))),
            _ => size(&key),
        })
        .fold(0, u64::saturating_add)
    });
    own.saturating_add(inner)
}
