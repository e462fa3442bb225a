//! The hand-written splitters cut where the published regular expressions do.
#![expect(clippy::unwrap_used, reason = "a test ends where something goes wrong")]

mod common;

use std::sync::LazyLock;

use fancy_regex::Regex;
use proptest::prelude::*;
use selvedge_tokenizer::Pretokenizer;

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const GPT4: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const CL100K: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s";

static ORACLES: LazyLock<[(Pretokenizer, Regex); 3]> = LazyLock::new(|| {
    [(Pretokenizer::Gpt2, GPT2), (Pretokenizer::Gpt4, GPT4), (Pretokenizer::Cl100k, CL100K)]
        .map(|(pretokenizer, pattern)| (pretokenizer, Regex::new(pattern).unwrap()))
});

fn check(text: &str) {
    for (pretokenizer, regex) in &*ORACLES {
        let expected: Vec<&str> = regex.find_iter(text).map(|found| found.unwrap().as_str()).collect();
        assert_eq!(expected.concat(), text, "the pattern leaves out a part: {text:?}");
        let found: Vec<&str> =
            pretokenizer.split(text).map(|piece| std::str::from_utf8(piece).unwrap()).collect();
        assert_eq!(found, expected, "{pretokenizer:?} on {text:?}");
    }
}

#[test]
fn corner_cases() {
    let corners = [
        "",
        " ",
        "\n",
        "'",
        "''",
        "'s",
        "'sa",
        "a's",
        "'ſ",
        "'ſs",
        "x'ſtop",
        "K'K",
        "'l",
        "'lL",
        "'Ll'",
        " 's",
        "'r",
        "'v3",
        "it'S'LL",
        "a\n",
        "a \n",
        "a\n ",
        "a \n \n  ",
        "a\n\n b",
        "\r\n\r\n",
        " \r",
        "a  b",
        "a   ",
        "a   \n   b",
        "\u{a0}a",
        "\u{a0}\u{a0}a",
        "\u{2028}a",
        " \u{2028} a",
        "\ta",
        "\t\ta",
        "\t!",
        " !",
        "  !",
        "!\n\n!",
        "! \n",
        "!\r\n\r\na",
        "\na",
        "\r\na",
        "\u{85}a",
        "1234",
        " 1234",
        "12 345",
        "a1b2",
        "½½½½",
        "Ⅷa",
        "e\u{301}e",
        "\u{301}a",
        " \u{301}a",
        "漢字1",
        "\u{200b}a",
        "\u{3000}\u{3000}漢",
        "\0a",
        "a\0",
        "😀a",
        " 😀",
        "😀\n",
        "\u{10ffff}",
        "🇪🇺 1",
        "    fn f() {\n        x\n    }\n\n\n    ",
    ];
    for text in corners {
        check(text);
        // In the middle of a text, where the look-ahead sees more.
        for (before, after) in [("a", "b"), (" ", " "), ("\n", "\n"), ("1", "1"), ("!", "!"), ("'", "s")] {
            check(&format!("{before}{text}{after}"));
        }
    }
}

#[test]
fn real_text() {
    check(&common::real_text());
}

#[test]
fn all_short_texts() {
    // Every text of up to five of the characters that the patterns tell apart.
    let alphabet = [" ", "\n", "\t", "'", "s", "A", "1", "!"];
    let mut texts = vec![String::new()];
    for _ in 0..5 {
        texts = texts.iter().flat_map(|text| alphabet.map(|next| format!("{text}{next}"))).collect();
        texts.iter().for_each(|text| check(text));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text(text in common::text()) {
        check(&text);
    }

    #[test]
    fn any_bytes_are_cut_into_pieces_that_join(bytes in common::bytes()) {
        for pretokenizer in [Pretokenizer::Gpt2, Pretokenizer::Gpt4, Pretokenizer::Cl100k] {
            let pieces: Vec<&[u8]> = pretokenizer.split(&bytes).collect();
            prop_assert!(pieces.iter().all(|piece| !piece.is_empty()));
            prop_assert_eq!(pieces.concat(), bytes.clone());
        }
    }
}
