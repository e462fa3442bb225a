"""Makes `smollm2.json` and `smollm2.safetensors`: what transformers makes of five prompts with the weights of a published model.

    python make_smollm2.py SmolLM2-135M-Instruct.Q4_1.gguf

with the packages of benches/pytorch/requirements.txt; the file is the one that `selvedge model get smollm2` fetches. Nothing of
Selvedge's is used: the file is read, its blocks are turned into numbers and its text into tokens here. What transformers computes
from them in float64 is rounded to float32 once.

`smollm2.json` is a list of prompts, each with

    name, text, tokens
    greedy           the likeliest tokens that follow, each given those before it
    follows          the text they stand for
    gaps             for each of them by how much its logit is above the next
    largest          the largest magnitude of a logit at the last position of the prompt
    transformers     how far transformers is off in float32: for each of the hidden states, and then for those logits, the largest
                     difference by the largest magnitude

`smollm2.safetensors` has for each

    NAME.hidden      (L + 2, C), at the last position: after the embedding, after each layer, and after the norm at the end
    NAME.logits      (V / 96), at the last position, of every 96th token
    NAME.top         (T), at every position the largest logit
    NAME.likeliest   i32 (T), and whose it is
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig

sys.dont_write_bytecode = True
from make import HERE, Float64, NoFloat32  # noqa: E402

GREEDY, EVERY = 32, 96
LONG = """\
The harbour of the old town lies behind a wall of grey stone that was built three hundred years ago, after a winter storm had \
carried away half of the fishing boats in a single night. Whoever walks along it in the morning meets the same people: the woman \
who mends nets in front of the blue shed, two boys who ought to be in school, and the keeper of the lighthouse, who is retired \
but still goes to look at the lamp every day at seven. He will tell you, if you let him, that the light could once be seen from \
twenty-three miles away, and that in 1911 a ship with a cargo of oranges ran aground within sight of it, so that for weeks the \
children of the town ate nothing else.

Behind the harbour the streets climb steeply. There is a bakery, a chapel whose bell has been cracked since the war, a shop that \
sells rope, paint and postcards, and at the very top a small museum with four rooms. In the first room hang maps. The oldest of \
them shows the coast as it was before the river changed its course; the newest was drawn by a teacher of mathematics, who measured \
every rock between the two headlands with a chain and a theodolite, and needed eleven summers for it. In the second room there \
are models of ships, in the third the tools of the people who built them: adzes, augers, caulking irons, and a saw as long as a \
grown man. The fourth room is empty but for a bench and a window. From the bench one sees the whole bay, the islands beyond it, \
and on clear days the snow on the mountains of the other shore. Visitors who have only an hour are told by the attendant to spend \
it there.

The town council has asked what should become of the museum now that the roof leaks. A repair would cost more than is taken in \
ten years; to move the collection would cost still more. At the last meeting a farmer stood up and said that"""
PROMPTS = {
    "english": "When the last train had left the station, the old clockmaker opened his suitcase and took out",
    "code": 'fn median(values: &mut [f64]) -> Option<f64> {\n    if values.is_empty() {\n        return None;\n    }\n    values.sort_by(',
    "chinese": "今天早上下了一场大雨，街上几乎没有人。我打开窗户，看见",
    "emoji": "🌊🦀 Beach day! 👩‍🚀🏖️ We packed 3 towels, 2 🍉 and one 🎸, and then 😂",
    "long": LONG,
}  # fmt: skip
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
F32, Q4_1, Q8_0 = 0, 3, 8


class Reader:
    """A GGUF file: its keys, and its tensors as float32."""

    def __init__(self, path: Path):
        self.bytes, self.at = path.read_bytes(), 0
        magic, version, tensors, keys = self.take("IIQQ")
        assert (magic, version) == (0x46554747, 3)
        self.keys = {self.string(): self.value(*self.take("I")) for _ in range(keys)}
        places = [self.place() for _ in range(tensors)]
        start = -(-self.at // 32) * 32
        self.tensors = {name: self.numbers(shape, kind, start + offset) for name, shape, kind, offset in places}

    def take(self, form: str) -> tuple:
        values = struct.unpack_from("<" + form, self.bytes, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def string(self) -> str:
        (length,) = self.take("Q")
        return self.take(f"{length}s")[0].decode()

    def value(self, kind: int):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            kind, count = self.take("IQ")
            return [self.value(kind) for _ in range(count)]
        return self.take(SCALARS[kind])[0]

    def place(self) -> tuple:
        name, (dims,) = self.string(), self.take("I")
        shape = self.take(f"{dims}Q")[::-1]
        return name, shape, *self.take("IQ")

    def numbers(self, shape: tuple, kind: int, at: int) -> torch.Tensor:
        count = int(np.prod(shape))
        if kind == F32:
            return torch.from_numpy(np.frombuffer(self.bytes, "<f4", count, at).reshape(shape).copy())
        size = {Q4_1: 20, Q8_0: 34}[kind]
        blocks = np.frombuffer(self.bytes, np.uint8, count // 32 * size, at).reshape(-1, size)

        def half(byte: int) -> np.ndarray:
            return blocks[:, byte : byte + 2].copy().view("<f2").astype(np.float32)

        if kind == Q4_1:  # a scale, a minimum, and 32 codes: the low halves of 16 bytes, then the high ones
            codes = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
            values = half(0) * codes.astype(np.float32) + half(2)
        else:  # a scale and 32 signed bytes
            values = half(0) * blocks[:, 2:].copy().view(np.int8).astype(np.float32)
        return torch.from_numpy(values.reshape(shape))


def configuration(keys: dict) -> LlamaConfig:
    key = {name.removeprefix("llama."): value for name, value in keys.items()}
    return LlamaConfig(
        vocab_size=key["vocab_size"],
        hidden_size=key["embedding_length"],
        intermediate_size=key["feed_forward_length"],
        num_hidden_layers=key["block_count"],
        num_attention_heads=key["attention.head_count"],
        num_key_value_heads=key["attention.head_count_kv"],
        max_position_embeddings=key["context_length"],
        rms_norm_eps=key["attention.layer_norm_rms_epsilon"],
        rope_parameters=dict(rope_type="default", rope_theta=key["rope.freq_base"]),
        tie_word_embeddings=True,
        attn_implementation="eager",
    )


def weights(file: Reader, config: LlamaConfig) -> dict[str, torch.Tensor]:
    """The tensors by the names of transformers."""

    def turned(tensor: torch.Tensor, heads: int) -> torch.Tensor:
        # The file has the two rows that are turned together beside each other, transformers half a head apart.
        rows = tensor.unflatten(0, (heads, -1, 2))
        return rows.transpose(1, 2).flatten(0, 2)

    take = dict(file.tensors)
    found = {"model.embed_tokens.weight": take.pop("token_embd.weight"), "model.norm.weight": take.pop("output_norm.weight")}
    names = {
        "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    }  # fmt: skip
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for layer in range(config.num_hidden_layers):
        for here, there in names.items():
            tensor = take.pop(f"blk.{layer}.{here}.weight")
            found[f"model.layers.{layer}.{there}.weight"] = turned(tensor, heads[here]) if here in heads else tensor
    assert not take, take.keys()
    return found


def tokenizer(keys: dict) -> Tokenizer:
    """Byte-level BPE, every digit by itself."""
    vocabulary = {token: index for index, token in enumerate(keys["tokenizer.ggml.tokens"])}
    merges = [tuple(merge.split(" ")) for merge in keys["tokenizer.ggml.merges"]]
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    made.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    made.decoder = decoders.ByteLevel()
    return made


def build(config: LlamaConfig, tensors: dict[str, torch.Tensor], dtype: torch.dtype):
    model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    missing, extra = model.load_state_dict({name: tensor.to(dtype) for name, tensor in tensors.items()}, strict=False)
    assert missing == ["lm_head.weight"] and not extra, (missing, extra)
    return model


def look(model, tokens: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states (L + 2, T, C) and logits (T, V)."""
    states = []
    parts = [model.model.embed_tokens, *model.model.layers, model.model.norm]
    hooks = [
        part.register_forward_hook(lambda _, __, out: states.append(out[0] if isinstance(out, tuple) else out))
        for part in parts
    ]
    logits = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0]
    for hook in hooks:
        hook.remove()
    return torch.cat(states), logits


