//! Chat templates against transformers, and what hostile ones come to.
//!
//! `goldens/make_chat.py` makes what is expected. Published templates are not kept here: with `SELVEDGE_CHAT_TEMPLATES` set
//! to a folder of them with an `expected.json` of that program, all are compared.
#![expect(clippy::unwrap_used, reason = "a test ends where something goes wrong")]
#![expect(clippy::print_stderr, reason = "says what was compared")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use selvedge_tokenizer::chat::{ChatTemplate, Conversation, DateTime, Error, Json, MAX_TEMPLATE, Message};

#[derive(serde::Deserialize)]
struct Goldens {
    conversations: BTreeMap<String, Given>,
    templates: Vec<Case>,
}

/// Items of lists are JSON as text.
#[derive(serde::Deserialize)]
struct Given {
    messages: Vec<String>,
    #[serde(default)]
    add_generation_prompt: bool,
    tools: Option<Vec<String>>,
    documents: Option<Vec<String>>,
    #[serde(default)]
    variables: BTreeMap<String, serde_json::Value>,
}

#[derive(serde::Deserialize)]
struct Case {
    template: String,
    expected: BTreeMap<String, Expected>,
}

#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Text(String),
    Raised(String),
    Failed(String),
}

fn list(items: &[String]) -> Vec<Json> {
    items.iter().map(|item| item.parse().unwrap()).collect()
}

impl Given {
    fn conversation(&self) -> Conversation {
        Conversation {
            messages: self.messages.iter().map(|message| message.parse().unwrap()).collect(),
            add_generation_prompt: self.add_generation_prompt,
            bos_token: Some("<s>".to_owned()),
            eos_token: Some("</s>".to_owned()),
            tools: self.tools.as_deref().map(list),
            documents: self.documents.as_deref().map(list),
            variables: self
                .variables
                .iter()
                .map(|(name, value)| (name.clone(), value.to_string().parse().unwrap()))
                .collect(),
            now: Some(DateTime { year: 2026, month: 3, day: 5, hour: 14, minute: 7, second: 9 }),
        }
    }
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/chat")
}

/// Renders every template of a folder; how many renderings there were, and which differ.
fn compare(folder: &Path) -> (usize, Vec<String>) {
    let goldens: Goldens = serde_json::from_slice(&fs::read(folder.join("expected.json")).unwrap()).unwrap();
    let (mut count, mut differences) = (0, Vec::new());
    for case in &goldens.templates {
        let source = fs::read_to_string(folder.join(&case.template)).unwrap();
        let template = ChatTemplate::new(&source);
        for (name, expected) in &case.expected {
            count += 1;
            let rendered = match &template {
                Ok(template) => template.render(&goldens.conversations[name].conversation()),
                Err(error) => {
                    differences.push(format!("{}, {name}: {error:?}", case.template));
                    continue;
                }
            };
            let same = match (&rendered, expected) {
                (Ok(found), Expected::Text(text)) => found == text,
                (Err(Error::Raised { message }), Expected::Raised(text)) => message == text,
                // Python says it in its own words.
                (Err(Error::Render { .. }), Expected::Failed(_)) => true,
                _ => false,
            };
            if !same {
                differences
                    .push(format!("{}, {name}:\nexpected {expected:?}\nfound {rendered:?}", case.template));
            }
        }
    }
    (count, differences)
}

