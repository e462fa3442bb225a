//! Which of our pretokenizers a published description means.

use crate::Pretokenizer;

/// A step of a description, as far as it cuts text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// GPT-2's pattern, which a byte-level step has built in; then bytes become characters.
    Gpt2,
    /// Bytes become characters, and nothing is cut.
    Bytes,
    /// Each number alone.
    EachDigit,
    /// Runs of numbers.
    DigitRuns,
    /// Runs of punctuation.
    PunctuationRuns,
    /// Splitting at the matches of a regular expression, each a piece.
    Pattern(Pattern),
}

/// The regular expressions that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// One that is a whole pretokenizer.
    Whole(Pretokenizer),
    Newline,
    EachNumber,
    ThreeNumbers,
    ThreeDigits,
    CasedWords,
    Words,
    SpacedSigns,
    SpacedPunctuation,
    Tail,
    Ideographs,
    Japanese,
    DeepSeekV3,
    MiniCpm5,
}

/// Regular expressions as tokenizer files write them, newlines escaped. Several are ways to write one.
const PATTERNS: &[(&str, Pattern)] = &[
    (
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        Pattern::Whole(Pretokenizer::Gpt2),
    ),
    (
        r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        Pattern::Whole(Pretokenizer::Gpt2),
    ),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        Pattern::Whole(Pretokenizer::Gpt4),
    ),
    (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
        Pattern::Whole(Pretokenizer::Cl100k),
    ),
    // Blanks up to the last newline of a run: with `[\r\n]` as with `[\r\n]+`.
    (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
        Pattern::Whole(Pretokenizer::Gpt4),
    ),
    (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
        Pattern::Whole(Pretokenizer::Qwen2),
    ),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        Pattern::Whole(Pretokenizer::Qwen2),
    ),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        Pattern::Whole(Pretokenizer::Qwen35),
    ),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",
        Pattern::Whole(Pretokenizer::SeedCoder),
    ),
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        Pattern::Whole(Pretokenizer::O200k),
    ),
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        Pattern::Whole(Pretokenizer::Tekken),
    ),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        Pattern::MiniCpm5,
    ),
    (r"[\r\n]", Pattern::Newline),
    (r"\p{N}", Pattern::EachNumber),
    (r"\p{N}{1,3}", Pattern::ThreeNumbers),
    (r"[0-9][0-9][0-9]", Pattern::ThreeDigits),
    (DEEPSEEK_CASED, Pattern::CasedWords),
    (r"\s?\p{L}+", Pattern::Words),
    ("\\s?[!-/:-~！-／：-～‘-‟\u{3000}-。]+", Pattern::SpacedSigns),
    (r"\s?\p{P}+", Pattern::SpacedPunctuation),
    (r"\s+$", Pattern::Tail),
    ("[一-龥ࠀ-一가-\u{d7ff}]+", Pattern::Ideographs),
    ("[一-龥\u{3040}-ゟ゠-ヿ]+", Pattern::Japanese),
    (
        r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
        Pattern::DeepSeekV3,
    ),
];

const DEEPSEEK_CASED: &str = "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";

impl Pattern {
    pub(crate) fn known(pattern: &str) -> Option<Self> {
        // Some files have the newlines themselves in place of their escapes.
        let pattern = pattern.replace('\r', r"\r").replace('\n', r"\n");
        PATTERNS.iter().find(|(known, _)| *known == pattern).map(|&(_, pattern)| pattern)
    }

    /// The regular expression.
    pub(crate) fn regex(self) -> Option<&'static str> {
        PATTERNS.iter().find(|(_, pattern)| *pattern == self).map(|&(regex, _)| regex)
    }
}

