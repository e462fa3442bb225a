//! How a published model wants a conversation written: its chat template, and the special tokens that templates name.

use std::collections::BTreeMap;

use anyhow::Context as _;
use selvedge_model::gguf::{self, optional};
use selvedge_tokenizer::chat::Conversation;
use serde_json::Value;

use super::{LONGEST, Published, Source, read_file};
use crate::file;

/// Special tokens that templates may name.
const NAMES: [&str; 4] = ["bos_token", "eos_token", "pad_token", "unk_token"];

/// Longest name of a token.
const MAX_NAME: usize = 4096;

/// What a model says of conversations.
pub(crate) struct ChatFormat {
    /// The template, if there is one.
    pub(crate) template: Option<String>,
    /// Texts of special tokens by their names.
    pub(crate) tokens: BTreeMap<String, String>,
    /// Tokens that end an answer, besides those that end a text.
    pub(crate) ends: Vec<u32>,
}

impl ChatFormat {
    /// A conversation of no messages yet, with the special tokens.
    pub(crate) fn conversation(&self) -> anyhow::Result<Conversation> {
        let mut conversation = Conversation::default();
        for (name, token) in &self.tokens {
            match name.as_str() {
                "bos_token" => conversation.bos_token = Some(token.clone()),
                "eos_token" => conversation.eos_token = Some(token.clone()),
                _ => {
                    let token = Value::String(token.clone()).to_string().parse()?;
                    conversation.variables.insert(name.clone(), token);
                }
            }
        }
        Ok(conversation)
    }
}

impl Published {
    /// What the model says of conversations: by the keys of a GGUF file; of a folder, `chat_template.jinja` goes before
    /// `tokenizer_config.json`.
    pub(crate) fn chat_format(&self) -> anyhow::Result<ChatFormat> {
        match &self.source {
            Source::Gguf(model) => self.of_file(model),
            Source::HuggingFace(folder) => folder_format(folder.path()),
        }
    }

    fn of_file(&self, model: &gguf::Model) -> anyhow::Result<ChatFormat> {
        let (file, metadata) = (model.file(), model.file().header().metadata());
        let key = |error| gguf::Error::key(file.path())(error);
        let template = file_template(model)?;
        let id =
            |field: &str| optional(metadata.u32(&format!("tokenizer.ggml.{field}_token_id"))).map_err(key);
        let mut tokens = BTreeMap::new();
        for (name, field) in NAMES.iter().zip(["bos", "eos", "padding", "unknown"]) {
            let bytes = id(field)?.and_then(|id| self.tokenizer.token_bytes(id));
            if let Some(text) = bytes.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok()) {
                tokens.insert((*name).to_owned(), text);
            }
        }
        let ends = [id("eot")?, id("eom")?].into_iter().flatten().collect();
        Ok(ChatFormat { template, tokens, ends })
    }
}

/// The template in a GGUF file.
pub(crate) fn file_template(model: &gguf::Model) -> anyhow::Result<Option<String>> {
    let (file, metadata) = (model.file(), model.file().header().metadata());
    let template = optional(metadata.string("tokenizer.chat_template"));
    Ok(template.map_err(gguf::Error::key(file.path()))?.map(str::to_owned))
}

/// What a folder says.
pub(crate) fn folder_format(folder: &std::path::Path) -> anyhow::Result<ChatFormat> {
    let path = folder.join("tokenizer_config.json");
    let about: Value = if path.exists() {
        serde_json::from_slice(&read_file(&path)?).with_context(|| format!("{}: not JSON", path.display()))?
    } else {
        Value::Null
    };
    let mut tokens = BTreeMap::new();
    for name in NAMES {
        let token = &about[name];
        let text = token.as_str().or_else(|| token["content"].as_str());
        if let Some(text) = text.filter(|text| text.len() <= MAX_NAME) {
            tokens.insert(name.to_owned(), text.to_owned());
        }
    }
    let own = folder.join("chat_template.jinja");
    let template = if own.exists() {
        Some(file::read_utf8(&own, LONGEST)?)
    } else {
        named(&about["chat_template"])
            .with_context(|| format!("{}: cannot use chat_template", path.display()))?
    };
    Ok(ChatFormat { template, tokens, ends: Vec::new() })
}

/// A template, or of a list of named ones that which is named `default`, or the only one.
fn named(value: &Value) -> anyhow::Result<Option<String>> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Array(list) => {
            let chosen = match &list[..] {
                [only] => Some(only),
                _ => list.iter().find(|item| item["name"] == "default"),
            };
            let text = chosen.and_then(|item| item["template"].as_str());
            let text = text.context("none of the templates is named `default`")?;
            Ok(Some(text.to_owned()))
        }
        _ => anyhow::bail!("neither a template nor a list of templates"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_template_is_chosen() {
        let text = |value: Value| named(&value).unwrap();
        assert_eq!(text(Value::Null), None);
        assert_eq!(text(json!("a")).unwrap(), "a");
        assert_eq!(text(json!([{"name": "x", "template": "a"}])).unwrap(), "a");
        let list = json!([{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]);
        assert_eq!(text(list).unwrap(), "b");
        for wrong in
            [json!(3), json!([]), json!([{"name": "default"}]), json!([{"name": "x"}, {"name": "y"}])]
        {
            named(&wrong).unwrap_err();
        }
    }
}
