//! Tokens and their log-probabilities as lines for people.

use selvedge_model::Choice;
use selvedge_tokenizer::Tokenizer;

/// A chosen token, its log-probability, and the likeliest tokens with theirs.
pub(crate) fn line(choice: &Choice, tokenizer: &Tokenizer) -> String {
    let logprob = choice.logprob.unwrap_or(f32::NAN);
    let top = choice.top.iter().map(|&(token, logprob)| format!("{} {logprob:.3}", shown(token, tokenizer)));
    let top: Vec<String> = top.collect();
    let likeliest = if top.is_empty() { String::new() } else { format!("   likeliest: {}", top.join(", ")) };
    format!("{logprob:>9.3}  {}{likeliest}", shown(choice.token, tokenizer))
}

/// A token in quotes. Where it is a part of a character, its bytes.
fn shown(token: u32, tokenizer: &Tokenizer) -> String {
    match tokenizer.token_bytes(token) {
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => format!("{text:?}"),
            Err(_) => format!("\"{}\"", bytes.escape_ascii()),
        },
        None => format!("row {token}"),
    }
}

#[cfg(test)]
mod tests {
    use selvedge_tokenizer::Trainer;

    use super::*;

    #[test]
    fn lines_show_texts_and_bytes() {
        let tokenizer = Trainer { vocab_size: 257, ..Trainer::default() }.train(["a"], |_| {}).unwrap();
        let choice =
            Choice { token: 0x0A, logprob: Some(-1.25), top: vec![(97, -0.5), (0xC3, -1.0), (900, -2.0)] };
        let want = r#"   -1.250  "\n"   likeliest: "a" -0.500, "\xc3" -1.000, row 900 -2.000"#;
        assert_eq!(line(&choice, &tokenizer), want);
        let alone = Choice { top: Vec::new(), ..choice };
        assert_eq!(line(&alone, &tokenizer), r#"   -1.250  "\n""#);
    }
}
