//! Grammars that are made to be costly: an error, or a text all the same, in bounded time. The test runner ends a test that
//! takes minutes, and one that overflows its stack.

use std::fmt::Display;

use selvedge_constraint::{Constraint, Error, Grammar, Vocabulary};
use selvedge_tokenizer::{END_OF_TEXT, Pretokenizer, Tokenizer};

use crate::support::{tokenizer, vocabulary, write};

fn list<T: Display>(count: usize, item: impl Fn(usize) -> T) -> String {
    (0..count).map(|index| item(index).to_string()).collect::<Vec<_>>().join(",")
}

/// A chain of references, each nested in what the one before leads to, with something beside it.
fn chain(references: usize, depth: usize, beside: &str) -> String {
    let link = |index: usize| {
        let inner = match index + 1 == references {
            true => r#"{"type":"integer"}"#.to_owned(),
            false => format!(r##"{{{beside}"$ref":"#/$defs/d{}"}}"##, index + 1),
        };
        format!("\"d{index}\":{}{inner}{}", r#"{"items":"#.repeat(depth), "}".repeat(depth))
    };
    format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{}}}}}"##, list(references, link))
}

fn nested(open: &str, depth: usize, inner: &str) -> String {
    format!("{}{inner}{}", open.repeat(depth), "}".repeat(depth))
}

/// Writes a text of a hundred tokens at most.
fn attempt(grammar: &Grammar) -> Result<(), Error> {
    let tokenizer = tokenizer();
    write(&vocabulary(&tokenizer), &tokenizer, grammar, 1, 100).map(|_| ())
}

