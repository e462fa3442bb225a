//! What fuzzing calls: each function takes any bytes as a file of one kind, and must neither panic nor hang nor take memory
//! that the file does not account for. What is read must be consistent.

use std::path::PathBuf;

use selvedge_model::gguf::{self, Header, Metadata};
use selvedge_model::hf::{self, Generation, read_config};
use selvedge_model::tensor::Context;
use selvedge_tokenizer::chat::{ChatTemplate, Conversation, DateTime, MAX_PROMPT, Message};
use selvedge_tokenizer::{GgufVocabulary, Tokenizer};

/// A function under test.
pub struct Target {
    /// Its name, and that of the program that fuzzes it.
    pub name: &'static str,
    /// The function.
    pub run: fn(&[u8]),
    /// Files and folders of inputs to begin with, from the root of the repository.
    pub seeds: &'static [&'static str],
}

/// All of them.
pub const TARGETS: [Target; 8] = [
    Target {
        name: "gguf_header",
        run: gguf_header,
        seeds: &["crates/model/tests/corpus/gguf", "fuzz/seeds/gguf_model"],
    },
    Target { name: "gguf_model", run: gguf_model, seeds: &["fuzz/seeds/gguf_model"] },
    Target { name: "safetensors", run: safetensors, seeds: &["fuzz/seeds/safetensors"] },
    Target { name: "hf_config", run: hf_config, seeds: &["fuzz/seeds/hf_config"] },
    Target { name: "tokenizer_hf", run: tokenizer_hf, seeds: &["fuzz/seeds/tokenizer_hf"] },
    Target { name: "tokenizer_file", run: tokenizer_file, seeds: &["fuzz/seeds/tokenizer_file"] },
    Target { name: "tokenizer_gguf", run: tokenizer_gguf, seeds: &["fuzz/seeds/gguf_model"] },
    Target { name: "chat_template", run: chat_template, seeds: &["fuzz/seeds/chat_template"] },
];

/// Text that tokenizers are tried on: words, digits, blanks, several scripts, a special token, and a broken character.
const TEXT: &[u8] = b"The cat's 12345 mats\r\n\t  \xC3\xA9t\xC3\xA9 e\xCC\x81 \xE6\xBC\xA2 <|endoftext|> \xF0\x9F\x98\xBA \xFF";

/// The header of a GGUF file. Tensors lie in the file, one after the other.
pub fn gguf_header(bytes: &[u8]) {
    let Ok(header) = Header::parse(bytes) else { return };
    for tensor in header.tensors() {
        assert!(tensor.range().end <= bytes.len(), "{} reaches beyond the file", tensor.name());
        assert!(header.tensor(tensor.name()).is_some());
    }
    for (key, value) in header.metadata().iter() {
        assert_eq!(header.metadata().get(key).map(|found| found.kind()), Some(value.kind()));
    }
}

/// A GGUF file as a model: what opens has as many weights as its tensors have, and can be held for generation.
pub fn gguf_model(bytes: &[u8]) {
    let Some((_kept, path)) = file("model.gguf", bytes) else { return };
    let Ok(model) = gguf::Model::open(&path) else { return };
    let there: usize = model.file().tensors().map(|tensor| tensor.rows() * tensor.columns()).sum();
    assert!(model.layout().parameters() <= there, "weights that the file does not have");
    assert_eq!(model.load().expect("what opens loads").len(), model.layout().len());
    model.weights(&mut Context::solo()).expect("what opens can be held");
}

/// A file of weights, by itself and as the weights of a small model.
pub fn safetensors(bytes: &[u8]) {
    let Some((kept, path)) = file("model.safetensors", bytes) else { return };
    let Ok(shard) = hf::Shard::open(&path) else { return };
    let sum: usize = shard.tensors().iter().map(|tensor| tensor.bytes).sum();
    assert!(sum <= bytes.len(), "tensors that the file does not have");
    let config = r#"{"model_type": "llama", "vocab_size": 5, "hidden_size": 4, "intermediate_size": 3,
        "num_hidden_layers": 1, "num_attention_heads": 1, "max_position_embeddings": 8, "tie_word_embeddings": true}"#;
    if std::fs::write(kept.path().join("config.json"), config).is_err() {
        return;
    }
    if let Ok(folder) = hf::Folder::open(kept.path()) {
        assert_eq!(folder.load().len(), folder.layout().len());
    }
}

/// `config.json` and `generation_config.json`.
pub fn hf_config(bytes: &[u8]) {
    let _ = Generation::read(bytes);
    if let Ok(config) = read_config(bytes) {
        config.validate().expect("what is read makes a model");
    }
}

/// `tokenizer.json` of Hugging Face.
pub fn tokenizer_hf(bytes: &[u8]) {
    if let Ok(tokenizer) = Tokenizer::from_hugging_face(bytes, None) {
        try_tokenizer(&tokenizer);
    }
}

