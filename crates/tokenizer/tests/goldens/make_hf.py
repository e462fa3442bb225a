"""Writes the goldens of `hugging_face.rs`: small tokenizers of each kind, and the ids that `tokenizers` gives.

Run in this folder with a Python that has the package `tokenizers`; the goldens here are from version 0.23.3.
"""

import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent

GPT4 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = GPT4.replace(r"\p{N}{1,3}", r"\p{N}")
QWEN35 = QWEN2.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]+", r"[^\s\p{L}\p{M}\p{N}]+")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
PREFIX, TAIL = r"[^\r\n\p{L}\p{N}]?", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = rf"{PREFIX}{UPPER}*{LOWER}+{TAIL}|{PREFIX}{UPPER}+{LOWER}*{TAIL}|\p{{N}}{{1,3}}|{REST}"
TEKKEN = rf"{PREFIX}{UPPER}*{LOWER}+|{PREFIX}{UPPER}+{LOWER}*|\p{{N}}|{REST}"
CASED = "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
IDEOGRAPHS = "[一-龥ࠀ-一가-\ud7ff]+"
DEEPSEEK_V3 = (
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
)


def byte_level(use_regex):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def splits(*patterns, then=()):
    cut = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    return pre_tokenizers.Sequence([*cut, *then, byte_level(False)])


FAMILIES = {
    "gpt2": byte_level(True),
    "llama3": splits(GPT4),
    "qwen2": splits(QWEN2),
    "qwen35": splits(QWEN35),
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(True), byte_level(True)]),
    "falcon": pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("contiguous"),
        byte_level(True),
        pre_tokenizers.Digits(False),
        pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated"),
    ]),
    "o200k": splits(O200K),
    "tekken": splits(TEKKEN),
    "deepseek-llm": splits(
        "[\r\n]", rf"\s?[{CASED}]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", IDEOGRAPHS,
        then=[pre_tokenizers.Digits(True)],
    ),
    "deepseek-coder": splits(
        "[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", IDEOGRAPHS, then=[pre_tokenizers.Digits(True)]
    ),
    "deepseek-v3": splits(r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+", DEEPSEEK_V3),
}

# Vocabularies without every byte, as real ones of these kinds are.
GAPS = {"smollm", "falcon", "deepseek-llm"}

TEXTS = [
    "",
    " ",
    "Hello, world! It's a test; isn't it? They'll've DON'T WE'RE I'M he'D",
    "The quick brown fox jumps over the lazy dog. THE QUICK BROWN FOX",
    "fn main() {\n    let x = 0xFF + 1_000;\n\n\tprintln!(\"{x:?}\");\n}\n",
    "def f(a, b):\r\n        return a**b  # 1234567 and 12 345\r\n\r\n",
    "123 4567890 1 12 3.14159 ٣٤٥ ½ Ⅷ ²³ 𝟘𝟙 ㊀",
    "天地玄黄，宇宙洪荒。日月盈昃、辰宿列张！漢字1ひらがなカタカナ",
    "한국어 텍스트 다람쥐 헌 쳇바퀴에",
    "Größe naïve façade Ærøskøbing Việt Nam İstanbul'da ılık ǅungla",
    "e\u0301 cafe\u0301 a\u0345 \u0301a !\u0301 q\u0307\u0323 हिन्दी ก็ עִבְרִית",
    "'\u017f x'\u017ftop 'S 's 'ſs \u212a \u017f",
    "HTTPServer's fooBarBaz XMLHttpRequest ABC漢字DEFg aʰB",
    "😀👍🏽 👩‍👩‍👧 🇪🇺!! \u200b\u200d\ufeff",
    "a  b   c    d\t\te \n \n  \n\n\nf   ",
    "   leading\n\n\n   and trailing   \n",
    "\u00a0\u00a0nbsp \u3000\u3000wide \u2028line \u0085next",
    "!!! ... -- == => $5+5=10 `code` a|b ~x^y <tag> // /path/\n/",
    "\x00\x01\x03\x7f \x1b[0m\u00ad\ue000\U0010ffff",
    "Съешь же ещё этих мягких французских булок. Ξεσκεπάζω την",
    "<|endoftext|> and <|im_start|>user\nhi<|im_end|>\n<tool_call>x</tool_call>",
    "a <mask> b  <mask>c<r>  d <r>\n\ne",
    "<|im_start|><|im_start|>system<|im_<|im_end|>|>",
    "<tool_<tool_call> õ ÷ ø café cafe\u0301 END",
    "                                                                 x",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
]

