//! Regular expressions, choices, and what is of the vocabulary: characters in pieces, special tokens, rows without a token.

use std::collections::BTreeSet;

use selvedge_constraint::{Constraint, Error, Grammar, Vocabulary};
use selvedge_tokenizer::{END_OF_TEXT, Pretokenizer, Tokenizer};

use crate::support::{ROWS, tokenizer, vocabulary, write};

/// All texts that some seeds write, each of which must come to its end.
fn texts(grammar: &Grammar, seeds: u64) -> BTreeSet<String> {
    let tokenizer = tokenizer();
    let vocabulary = vocabulary(&tokenizer);
    let text = |seed| {
        let (text, ended) = write(&vocabulary, &tokenizer, grammar, seed, 400).unwrap();
        assert!(ended, "{text:?}");
        String::from_utf8(text).unwrap()
    };
    (0..seeds).map(text).collect()
}

/// A pattern, and whether a text is of it.
type Case = (&'static str, fn(&str) -> bool);

#[test]
fn texts_match_their_pattern() {
    let cases: [Case; 8] = [
        ("[0-9]{3}", |t| t.len() == 3 && t.bytes().all(|b| b.is_ascii_digit())),
        ("^x{2,4}$", |t| (2..=4).contains(&t.len()) && t.bytes().all(|b| b == b'x')),
        ("a|ab|abc", |t| ["a", "ab", "abc"].contains(&t)),
        ("(?i)yea|no", |t| ["yea", "no"].contains(&&*t.to_lowercase())),
        ("a*", |t| t.bytes().all(|b| b == b'a')),
        (r"[^\x00-\x7F]{1,3}", |t| (1..=3).contains(&t.chars().count()) && t.chars().all(|c| !c.is_ascii())),
        (r"a/b\$\^", |t| t == "a/b$^"),
        (r"(🦀|数字)!", |t| t == "🦀!" || t == "数字!"),
    ];
    for (pattern, matches) in cases {
        let grammar = Grammar::regex(pattern).unwrap();
        for text in texts(&grammar, 25) {
            assert!(matches(&text), "{pattern}: {text:?}");
        }
    }
    // All of what there is to write is written.
    assert_eq!(texts(&Grammar::regex("a|ab|abc").unwrap(), 60).len(), 3);
    assert!(texts(&Grammar::regex("a*").unwrap(), 60).contains(""));
}

#[test]
fn patterns_are_refused_with_their_place() {
    let wrong = |pattern: &str| Grammar::regex(pattern).unwrap_err();
    assert!(matches!(wrong("ab(c"), Error::Pattern { at: 2, .. }));
    assert!(matches!(wrong("a\\"), Error::Pattern { at: 1, .. }));
    assert!(matches!(wrong(r"(?<=a)b"), Error::Pattern { at: 0, .. }));
    assert!(matches!(wrong(r"a{2,1}"), Error::Pattern { at: 1, .. }));
    // Without the anchor before it there is nothing to repeat.
    assert!(matches!(wrong("^*a"), Error::Pattern { at: 1, .. }));
    assert!(matches!(wrong(""), Error::EmptyPattern));
    assert!(matches!(wrong("^$"), Error::EmptyPattern));
    assert!(matches!(wrong(r"a\b c"), Error::Anchor));
    assert!(matches!(wrong("a|^b"), Error::Anchor));
    Grammar::regex(r"a\$").unwrap();
    Grammar::regex(r"a\\$").unwrap();
}

/// Line breaks and tabs would be demanded, and a comment would never end.
#[test]
fn verbose_patterns_are_written_in_one_line() {
    for pattern in ["(?x)a\nb", "(?x)a # c\n b", "(?x: a\t) b", "(?x)\ra", "^(?x)a\n"] {
        let error = Grammar::regex(pattern).unwrap_err();
        assert!(matches!(error, Error::Verbose), "{pattern:?}: {error}");
    }
    assert!(texts(&Grammar::regex("(?x) a b # c").unwrap(), 3).contains("ab"));
    for pattern in ["a\nb\t", "(?x)a\\\nb\\\t", "[\n]{0}a\nb\t"] {
        assert_eq!(
            texts(&Grammar::regex(pattern).unwrap(), 3),
            BTreeSet::from(["a\nb\t".to_owned()]),
            "{pattern:?}"
        );
    }
}

#[test]
fn one_of_the_choices_is_written_as_it_is() {
    let choices = ["yes", "no", "yes, but", "a|b", "(x)*", "/\\\"\n", "Übung", "数"];
    let grammar = Grammar::choice(&choices).unwrap();
    let written = texts(&grammar, 120);
    assert_eq!(written, choices.iter().map(|choice| (*choice).to_owned()).collect());
    assert!(matches!(Grammar::choice::<&str>(&[]), Err(Error::NoChoices)));
    assert!(matches!(Grammar::choice(&["a", ""]), Err(Error::EmptyChoice { index: 1 })));
}

/// Byte b is token b, "é" is also in two tokens with a neighbour each; there are special tokens and gaps.
fn odd_tokenizer() -> Tokenizer {
    let mut ranks: Vec<(Vec<u8>, u32)> = (0..=255u8).map(|byte| (vec![byte], byte.into())).collect();
    ranks.push((b"a\xC3".to_vec(), 256));
    ranks.push((b"\xA9b".to_vec(), 257));
    ranks.push((b"\xFFx".to_vec(), 258));
    ranks.push(("x".repeat(512).into_bytes(), 259));
    let specials = [(END_OF_TEXT, 270), ("<|im_end|>", 271), ("ab", 272)];
    Tokenizer::from_ranks(ranks, specials, Pretokenizer::Cl100k).unwrap()
}

#[test]
fn a_character_may_come_in_pieces() {
    let tokenizer = odd_tokenizer();
    let vocabulary = Vocabulary::new(&tokenizer, 280, &[270]).unwrap();
    let mut constraint = Constraint::new(&vocabulary, &Grammar::regex("aéb").unwrap()).unwrap();
    assert_eq!(constraint.mask().unwrap().tokens().collect::<Vec<_>>(), [u32::from(b'a'), 256]);
    constraint.accept(256).unwrap();
    // In the middle of the character.
    assert_eq!(constraint.mask().unwrap().tokens().collect::<Vec<_>>(), [0xA9, 257]);
    constraint.accept(257).unwrap();
    assert!(constraint.finished());
    assert_eq!(constraint.mask().unwrap().tokens().collect::<Vec<_>>(), [270]);
    // In other pieces.
    let mut other = Constraint::new(&vocabulary, &Grammar::regex("aéb").unwrap()).unwrap();
    other.accept(256).unwrap();
    other.accept(0xA9).unwrap();
    assert!(!other.finished());
    assert_eq!(other.mask().unwrap().tokens().collect::<Vec<_>>(), [u32::from(b'b')]);
}

#[test]
fn special_tokens_are_no_text() {
    let tokenizer = odd_tokenizer();
    let vocabulary = Vocabulary::new(&tokenizer, 280, &[270, 271]).unwrap();
    let mut constraint =
        Constraint::new(&vocabulary, &Grammar::choice(&["<|im_end|>", "ab", END_OF_TEXT]).unwrap()).unwrap();
    let mask = constraint.mask().unwrap();
    // Their names may be written, by other tokens.
    assert_eq!(mask.tokens().collect::<Vec<_>>(), [u32::from(b'<'), u32::from(b'a')]);
    for token in [270, 271, 272, 260, 279, 280, u32::MAX] {
        let error = constraint.accept(token).unwrap_err();
        assert!(matches!(error, Error::NotAllowed { token: found } if found == token), "{error}");
    }
    constraint.accept(b'a'.into()).unwrap();
    constraint.accept(b'b'.into()).unwrap();
    assert!(constraint.finished());
    // Either ends a text, and nothing else can come.
    assert_eq!(constraint.mask().unwrap().tokens().collect::<Vec<_>>(), [270, 271]);
    assert!(matches!(constraint.accept(b'a'.into()), Err(Error::NotAllowed { token: 97 })));
    constraint.accept(271).unwrap();
    assert!(constraint.finished());
}

#[test]
fn a_text_ends_where_it_may_and_nowhere_else() {
    let tokenizer = odd_tokenizer();
    let vocabulary = Vocabulary::new(&tokenizer, 280, &[270]).unwrap();
    let mut constraint = Constraint::new(&vocabulary, &Grammar::regex("a|abb").unwrap()).unwrap();
    let mut ends = Vec::new();
    for token in [b'a', b'b', b'b'] {
        ends.push((constraint.mask().unwrap().contains(270), constraint.finished()));
        constraint.accept(token.into()).unwrap();
    }
    ends.push((constraint.mask().unwrap().contains(270), constraint.finished()));
    assert_eq!(ends, [(false, false), (true, false), (false, false), (true, true)]);
}

#[test]
fn rows_without_a_token_are_never_allowed() {
    let tokenizer = odd_tokenizer();
    let vocabulary = Vocabulary::new(&tokenizer, 300, &[]).unwrap();
    let mut constraint = Constraint::new(&vocabulary, &Grammar::regex("(?s).*").unwrap()).unwrap();
    let mask = constraint.mask().unwrap();
    assert_eq!((mask.vocab(), mask.words().len()), (300, 10));
    // Bytes that UTF-8 begins with, the pieces of text, and nothing that is not in use or has no text; 0xFF is in no text.
    assert!(mask.contains(b'x'.into()) && mask.contains(256) && mask.contains(259));
    for token in [0x80, 0xFF, 257, 258, 260, 269, 270, 271, 272, 273, 299, 300] {
        assert!(!mask.contains(token), "{token}");
    }
    // A model with fewer rows than there are tokens.
    let vocabulary = Vocabulary::new(&tokenizer, 100, &[]).unwrap();
    let mut constraint = Constraint::new(&vocabulary, &Grammar::regex("[a-z]").unwrap()).unwrap();
    assert_eq!(constraint.mask().unwrap().tokens().collect::<Vec<_>>(), [97, 98, 99]);
    assert!(matches!(
        Vocabulary::new(&tokenizer, 100, &[270]),
        Err(Error::EndToken { token: 270, vocab: 100 })
    ));
}

#[test]
fn a_vocabulary_that_lacks_what_is_demanded_is_stuck() {
    let vocabulary = Vocabulary::new(&odd_tokenizer(), 98, &[]).unwrap();
    let mut constraint = Constraint::new(&vocabulary, &Grammar::regex("ax").unwrap()).unwrap();
    constraint.accept(b'a'.into()).unwrap();
    assert!(matches!(constraint.mask(), Err(Error::Stuck)));
    assert!(matches!(constraint.mask(), Err(Error::Broken { tokens: 1, .. })));
    assert!(constraint.accept(b'a'.into()).is_err());
    assert_eq!(ROWS % 32, 0);
}
