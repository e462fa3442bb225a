//! The vocabulary of a converted model: keys of a GGUF file, or files of a Hugging Face folder.

use anyhow::Context as _;
use selvedge_model::gguf::{Array, Metadata, Value};
use selvedge_model::hf;
use selvedge_tokenizer::{TokenId, Tokenizer};
use serde_json::json;

use super::source::Source;
use crate::published::{COPIED, file_template, folder_format, read_file};
use crate::say::remark;

/// The keys of the vocabulary, and the name.
pub(super) fn keys(source: &Source) -> anyhow::Result<Metadata> {
    let tokenizer = source.tokenizer()?;
    let tokens = tokenizer.to_gguf(source.config().vocab)?;
    let mut metadata = Metadata::new();
    let mut set = |key: &str, value: Value| drop(metadata.insert(key, value));
    set("general.name", Value::String(source.name()));
    set("tokenizer.ggml.model", Value::String("gpt2".to_owned()));
    set("tokenizer.ggml.pre", Value::String(tokens.pre.to_owned()));
    set("tokenizer.ggml.tokens", Value::Array(Array::String(tokens.tokens.iter().collect())));
    set("tokenizer.ggml.token_type", Value::Array(Array::I32(tokens.token_types)));
    set("tokenizer.ggml.merges", Value::Array(Array::String(tokens.merges.iter().collect())));
    // llama.cpp takes token 11 for one that is not named.
    let bos = tokens.bos.or(source.generation(&tokenizer).bos).unwrap_or(tokens.eos);
    set("tokenizer.ggml.bos_token_id", Value::U32(bos));
    set("tokenizer.ggml.eos_token_id", Value::U32(tokens.eos));
    set("tokenizer.ggml.add_bos_token", Value::Bool(tokens.add_bos));
    if tokens.add_eos {
        set("tokenizer.ggml.add_eos_token", Value::Bool(true));
    }
    if let Some(template) = chat_template(source) {
        set("tokenizer.chat_template", Value::String(template));
    }
    Ok(metadata)
}

/// A file, by its name.
type NamedFile = (&'static str, Vec<u8>);

/// The files of the tokenizer: copies where they are, made from the vocabulary else. And how text should be sampled.
pub(super) fn files(source: &Source) -> anyhow::Result<(Vec<NamedFile>, hf::Generation)> {
    if let Source::HuggingFace(folder) = source {
        let all = COPIED.into_iter().chain(["generation_config.json"]);
        let there = all.filter(|name| folder.path().join(name).exists());
        let copies = there.map(|name| Ok((name, read_file(&folder.path().join(name))?)));
        return Ok((copies.collect::<anyhow::Result<_>>()?, folder.generation().clone()));
    }
    let tokenizer = source.tokenizer()?;
    let generation = source.generation(&tokenizer);
    let text =
        |id: TokenId| tokenizer.token_bytes(id).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let mut about = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": generation.bos.and_then(text),
        "eos_token": text(tokenizer.end_of_text()),
        "clean_up_tokenization_spaces": false,
        "model_max_length": source.config().context,
    });
    if let Some(template) = chat_template(source) {
        about["chat_template"] = template.into();
    }
    let about = format!("{about:#}\n").into_bytes();
    Ok((vec![("tokenizer.json", written(&tokenizer)?), ("tokenizer_config.json", about)], generation))
}

fn written(tokenizer: &Tokenizer) -> anyhow::Result<Vec<u8>> {
    tokenizer
        .to_hugging_face()
        .context("the model's vocabulary has no tokenizer.json; convert to a GGUF file")
}

/// The template of conversations, where the model has one that can be told.
fn chat_template(source: &Source) -> Option<String> {
    let template = match source {
        Source::Run(_) => Ok(None),
        Source::Gguf(model) => file_template(model),
        Source::HuggingFace(folder) => folder_format(folder.path()).map(|format| format.template),
    };
    template.unwrap_or_else(|error| {
        remark!("no chat template is written: {error:#}");
        None
    })
}
