//! JSON of schemas: whatever is written has the schema's shape, checked by hand.

use selvedge_constraint::{Error, Grammar, Kind};
use serde_json::{Value, json};

use crate::support::{tokenizer, vocabulary, write};

/// A schema, and what its JSON must be.
type Case = (&'static str, fn(&Value) -> bool);

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().map(|fields| fields.keys().map(String::as_str).collect()).unwrap_or_default()
}

fn chars(value: &Value) -> usize {
    value.as_str().map_or(usize::MAX, |text| text.chars().count())
}

const CASES: [Case; 22] = [
    (r#"{"enum": ["red", 7, null, {"a": [1]}]}"#, |v| {
        [r#""red""#, "7", "null", r#"{"a":[1]}"#].contains(&v.to_string().as_str())
    }),
    (r#"{"const": "naïve \"数\" \n"}"#, |v| v == "naïve \"数\" \n"),
    (r#"{"type": "null"}"#, Value::is_null),
    (r#"{"type": ["boolean", "null"]}"#, |v| v.is_boolean() || v.is_null()),
    (r#"{"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4}"#, |v| {
        v.as_array()
            .is_some_and(|items| (2..=4).contains(&items.len()) && items.iter().all(Value::is_boolean))
    }),
    (
        r#"{"type": "array", "prefixItems": [{"type": "null"}, {"type": "boolean"}], "items": false, "minItems": 1}"#,
        |v| {
            v.as_array().is_some_and(|items| match &items[..] {
                [one] => one.is_null(),
                [one, two] => one.is_null() && two.is_boolean(),
                _ => false,
            })
        },
    ),
    (r#"{"type": "integer", "minimum": -20, "maximum": 117}"#, |v| {
        v.as_i64().is_some_and(|n| (-20..=117).contains(&n))
    }),
    (r#"{"type": "integer", "exclusiveMinimum": 99, "exclusiveMaximum": 102}"#, |v| {
        v.as_i64().is_some_and(|n| n == 100 || n == 101)
    }),
    (r#"{"type": "number", "minimum": 0.5, "maximum": 2.25}"#, |v| {
        v.as_f64().is_some_and(|x| (0.5..=2.25).contains(&x))
    }),
    (r#"{"type": "integer", "multipleOf": 25, "minimum": -1000, "maximum": 1000}"#, |v| {
        v.as_i64().is_some_and(|n| n % 25 == 0)
    }),
    (r#"{"type": "string", "minLength": 2, "maxLength": 5}"#, |v| (2..=5).contains(&chars(v))),
    (r#"{"type": "string", "pattern": "^[a-c]{2}-\\d+$"}"#, |v| {
        v.as_str().and_then(|text| text.split_once('-')).is_some_and(|(letters, digits)| {
            letters.len() == 2
                && letters.bytes().all(|b| b"abc".contains(&b))
                && !digits.is_empty()
                && digits.bytes().all(|b| b.is_ascii_digit())
        })
    }),
    (r#"{"type": "string", "pattern": "sea", "maxLength": 12}"#, |v| {
        v.as_str().is_some_and(|text| text.contains("sea")) && chars(v) <= 12
    }),
    (r#"{"type": "string", "format": "date"}"#, |v| {
        let parts: Vec<_> = v.as_str().unwrap_or_default().split('-').map(str::len).collect();
        parts == [4, 2, 2]
    }),
    (r#"{"type": "string", "format": "ipv4"}"#, |v| {
        v.as_str().is_some_and(|text| text.parse::<std::net::Ipv4Addr>().is_ok())
    }),
    (r#"{"type": "string", "format": "uuid"}"#, |v| {
        let parts: Vec<_> = v.as_str().unwrap_or_default().split('-').map(str::len).collect();
        parts == [8, 4, 4, 4, 12]
    }),
    (r#"{"anyOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "null"}}]}"#, |v| {
        v.is_boolean() || v.as_array().is_some_and(|items| items.iter().all(Value::is_null))
    }),
    (
        r#"{"oneOf": [{"type": "object", "properties": {"kind": {"const": "a"}, "x": {"type": "boolean"}}, "required": ["kind", "x"], "additionalProperties": false},
                      {"type": "object", "properties": {"kind": {"const": "b"}}, "required": ["kind"], "additionalProperties": false}]}"#,
        |v| {
            (v["kind"] == "a" && keys(v) == ["kind", "x"] && v["x"].is_boolean())
                || (v["kind"] == "b" && keys(v) == ["kind"])
        },
    ),
    (
        r#"{"type": "object", "properties": {"id": {"type": "integer", "maximum": 99999}, "name": {"type": "string", "maxLength": 4}, "note": {"type": "null"}},
            "required": ["id", "name"], "additionalProperties": false}"#,
        |v| {
            is_integer(&v["id"])
                && chars(&v["name"]) <= 4
                && v["note"].is_null()
                && keys(v).iter().all(|k| ["id", "name", "note"].contains(k))
        },
    ),
    (
        r#"{"allOf": [{"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]},
                      {"properties": {"b": {"type": "null"}}, "required": ["b"]}], "unused": 1}"#,
        |v| v["a"].is_boolean() && keys(v).contains(&"b") && v["b"].is_null(),
    ),
    (
        r##"{"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"leaf": {"type": "boolean"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
             "required": ["leaf", "next"], "additionalProperties": false}}}"##,
        |v| {
            let mut at = v;
            while !at.is_null() {
                if keys(at) != ["leaf", "next"] || !at["leaf"].is_boolean() {
                    return false;
                }
                at = &at["next"];
            }
            !v.is_null()
        },
    ),
    (
        r#"{"type": "object", "properties": {"a": {"type": "null"}}, "patternProperties": {"^x-": {"type": "boolean"}}, "additionalProperties": false}"#,
        |v| {
            let fields = v.as_object().unwrap();
            fields.iter().all(|(k, v)| (k == "a" && v.is_null()) || (k.starts_with("x-") && v.is_boolean()))
        },
    ),
];

