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

const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const SEED_CODER: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
const MINICPM5: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK_CASED: &str = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
const DEEPSEEK_V3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
/// `$` of the published pattern ends a line; the pieces that it is tried on have no newline inside.
const DEEPSEEK_TAIL: &str = r"\s+$";
const DIGITS: &str = r"\p{N}";

/// The patterns that cut a text one after the other. Falcon's are in [`falcon`].
static ORACLES: LazyLock<Vec<(Pretokenizer, Vec<Regex>)>> = LazyLock::new(|| {
    let deepseek_ideographs = r"[一-龥ࠀ-一가-퟿]+";
    let patterns: Vec<(Pretokenizer, Vec<&str>)> = vec![
        (Pretokenizer::Gpt2, vec![GPT2]),
        (Pretokenizer::Gpt4, vec![GPT4]),
        (Pretokenizer::Cl100k, vec![CL100K]),
        (Pretokenizer::Qwen2, vec![QWEN2]),
        (Pretokenizer::Qwen35, vec![QWEN35]),
        (Pretokenizer::SeedCoder, vec![SEED_CODER]),
        (Pretokenizer::MiniCpm5, vec![r"\p{N}{1,3}", MINICPM5]),
        (Pretokenizer::O200k, vec![O200K]),
        (Pretokenizer::Tekken, vec![TEKKEN]),
        (Pretokenizer::Gpt2Digits, vec![DIGITS, GPT2]),
        (
            Pretokenizer::DeepSeekLlm,
            vec![
                r"[\r\n]",
                DEEPSEEK_CASED,
                r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
                DEEPSEEK_TAIL,
                deepseek_ideographs,
                DIGITS,
            ],
        ),
        (
            Pretokenizer::DeepSeekCoder,
            vec![r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", deepseek_ideographs, DIGITS],
        ),
        (Pretokenizer::DeepSeekV3, vec![r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK_V3]),
        (Pretokenizer::LlamaCppDefault, vec![r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"]),
    ];
    let compile = |patterns: Vec<&str>| patterns.into_iter().map(|it| Regex::new(it).unwrap()).collect();
    patterns.into_iter().map(|(pretokenizer, patterns)| (pretokenizer, compile(patterns))).collect()
});

/// Cuts each piece at the matches; what lies between two of them is a piece as well.
fn isolate<'t>(pieces: Vec<&'t str>, regex: &Regex) -> Vec<&'t str> {
    let mut out = Vec::new();
    for piece in pieces {
        let mut end = 0;
        for found in regex.find_iter(piece).map(Result::unwrap) {
            out.extend([&piece[end..found.start()], found.as_str()]);
            end = found.end();
        }
        out.push(&piece[end..]);
    }
    out.retain(|piece| !piece.is_empty());
    out
}

/// Falcon's stages. The third sees each byte as a character of its own: those of Latin-1 that are numbers are the same.
fn falcon(text: &str) -> Vec<Vec<u8>> {
    static STAGES: LazyLock<[Regex; 4]> = LazyLock::new(|| {
        [r"[\p{P}$+<=>\^`|~]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"].map(|it| Regex::new(it).unwrap())
    });
    let latin1 = |piece: &str| piece.bytes().map(char::from).collect::<String>();
    let pieces = STAGES[..2].iter().fold(vec![text], isolate);
    let pieces: Vec<String> = pieces.into_iter().map(latin1).collect();
    let pieces = STAGES[2..].iter().fold(pieces.iter().map(String::as_str).collect(), isolate);
    pieces.iter().map(|piece| piece.chars().map(|c| c as u8).collect()).collect()
}

fn check(text: &str) {
    let found: Vec<&[u8]> = Pretokenizer::Falcon.split(text).collect();
    assert_eq!(found, falcon(text), "Falcon on {text:?}");
    for (pretokenizer, regexes) in &*ORACLES {
        let expected = regexes.iter().fold(vec![text], isolate);
        let found: Vec<&str> =
            pretokenizer.split(text).map(|piece| std::str::from_utf8(piece).unwrap()).collect();
        let expected: Vec<&str> = expected.into_iter().filter(|piece| !piece.is_empty()).collect();
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
        "HTTPServer's",
        "fooBar'LL",
        "ABC漢字DEFg",
        "\u{301}A",
        "!\u{301}A",
        "\u{301}\u{301}",
        "ǅabc",
        "ǅABC",
        "Aʰb",
        " ʰ'sA",
        "//path/\n/",
        "a/\r\n//b",
        "\u{3000}\u{3000}!",
        "a \u{3000} ",
        "_abc_def",
        "\0\0a",
        "`a`",
        "!\n\n",
        " !\n",
        "1!2",
        "$5+5=10",
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
        for pretokenizer in Pretokenizer::all() {
            let pieces: Vec<&[u8]> = pretokenizer.split(&bytes).collect();
            prop_assert!(pieces.iter().all(|piece| !piece.is_empty()));
            prop_assert_eq!(pieces.concat(), bytes.clone());
        }
    }
}