#[test]
fn templates_render_as_transformers_renders_them() {
    let (count, differences) = compare(&folder());
    assert!(count >= 64, "{count}");
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

#[test]
#[ignore = "needs SELVEDGE_CHAT_TEMPLATES, a folder of published templates with an expected.json"]
fn published_templates_render_as_transformers_renders_them() {
    let folder = std::env::var("SELVEDGE_CHAT_TEMPLATES").unwrap();
    let (count, differences) = compare(Path::new(&folder));
    for difference in &differences {
        eprintln!("{difference}\n");
    }
    eprintln!("{} of {count} agree", count - differences.len());
    assert!(differences.is_empty());
}

fn render(source: &str) -> Result<String, Error> {
    let conversation = Conversation {
        messages: vec![Message::new("user", "Hello"), Message::new("assistant", "Yes?")],
        add_generation_prompt: true,
        ..Conversation::default()
    };
    ChatTemplate::new(source)?.render(&conversation)
}

/// A name of the kind of error.
fn kind(result: Result<String, Error>) -> &'static str {
    match result {
        Ok(_) => "fine",
        Err(Error::TooLarge { .. }) => "too large",
        Err(Error::LongLine { .. }) => "long line",
        Err(Error::Syntax { .. }) => "syntax",
        Err(Error::Reserved { .. }) => "reserved",
        Err(Error::Unsupported { .. }) => "unsupported",
        Err(Error::Raised { .. }) => "raised",
        Err(Error::Render { .. }) => "render",
        Err(Error::NoClock) => "no clock",
        Err(Error::Steps { .. }) => "steps",
        Err(Error::Work { .. }) => "work",
        Err(Error::Depth { .. }) => "depth",
        Err(Error::Output { .. }) => "output",
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn templates_that_would_not_end_or_not_fit_are_stopped() {
    let doubling = "{% set x.y = x.y ~ x.y %}".repeat(60);
    let adding = "{% set x.y = x.y + x.y %}".repeat(60);
    let grown = "{% set x = namespace(y='0123456789' * 1000000) %}";
    let often = |what: &str| {
        format!(
            "{grown}{{% for i in range(100000) %}}{{% for j in range(100) %}}{what}{{% endfor %}}{{% endfor %}}"
        )
    };
    // What is text to one reader and a tag to another would not be counted.
    let begin = "{% set x = namespace(y='a') %}";
    let cases = [
        (format!("{begin}{doubling}"), "work"),
        (format!("{begin}{{#}} {{{{ \" #}}{doubling}{{# \" }}}} #}}"), "work"),
        (format!("{begin}{{#-#}} {{{{ \" #}}{doubling}{{# \" }}}} #}}"), "fine"),
        (
            format!(
                "{begin}{{% raw %}}{{% endrawx %}}{{{{ \"{{% endraw %}}{doubling}{{% raw %}}\" }}}}{{% endraw %}}"
            ),
            "work",
        ),
        (
            format!(
                "{begin}{{% raw %}}{{%-- endraw %}}{{{{ \"{{% endraw %}}{doubling}{{% raw %}}\" }}}}{{% endraw %}}"
            ),
            "work",
        ),
        (format!("{begin}{{% raw %}}{{%-\tendraw\n+%}}{doubling}"), "work"),
        ("a".repeat(MAX_TEMPLATE + 1), "too large"),
        ("{% for i in [1] %}\n".repeat(10_000), "syntax"),
        ("{{ ".to_owned() + &"(".repeat(60_000), "syntax"),
        ("{{ ".to_owned() + &"a[0] ".repeat(40_000), "unsupported"),
        ("{{ a".to_owned() + &"[0]".repeat(80_000) + " }}", "unsupported"),
        ("{{ 1".to_owned() + &" + 1".repeat(60_000) + " }}", "unsupported"),
        ("{{ a".to_owned() + &"|upper".repeat(40_000) + " }}", "unsupported"),
        ("{{ 'a'".to_owned() + &"|upper".repeat(390) + " }}", "fine"),
        ("{{ 1".to_owned() + &" ~ 1".repeat(390) + " }}", "fine"),
        ("{{ a".to_owned() + &"[0]".repeat(60) + " }}", "render"),
        ("{{ 1".to_owned() + &" if 1 else 1".repeat(190) + " }}", "fine"),
        ("{{ ".to_owned() + &"not ".repeat(10_000) + "1 }}", "unsupported"),
        ("{% if 1 %}".to_owned() + &"{% elif 1 %}".repeat(10_000) + "{% endif %}", "unsupported"),
        ("{% if 1 %}".to_owned() + &"{% elif 1 %}".repeat(390) + "{% endif %}", "fine"),
        ("{% if 1 %}{% elif 1 %}{% endif %}\n".repeat(2000), "fine"),
        ("{{ a".to_owned() + &".b".repeat(100_000) + " }}", "unsupported"),
        ("{#".repeat(100_000), "long line"),
        ("{#\n".repeat(50_000), "syntax"),
        ("\n".repeat(60_000), "unsupported"),
        ("a\n".repeat(100_000), "long line"),
        ("{".repeat(200_000), "long line"),
        ("{%raw%}".to_owned() + &"{%\n".repeat(50_000), "syntax"),
        ("{{ '\\".to_owned() + "ü", "syntax"),
        ("{{ __selvedge_budget }}".to_owned(), "reserved"),
        ("{% include 'chat' %}".to_owned(), "unsupported"),
        ("{% extends 'chat' %}".to_owned(), "unsupported"),
        ("{% import 'chat' as x %}".to_owned(), "unsupported"),
        ("{% from 'chat' import x %}".to_owned(), "unsupported"),
        ("{% block a %}{{ self.a() }}{% endblock %}".to_owned(), "unsupported"),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}".to_owned(), "render"),
        ("{% macro a(x) %}{{ a(x ~ x) }}{% endmacro %}{{ a('0123456789') }}".to_owned(), "work"),
        (
            "{% macro a(x) %}{{ caller }}{% call a(x ~ x) %}{% endcall %}{% endmacro %}{{ a('0123456789') }}"
                .to_owned(),
            "work",
        ),
        (format!("{{% set x = namespace(y='ab') %}}{doubling}"), "work"),
        (format!("{{% set x = namespace(y=[1]) %}}{adding}"), "work"),
        ("{{ 'ab' * 10000000000 }}".to_owned(), "work"),
        ("{{ [1, 2] * 10000000000 }}".to_owned(), "work"),
        ("{{ 3 ** 2 * 'ab' * 10000000000 }}".to_owned(), "render"),
        (
            "{% set a = range(100000) | list %}{{ (a + a) | map('string') | join(a | join) }}".to_owned(),
            "work",
        ),
        (
            "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}".to_owned(),
            "steps",
        ),
        (
            "{% for i in range(100000) %}{% for j in range(100) %}{{ '".to_owned()
                + &"x".repeat(1000)
                + "' }}{% endfor %}{% endfor %}",
            "work",
        ),
        (
            "{% for i in range(100000) %}{% for j in range(100) %}".to_owned()
                + &"x".repeat(1000)
                + "{% endfor %}{% endfor %}",
            "work",
        ),
        (" ".repeat(5000), "unsupported"),
        (often("{% if x.y[1:] %}{% endif %}"), "work"),
        (often("{% if x.y[5] %}{% endif %}"), "work"),
        (often("{% if x.y | upper %}{% endif %}"), "work"),
        (often("{% if x.y is upper %}{% endif %}"), "work"),
        (often("{% if x.y.upper() %}{% endif %}"), "work"),
        (often("{% if x.y == x.y %}{% endif %}"), "work"),
        (often("{% if 'z' in x.y %}{% endif %}"), "work"),
        (often("{% for c in x.y %}{% break %}{% endfor %}"), "work"),
        (often("{% if x.y | list %}{% endif %}"), "work"),
        (often("{% if x.y.split('0') %}{% endif %}"), "work"),
        (often("{% set z = namespace(z=x.y | string) %}"), "work"),
        ("{% set x = namespace() %}{% set x.x = x %}{{ x }}".to_owned(), "depth"),
        ("{% set x = namespace() %}{% set x.x = x %}{{ x | tojson }}".to_owned(), "depth"),
        ("{% set x = namespace() %}{% set x.x = x %}{{ x == x }}".to_owned(), "depth"),
        (
            "{% set x = namespace(y=1) %}{% for i in range(9000) %}{% set x.y = [x.y] %}{% endfor %}"
                .to_owned(),
            "depth",
        ),
        ("{{ strftime_now('%Y') }}".to_owned(), "no clock"),
        ("{{ none.x }}".to_owned(), "fine"),
        // Keywords are variables for the engine, where a value should be.
        ("{{ 9223372036854775807 * not |selectattr('role') }}".to_owned(), "unsupported"),
        ("{% set else = 'ab' %}{{ else ~ else }}".to_owned(), "unsupported"),
        ("{{ messages[0].in ~ 1 }}".to_owned(), "unsupported"),
        ("{{ [in, 1 + if] }}".to_owned(), "unsupported"),
        ("{{ 1 not in [2] and not (1 is not in [1]) or 'a' if not 0 else not 1 }}".to_owned(), "fine"),
        ("{{ 3 is divisibleby(0) }}".to_owned(), "render"),
        ("{{ [][::-1] }}{{ 4 is divisibleby(2) }}".to_owned(), "fine"),
        ("{{ 'a' % 2 }}".to_owned(), "render"),
        ("{{ 1 // 0 }}{{ 1 / 0 }}".to_owned(), "render"),
        ("{{ 9223372036854775807 * 9223372036854775807 }}".to_owned(), "render"),
    ];
    let mut wrong = Vec::new();
    for (source, expected) in cases {
        let start = Instant::now();
        let found = kind(render(&source));
        let head: String = source.chars().take(200).collect();
        if found != expected || start.elapsed() > Duration::from_secs(20) {
            wrong.push(format!("{found} instead of {expected} after {:?}: {head}", start.elapsed()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn damaged_templates_never_panic() {
    let goldens: Goldens =
        serde_json::from_slice(&fs::read(folder().join("expected.json")).unwrap()).unwrap();
    let conversation = goldens.conversations["call"].conversation();
    let read = |source: &str| {
        if let Ok(template) = ChatTemplate::new(source) {
            let _ = template.render(&conversation);
        }
    };
    for case in &goldens.templates {
        let source = fs::read_to_string(folder().join(&case.template)).unwrap();
        for at in (0..source.len()).filter(|&at| source.is_char_boundary(at)) {
            read(&source[..at]);
            let next = source[at..].chars().next().unwrap().len_utf8();
            for other in ["", "{", "'", "[", "*"] {
                read(&format!("{}{other}{}", &source[..at], &source[at + next..]));
            }
        }
    }
}

#[test]
fn messages_come_from_json_and_say_what_is_missing() {
    let message: Message = r#"{"role": "user", "content": "Hi", "name": "Ann"}"#.parse().unwrap();
    assert_eq!(message.role, "user");
    assert_eq!(message.fields[0].0, "name");
    for (text, part) in [
        ("{", "not JSON"),
        ("[]", "\"role\""),
        (r#"{"role": 3, "content": ""}"#, "\"role\""),
        (r#"{"role": "user", "content": 3}"#, "\"content\""),
    ] {
        let error = text.parse::<Message>().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Expressions of all operators in any order: whatever they come to, it is no panic.
    #[test]
    fn any_expression_is_a_text_or_an_error(words in prop::collection::vec(prop::sample::select(vec![
"0", "1", "2", "9223372036854775807", "170141183460469231731687303715884105727", "1e308", "1.5", "'a'", "'bc'",
        "''", "[]", "[1, 2]", "{'a': 1}", "messages", "none", "true", "range(3)", "missing",
        "+", "-", "*", "/", "//", "%", "**", "~", "==", "<", "in", "not", "and", "or", "is", "if", "else",
        "(", ")", "[", "]", "[0]", "[-1]", "[1:]", "[::-1]", "[::9223372036854775807]", "[-9223372036854775807:]",
        ".role", ".upper()", ".split('')", ".split()", ".items()", ".get('a')", ".format(1)", ".title()", ".join(messages)",
        "|upper", "|list", "|first", "|last", "|join('-')", "|length", "|tojson", "|tojson(indent=2)", "|int", "|float",
        "|round", "|round(99999)", "|abs", "|sum", "|min", "|max", "|sort", "|sort(attribute='role')", "|unique", "|reverse",
        "|dictsort", "|items", "|trim", "|map('upper')", "|map(attribute='role')", "|selectattr('role')",
        "|groupby('role')", "|indent(3)", "|default(1)", "|replace('', 'b')", "|string", "|attr('a')", "|batch(0)",
        "|slice(0)", "string", "defined", "divisibleby(0)", "odd", "iterable", "eq(1)", "in([1])", ",", ":",
    ]), 1..12)) {
        let _ = render(&format!("{{{{ {} }}}}", words.join(" ")));
    }
}
