"""Selvedge's tensor names against those of transformers, and models of transformers built from Selvedge's configs.

A config is a dict with the keys of `CONFIG_KEYS`, and for llama may have `head_size`, `qkv_bias` (which makes it Qwen2),
`qk_norm` (Qwen3) and `rope_scaling`. Selvedge keeps every matrix as (out, in), joins the query, key and
value projections into one matrix (rows q, k, v) and a gated feed-forward's two input matrices into one (rows gate, up).
"""

from typing import Callable, NamedTuple

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

CONFIG_KEYS = (
    "arch", "vocab", "context", "layers", "heads", "kv_heads", "channels", "hidden",
    "norm_eps", "rope_theta", "activation", "tied",
)  # fmt: skip

GPT2_ACTIVATIONS = {"gelu_tanh": "gelu_new", "gelu": "gelu"}


class Row(NamedTuple):
    """One tensor of Selvedge: the rows of `theirs` in order, each transposed first where transformers has (in, out)."""

    ours: str
    theirs: tuple[str, ...]
    transposed: bool = False


def rows(config: dict) -> list[Row]:
    """Every parameter of the model, once, in Selvedge's order."""
    return {"gpt2": gpt2_rows, "llama": llama_rows}[config["arch"]](config)


def gpt2_rows(config: dict) -> list[Row]:
    out = [
        Row("token_embedding", ("transformer.wte.weight",)),
        Row("position_embedding", ("transformer.wpe.weight",)),
    ]
    for layer in range(config["layers"]):
        ours, theirs = f"block.{layer}", f"transformer.h.{layer}"
        for part, source in (
            ("norm_1", "ln_1"),
            ("qkv", "attn.c_attn"),
            ("attn_out", "attn.c_proj"),
            ("norm_2", "ln_2"),
            ("mlp_up", "mlp.c_fc"),
            ("mlp_down", "mlp.c_proj"),
        ):
            # GPT-2's Conv1D keeps its weight as (in, out).
            conv = not part.startswith("norm")
            out.append(Row(f"{ours}.{part}.weight", (f"{theirs}.{source}.weight",), transposed=conv))
            out.append(Row(f"{ours}.{part}.bias", (f"{theirs}.{source}.bias",)))
    out.append(Row("norm_f.weight", ("transformer.ln_f.weight",)))
    out.append(Row("norm_f.bias", ("transformer.ln_f.bias",)))
    if not config["tied"]:
        out.append(Row("head.weight", ("lm_head.weight",)))
    return out