/// Numbers of any size are JSON, but not for this reader.
fn is_too_large(error: &serde_json::Error) -> bool {
    error.to_string().contains("number out of range")
}

#[test]
fn texts_have_the_shape_of_their_schema() {
    let tokenizer = tokenizer();
    let vocabulary = vocabulary(&tokenizer);
    for (schema, fits) in CASES {
        let grammar = Grammar::json_schema(schema).unwrap_or_else(|error| panic!("{schema}: {error}"));
        let mut complete = 0;
        for seed in 0..30 {
            let (text, ended) = write(&vocabulary, &tokenizer, &grammar, seed, 500).unwrap();
            if ended {
                complete += 1;
                let text = String::from_utf8(text).unwrap();
                match serde_json::from_str(&text) {
                    Ok(json) => assert!(fits(&json), "{schema}: {text}"),
                    Err(error) => assert!(is_too_large(&error), "{text}: {error}"),
                }
            }
        }
        assert!(complete >= 20, "{schema}: only {complete} of 30 texts came to their end");
    }
}

#[test]
fn any_json_is_an_object() {
    let tokenizer = tokenizer();
    let vocabulary = vocabulary(&tokenizer);
    let grammar = Grammar::json().unwrap();
    let mut complete = 0;
    for seed in 0..30 {
        let (text, ended) = write(&vocabulary, &tokenizer, &grammar, seed, 500).unwrap();
        match serde_json::from_slice::<Value>(&text) {
            Ok(json) if ended => {
                assert!(json.is_object());
                complete += 1;
            }
            Err(error) if ended => assert!(is_too_large(&error), "{error}"),
            _ => {}
        }
    }
    assert!(complete > 10);
}

