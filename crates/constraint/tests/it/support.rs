//! What all tests use: vocabularies, and a writer that knows no more than the masks say.

use selvedge_constraint::{Constraint, Error, Grammar, Vocabulary};
use selvedge_tokenizer::{Tokenizer, Trainer};

/// Ids of the model: more than there are tokens, as where a table was rounded up.
pub(crate) const ROWS: usize = 384;

/// Bytes, and tokens of several, of which some begin or end within a character.
pub(crate) fn tokenizer() -> Tokenizer {
    let text =
        "{\"name\": \"Übung\", \"größe\": 12.5, \"tags\": [true, false, null]} 数字 数学 🦀🦀 yes no maybe ";
    let trainer = Trainer { vocab_size: 350, min_frequency: 1, ..Trainer::default() };
    trainer.train([text.repeat(3)], |_| {}).unwrap()
}

pub(crate) fn vocabulary(tokenizer: &Tokenizer) -> Vocabulary {
    Vocabulary::new(tokenizer, ROWS, &[tokenizer.end_of_text()]).unwrap()
}

/// The next number of a linear congruential sequence.
pub(crate) fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// A token of `mask`, those that close something or end the text rather than others, so that texts come to an end.
pub(crate) fn draw(mask: &selvedge_constraint::Mask, tokenizer: &Tokenizer, state: &mut u64) -> u32 {
    let tokens: Vec<u32> = mask.tokens().collect();
    let closing = |&&token: &&u32| {
        token == tokenizer.end_of_text()
            || matches!(tokenizer.token_bytes(token), Some(b"\"" | b"}" | b"]" | b"," | b" "))
    };
    let close: Vec<u32> = tokens.iter().filter(closing).copied().collect();
    let from = if !close.is_empty() && next(state).is_multiple_of(3) { &close } else { &tokens };
    from[next(state) as usize % from.len()]
}

/// A text drawn by `seed`, and whether it is complete after so many tokens at most.
pub(crate) fn write(
    vocabulary: &Vocabulary,
    tokenizer: &Tokenizer,
    grammar: &Grammar,
    seed: u64,
    most: usize,
) -> Result<(Vec<u8>, bool), Error> {
    let mut constraint = Constraint::new(vocabulary, grammar)?;
    let (mut state, mut text) = (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15), Vec::new());
    for _ in 0..most {
        let token = draw(constraint.mask()?, tokenizer, &mut state);
        constraint.accept(token)?;
        if token != tokenizer.end_of_text() {
            text.push(token);
        }
        if constraint.finished() {
            return Ok((tokenizer.decode(&text).unwrap(), true));
        }
    }
    Ok((tokenizer.decode(&text).unwrap(), false))
}