def llama_rows(config: dict) -> list[Row]:
    out = [Row("token_embedding", ("model.embed_tokens.weight",))]
    for layer in range(config["layers"]):
        ours, theirs = f"block.{layer}", f"model.layers.{layer}"
        for part, sources in (
            ("norm_1", ("input_layernorm",)),
            ("qkv", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
            ("attn_out", ("self_attn.o_proj",)),
            ("norm_2", ("post_attention_layernorm",)),
            ("gate_up", ("mlp.gate_proj", "mlp.up_proj")),
            ("mlp_down", ("mlp.down_proj",)),
        ):
            out.append(Row(f"{ours}.{part}.weight", tuple(f"{theirs}.{source}.weight" for source in sources)))
            if part == "qkv" and config.get("qkv_bias"):
                out.append(Row(f"{ours}.{part}.bias", tuple(f"{theirs}.{source}.bias" for source in sources)))
            if part == "qkv" and config.get("qk_norm"):
                for norm in ("q_norm", "k_norm"):
                    out.append(Row(f"{ours}.{norm}.weight", (f"{theirs}.self_attn.{norm}.weight",)))
    out.append(Row("norm_f.weight", ("model.norm.weight",)))
    if not config["tied"]:
        out.append(Row("head.weight", ("lm_head.weight",)))
    return out


def build_model(config: dict) -> torch.nn.Module:
    """A model of transformers for `config`: eager attention, no dropout, no cache; weights as it initializes them."""
    if missing := [key for key in CONFIG_KEYS if key not in config]:
        raise ValueError(f"the config lacks {', '.join(missing)}")
    common = dict(
        vocab_size=config["vocab"],
        tie_word_embeddings=config["tied"],
        attn_implementation="eager",
        use_cache=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    if config["arch"] == "gpt2":
        if config["kv_heads"] != config["heads"]:
            raise ValueError(f"gpt2 has as many kv_heads as heads, not {config['kv_heads']} and {config['heads']}")
        return GPT2LMHeadModel(
            GPT2Config(
                **common,
                n_positions=config["context"],
                n_embd=config["channels"],
                n_layer=config["layers"],
                n_head=config["heads"],
                n_inner=config["hidden"],
                activation_function=GPT2_ACTIVATIONS[config["activation"]],
                layer_norm_epsilon=config["norm_eps"],
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
            )
        )
    if config["arch"] == "llama":
        if config["activation"] != "silu":
            raise ValueError(f"llama's activation is silu, not {config['activation']}")
        return llama_model(config, common)
    raise ValueError(f"arch is gpt2 or llama, not {config['arch']}")


def llama_model(config: dict, common: dict) -> torch.nn.Module:
    common |= dict(
        max_position_embeddings=config["context"],
        hidden_size=config["channels"],
        intermediate_size=config["hidden"],
        num_hidden_layers=config["layers"],
        num_attention_heads=config["heads"],
        num_key_value_heads=config["kv_heads"],
        head_dim=config.get("head_size") or config["channels"] // config["heads"],
        hidden_act="silu",
        rms_norm_eps=config["norm_eps"],
        rope_parameters=rope_parameters(config),
        attention_dropout=0.0,
    )
    if config.get("qk_norm"):
        return Qwen3ForCausalLM(Qwen3Config(**common, attention_bias=False))
    if config.get("qkv_bias"):
        return Qwen2ForCausalLM(Qwen2Config(**common))
    return LlamaForCausalLM(LlamaConfig(**common, attention_bias=False, mlp_bias=False))


def rope_parameters(config: dict) -> dict:
    out = {"rope_type": "default", "rope_theta": config["rope_theta"]}
    for key, value in (config.get("rope_scaling") or {}).items():
        out[{"kind": "rope_type", "original_context": "original_max_position_embeddings"}.get(key, key)] = value
    return out


def parameters(model: torch.nn.Module, config: dict) -> dict[str, torch.nn.Parameter]:
    """The model's parameters by transformers' name, checked to be exactly those that `rows` lists."""
    found = dict(model.named_parameters())
    listed = {name for row in rows(config) for name in row.theirs}
    if listed != found.keys():
        raise ValueError(f"the listing and the model differ in {sorted(listed ^ found.keys())}")
    return found


def to_selvedge(
    model: torch.nn.Module,
    config: dict,
    of: Callable[[torch.nn.Parameter], torch.Tensor] = torch.Tensor.detach,
) -> dict[str, torch.Tensor]:
    """Selvedge's tensors from the model's: `of` picks what to take of each parameter, its value or its gradient."""
    found = parameters(model, config)
    return {
        row.ours: torch.cat([of(found[name]).T if row.transposed else of(found[name]) for name in row.theirs])
        for row in rows(config)
    }


@torch.no_grad()
def load(model: torch.nn.Module, config: dict, tensors: dict[str, torch.Tensor]) -> None:
    """Copies `tensors`, which must be exactly Selvedge's for `config`, into the model."""
    found = parameters(model, config)
    wanted = {row.ours for row in rows(config)}
    if wanted != tensors.keys():
        raise ValueError(
            f"tensors missing: {sorted(wanted - tensors.keys())}, not the model's: {sorted(tensors.keys() - wanted)}"
        )
    for row in rows(config):
        targets = [found[name].T if row.transposed else found[name] for name in row.theirs]
        shape = (sum(len(target) for target in targets), *targets[0].shape[1:])
        if tensors[row.ours].shape != shape:
            raise ValueError(f"{row.ours} has shape {tuple(tensors[row.ours].shape)}, the config wants {shape}")
        for target, piece in zip(targets, tensors[row.ours].split([len(target) for target in targets])):
            target.copy_(piece)


def random_tensors(config: dict, seed: int) -> dict[str, torch.Tensor]:
    """Float32 weights far from any usual initialization: no zero biases, no unit norms, so that no term drops out."""
    generator = torch.Generator().manual_seed(seed)
    out = {}
    for name, value in to_selvedge(build_model(config), config).items():
        noise = torch.randn(value.shape, generator=generator, dtype=torch.float32)
        if value.dim() == 1:
            out[name] = 0.2 * noise + (1.0 if name.endswith(".weight") else 0.0)
        elif name.endswith("_embedding"):
            out[name] = 0.5 * noise
        else:
            # Keeps a product's output about as large as its input, so that every nonlinearity is exercised.
            out[name] = noise / value.shape[1] ** 0.5
    return out


def is_decayed(parameter: torch.nn.Parameter) -> bool:
    """Weight decay is for matrices (embeddings among them), not for biases and norms."""
    return parameter.dim() >= 2