#[test]
fn what_is_not_understood_is_named() {
    for (schema, part) in [
        ("{", "line 1, column 1: EOF"),
        ("{\"type\":\n  \"string\",}", "line 2, column 12"),
        ("3", "neither an object nor a boolean"),
        ("false", "`false`"),
        (r#"{"type": "strin"}"#, "Invalid type: strin"),
        (r#"{"type": "array", "uniqueItems": true}"#, "uniqueItems"),
        (r#"{"not": {}}"#, "\"not\""),
        (r#"{"type": "string", "format": "moon"}"#, "Unknown format: moon"),
        (r#"{"type": "string", "pattern": "(a"}"#, "unclosed group"),
        (r#"{"oneOf": [{"type": "integer"}, {"type": "number"}]}"#, "oneOf"),
        (r##"{"$ref": "#/$defs/a"}"##, "'$defs' not found"),
        (r#"{"$ref": "https://example.org/a.json"}"#, "https://example.org/a.json"),
        (r#"{"type": "integer", "minimum": 3, "maximum": 2}"#, "Unsatisfiable schema"),
        (r#"{"enum": []}"#, "Unsatisfiable schema"),
    ] {
        let error = Grammar::json_schema(schema).unwrap_err().to_string();
        assert!(error.contains(part), "{schema}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

/// A pattern, and what its error says of it.
type Wrong = (&'static str, fn(&Error) -> bool);
/// A schema around a pattern, and where it is in there.
type Around = (fn(Value) -> Value, &'static str);

#[test]
fn patterns_are_checked_as_regular_expressions_are_and_found() {
    let deep = format!("{}a{}", "(".repeat(70), ")".repeat(70));
    let cases: [Wrong; 8] = [
        ("ab(c", |e| matches!(e, Error::Pattern { at: 2, .. })),
        ("(?=a)b", |e| matches!(e, Error::Pattern { at: 0, .. })),
        (r"a\b", |e| matches!(e, Error::InnerAnchor)),
        ("a^b", |e| matches!(e, Error::InnerAnchor)),
        ("(^a)?b", |e| matches!(e, Error::InnerAnchor)),
        ("(?m)^a", |e| matches!(e, Error::InnerAnchor)),
        ("(?x)a\nb # c\n", |e| matches!(e, Error::Verbose)),
        (&deep.leak()[..], |e| matches!(e, Error::TooDeep { kind: Kind::Regex, limit: 64 })),
    ];
    let places: [Around; 4] = [
        (|p| json!({"properties": {"a/b~": {"pattern": p}}}), "#/properties/a~1b~0/pattern"),
        (|p| json!({"anyOf": [{"type": "null"}, {"items": {"pattern": p}}]}), "#/anyOf/1/items/pattern"),
        (|p| json!({"$ref": "#/$defs/x", "$defs": {"x": {"pattern": p}}}), "#/$defs/x/pattern"),
        (|p| json!({"$ref": "#/default/1", "default": [0, {"pattern": p}]}), "#/default/1/pattern"),
    ];
    for (pattern, is_right) in cases {
        for (schema, want) in places {
            match Grammar::json_schema(&schema(pattern.into()).to_string()).unwrap_err() {
                Error::InSchema { place, error } => assert!(place == want && is_right(&error), "{error}"),
                error => panic!("{pattern:?}: {error}"),
            }
        }
        if pattern.len() <= 64 {
            match Grammar::json_schema(&json!({"patternProperties": {pattern: {}}}).to_string()).unwrap_err()
            {
                Error::InSchema { place, error } => {
                    assert!(
                        place.starts_with("#/patternProperties/") && is_right(&error),
                        "{place}: {error}"
                    );
                }
                error => panic!("{pattern:?}: {error}"),
            }
        }
    }
    // In one line, whatever it is called.
    let schema = json!({"properties": {"a\n".repeat(300): {"pattern": "("}}}).to_string();
    let error = Grammar::json_schema(&schema).unwrap_err().to_string();
    assert!(error.len() < 1000 && !error.contains('\n'), "{error}");
    // What nobody uses may be of another dialect.
    Grammar::json_schema(r#"{"$defs": {"unused": {"pattern": "(?!a)b"}}}"#).unwrap();
    for pattern in ["^a|b$", "^(a|b)$", "(^a|^b)c*", "^^a$$", "^", "$", "", "(?x) a b # c", "a\nb\t"] {
        Grammar::json_schema(&json!({"type": "string", "pattern": pattern}).to_string())
            .unwrap_or_else(|error| panic!("{pattern:?}: {error}"));
    }
}

/// What a schema says to others about how it is written is not heard.
#[test]
fn a_schema_has_no_say_in_what_stands_between() {
    let schema = r#"{"type": "array", "items": {"type": "null"}, "minItems": 2, "maxItems": 2,
        "x-guidance": {"whitespace_pattern": "x", "lenient": true, "unknown": 3}}"#;
    let tokenizer = tokenizer();
    let vocabulary = vocabulary(&tokenizer);
    for seed in 0..5 {
        let (text, ended) =
            write(&vocabulary, &tokenizer, &Grammar::json_schema(schema).unwrap(), seed, 100).unwrap();
        assert!(ended && !text.contains(&b'x'));
    }
}
