//! Damaged files give an error or a valid value, and never a panic; nothing is allocated by a number alone.

use selvedge_model::hf::{Error, Folder, Generation, read_config};
use serde_json::{Value, json};

use super::{copy, golden};

/// What a field may be changed to.
fn values() -> Vec<Value> {
    let mut values =
        vec![Value::Null, json!(0), json!(-1), json!(1), json!(3), json!(u64::MAX), json!(i64::MIN)];
    values.extend([
        json!(1 << 20),
        json!(1 << 24),
        json!(1e308),
        json!(-0.5),
        json!(0.5),
        json!("x"),
        json!(""),
    ]);
    values.extend([
        json!([]),
        json!([1, "a"]),
        json!({}),
        json!({"rope_type": 5}),
        json!(true),
        json!(false),
    ]);
    values
}

/// Opens a folder whose configuration was changed; whatever opens must have the sizes of its tensors, so that
/// loading it takes no more memory than the file has.
fn try_config(folder: &std::path::Path, config: &Value, what: &str) {
    let text = config.to_string();
    let short = |error: Error| assert!(error.to_string().len() < 500, "{what}: {error}");
    let read = match read_config(text.as_bytes()) {
        Ok(read) => read,
        Err(error) => return short(error),
    };
    std::fs::write(folder.join("config.json"), text).unwrap();
    match Folder::open(folder) {
        Ok(open) => {
            assert!(open.layout().len() < 1 << 16, "{what}: {} parameters", open.layout().len());
            assert!(open.load().iter().all(|x| x.is_finite()), "{what}");
            assert_eq!(&read, open.config(), "{what}");
        }
        Err(error) => short(error),
    }
}

#[test]
fn every_field_of_a_config_may_be_missing_huge_negative_or_of_another_type() {
    for name in ["gpt2", "llama3", "llama_untied", "mistral", "qwen2", "qwen3"] {
        let folder = copy(name);
        let text = std::fs::read(golden(name).join("config.json")).unwrap();
        let config: Value = serde_json::from_slice(&text).unwrap();
        for field in config.as_object().unwrap().keys() {
            let mut without = config.clone();
            without.as_object_mut().unwrap().remove(field);
            try_config(folder.path(), &without, &format!("{name} without {field}"));
            for value in values() {
                let mut changed = config.clone();
                changed[field] = value.clone();
                try_config(folder.path(), &changed, &format!("{name}, {field} = {value}"));
            }
            let inner: Vec<String> =
                config[field].as_object().map(|inner| inner.keys().cloned().collect()).unwrap_or_default();
            for inner in inner {
                for value in values() {
                    let mut changed = config.clone();
                    changed[field][&inner] = value.clone();
                    try_config(folder.path(), &changed, &format!("{name}, {field}.{inner} = {value}"));
                }
            }
        }
    }
}

#[test]
fn json_with_any_byte_flipped_or_cut_off_is_read_or_refused() {
    for (name, file) in
        [("llama3", "config.json"), ("qwen3", "config.json"), ("llama3", "generation_config.json")]
    {
        let text = std::fs::read(golden(name).join(file)).unwrap();
        for at in 0..text.len() {
            let _ = read_config(&text[..at]);
            let _ = Generation::read(&text[..at]);
            for bit in 0..8 {
                let mut flipped = text.clone();
                flipped[at] ^= 1 << bit;
                let _ = read_config(&flipped);
                let _ = Generation::read(&flipped);
            }
        }
    }
}

#[test]
fn weights_cut_short_or_with_bytes_of_the_header_flipped_are_read_or_refused() {
    let folder = copy("smollm2");
    let path = folder.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let header = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    // Every byte of a small file is for the test in `shard.rs`.
    for cut in (0..bytes.len()).step_by(97).chain([7, 8, header - 1, header, bytes.len() - 1]) {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let error = Folder::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("model.safetensors"), "cut at {cut}: {error}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    std::fs::write(&path, &longer).unwrap();
    assert!(matches!(Folder::open(folder.path()), Err(Error::DataLength { .. })));
    for at in (0..header).step_by(7) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&path, &flipped).unwrap();
        if let Ok(open) = Folder::open(folder.path()) {
            open.load();
        }
    }
}

#[test]
fn headers_with_impossible_numbers_are_refused() {
    let folder = copy("smollm2");
    let path = folder.path().join("model.safetensors");
    let max = u64::MAX;
    let tensor = |shape: &str, start: u64, end: u64| {
        format!(r#"{{"a":{{"dtype":"U8","shape":{shape},"data_offsets":[{start},{end}]}}}}"#)
    };
    let headers = [
        tensor(&format!("[{max}]"), 0, max),
        tensor(&format!("[{max}]"), 0, max - 8),
        tensor(&format!("[{max},{max}]"), 0, 1),
        tensor("[1]", 1, 0),
        tensor("[-1]", 0, 1),
        "{}".to_owned(),
        "[]".to_owned(),
        "[".repeat(100_000),
        r#"{"a":"#.repeat(100_000),
    ];
    for header in headers {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        std::fs::write(&path, &bytes).unwrap();
        Folder::open(folder.path()).unwrap_err();
    }
    for length in [max, max - 7, 1 << 40, 100_000_001, 9] {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(b"{}      ");
        std::fs::write(&path, &bytes).unwrap();
        let error = Folder::open(folder.path()).unwrap_err();
        assert!(matches!(error, Error::HeaderLength { .. }), "{error}");
    }
}
