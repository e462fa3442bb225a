"""Makes the folders of small models under `hf/`, as transformers saves them, with random weights.

    python make_hf.py

with the packages of benches/pytorch/requirements.txt. Each folder is what `save_pretrained` writes, or an older version
wrote, and beside it `expected.safetensors`:

    tokens   i32 (1, T), more than the context of the first training where the rotary frequencies were stretched
    logits   (1, T, V), computed in float64 from the weights as saved, and rounded to float32 once
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

sys.dont_write_bytecode = True
from make import HERE, Float64, NoFloat32  # noqa: E402

VOCAB, TIME = 96, 21
SIZES = dict(
    vocab_size=VOCAB, hidden_size=24, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=32, bos_token_id=1, eos_token_id=2, attn_implementation="eager",
)  # fmt: skip
LLAMA3 = dict(
    rope_type="llama3", rope_theta=500000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=3.0,
    original_max_position_embeddings=8,
)  # fmt: skip
YARN = dict(
    rope_type="yarn", rope_theta=10.0, factor=4.0, beta_fast=1.0, beta_slow=0.3, original_max_position_embeddings=8
)  # fmt: skip
MODELS = {
    "gpt2": GPT2Config(
        vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=1, eos_token_id=2,
        attn_implementation="eager",
    ),
    "gpt2_gelu": GPT2Config(
        vocab_size=VOCAB, n_embd=24, n_layer=1, n_head=3, n_positions=32, n_inner=40, activation_function="gelu",
        tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, attn_implementation="eager",
    ),
    "llama3": LlamaConfig(**SIZES, rope_parameters=LLAMA3, tie_word_embeddings=True),
    "llama_untied": LlamaConfig(
        **SIZES | dict(num_key_value_heads=4, num_hidden_layers=1), tie_word_embeddings=False, rope_parameters=YARN
    ),
    "smollm2": LlamaConfig(
        **SIZES | dict(num_attention_heads=3, num_key_value_heads=1), tie_word_embeddings=True, rms_norm_eps=1e-5,
        rope_parameters=dict(rope_type="default", rope_theta=100000.0),
    ),
    "mistral": MistralConfig(**SIZES, head_dim=10, sliding_window=24),
    "qwen2": Qwen2Config(
        **SIZES, tie_word_embeddings=True, rope_parameters=dict(rope_type="linear", rope_theta=1e6, factor=2.5)
    ),
    "qwen3": Qwen3Config(**SIZES, head_dim=8, rope_parameters=dict(rope_type="default", rope_theta=1e6)),
}  # fmt: skip
SHARDED, BF16, OLD_SPELLING = "qwen3", ("smollm2", "mistral"), ("llama3", "smollm2")


def save(name: str, config, path: Path) -> None:
    model = AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(sum(name.encode()))
    with torch.no_grad():
        for key, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            if value.dim() == 1:
                value.copy_(0.2 * noise + (0.0 if key.endswith("bias") else 1.0))
            else:
                value.copy_(noise * (0.5 if "emb" in key or "wte" in key or "wpe" in key else value.shape[-1] ** -0.5))
    model = model.to(torch.bfloat16 if name in BF16 else torch.float32)
    if name == "llama3":
        model.generation_config = GenerationConfig(
            bos_token_id=1, eos_token_id=[2, 5], do_sample=True, temperature=0.6, top_p=0.9
        )
    model.save_pretrained(path, max_shard_size="30KB" if name == SHARDED else "5GB")


def age(name: str, path: Path) -> None:
    """Turns what was saved into what older versions of transformers and other programs leave on disk."""
    file = path / "config.json"
    config = json.loads(file.read_text())
    if name in OLD_SPELLING:
        rope = config.pop("rope_parameters")
        config["rope_theta"] = rope.pop("rope_theta")
        config["rope_scaling"] = rope if rope["rope_type"] != "default" else None
        config["torch_dtype"] = config.pop("dtype")
        del config["head_dim"]
        file.write_text(json.dumps(config, indent=2) + "\n")
    if name == "gpt2":
        # Names without the prefix, and the masks that were once saved too.
        file = path / "model.safetensors"
        tensors = {key.removeprefix("transformer."): value for key, value in load_file(file).items()}
        for layer in range(2):
            tensors[f"h.{layer}.attn.bias"] = torch.tril(torch.ones(1, 1, 4, 4))
        save_file(tensors, file, {"format": "pt"})


def exact_logits(path: Path, tokens: torch.Tensor) -> torch.Tensor:
    """Logits (1, T, V) in float64, which those in float32 are near."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager")
    plain = model(input_ids=tokens).logits
    weights = {key: value.double() for key, value in model.state_dict().items()}
    torch.set_default_dtype(torch.float64)
    try:
        with Float64(), NoFloat32():
            # Built anew, since the rotary frequencies are computed when a model is made.
            config = AutoConfig.from_pretrained(path, attn_implementation="eager")
            exact = AutoModelForCausalLM.from_config(config, dtype=torch.float64).eval()
            missing, extra = exact.load_state_dict(weights)
            assert not missing and not extra
            logits = exact(input_ids=tokens, use_cache=False).logits.detach()
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(plain.double(), logits, rtol=1e-4, atol=1e-4)
    return logits


def expected(path: Path) -> None:
    tokens = torch.randint(VOCAB, (1, TIME), generator=torch.Generator().manual_seed(1))
    logits = exact_logits(path, tokens)
    save_file({"tokens": tokens.int(), "logits": logits.float()}, path / "expected.safetensors")


def main() -> None:
    torch.set_num_threads(1)
    for name, config in MODELS.items():
        path = HERE / "hf" / name
        shutil.rmtree(path, ignore_errors=True)
        save(name, config, path)
        age(name, path)
        expected(path)
        sizes = {file.name: file.stat().st_size for file in sorted(path.iterdir())}
        print(name, sum(sizes.values()), sizes)


if __name__ == "__main__":
    main()