FRAGMENTS = [
    "'", "'s", "'S", "'LL", "ſ", " ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "1", "12", "1234567", "٣", "½",
    "a", "Z", "abc", "don't", "é", "e\u0301", "\u0345", "ǅ", "ʰ", "漢字", "ひ", "한", "😀", "!", "...", "_", "/", "//",
    "();", "`", "+", "=", "\0", "€", "²", "貳", "THE", "the", " the", "õ", "<mask>", "<r>", "<|im_end|>", "<tool_call>",
]


def texts():
    rng = random.Random(7)
    return TEXTS + ["".join(rng.choices(FRAGMENTS, k=rng.randint(2, 14))) for _ in range(60)]


def train(name):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>" if name == "falcon" else None))
    tokenizer.pre_tokenizer = FAMILIES[name]
    tokenizer.decoder = decoders.ByteLevel()
    if name.startswith("qwen"):
        tokenizer.normalizer = normalizers.NFC()
    alphabet = [] if name in GAPS else pre_tokenizers.ByteLevel.alphabet()
    specials = ["<|endoftext|>"] + (["<unk>"] if name == "falcon" else [])
    trainer = trainers.BpeTrainer(
        vocab_size=360 if name in GAPS else 460, initial_alphabet=alphabet, special_tokens=specials, show_progress=False
    )
    corpus = [(HERE / "../common/many_scripts.txt").read_text(), *TEXTS[2:9]]
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer = Tokenizer.from_str(json.dumps(adjust(name, json.loads(tokenizer.to_str()))))
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True), AddedToken("<r>", rstrip=True)])
    tokenizer.add_tokens([AddedToken("<tool_call>", normalized=False), AddedToken("õ"), AddedToken("cafe\u0301")])
    # One that merging forms as well.
    tokenizer.add_tokens([AddedToken("the")])
    if name in ("llama3", "deepseek-v3"):
        begin = tokenizer.token_to_id("<|im_start|>")
        template = processors.TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", begin)])
        tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    document = json.loads(tokenizer.to_str())
    if name in ("gpt2", "qwen2", "falcon"):
        # The older spelling.
        document["model"]["merges"] = [" ".join(pair) for pair in document["model"]["merges"]]
    return document


def adjust(name, document):
    """What training does not give, but published files have."""
    model = document["model"]
    if name in ("llama3", "tekken"):
        model["ignore_merges"] = True
        # Tokens that no merges form: they are found as whole pretokens only.
        for text in ("Ġquick", "zqx"):
            model["vocab"].setdefault(text, len(model["vocab"]))
    if name == "deepseek-coder":
        # Merges in another order than the ids of what they make.
        merges = model["merges"]
        first = {left + right: index for index, (left, right) in enumerate(merges)}
        swap = lambda pair: any(part in first for part in pair)
        model["merges"] = [p for p in merges if not swap(p)][::-1] + [p for p in merges if swap(p)]
    return document


def main():
    samples = texts() + ["zqx  quick quick", " quickly zqxzqx"]
    ids = {}
    for name in FAMILIES:
        document = train(name)
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        (HERE / f"{name}.json").write_text(text + "\n")
        tokenizer = Tokenizer.from_str(text)
        special = [tokenizer.encode(sample, add_special_tokens=False).ids for sample in samples]
        framed = tokenizer.encode("a").ids
        tokenizer.encode_special_tokens = True
        plain = [tokenizer.encode(sample, add_special_tokens=False).ids for sample in samples]
        ids[name] = {"special": special, "plain": plain, "framed": framed}
        print(name, len(text), tokenizer.get_vocab_size())
    golden = {"texts": samples, "ids": ids}
    (HERE / "ids.json").write_text(json.dumps(golden, ensure_ascii=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