/// The pretokenizer that takes these steps.
pub(crate) fn from_steps(steps: &[Step]) -> Option<Pretokenizer> {
    use Step::{Bytes, DigitRuns, EachDigit, Gpt2, Pattern as P, PunctuationRuns};
    Some(match steps {
        [Gpt2] => Pretokenizer::Gpt2,
        [P(Pattern::Whole(pretokenizer)), Bytes] => *pretokenizer,
        [EachDigit | P(Pattern::EachNumber), Gpt2]
        | [EachDigit | P(Pattern::EachNumber), P(Pattern::Whole(Pretokenizer::Gpt2)), Bytes] => {
            Pretokenizer::Gpt2Digits
        }
        [P(Pattern::ThreeNumbers), P(Pattern::MiniCpm5), Bytes] => Pretokenizer::MiniCpm5,
        [PunctuationRuns, Gpt2, DigitRuns, P(Pattern::ThreeDigits)] => Pretokenizer::Falcon,
        [
            P(Pattern::Newline),
            P(Pattern::CasedWords),
            P(Pattern::SpacedSigns),
            P(Pattern::Tail),
            P(Pattern::Ideographs),
            EachDigit,
            Bytes,
        ] => Pretokenizer::DeepSeekLlm,
        [
            P(Pattern::Newline),
            P(Pattern::Words),
            P(Pattern::SpacedPunctuation),
            P(Pattern::Ideographs),
            EachDigit,
            Bytes,
        ] => Pretokenizer::DeepSeekCoder,
        [P(Pattern::ThreeNumbers), P(Pattern::Japanese), P(Pattern::DeepSeekV3), Bytes] => {
            Pretokenizer::DeepSeekV3
        }
        _ => return None,
    })
}

/// The steps that a pretokenizer takes; `None` for what no description of steps means.
pub(crate) fn to_steps(pretokenizer: Pretokenizer) -> Option<Vec<Step>> {
    use Step::{Bytes, DigitRuns, EachDigit, Gpt2, Pattern as P, PunctuationRuns};
    Some(match pretokenizer {
        Pretokenizer::Gpt2 => vec![Gpt2],
        Pretokenizer::Gpt2Digits => vec![EachDigit, Gpt2],
        Pretokenizer::MiniCpm5 => vec![P(Pattern::ThreeNumbers), P(Pattern::MiniCpm5), Bytes],
        Pretokenizer::Falcon => vec![PunctuationRuns, Gpt2, DigitRuns, P(Pattern::ThreeDigits)],
        Pretokenizer::DeepSeekLlm => vec![
            P(Pattern::Newline),
            P(Pattern::CasedWords),
            P(Pattern::SpacedSigns),
            P(Pattern::Tail),
            P(Pattern::Ideographs),
            EachDigit,
            Bytes,
        ],
        Pretokenizer::DeepSeekCoder => vec![
            P(Pattern::Newline),
            P(Pattern::Words),
            P(Pattern::SpacedPunctuation),
            P(Pattern::Ideographs),
            EachDigit,
            Bytes,
        ],
        Pretokenizer::DeepSeekV3 => {
            vec![P(Pattern::ThreeNumbers), P(Pattern::Japanese), P(Pattern::DeepSeekV3), Bytes]
        }
        Pretokenizer::LlamaCppDefault => return None,
        whole => vec![P(Pattern::Whole(whole)), Bytes],
    })
}

/// The name of `tokenizer.ggml.pre` that means a pretokenizer, with whole pretokens that are tokens being those tokens or
/// not. `None` where llama.cpp has no such combination.
pub(crate) fn to_name(pretokenizer: Pretokenizer, whole: bool) -> Option<&'static str> {
    let name = match pretokenizer {
        Pretokenizer::Gpt2 => "gpt-2",
        Pretokenizer::Gpt4 if whole => "llama-bpe",
        Pretokenizer::Gpt4 => "dbrx",
        Pretokenizer::Cl100k => return None,
        Pretokenizer::Qwen2 => "qwen2",
        Pretokenizer::Qwen35 => "qwen35",
        Pretokenizer::SeedCoder => "seed-coder",
        Pretokenizer::MiniCpm5 => "minicpm5",
        Pretokenizer::O200k => "gpt-4o",
        Pretokenizer::Tekken => "tekken",
        Pretokenizer::Gpt2Digits => "smollm",
        Pretokenizer::Falcon => "falcon",
        Pretokenizer::DeepSeekLlm => "deepseek-llm",
        Pretokenizer::DeepSeekCoder => "deepseek-coder",
        Pretokenizer::DeepSeekV3 => "deepseek-v3",
        Pretokenizer::LlamaCppDefault => "default",
    };
    from_name(name).filter(|named| named.whole == whole).map(|_| name)
}

