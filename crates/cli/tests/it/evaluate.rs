//! Measuring models: published ones and runs, by texts and by questions, against numbers computed here from the weights.

use std::fs::{self, File};

use selvedge_model::gguf::{Array, Metadata, TensorSpec, Type, Value as Key, Writer};
use selvedge_model::hf::{Dtype, Generation, save};
use selvedge_model::tensor::Context;
use selvedge_model::tensor::cross_entropy::IGNORE;
use selvedge_model::{Architecture, Config, CounterRng, Generator, LossSum, Mode, Rows, build, initialize};
use serde_json::{Value, json};

use crate::support::{Home, text};

/// The token that stands before a text and ends it; the others are the bytes.
const END: u32 = 256;

/// The characters that stand for bytes in vocabularies.
fn letters() -> Vec<String> {
    let is_visible = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let hidden: Vec<u8> = (0..=255).filter(|&byte| !is_visible(byte)).collect();
    let letter = |byte: u8| match hidden.iter().position(|&other| other == byte) {
        Some(place) => char::from_u32(256 + place as u32).unwrap(),
        None => char::from(byte),
    };
    (0..=255).map(|byte| letter(byte).to_string()).collect()
}

/// A small GPT-2 with large weights, as a folder `model` and a file `model.gguf`.
fn publish(home: &Home) -> (Box<dyn Architecture<f32>>, Vec<f32>) {
    let config = Config::gpt2(257, 1024, 2, 2, 16);
    let model = build::<f32>(config.clone()).unwrap();
    let mut params: Vec<f32> = initialize(model.layout(), 3);
    let rng = CounterRng::new(3, 99);
    for slot in model.layout().slots().iter().filter(|slot| slot.decay) {
        for (i, p) in params[slot.span.range()].iter_mut().enumerate() {
            *p += (rng.at((slot.span.offset + i) as u64) % 1001) as f32 / 1000.0 - 0.5;
        }
    }

    let generation = Generation::default();
    save(home.path("model"), &config, &params, Dtype::F32, &generation).unwrap();
    let end = "<|endoftext|>";
    let mut vocab: serde_json::Map<_, _> = letters().into_iter().zip((0..).map(Value::from)).collect();
    vocab.insert(end.into(), json!(END));
    let added = json!({"id": END, "content": end, "special": true, "normalized": false});
    let sequence = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let tokenizer = json!({
        "added_tokens": [added],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": end, "type_id": 0}}, sequence("A")],
            "pair": [sequence("A"), sequence("B")],
            "special_tokens": {end: {"id": end, "ids": [END], "tokens": [end]}},
        },
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    });
    fs::write(home.path("model/tokenizer.json"), tokenizer.to_string()).unwrap();

    let mut keys = Metadata::new();
    keys.insert("general.architecture", Key::String("gpt2".into()));
    let sizes = [
        ("context_length", config.context),
        ("embedding_length", config.channels),
        ("block_count", config.layers),
        ("feed_forward_length", config.hidden),
        ("attention.head_count", config.heads),
    ];
    for (key, size) in sizes {
        keys.insert(format!("gpt2.{key}"), Key::U32(size as u32));
    }
    keys.insert("gpt2.attention.layer_norm_epsilon", Key::F32(config.norm_eps as f32));
    let all = letters();
    let tokens = all.iter().map(String::as_str).chain([end]).collect();
    let kinds = (0..257).map(|id| if id == END { 3 } else { 1 }).collect();
    for (key, value) in [
        ("model", Key::String("gpt2".into())),
        ("pre", Key::String("gpt-2".into())),
        ("tokens", Key::Array(Array::String(tokens))),
        ("token_type", Key::Array(Array::I32(kinds))),
        ("bos_token_id", Key::U32(END)),
        ("eos_token_id", Key::U32(END)),
        ("add_bos_token", Key::Bool(true)),
    ] {
        keys.insert(format!("tokenizer.ggml.{key}"), value);
    }
    let name = |name: &str| {
        let name = match name.strip_prefix("block.") {
            Some(rest) => format!("blk.{rest}"),
            None => name.to_owned(),
        };
        let names = [
            ("token_embedding", "token_embd.weight"),
            ("position_embedding", "position_embd.weight"),
            ("norm_f", "output_norm"),
            ("norm_1", "attn_norm"),
            ("norm_2", "ffn_norm"),
            (".qkv", ".attn_qkv"),
            ("attn_out.", "attn_output."),
            ("mlp_down", "ffn_down"),
            ("mlp_up", "ffn_up"),
        ];
        names.iter().fold(name, |name, (ours, theirs)| name.replace(ours, theirs))
    };
    let slots = model.layout().slots();
    let specs = slots.iter().map(|slot| TensorSpec {
        name: name(&slot.name),
        shape: slot.shape(),
        element_type: Type::F32,
    });
    let file = File::create(home.path("model.gguf")).unwrap();
    let mut writer = Writer::new(file, &keys, specs.collect()).unwrap();
    slots.iter().for_each(|slot| writer.put(&params[slot.span.range()]).unwrap());
    writer.finish().unwrap();
    (model, params)
}

