//! llama.cpp's vocabularies and vectors: the ids of every text, for every byte-level BPE vocabulary in a folder.
//!
//! The files are too large to keep here. With `SELVEDGE_LLAMA_VOCABS` set to the folder `models` of llama.cpp's sources, each
//! `ggml-vocab-*.gguf` in it is loaded, and if `.inp` and `.out` lie beside it, compared. Those of other kinds must be
//! refused as such.
#![expect(clippy::unwrap_used, reason = "a test ends where something goes wrong")]
#![expect(clippy::print_stderr, reason = "says what was compared")]

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::gguf::{Value, metadata};
use selvedge_tokenizer::{Error, GgufVocabulary, Tokenizer};

const SEPARATOR: &str = "\n__ggml_vocab_test__\n";

fn load(values: &HashMap<String, Value>) -> Result<Tokenizer, Error> {
    let get = |key: &str| values.get(&format!("tokenizer.ggml.{key}"));
    let text = |key| get(key).map_or("", Value::text);
    let id = |key| get(key).map(|value| u32::try_from(value.number()).unwrap());
    let strings = |key| get(key).map_or(Vec::new(), |value| value.list().iter().map(Value::text).collect());
    let types = get("token_type").map_or(&[][..], Value::list);
    Tokenizer::from_gguf(&GgufVocabulary {
        model: text("model"),
        pre: text("pre"),
        tokens: strings("tokens"),
        token_types: types.iter().map(|value| i32::try_from(value.number()).unwrap()).collect(),
        merges: strings("merges"),
        bos: id("bos_token_id"),
        eos: id("eos_token_id"),
        add_bos: get("add_bos_token").map(|value| value.number() != 0),
        add_eos: get("add_eos_token").map(|value| value.number() != 0),
    })
}

/// Compares every vector; the number of them.
fn compare(tokenizer: &Tokenizer, vocabulary: &Path) -> usize {
    let beside = |suffix: &str| {
        let mut path = vocabulary.as_os_str().to_owned();
        path.push(suffix);
        fs::read_to_string(path)
    };
    let Ok(inputs) = beside(".inp") else { return 0 };
    let outputs = beside(".out").unwrap();
    let inputs: Vec<&str> = inputs.split(SEPARATOR).collect();
    // What is behind the last separator is no text.
    let inputs = &inputs[..inputs.len() - 1];
    assert_eq!(inputs.len(), outputs.lines().count());
    for (input, output) in inputs.iter().zip(outputs.lines()) {
        let expected: Vec<u32> = output.split_whitespace().map(|id| id.parse().unwrap()).collect();
        let found = tokenizer.encode(input);
        assert_eq!(found, expected, "{}: {input:?}", vocabulary.display());
        assert_eq!(tokenizer.decode_lossy(&found).unwrap(), *input, "{}", vocabulary.display());
    }
    inputs.len()
}

#[test]
#[ignore = "needs SELVEDGE_LLAMA_VOCABS, the folder `models` of llama.cpp's sources"]
fn ids_are_those_of_llama_cpp() {
    let folder = std::env::var_os("SELVEDGE_LLAMA_VOCABS").expect("SELVEDGE_LLAMA_VOCABS is set");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "gguf"));
    paths.sort();
    assert!(!paths.is_empty(), "no vocabulary in the folder");
    for path in paths {
        let values = metadata(&fs::read(&path).unwrap());
        let name = path.file_name().unwrap().display().to_string();
        if values["tokenizer.ggml.model"].text() != "gpt2" {
            let refused = load(&values).unwrap_err();
            assert!(matches!(refused, Error::Unsupported { .. }), "{name}: {refused}");
            eprintln!("{name}: refused: {refused}");
            continue;
        }
        let tokenizer = load(&values).unwrap();
        let vectors = compare(&tokenizer, &path);
        let saved = tokenizer.to_json().unwrap();
        let again = Tokenizer::from_json(&saved).unwrap();
        assert_eq!(again.to_json().unwrap(), saved, "{name}: its file brings the tokenizer back");
        compare(&again, &path);
        let missing = tokenizer.missing_bytes().count();
        eprintln!(
            "{name}: {} ids, {vectors} vectors equal, {missing} bytes without a token",
            tokenizer.vocab_size()
        );
    }
}
