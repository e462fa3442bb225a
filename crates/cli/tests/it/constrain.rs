//! Texts that must be JSON of a schema, of a pattern, or one of some choices, written by a model of random weights.

use std::fs::{self, File};

use selvedge_constraint::{Constraint, Grammar, Vocabulary};
use selvedge_model::{Generator, Sampler, Sampling, build};
use selvedge_tensor::Context;
use selvedge_tokenizer::Tokenizer;
use serde_json::Value;

use crate::support::{Ended, Home, Running};
use crate::tiny::{END, Tiny};

const SCHEMA: &str = r#"{"type": "object", "properties": {
    "name": {"type": "string", "pattern": "^[A-Z][a-z]{1,5}$"},
    "kind": {"enum": ["crab", "gull"]},
    "legs": {"type": "integer", "minimum": 0, "maximum": 99},
    "seen": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3}},
    "required": ["name", "kind", "legs"], "additionalProperties": false}"#;

fn generate(home: &Home, tiny: &Tiny, flags: &[&str]) -> Ended {
    let model = tiny.file();
    let all = ["generate", "x: ", "--model", model.to_str().unwrap(), "--temperature", "1", "--top-k", "0"];
    Running::start(home.command(all.iter().chain(flags))).end()
}

/// What was written behind the prompt.
fn text(ended: &Ended) -> &str {
    let text = ended.stdout.strip_prefix("x: ").and_then(|text| text.strip_suffix('\n'));
    text.unwrap_or_else(|| panic!("{ended:#?}"))
}

fn is_of_schema(text: &str) -> bool {
    let json: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let name = json["name"].as_str().unwrap_or_default().as_bytes();
    let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    (2..=6).contains(&name.len())
        && name[0].is_ascii_uppercase()
        && name[1..].iter().all(u8::is_ascii_lowercase)
        && (json["kind"] == "crab" || json["kind"] == "gull")
        && json["legs"].as_u64().is_some_and(|legs| legs < 100)
        && json.get("seen").is_none_or(|seen| {
            seen.as_array()
                .is_some_and(|seen| (1..=3).contains(&seen.len()) && seen.iter().all(Value::is_boolean))
        })
        && [&["name", "kind", "legs"][..], &["name", "kind", "legs", "seen"]].contains(&&keys[..])
}

/// The same text, with each mask computed when it is needed.
fn alone(tiny: &Tiny, grammar: &Grammar, seed: u64, count: usize) -> String {
    let json = fs::read(tiny.folder().join("tokenizer.json")).unwrap();
    let tokenizer = Tokenizer::from_hugging_face(&json, Some("<|endoftext|>")).unwrap();
    let model = build::<f32>(tiny.config.clone()).unwrap();
    let cx = &mut Context::solo();
    let mut generator = Generator::new(cx, &*model, &tiny.params);
    let vocabulary = Vocabulary::new(&tokenizer, tiny.config.vocab, &[END]).unwrap();
    let mut constraint = Constraint::new(&vocabulary, grammar).unwrap();
    let mut sampler = Sampler::new(Sampling { seed, ..Sampling::default() }, tiny.config.vocab).unwrap();
    let (mut pending, mut written) = (tokenizer.encode("x: "), Vec::new());
    sampler.prompt(&pending).unwrap();
    for position in 0..count as u64 {
        let logits = generator.feed(cx, &pending).unwrap();
        let token = sampler.sample_among(logits, constraint.mask().unwrap().words(), position).unwrap().token;
        if token == END {
            break;
        }
        constraint.accept(token).unwrap();
        written.push(token);
        pending = vec![token];
        if constraint.finished() {
            break;
        }
    }
    tokenizer.decode_lossy(&written).unwrap()
}

#[test]
fn json_is_of_its_schema_and_what_masks_on_demand_give() {
    let (home, tiny) = (Home::new(), Tiny::new());
    fs::write(home.path("crab.json"), SCHEMA).unwrap();
    let grammar = Grammar::json_schema(SCHEMA).unwrap();
    let mut texts = Vec::new();
    for seed in 1..6_u64 {
        let schema = if seed % 2 == 0 { SCHEMA } else { "crab.json" };
        let flags = ["--json-schema", schema, "--tokens", "400", "--seed", &seed.to_string()];
        let ended = generate(&home, &tiny, &flags).success();
        assert!(is_of_schema(text(&ended)), "{ended:#?}");
        assert_eq!(text(&ended), alone(&tiny, &grammar, seed, 400));
        texts.push(text(&ended).to_owned());
    }
    // Side by side on one thread of masks.
    let flags = ["--json-schema", SCHEMA, "--tokens", "400", "-n", "5", "--threads", "3"];
    let ended = generate(&home, &tiny, &flags).success();
    let want: Vec<String> =
        (1..6).map(|seed| format!("--- sample {seed}, seed {seed} ---\nx: {}\n", texts[seed - 1])).collect();
    assert_eq!(ended.stdout, want.concat());
}