#[test]
fn large_schemas_are_compiled_on_a_stack_of_their_own() {
    for text in [
        chain(250, 10, ""),
        chain(80, 40, r#""type":"array","#),
        nested(r#"{"items":"#, 60, "true"),
        nested(r#"{"type":"array","minItems":1000,"items":"#, 30, r#"{"type":"null"}"#),
        r#"{"type":"array","items":{"type":"integer"},"minItems":1000000000,"maxItems":4000000000}"#
            .to_owned(),
        r#"{"type":"string","minLength":1000000000,"maxLength":2000000000}"#.to_owned(),
        format!("{{\"enum\":[{}]}}", list(8000, |i| format!("\"v{i}\""))),
        format!("{{\"type\":\"object\",\"required\":[{}]}}", list(2000, |i| format!("\"p{i}\""))),
        format!(
            "{{\"allOf\":[{{\"anyOf\":[{}]}},{{\"properties\":{{{}}}}}]}}",
            list(3000, |_| r#"{"type":"null"}"#),
            list(1500, |i| format!("\"p{i}\":{{\"type\":\"integer\"}}"))
        ),
    ] {
        attempt(&Grammar::json_schema(&text).unwrap()).unwrap();
    }
}

#[test]
fn what_costs_too_much_is_refused() {
    let patterns = |count| {
        let pattern = |i| format!("{{\"pattern\":\"a{{{i}}}b\"}}");
        format!("{{\"type\":\"string\",\"allOf\":[{}]}}", list(count, pattern))
    };
    let hidden = |count| {
        let pattern = |i| format!("{{\"properties\":{{\"x\":{{\"pattern\":\"a{{{i}}}b\"}}}}}}");
        format!("{{\"type\":\"object\",\"allOf\":[{}]}}", list(count, pattern))
    };
    for (text, part) in [
        (format!("{}{}", "[".repeat(60_000), "]".repeat(60_000)), "line 1, column 128: recursion limit"),
        (nested(r#"{"items":"#, 100, "true"), "nested more than 64 deep"),
        (format!(r#"{{"title": "{}"}}"#, "x".repeat(200_000)), "at most 131072"),
        (chain(300, 1, ""), "more than 256 places for `$ref`"),
        (chain(250, 25, ""), "schema too large"),
        (patterns(128), "128 patterns or formats may have to hold at once"),
        (hidden(128), "128 patterns or formats may have to hold at once"),
        // What a definition is called is no keyword, and a reference may lead to what is no schema elsewhere.
        (
            format!(r##"{{"$ref":"#/$defs/properties","$defs":{{"properties":{}}}}}"##, patterns(128)),
            "128 patterns or formats may have to hold at once",
        ),
        (
            format!(r##"{{"$ref":"#/default/properties","default":{{"properties":{}}}}}"##, patterns(128)),
            "128 patterns or formats may have to hold at once",
        ),
        (
            r##"{"$ref":"#/$defs/properties","$defs":{"properties":{"type":"number","multipleOf":1e-9}}}"##
                .to_owned(),
            "multipleOf 1e-9 has too many digits",
        ),
        (
            format!(
                r#"{{"properties":{{"x":{{"pattern":"{}"}}}},"patternProperties":{{"^x":{{"pattern":"{}"}}}}}}"#,
                "a".repeat(300),
                "b".repeat(300)
            ),
            "2 patterns or formats may have to hold at once",
        ),
        (r#"{"properties":{"x":3}}"#.to_owned(), "`properties` has a value that is neither"),
        (r#"{"patternProperties":{"x":[]}}"#.to_owned(), "`patternProperties` has a value that is neither"),
        (r#"{"$defs":{"x":"y"}}"#.to_owned(), "`$defs` has a value that is neither"),
        (r#"{"definitions":[]}"#.to_owned(), "`definitions` is not an object"),
        (
            format!(
                "{{\"patternProperties\":{{{}}}}}",
                list(20, |i| format!("\"^p{i}\":{{\"type\":\"integer\"}}"))
            ),
            "more than 16 patterns in `patternProperties`",
        ),
        (
            format!(r#"{{"patternProperties":{{"{}":{{"type":"integer"}}}}}}"#, "x".repeat(100)),
            "a pattern of names has 100 bytes",
        ),
        (
            format!(
                "{{\"allOf\":[{}]}}",
                list(6, |k| format!(
                    "{{\"anyOf\":[{}]}}",
                    list(100, |i| format!("{{\"properties\":{{\"p{k}x{i}\":{{\"type\":\"integer\"}}}}}}"))
                ))
            ),
            "schema too large",
        ),
        (r#"{"type":"integer","minimum":-9223372036854775808}"#.to_owned(), "is beyond ±10¹⁵"),
        (r#"{"const":1e300}"#.to_owned(), "1e+300 is beyond"),
        (r#"{"type":"number","multipleOf":1e-9}"#.to_owned(), "multipleOf 1e-9 has too many digits"),
        (r#"{"type":"integer","multipleOf":1234567}"#.to_owned(), "multipleOf 1234567 has too many digits"),
        (r#"{"type":"number","multipleOf":0.000001}"#.to_owned(), "multipleOf 1e-6 has too many digits"),
        (
            r#"{"type":"integer","allOf":[{"multipleOf":999983},{"multipleOf":999979}]}"#.to_owned(),
            "attempt to multiply with overflow",
        ),
    ] {
        let error = Grammar::json_schema(&text).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    for text in [
        r#"{"const":{"properties":3,"pattern":["a"]}}"#,
        r##"{"$ref":"#/$defs/pattern","$defs":{"pattern":{"type":"integer"},"properties":true}}"##,
        r#"{"type":"number","multipleOf":0.00025}"#,
        r#"{"type":"integer","multipleOf":123456}"#,
    ] {
        attempt(&Grammar::json_schema(text).unwrap()).unwrap();
    }
    for (pattern, part) in [
        (format!("{}a{}", "(".repeat(60_000), ")".repeat(60_000)), "nested more than 64 deep"),
        ("x".repeat(200_000), "at most 131072"),
        ("^".repeat(131_072), "leave them out"),
        ("$".repeat(131_072), "leave them out"),
        (format!("{}a{}", "^".repeat(60_000), "$".repeat(60_000)), "leave them out"),
    ] {
        let error = Grammar::regex(&pattern).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

/// That one schema contradicts itself, or may not end, is seen when a text is to be written.
#[test]
fn what_costs_too_much_while_it_is_written_ends_the_text() {
    let optional = list(3000, |i| format!("\"p{i}\":{{\"type\":\"integer\"}}"));
    let optional = Grammar::json_schema(&format!("{{\"type\":\"object\",\"properties\":{{{optional}}}}}"));
    let error = attempt(&optional.unwrap()).unwrap_err();
    assert!(matches!(error, Error::TooCostly { tokens: 0, .. }), "{error}");
    for text in [
        r##"{"$ref":"#"}"##,
        r##"{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}"##,
    ] {
        let error = attempt(&Grammar::json_schema(text).unwrap()).unwrap_err();
        assert!(matches!(error, Error::Stuck), "{error}");
    }
}

/// Tokens that begin a text take each of the patterns into a state of its own. That is little for one of them, and for all of
/// them more than a grammar may cost.
#[test]
fn patterns_that_are_not_come_to_cost_nothing() {
    let letters = || (b'a'..=b'z').map(char::from);
    // Letters with the same behind them would become one class.
    let pattern = |end| {
        let after = |(at, letter)| list(4, |n| format!(".*{letter}.{{{}}}{end}", 10 + 4 * at + n));
        letters().enumerate().map(after).collect::<Vec<_>>().join("|").replace(',', "|")
    };
    let property =
        |k| format!("\"p{k}\":{{\"type\":\"string\",\"pattern\":\"^({})$\"}}", pattern(k).replace(',', "|"));
    let schema = format!(
        "{{\"type\":\"object\",\"properties\":{{{}}},\"required\":[\"p0\"],\"additionalProperties\":false}}",
        list(75, property)
    );
    let mut ranks: Vec<(Vec<u8>, u32)> = (0..=255).map(|byte| (vec![byte], byte.into())).collect();
    let pairs = letters().flat_map(|a| letters().map(move |b| [a, b]));
    let begun = pairs.flat_map(|[a, b]| letters().take(10).map(move |c| format!("\"{a}{b}{c}").into_bytes()));
    ranks.extend(begun.zip(256..));
    let tokenizer = Tokenizer::from_ranks(ranks, [(END_OF_TEXT, 8000)], Pretokenizer::Cl100k).unwrap();
    let vocabulary = Vocabulary::new(&tokenizer, 8001, &[8000]).unwrap();
    let mut text = Constraint::new(&vocabulary, &Grammar::json_schema(&schema).unwrap()).unwrap();
    for &byte in b"{\"p0\":\"sea----------0\",\"p7\":\"sea-----------7\"}" {
        text.accept(byte.into()).unwrap();
    }
    assert!(text.finished());
}

/// A place of many properties, which is reached by some texts of the grammar.
#[test]
fn a_text_that_is_too_costly_fails_no_other() {
    let optional = list(3000, |i| format!("\"p{i}\":{{\"type\":\"integer\"}}"));
    let grammar = Grammar::json_schema(&format!(
        "{{\"type\":\"array\",\"minItems\":2,\"prefixItems\":[{{\"enum\":[\"abcdefgh\"]}},{{\"type\":\"object\",\"properties\":{{{optional}}}}}]}}"
    ))
    .unwrap();
    let tokenizer = tokenizer();
    let vocabulary = vocabulary(&tokenizer);
    let mut texts = [(); 2].map(|()| Constraint::new(&vocabulary, &grammar).unwrap());
    let [first, second] = &mut texts;
    let mut costly = None;
    for &byte in b"[\"abcdefgh\",{\"" {
        // Not asked for its mask beforehand, it says why all the same.
        if let Err(error) = first.accept(byte.into()) {
            costly = Some(error);
            break;
        }
    }
    assert!(matches!(costly, Some(Error::TooCostly { .. })), "{costly:?}");
    for &byte in b"[\"abcdefgh\"" {
        second.accept(byte.into()).unwrap();
        second.mask().unwrap();
    }
}

#[test]
fn quantifiers_in_quantifiers_are_followed_and_not_unrolled() {
    for pattern in [
        "(((((a{1000}){1000}){1000}){1000}){1000}){1000}",
        "(a{0,1000}b{0,1000}){0,1000}",
        "((a?){1000}){1000}",
        "(x+x+)+y",
        "(.*a.{20}|.*b.{21}|.*c.{22})*",
        r"(\p{L}{1,100}\p{N}{1,100}){1,100}",
        &"ab".repeat(60_000),
        &list(12_000, |i| format!("w{i}")).replace(',', "|"),
    ] {
        attempt(&Grammar::regex(pattern).unwrap()).unwrap();
    }
    let choices: Vec<String> = (0..9000).map(|i| format!("choice{i}")).collect();
    attempt(&Grammar::choice(&choices).unwrap()).unwrap();
}