/// What llama.cpp does with vocabularies of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) pretokenizer: Pretokenizer,
    /// Whether a whole pretoken that is a token is that token.
    pub(crate) whole: bool,
    /// Whether texts begin with the token of the beginning, if the file does not say.
    pub(crate) add_bos: bool,
}

/// What `tokenizer.ggml.pre` of a GGUF file means.
pub(crate) fn from_name(name: &str) -> Option<Named> {
    let pretokenizer = match name {
        "" | "default" => Pretokenizer::LlamaCppDefault,
        "gpt-2" | "phi-2" | "jina-es" | "jina-de" | "jina-v2-es" | "jina-v2-de" | "gigachat" | "a.x-4.0"
        | "mellum" | "modern-bert" | "mpt" | "olmo" | "jais" | "trillion" | "granite-docling" | "exaone4" => {
            Pretokenizer::Gpt2
        }
        "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0" | "lfm2"
        | "jina-v5-nano" | "dbrx" | "smaug-bpe" | "chatglm-bpe" | "glm4" | "glm5" => Pretokenizer::Gpt4,
        "qwen2" | "deepseek-r1-qwen" | "kormo" | "f2llmv2" | "stablelm2" | "hunyuan" | "solar-open"
        | "megrez" | "grok-2" | "bailingmoe" | "bailingmoe2" | "llada-moe" => Pretokenizer::Qwen2,
        "qwen35" => Pretokenizer::Qwen35,
        "seed-coder" => Pretokenizer::SeedCoder,
        "minicpm5" => Pretokenizer::MiniCpm5,
        "gpt-4o" | "llama4" | "kanana2" | "talkie" | "minimax-m2" => Pretokenizer::O200k,
        "tekken" => Pretokenizer::Tekken,
        "starcoder" | "refact" | "command-r" | "smollm" | "codeshell" | "exaone" | "minerva-7b"
        | "mellum2" => Pretokenizer::Gpt2Digits,
        "falcon" => Pretokenizer::Falcon,
        "deepseek-llm" => Pretokenizer::DeepSeekLlm,
        "deepseek-coder" => Pretokenizer::DeepSeekCoder,
        "deepseek-v3" | "hunyuan-dense" | "joyai-llm" | "hy_v4" => Pretokenizer::DeepSeekV3,
        _ => return None,
    };
    let llama3 = matches!(
        name,
        "llama3"
            | "llama-v3"
            | "llama-bpe"
            | "falcon3"
            | "falcon-h1"
            | "pixtral"
            | "midm-2.0"
            | "lfm2"
            | "jina-v5-nano"
    );
    Some(Named {
        pretokenizer,
        whole: llama3 || matches!(name, "glm4" | "glm5" | "tekken" | "minicpm5"),
        add_bos: llama3 || name == "tekken",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_means_what_it_was_written_for() {
        for pretokenizer in Pretokenizer::all() {
            let steps = to_steps(pretokenizer);
            assert_eq!(steps.is_none(), pretokenizer == Pretokenizer::LlamaCppDefault);
            if let Some(steps) = steps {
                assert_eq!(from_steps(&steps), Some(pretokenizer));
                for step in steps {
                    if let Step::Pattern(pattern) = step {
                        assert_eq!(Pattern::known(pattern.regex().unwrap()), Some(pattern));
                    }
                }
            }
            for whole in [false, true] {
                if let Some(name) = to_name(pretokenizer, whole) {
                    let named = from_name(name).unwrap();
                    assert_eq!((named.pretokenizer, named.whole), (pretokenizer, whole));
                }
            }
        }
    }
}