def greedy(model, tokens: list[int]) -> tuple[list[int], list[float]]:
    found, gaps, past, rest = [], [], None, tokens
    for _ in range(GREEDY):
        out = model(input_ids=torch.tensor([rest]), past_key_values=past, use_cache=True)
        best = out.logits[0, -1].topk(2)
        found.append(best.indices[0].item())
        gaps.append((best.values[0] - best.values[1]).item())
        past, rest = out.past_key_values, found[-1:]
    return found, gaps


def off(got: torch.Tensor, want: torch.Tensor) -> float:
    return ((got.double() - want).abs().max() / want.abs().max()).item()


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    file = Reader(Path(sys.argv[1]))
    config, vocabulary = configuration(file.keys), tokenizer(file.keys)
    tensors = weights(file, config)
    plain = build(config, tensors, torch.float32)
    prompts, arrays = [], {}
    inputs = {name: vocabulary.encode(text).ids for name, text in PROMPTS.items()}
    single = {name: (look(plain, tokens), greedy(plain, tokens)[0]) for name, tokens in inputs.items()}
    del plain
    torch.set_default_dtype(torch.float64)
    with Float64(), NoFloat32():
        exact = build(config, tensors, torch.float64)
        double = {name: (look(exact, tokens), greedy(exact, tokens)) for name, tokens in inputs.items()}
    torch.set_default_dtype(torch.float32)
    for name, tokens in inputs.items():
        (plain_states, plain_logits), plain_greedy = single[name]
        (states, logits), (follow, gaps) = double[name]
        assert vocabulary.decode(tokens, skip_special_tokens=False) == PROMPTS[name]
        errors = [off(got[-1], want[-1]) for got, want in zip(plain_states, states, strict=True)]
        errors.append(off(plain_logits[-1], logits[-1]))
        print(f"{name}: {len(tokens)} tokens, logits in float32 off by {errors[-1]:.1e}, least gap {min(gaps):.2e}")
        follows = vocabulary.decode(follow, skip_special_tokens=False)
        if plain_greedy != follow:
            print("  float32 goes another way at", [a == b for a, b in zip(plain_greedy, follow)].index(False))
        prompts.append(
            dict(
                name=name, text=PROMPTS[name], tokens=tokens, greedy=follow, follows=follows,
                gaps=[float(f"{gap:.4g}") for gap in gaps],
                largest=float(f"{logits[-1].abs().max().item():.6g}"), transformers=[float(f"{x:.2g}") for x in errors],
            )  # fmt: skip
        )
        top = logits.max(-1)
        arrays |= {
            f"{name}.hidden": states[:, -1].float().contiguous(),
            f"{name}.logits": logits[-1, ::EVERY].float().contiguous(),
            f"{name}.top": top.values.float(),
            f"{name}.likeliest": top.indices.int(),
        }
    lines = ",\n".join(json.dumps(prompt, ensure_ascii=False) for prompt in prompts)
    (HERE / "smollm2.json").write_text(f"[\n{lines}\n]\n")
    save_file(arrays, HERE / "smollm2.safetensors")


if __name__ == "__main__":
    main()