#[test]
fn texts_are_of_their_pattern_or_one_of_the_choices() {
    let (home, tiny) = (Home::new(), Tiny::new());
    for seed in ["1", "2", "3"] {
        let ended = generate(&home, &tiny, &["--regex", "^(18|19)[0-9]{2}!$", "--seed", seed]).success();
        let year = text(&ended);
        assert!(year.len() == 5 && (year.starts_with("18") || year.starts_with("19")), "{year}");
        assert!(year[2..4].bytes().all(|b| b.is_ascii_digit()) && year.ends_with('!'), "{year}");
        let ended =
            generate(&home, &tiny, &["--choice", "yes", "--choice", "né 数", "--seed", seed]).success();
        assert!(["yes", "né 数"].contains(&text(&ended)), "{ended:#?}");
        assert_eq!(ended.stderr, "");
    }
    let ended = generate(&home, &tiny, &["--json", "--tokens", "1", "--seed", "3"]).success();
    assert_eq!(text(&ended), "{");
    assert!(
        ended.stderr.contains("cut off after 1 tokens, before it was what it must be: --tokens N"),
        "{ended:#?}"
    );
    // A text that may end where it is cut off is what it must be.
    let ended = generate(&home, &tiny, &["--regex", "[a-z]+", "--tokens", "3"]).success();
    assert_eq!(ended.stderr, "", "{ended:#?}");
}

/// Says each line of `input` in one conversation.
fn chat(home: &Home, tiny: &Tiny, flags: &[&str], input: &str) -> Ended {
    fs::write(home.path("input"), input).unwrap();
    let model = tiny.file();
    let all = ["chat", model.to_str().unwrap(), "--top-k", "0"];
    let command = home.command(all.iter().chain(flags));
    Running::start_with(command, File::open(home.path("input")).unwrap()).end().success()
}

#[test]
fn an_answer_is_one_of_the_choices() {
    let (home, tiny) = (Home::new(), Tiny::new());
    let chat = |flags: &[&str]| {
        let flags = [flags, &["--temperature", "1"]].concat();
        chat(&home, &tiny, &flags, "Is it?\nAnd now?\n")
    };
    let ended = chat(&["--choice", "yes", "--choice", "no"]);
    let answers: Vec<&str> = ended.stdout.lines().collect();
    assert!(answers.len() == 2 && answers.iter().all(|answer| ["yes", "no"].contains(answer)), "{ended:#?}");
    assert!(!ended.stderr.contains("cut off"), "{ended:#?}");
    let ended = chat(&["--regex", "ab{30}c", "--max-tokens", "4"]);
    assert_eq!(ended.stdout, "abbb\nabbb\n");
    assert_eq!(
        ended.stderr.matches("cut off at --max-tokens, before it was what it must be").count(),
        2,
        "{ended:#?}"
    );
}

#[test]
fn every_answer_is_of_the_schema_from_its_beginning() {
    let (home, tiny) = (Home::new(), Tiny::new());
    let flags = ["--json-schema", SCHEMA, "--temperature", "1", "--max-tokens", "150"];
    let ended = chat(&home, &tiny, &flags, "One\nTwo\nThree\n");
    let answers: Vec<Value> =
        serde_json::Deserializer::from_str(&ended.stdout).into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.len(), 3, "{ended:#?}");
    assert!(answers.iter().all(|answer| is_of_schema(&answer.to_string())), "{ended:#?}");
}

/// `true`, or an array that begins like others and in which an object is too costly.
fn costly() -> String {
    let fields: Vec<String> = (0..3000).map(|i| format!("\"p{i}\":{{\"type\":\"integer\"}}")).collect();
    let costly = format!("{{\"type\":\"object\",\"properties\":{{{}}}}}", fields.join(","));
    format!(
        "{{\"anyOf\":[{{\"const\":true}},{{\"type\":\"array\",\"minItems\":2,\"prefixItems\":[{{\"const\":\"abcdefgh\"}},{costly}]}}]}}"
    )
}

/// Some seeds begin with the array.
#[test]
fn a_text_that_fails_leaves_the_others_whole() {
    let (home, tiny) = (Home::new(), Tiny::new());
    fs::write(home.path("costly.json"), costly()).unwrap();
    let model = tiny.file();
    let model = model.to_str().unwrap();
    let shared = ["--temperature", "100", "--top-k", "0", "--json-schema", "costly.json"];
    let all = ["generate", "x: ", "--model", model, "-n", "8", "--logprobs", "0"];
    let ended = Running::start(home.command(all.iter().chain(&shared))).end();
    ended.refused(&["sample ", "too costly after"]);
    let texts: Vec<&str> = ended.stdout.lines().filter_map(|line| line.strip_prefix("x: ")).collect();
    let whole = texts.iter().filter(|&&text| text == "true").count();
    let begun = texts.iter().filter(|text| text.starts_with('[')).count();
    assert!(whole > 0 && begun > 0 && whole + begun == 8, "{ended:#?}");
    assert!(ended.stderr.lines().count() >= 9, "{ended:#?}");
}

