//! JSON of schemas.
use crate::support::{tokenizer, vocabulary, write};
use selvedge_constraint::Grammar;

#[test]
fn explore() {
    let tokenizer = tokenizer();
    let vocabulary = vocabulary(&tokenizer);
    for schema in [
        r#"{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string","maxLength":5}},"required":["a"],"additionalProperties":false}"#,
        r#"{"type":"array","items":{"enum":["x","yes",3]},"maxItems":3}"#,
        r#"{"type":"boolean"}"#,
        r#"{"type":"number"}"#,
        r#"{"type":"object"}"#,
    ] {
        let t = std::time::Instant::now();
        let grammar = Grammar::json_schema(schema).unwrap();
        eprintln!("{schema} {:?}", t.elapsed());
        for seed in 0..6 {
            let (text, done) = write(&vocabulary, &tokenizer, &grammar, seed, 400).unwrap();
            eprintln!("{done} {:?}", String::from_utf8_lossy(&text));
        }
    }
    for pattern in ["a|ab", "[0-9]{3}", "a*", "^x{2,4}$", "(?i)yes|no"] {
        let grammar = Grammar::regex(pattern).unwrap();
        eprintln!("{pattern}");
        for seed in 0..6 {
            let (text, done) = write(&vocabulary, &tokenizer, &grammar, seed, 40).unwrap();
            eprintln!("{done} {:?}", String::from_utf8_lossy(&text));
        }
    }
}