/// Nats of the tokens from `first` on, by the forward of training.
fn nats(model: &dyn Architecture<f32>, params: &[f32], tokens: &[u32], first: usize) -> LossSum {
    let time = tokens.len() - 1;
    let mut targets = tokens[1..].to_vec();
    targets[..first - 1].fill(IGNORE);
    let mut sum = LossSum::default();
    let mut acts = vec![0.0; model.activations(1, time, Mode::Evaluate)];
    let rows = Rows::new(&tokens[..time], &targets, time);
    model.loss(&mut Context::solo(), params, &mut acts, rows, &mut sum);
    sum
}

/// A text after the token that stands before it.
fn tokens(text: &str) -> Vec<u32> {
    [END].into_iter().chain(text.bytes().map(u32::from)).collect()
}

#[track_caller]
fn json_of(home: &Home, line: &str) -> Value {
    let said = home.run(line).success().stdout;
    assert_eq!(said.lines().count(), 1, "{said}");
    serde_json::from_str(&said).unwrap()
}

#[track_caller]
fn near(json: &Value, want: f64) {
    let got = json.as_f64().unwrap();
    assert!((got - want).abs() <= 1e-9 * want.abs(), "{got} instead of {want}");
}

#[test]
fn perplexity_is_that_of_the_second_halves_of_chunks_after_a_beginning() {
    let home = Home::new();
    let (model, params) = publish(&home);
    let mut text = text(700, 4);
    text.push_str("é\n");
    fs::write(home.path("held.txt"), &text).unwrap();

    // The end of line at the end of the file does not count.
    let all = tokens(&text[..text.len() - 1]);
    let mut want = LossSum::default();
    for chunk in all.chunks_exact(96).take(5) {
        let mut chunk = chunk.to_vec();
        chunk[0] = END;
        want += nats(&*model, &params, &chunk, 49);
    }
    let options = "--text held.txt --context 96 --chunks 5";
    let found = json_of(&home, &format!("eval --model model {options} --json"));
    assert_eq!(
        (&found["measure"], &found["chunks"], &found["context"]),
        (&json!("perplexity"), &json!(5), &json!(96))
    );
    assert_eq!((&found["tokens"], &found["bytes"]), (&json!(want.tokens), &json!(want.tokens)));
    near(&found["nll"], want.mean());
    near(&found["perplexity"], want.mean().exp());
    near(&found["bits_per_byte"], want.mean() / std::f64::consts::LN_2);
    assert!(found["perplexity_standard_error"].as_f64().unwrap() > 0.0);

    // The same from a file, on other threads and another instruction set; and in words.
    let line = format!("eval --model model.gguf {options} --threads 3 --isa scalar");
    let other = json_of(&home, &format!("{line} --json"));
    for field in ["nll", "nll_standard_error", "tokens", "bytes"] {
        assert_eq!(other[field], found[field], "{field}");
    }
    let said = home.run(&line).success();
    assert!(said.stdout.starts_with(&format!("perplexity {:.4} ± ", want.mean().exp())), "{said:?}");
    assert!(said.stdout.contains("over 235 tokens of 235 bytes in 5 chunks of 96"), "{said:?}");
    assert!(said.stderr.contains("chunk 5/5: perplexity"), "{said:?}");
    // Rounded weights are another model.
    let rounded = json_of(&home, &format!("eval --model model.gguf {options} --weights q8_0 --json"));
    assert_ne!(rounded["nll"], found["nll"]);
    assert!((rounded["nll"].as_f64().unwrap() / want.mean() - 1.0).abs() < 0.1);
    let same = json_of(&home, &format!("eval --model model.gguf {options} --weights dequantized --json"));
    assert_eq!(same["nll"], found["nll"]);
}

