//! `chat` and `generate --model` with a tiny published model: what is said is what the library computes, from the beginning
//! and without a cache.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;

use selvedge_model::{Generator, Sampling, build};
use selvedge_tensor::Context;
use selvedge_tokenizer::Tokenizer;
use selvedge_tokenizer::chat::{ChatTemplate, Conversation, Message};

use crate::support::{Ended, Home, Running, words};
use crate::tiny::{END, TEMPLATE, Tiny};

const TURN_END: u32 = 258;

fn tokenizer(tiny: &Tiny) -> Tokenizer {
    let json = fs::read(tiny.folder().join("tokenizer.json")).unwrap();
    Tokenizer::from_hugging_face(&json, Some("<|endoftext|>")).unwrap()
}

/// The likeliest tokens after others, up to one of `ends`.
fn likeliest(tiny: &Tiny, before: &[u32], count: usize, ends: &[u32]) -> Vec<u32> {
    let model = build::<f32>(tiny.config.clone()).unwrap();
    let cx = &mut Context::solo();
    let mut generator = Generator::new(cx, &*model, &tiny.params);
    let (mut pending, mut written) = (before.to_vec(), Vec::new());
    while written.len() < count {
        let token = Sampling::greedy().pick(generator.feed(cx, &pending).unwrap(), 0);
        if ends.contains(&token) {
            break;
        }
        written.push(token);
        pending = vec![token];
    }
    written
}

/// A conversation, each answer computed from nothing.
fn converse(tiny: &Tiny, system: Option<&str>, said: &[&str], count: usize) -> Vec<Message> {
    let (tokenizer, template) = (tokenizer(tiny), ChatTemplate::new(TEMPLATE).unwrap());
    let mut conversation = Conversation { add_generation_prompt: true, ..Conversation::default() };
    conversation.messages.extend(system.map(|text| Message::new("system", text)));
    for text in said {
        conversation.messages.push(Message::new("user", *text));
        let prompt = tokenizer.encode_with_specials(template.render(&conversation).unwrap());
        let answer = likeliest(tiny, &prompt, count, &[END, TURN_END]);
        conversation.messages.push(Message::new("assistant", tokenizer.decode_lossy(&answer).unwrap()));
    }
    conversation.messages
}