#[test]
fn an_answer_that_fails_does_not_end_the_conversation() {
    let (home, tiny) = (Home::new(), Tiny::new());
    fs::write(home.path("costly.json"), costly()).unwrap();
    let flags = ["--json-schema", "costly.json", "--temperature", "100"];
    let ended = chat(&home, &tiny, &flags, "a\nbb\nccc\ndddd\neeeee\nffffff\n/save talk.json\n");
    let whole = ended.stdout.lines().filter(|line| *line == "true").count();
    let failed = ended.stderr.matches("no answer: the grammar has become too costly").count();
    assert_eq!(whole + failed, 6, "{ended:#?}");
    // One at least comes after one that failed.
    assert!(ended.stdout.split_once('[').is_some_and(|(_, after)| after.contains("\ntrue\n")), "{ended:#?}");
    // What failed was not said.
    let talk: Value = serde_json::from_str(&home.read("talk.json")).unwrap();
    assert_eq!(talk.as_array().unwrap().len(), 2 * whole, "{talk}");
}

#[test]
fn biases_ban_tokens_and_log_probabilities_are_told() {
    let (home, tiny) = (Home::new(), Tiny::new());
    let (yes, no) = (format!("{}=-inf", b'y'), format!("{}=1e9", b'n'));
    for bias in [&yes, &no] {
        let flags = ["--choice", "yes", "--choice", "no", "--logit-bias", bias, "--logprobs", "2"];
        let ended = generate(&home, &tiny, &flags).success();
        assert_eq!(text(&ended), "no");
        let lines: Vec<&str> = ended.stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{ended:#?}");
        for (line, token) in lines.iter().zip(["\"n\"", "\"o\""]) {
            assert!(line.contains(token) && line.matches(" -").count() >= 3, "{ended:#?}");
        }
    }
    // Without a constraint too; nothing but the text is on the standard output.
    let ended = generate(&home, &tiny, &["--tokens", "7", "--logprobs", "0", "-n", "2"]).success();
    assert!(ended.stderr.lines().count() >= 2 && !ended.stderr.contains("likeliest"), "{ended:#?}");
}

#[test]
fn bad_constraints_are_refused_with_flag_and_place() {
    let (home, tiny) = (Home::new(), Tiny::new());
    fs::write(home.path("bad.json"), "{\"type\":\n  \"strin\"").unwrap();
    fs::write(home.path("latin.json"), b"{\"const\": \"\xE9\"}").unwrap();
    fs::write(home.path("long.json"), " ".repeat(131_073)).unwrap();
    let cases: [(&[&str], &[&str]); 13] = [
        (&["--json-schema", "missing.json"], &["--json-schema", "cannot read missing.json"]),
        (&["--json-schema", "bad.json"], &["--json-schema bad.json", "line 2, column 9", "correct it"]),
        (&["--json-schema", "latin.json"], &["--json-schema", "latin.json is no text in UTF-8, at byte 11"]),
        (
            &["--json-schema", "long.json"],
            &["--json-schema", "long.json", "it has 131073 bytes, more than 131072"],
        ),
        (&["--json-schema", "{\"type\": 3}"], &["--json-schema", "type must be a string"]),
        (&["--json-schema", "{\"uniqueItems\": true}"], &["uniqueItems", "correct or simplify"]),
        (&["--regex", "a(b"], &["--regex", "at byte 1", "unclosed group"]),
        (&["--regex", ""], &["--regex", "empty"]),
        (&["--choice", "a", "--choice", ""], &["--choice", "choice 1 is empty"]),
        (&["--regex", "a|^b"], &["--regex", "leave them out"]),
        (&["--logit-bias", "5=NaN"], &["logit_bias", "must be finite"]),
        (&["--logit-bias", "5000=1"], &["a bias for token 5000", "must name tokens of the vocabulary"]),
        (&["--choice", "a", "--logit-bias", "97=-inf"], &["none of the tokens that are allowed"]),
    ];
    for (flags, parts) in cases {
        generate(&home, &tiny, flags).refused(parts);
    }
    for flags in [
        &["--json", "--regex", "a"][..],
        &["--json-schema", "{}", "--json"],
        &["--regex", "a", "--choice", "b"],
        &["--logit-bias", "5"],
        &["--logprobs", "2000"],
    ] {
        let ended = generate(&home, &tiny, flags);
        assert_eq!(ended.code(), Some(2), "{ended:#?}");
    }
}