#[test]
fn questions_from_a_text_are_answered_by_likelihood() {
    let home = Home::new();
    let (model, params) = publish(&home);
    let make = "eval-set --text text.rs --count 25 --seed 3";
    home.run(&format!("{make} --kind choices --out choices.jsonl")).success();
    home.run(&format!("{make} --kind last-word --out words.jsonl")).success();
    let lines = |name: &str| -> Vec<Value> {
        home.read(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let score = |context: &str, rest: &str| {
        let (whole, first) = (tokens(&format!("{context}{rest}")), 1 + context.len());
        -nats(&*model, &params, &whole, first).sum
    };
    let (mut plain, mut by_bytes) = (0, 0);
    for question in lines("choices.jsonl") {
        let context = question["context"].as_str().unwrap();
        let scores: Vec<(f64, f64)> = question["endings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|ending| ending.as_str().unwrap())
            .map(|ending| (score(context, ending), score(context, ending) / ending.len() as f64))
            .collect();
        let label = question["label"].as_u64().unwrap() as usize;
        plain += u64::from(scores.iter().all(|score| score.0 <= scores[label].0));
        by_bytes += u64::from(scores.iter().all(|score| score.1 <= scores[label].1));
    }
    let found = json_of(&home, "eval --model model --choices choices.jsonl --json --threads 2");
    assert_eq!((&found["questions"], &found["cut"]), (&json!(25), &json!(0)));
    near(&found["accuracy"]["value"], plain as f64 / 25.0);
    near(&found["accuracy_by_bytes"]["value"], by_bytes as f64 / 25.0);

    let sum: f64 = lines("words.jsonl")
        .iter()
        .map(|q| -score(q["context"].as_str().unwrap(), q["target"].as_str().unwrap()))
        .sum();
    let both =
        home.run("eval --model model.gguf --choices choices.jsonl --last-word words.jsonl --json").success();
    let both: Vec<Value> = both.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(both.len(), 2);
    assert_eq!(both[0]["accuracy"], found["accuracy"]);
    near(&both[1]["perplexity"], (sum / 25.0).exp());
    // The same questions, some too long for the room.
    let short = json_of(&home, "eval --model model.gguf --last-word words.jsonl --context 40 --json");
    assert_eq!(short["cut"], json!(25));
    let said = home.run("eval --model model --choices choices.jsonl").success().stdout;
    assert!(said.starts_with("accuracy ") && said.contains("95 % confidence"), "{said}");
    // Of one question nobody knows how far it is off.
    for (name, option) in [("choices.jsonl", "--choices"), ("words.jsonl", "--last-word")] {
        fs::write(home.path("one.jsonl"), home.read(name).lines().next().unwrap()).unwrap();
        let line = format!("eval --model model {option} one.jsonl");
        let said = home.run(&line).success().stdout;
        assert!(said.contains("% (no error estimate) (95 % confidence") && !said.contains("NaN"), "{said}");
        assert_eq!(json_of(&home, &format!("{line} --json"))["accuracy"]["standard_error"], Value::Null);
    }
}

#[test]
fn a_last_word_counts_where_the_model_would_have_written_it() {
    let home = Home::new();
    let (model, params) = publish(&home);
    let cx = &mut Context::solo();
    let mut generator = Generator::new(cx, &*model, &params);
    let mut lines = String::new();
    for context in (0..80).map(|i| format!("some text {i}\n")) {
        generator.clear();
        let logits = generator.feed(cx, &tokens(&context)).unwrap();
        let best = (0..257).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as u8;
        if best.is_ascii_alphabetic() {
            for target in [best, if best == b'a' { b'b' } else { b'a' }] {
                let question = json!({"context": context, "target": char::from(target).to_string()});
                lines.push_str(&format!("{question}\n"));
            }
        }
    }
    assert!(lines.lines().count() >= 8, "{lines}");
    fs::write(home.path("words.jsonl"), &lines).unwrap();
    let found = json_of(&home, "eval --model model --last-word words.jsonl --json");
    assert_eq!(
        (&found["accuracy"]["value"], &found["questions"]),
        (&json!(0.5), &json!(lines.lines().count()))
    );
}

#[test]
fn runs_are_measured_too() {
    let home = Home::new();
    home.train("--steps 40 --out run").success();
    home.run("eval-set --text text.rs --kind last-word --count 9 --out words.jsonl").success();
    let words = json_of(&home, "eval run --last-word words.jsonl --json");
    // Of 32 positions there are fewer than 48 words have tokens.
    assert_eq!((&words["questions"], &words["cut"]), (&json!(9), &json!(9)));
    let (text, own) = (json_of(&home, "eval run --text text.rs --json"), json_of(&home, "eval run --json"));
    assert_eq!((&text["context"], &own["measure"]), (&json!(32), &json!("held_out")));
    assert!(text["nll"].as_f64().unwrap() < 5.0 && own["nll"].as_f64().unwrap() < 5.0);
}

#[test]
fn sets_are_functions_of_text_and_seed_and_whole_or_not_there() {
    let home = Home::new();
    let make = |options: &str| home.run(&format!("eval-set --text text.rs --kind choices {options}"));
    make("--count 20 --seed 1 --out a.jsonl").success();
    make("--count 20 --seed 1 --out b.jsonl").success();
    make("--count 20 --seed 2 --out c.jsonl").success();
    make("--count 10 --seed 1 --out d.jsonl").success();
    assert_eq!(home.read("a.jsonl"), home.read("b.jsonl"));
    assert_ne!(home.read("a.jsonl"), home.read("c.jsonl"));
    assert!(home.read("a.jsonl").starts_with(&home.read("d.jsonl")));
    let before = home.names(".");
    make("--count 1000000 --out e.jsonl").refused(&["the text has places for", "1000000 were asked for"]);
    make("--out missing/e.jsonl").refused(&["cannot create missing/e.jsonl"]);
    assert_eq!(home.names("."), before);
}

#[test]
fn what_cannot_be_measured_is_refused_with_a_remedy() {
    let home = Home::new();
    publish(&home);
    let write = |name: &str, content: &[u8]| fs::write(home.path(name), content).unwrap();
    write("empty.txt", b" \n\n");
    write("binary.txt", b"abc\xFFdef");
    write("short.txt", b"one two three");
    write("bad.jsonl", b"{\"text\": \"one two\"}\n{\"text\": \"one\"}\n");
    write("label.jsonl", br#"{"context": "a", "endings": ["b", "c"], "label": 2}"#);
    let long = json!({"context": "a", "target": "b".repeat(2000)}).to_string();
    write("long.jsonl", format!("\n{long}").as_bytes());
    let cases: [(&str, &[&str]); 13] = [
        ("--text missing.txt", &["cannot read missing.txt"]),
        ("--text model", &["cannot read model", "no file"]),
        ("--text empty.txt", &["empty.txt has no text"]),
        ("--text binary.txt", &["binary.txt", "byte 3", "UTF-8"]),
        ("--text short.txt", &["14 tokens", "chunk of 512", "--context"]),
        ("--text text.rs --context 3", &["too short", "at least 4"]),
        ("--text text.rs --context 1025", &["do not fit", "--context of at most 1024"]),
        ("--choices empty.txt", &["empty.txt holds no questions", "endings"]),
        ("--choices binary.txt", &["binary.txt, line 1", "not JSON"]),
        ("--choices bad.jsonl", &["bad.jsonl, line 1", "endings is missing"]),
        ("--choices label.jsonl", &["label.jsonl, line 1", "label is not from 0 to 1"]),
        ("--last-word bad.jsonl", &["bad.jsonl, line 2", "text must have two words"]),
        ("--last-word long.jsonl", &["line 2", "does not fit a context of 1024"]),
    ];
    for (options, parts) in cases {
        home.run(&format!("eval --model model {options}")).refused(parts);
    }
    // Command lines that make no sense.
    for line in [
        "eval --model model",
        "eval run --model model --text text.rs",
        "eval run --chunks 3",
        "eval run --windows 3 --text text.rs",
        "eval-set --text text.rs --out x --kind other",
        "eval-set --text text.rs --out x --kind choices --count 0",
    ] {
        assert_eq!(home.run(line).code(), Some(2), "{line}");
    }
}