fn text(message: &Message) -> &str {
    match &message.content {
        selvedge_tokenizer::chat::Content::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

/// The answers, as the standard output has them.
fn answers(messages: &[Message]) -> String {
    let answers = messages.iter().filter(|message| message.role == "assistant");
    answers.map(|message| format!("{}\n", text(message))).collect()
}

fn chat(home: &Home, model: &Path, flags: &str, input: &str) -> Ended {
    fs::write(home.path("input"), input).unwrap();
    let command =
        home.command(["chat", model.to_str().unwrap(), "--temperature", "0"].into_iter().chain(words(flags)));
    Running::start_with(command, File::open(home.path("input")).unwrap()).end()
}

#[test]
fn a_conversation_through_a_pipe_is_what_the_model_says() {
    let (home, tiny) = (Home::new(), Tiny::new());
    let said = ["Hello.", "What?\nTwo lines", "/not a command\n\n  \"x\" ", "Bye"];
    let input = "Hello.\n\nWhat?\\\nTwo lines\n\"\"\"\n/not a command\n\n  \"x\" \n\"\"\"\nBye";
    let want = converse(&tiny, Some("Short"), &said, 12);
    assert_eq!(want.iter().filter(|message| message.role == "assistant").count(), 4);
    for model in [tiny.folder(), tiny.file()] {
        for more in ["--threads 1", "--threads 3"] {
            let ended =
                chat(&home, &model, &format!("--system Short --max-tokens 12 {more}"), input).success();
            assert_eq!(ended.stdout, answers(&want), "{ended:#?}");
            assert_eq!(
                ended.stderr.lines().filter(|line| line.contains(" a second")).count(),
                4,
                "{ended:#?}"
            );
        }
    }
    // Only what is new is read: the last prompt is longer than what was read for it.
    let ended = chat(&home, &tiny.file(), "--max-tokens 3", &"a\n".repeat(9)).success();
    let read: Vec<usize> = (ended.stderr.lines())
        .map(|line| line.strip_prefix("[read ").unwrap().split(' ').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(read.len(), 9);
    assert!(read[1..].iter().all(|&tokens| tokens < 40), "{read:?}");
    assert_eq!(ended.stdout, answers(&converse(&tiny, None, &["a"; 9], 3)));
}

#[test]
fn a_text_is_continued_by_both_forms_of_a_model() {
    let (home, tiny) = (Home::new(), Tiny::new());
    let tokenizer = tokenizer(&tiny);
    let ids = likeliest(&tiny, &tokenizer.encode("The sea"), 40, &[END]);
    let want = format!("The sea{}\n", tokenizer.decode_lossy(&ids).unwrap());
    for model in [tiny.folder(), tiny.file()] {
        let flags = ["generate", "The sea", "--temperature", "0", "--tokens", "40", "--model"];
        let command = home.command(flags.into_iter().chain([model.to_str().unwrap()]));
        let ended = Running::start(command).end().success();
        assert_eq!(ended.stdout, want, "{ended:#?}");
    }
}

#[test]
fn commands_change_and_save_the_conversation() {
    let (home, tiny) = (Home::new(), Tiny::new());
    let input = "Hi\n/help\n/nonsense\n/system Be brief\nOne\nTwo\n/save talk.json\n/save talk.json\n/save line.jsonl\n\
                 /reset\nOne\n/save! talk.json\n/save\n/save no/where.json\n/clear\n/quit\nnever read\n";
    let ended = chat(&home, &tiny.file(), "--max-tokens 5", input).success();
    let (first, both) =
        (converse(&tiny, None, &["Hi"], 5), converse(&tiny, Some("Be brief"), &["One", "Two"], 5));
    let again = converse(&tiny, Some("Be brief"), &["One"], 5);
    assert_eq!(ended.stdout, [answers(&first), answers(&both), answers(&again)].concat(), "{ended:#?}");
    for part in [
        "/save! FILE",
        "there is no command /nonsense",
        "talk.json is there already: /save! talk.json replaces it",
        "/save needs the name of a file",
        "not saved: cannot save to no/where.json",
    ] {
        assert!(ended.stderr.contains(part), "{part}: {ended:#?}");
    }
    let saved = |messages: &[Message]| -> serde_json::Value {
        let pair = |m: &Message| serde_json::json!({"role": m.role, "content": text(m)});
        messages.iter().map(pair).collect()
    };
    let read = |name: &str| -> serde_json::Value { serde_json::from_str(&home.read(name)).unwrap() };
    assert_eq!(read("talk.json"), saved(&again));
    assert_eq!(home.read("line.jsonl").lines().count(), 1);
    assert_eq!(read("line.jsonl"), serde_json::json!({"messages": saved(&both)}));
    assert_eq!(home.names(".").iter().filter(|name| name.ends_with(".tmp")).count(), 0);
}

#[test]
fn what_gets_no_answer_is_said_and_the_conversation_goes_on() {
    let (home, tiny) = (Home::new(), Tiny::new());
    let long = "x".repeat(600);
    let input = format!("Hi\n{long}\nrefuse me\nBye\n");
    let ended = chat(&home, &tiny.file(), "--max-tokens 5 --context 300", &input).success();
    assert_eq!(ended.stdout, answers(&converse(&tiny, None, &["Hi", "Bye"], 5)), "{ended:#?}");
    assert!(ended.stderr.contains("there is room for 300: /reset begins anew"), "{ended:#?}");
    assert!(ended.stderr.contains("the chat template refuses the conversation: not this"), "{ended:#?}");
    // An answer that fills the context is shown as far as it goes.
    let ended = chat(&home, &tiny.file(), "--context 40", "Hi\nHi\n/reset\nHi\n").success();
    assert_eq!(
        ended.stderr.matches("the context of 40 tokens is full: /reset begins anew").count(),
        2,
        "{ended:#?}"
    );
    assert_eq!(ended.stderr.matches("no answer: ").count(), 1, "{ended:#?}");
    let (first, second) = ended.stdout.split_at(ended.stdout.len() / 2);
    assert_eq!(first, second);
}

#[test]
fn answers_end_where_the_model_ends_them() {
    let (home, tiny) = (Home::new(), Tiny::new());
    let (tokenizer, template) = (tokenizer(&tiny), ChatTemplate::new(TEMPLATE).unwrap());
    let messages = vec![Message::new("user", "Hi")];
    let conversation = Conversation { messages, add_generation_prompt: true, ..Conversation::default() };
    let prompt = tokenizer.encode_with_specials(template.render(&conversation).unwrap());
    let ids = likeliest(&tiny, &prompt, 40, &[END, TURN_END]);
    let last = (1..ids.len()).rev().find(|&at| !ids[..at].contains(&ids[at])).expect("more than one token");
    let want = tokenizer.decode_lossy(&ids[..last]).unwrap() + "\n";
    // By a key of the file.
    let file = tiny.write_file("eot.gguf", Some(TEMPLATE), Some(ids[last]));
    assert_eq!(chat(&home, &file, "--max-tokens 40", "Hi\n").success().stdout, want);
    // By the configuration of a folder.
    let generation = serde_json::json!({"eos_token_id": [END, ids[last]]}).to_string();
    fs::write(tiny.folder().join("generation_config.json"), generation).unwrap();
    assert_eq!(chat(&home, &tiny.folder(), "--max-tokens 40", "Hi\n").success().stdout, want);
}

#[test]
fn templates_come_from_the_model_or_a_file() {
    let (home, tiny) = (Home::new(), Tiny::new());
    let bare = tiny.write_file("bare.gguf", None, None);
    chat(&home, &bare, "", "Hi\n").refused(&["bare.gguf has no chat template", "--template FILE"]);
    fs::write(home.path("own.jinja"), TEMPLATE).unwrap();
    let want = answers(&converse(&tiny, None, &["Hi"], 5));
    let flags = "--max-tokens 5 --template own.jinja";
    assert_eq!(chat(&home, &bare, flags, "Hi\n").success().stdout, want);
    fs::write(home.path("own.jinja"), "{% for %}").unwrap();
    chat(&home, &bare, flags, "Hi\n").refused(&["cannot use own.jinja", "malformed at line 1"]);
    chat(&home, &bare, "--template missing", "Hi\n").refused(&["cannot read missing"]);
    let loops = "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}";
    let hostile = tiny.write_file("hostile.gguf", Some(loops), None);
    let ended = chat(&home, &hostile, "", "Hi\n").success();
    assert!(ended.stderr.contains("no answer: the chat template runs for more than"), "{ended:#?}");

    // A file of its own goes before the configuration's, which may be a list.
    let folder = tiny.folder();
    let about = |template: serde_json::Value| {
        let about = serde_json::json!({"eos_token": {"content": "<|endoftext|>"}, "chat_template": template});
        fs::write(folder.join("tokenizer_config.json"), about.to_string()).unwrap();
    };
    let named = |name: &str, template: &str| serde_json::json!({"name": name, "template": template});
    about(serde_json::json!([named("tool_use", "{{ 1"), named("default", TEMPLATE)]));
    assert_eq!(chat(&home, &folder, "--max-tokens 5", "Hi\n").success().stdout, want);
    about(serde_json::json!([named("a", TEMPLATE), named("b", TEMPLATE)]));
    chat(&home, &folder, "", "Hi\n")
        .refused(&["tokenizer_config.json", "none of the templates is named `default`"]);
    fs::write(folder.join("chat_template.jinja"), TEMPLATE).unwrap();
    assert_eq!(chat(&home, &folder, "--max-tokens 5", "Hi\n").success().stdout, want);
}

#[test]
fn special_tokens_reach_the_template() {
    let (home, tiny) = (Home::new(), Tiny::new());
    let template = "{{ raise_exception('[' ~ eos_token ~ bos_token ~ strftime_now('%Y')[:2] ~ ']') }}";
    let file = tiny.write_file("tokens.gguf", Some(template), None);
    fs::write(tiny.folder().join("chat_template.jinja"), template).unwrap();
    for model in [file, tiny.folder()] {
        let ended = chat(&home, &model, "", "Hi\n").success();
        assert!(ended.stderr.contains("[<|endoftext|>20]"), "{ended:#?}");
    }
}

#[test]
fn an_interrupt_ends_a_pipe_at_once() {
    let (home, tiny) = (Home::new(), Tiny::new());
    for signal in ["INT", "TERM"] {
        let file = tiny.file();
        let command = home.command(["chat", file.to_str().unwrap()]);
        let mut running = Running::start_with(command, Stdio::piped());
        use std::io::Write as _;
        let mut input = running.child.stdin.take().unwrap();
        input.write_all(b"Hi\n").unwrap();
        assert!(running.until(|running| running.said().contains(" a second")));
        // It waits for the next message.
        running.signal(signal);
        assert_eq!(running.end().code(), Some(130));
        drop(input);
    }
}