/// This program's own tokenizer files.
pub fn tokenizer_file(bytes: &[u8]) {
    if let Ok(tokenizer) = Tokenizer::from_json(bytes) {
        try_tokenizer(&tokenizer);
    }
}

/// The vocabulary in a GGUF file.
pub fn tokenizer_gguf(bytes: &[u8]) {
    let Ok(header) = Header::parse(bytes) else { return };
    if let Some(vocabulary) = vocabulary(header.metadata())
        && let Ok(tokenizer) = Tokenizer::from_gguf(&vocabulary)
    {
        try_tokenizer(&tokenizer);
    }
}

/// A chat template: what is read renders a conversation, the same twice, or refuses it.
pub fn chat_template(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else { return };
    let Ok(template) = ChatTemplate::new(source) else { return };
    let conversation = conversation();
    if let Ok(prompt) = template.render(&conversation) {
        assert!(prompt.len() <= MAX_PROMPT);
        assert_eq!(template.render(&conversation).expect("it was rendered before"), prompt);
    }
}

/// A conversation with all that templates look for.
pub fn conversation() -> Conversation {
    let messages = [
        r#"{"role": "system", "content": " Be brief. "}"#,
        r#"{"role": "user", "content": "How warm is it in \u00c7e\u015fme?\n"}"#,
        r#"{"role": "assistant", "content": null, "reasoning_content": "Ask.", "tool_calls": [{"type": "function", "id": "c1",
            "function": {"name": "weather", "arguments": {"place": "\u00c7e\u015fme", "days": 1}}}]}"#,
        r#"{"role": "tool", "tool_call_id": "c1", "content": "{\"celsius\": 31.5}"}"#,
        r#"{"role": "assistant", "content": "<think>31.5</think>\n\nWarm. \ud83c\udf1e"}"#,
        r#"{"role": "user", "content": [{"type": "text", "text": "And "}, {"type": "image"}, {"type": "text", "text": "here?"}]}"#,
    ];
    let tool = r#"{"type": "function", "function": {"name": "weather", "description": "Of a place",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}, "days": {"type": "integer"}}}}}"#;
    let message = |text: &str| text.parse::<Message>().expect("a message");
    Conversation {
        messages: messages.into_iter().map(message).collect(),
        add_generation_prompt: true,
        bos_token: Some("<s>".to_owned()),
        eos_token: Some("</s>".to_owned()),
        tools: Some(vec![tool.parse().expect("JSON")]),
        documents: None,
        variables: [("strict".to_owned(), "false".parse().expect("JSON"))].into(),
        now: Some(DateTime::from_unix(1_772_719_629)),
    }
}

fn vocabulary(metadata: &Metadata) -> Option<GgufVocabulary<'_>> {
    let name = |field: &str| format!("tokenizer.ggml.{field}");
    let strings = |field: &str| Some(metadata.array_strings(&name(field)).ok()?.iter().collect());
    let kinds = metadata.array_i64(&name("token_type")).unwrap_or_default();
    Some(GgufVocabulary {
        model: metadata.string(&name("model")).ok()?,
        pre: metadata.string(&name("pre")).unwrap_or_default(),
        tokens: strings("tokens")?,
        token_types: kinds.into_iter().map(|kind| i32::try_from(kind).unwrap_or(-1)).collect(),
        merges: strings("merges").unwrap_or_default(),
        bos: metadata.u32(&name("bos_token_id")).ok(),
        eos: metadata.u32(&name("eos_token_id")).ok(),
        add_bos: metadata.bool(&name("add_bos_token")).ok(),
        add_eos: metadata.bool(&name("add_eos_token")).ok(),
    })
}

/// Ids are of the vocabulary, and every way of writing the tokenizer can be read back, where it can be written.
fn try_tokenizer(tokenizer: &Tokenizer) {
    let ids = tokenizer.encode_with_specials(TEXT);
    tokenizer.decode(&ids).expect("ids of the vocabulary");
    let json = tokenizer.to_json().expect("a tokenizer has a file");
    let again = Tokenizer::from_json(&json).expect("what was written is read");
    assert_eq!(again.encode_with_specials(TEXT), ids);
    if let Ok(json) = tokenizer.to_hugging_face() {
        Tokenizer::from_hugging_face(&json, None).ok();
    }
    if let Ok(tokens) = tokenizer.to_gguf(0) {
        Tokenizer::from_gguf(&tokens.vocabulary()).ok();
    }
}

/// The bytes as a file in a folder of its own; none where the system has no room.
fn file(name: &str, bytes: &[u8]) -> Option<(tempfile::TempDir, PathBuf)> {
    let folder = tempfile::tempdir().ok()?;
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).ok()?;
    Some((folder, path))
}
