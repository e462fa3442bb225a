"""Makes the goldens of whole models and of the optimizer that lie beside this file.

    python make.py

with the packages of benches/pytorch/requirements.txt. The models are those of transformers, so that their wiring owes
nothing to Selvedge's. Inputs are rounded to float32; everything computed from them is computed in float64 and rounded
to float32 once, so that a golden is closer to the truth than any float32 program.

A model's `NAME.json` is its config (for gpt2, rope_theta is there and unused). `NAME.safetensors` holds, beside the
weights in Selvedge's names:

    tokens, targets  i32 (B, T)
    logits           (B, T, V)
    loss_sum, loss   cross-entropy in nats, summed over the B·T targets, and divided by their number
    grad.WEIGHT      of loss_sum, for every weight; a tied head's share is in grad.token_embedding

`adamw.safetensors` has its own description at `adamw`.
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parents[3] / "benches" / "pytorch"))
import selvedge_names  # noqa: E402

GPT2 = dict(
    arch="gpt2", vocab=53, context=16, layers=2, heads=3, kv_heads=3, channels=24, hidden=96,
    norm_eps=1e-5, rope_theta=10000.0, activation="gelu_tanh", tied=True,
)  # fmt: skip
LLAMA = dict(
    arch="llama", vocab=61, context=16, layers=2, heads=4, kv_heads=2, channels=32, hidden=44,
    norm_eps=1e-5, rope_theta=10000.0, activation="silu", tied=True,
)  # fmt: skip
QWEN = LLAMA | dict(layers=1, channels=24, hidden=37)
LLAMA3 = dict(kind="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=3.0, original_context=8)
# Name, config, rows, tokens a row, seed.
MODELS = [
    ("gpt2_tiny", GPT2, 2, 11, 1),
    ("gpt2_untied", GPT2 | dict(layers=1, activation="gelu", tied=False), 2, 11, 2),
    ("llama_tiny", LLAMA, 2, 13, 3),
    ("llama_untied", LLAMA | dict(layers=1, heads=3, kv_heads=1, channels=30, hidden=41, tied=False), 2, 13, 4),
    ("llama3_tiny", LLAMA | dict(layers=1, rope_scaling=LLAMA3), 2, 13, 6),
    ("qwen2_tiny", QWEN | dict(qkv_bias=True, rope_scaling=dict(kind="linear", factor=2.0)), 2, 13, 7),
    ("qwen3_tiny", QWEN | dict(qk_norm=True, head_size=10, tied=False), 2, 13, 8),
]


class Float64(TorchFunctionMode):
    """Turns a request for float32 into one for float64: transformers asks for it in norms, rope and softmax."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.float:
            function = torch.Tensor.double
        args = tuple(torch.float64 if arg is torch.float32 else arg for arg in args)
        kwargs = {key: torch.float64 if arg is torch.float32 else arg for key, arg in (kwargs or {}).items()}
        return function(*args, **kwargs)


class NoFloat32(TorchDispatchMode):
    """Fails on any operation, backward ones too, that gives a float32 tensor: proof that `Float64` missed nothing."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float32:
                raise TypeError(f"{function} gave float32")
        return out


def run(config: dict, weights: dict, tokens: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
    """Logits, losses and gradients in torch's default dtype."""
    model = selvedge_names.build_model(config)
    selvedge_names.load(model, config, weights)
    logits = model(input_ids=tokens).logits
    loss_sum = F.cross_entropy(logits.view(-1, config["vocab"]), targets.view(-1), reduction="sum")
    loss_sum.backward()
    grads = selvedge_names.to_selvedge(model, config, of=lambda parameter: parameter.grad)
    return {
        "logits": logits.detach(),
        "loss_sum": loss_sum.detach(),
        "loss": loss_sum.detach() / targets.numel(),
    } | {f"grad.{name}": grad for name, grad in grads.items()}


def whole_model(config: dict, batch: int, time: int, seed: int) -> dict[str, torch.Tensor]:
    weights = selvedge_names.random_tensors(config, seed)
    generator = torch.Generator().manual_seed(seed)
    tokens, targets = torch.randint(config["vocab"], (2, batch, time), generator=generator)
    # Both ends of the vocabulary, and a token that comes twice in a row of the batch and again in another.
    tokens[0, 0], tokens[0, 1], tokens[0, 3], tokens[1, 2] = 0, config["vocab"] - 1, 7, 7
    tokens[0, 4], targets[0, 0], targets[1, -1] = 7, config["vocab"] - 1, 0

    torch.set_default_dtype(torch.float64)
    try:
        with Float64(), NoFloat32():
            out = run(config, {name: value.double() for name, value in weights.items()}, tokens, targets)
    finally:
        torch.set_default_dtype(torch.float32)
    # transformers as it comes, in float32, agrees: `Float64` changed the precision and nothing else.
    for name, plain in run(config, weights, tokens, targets).items():
        torch.testing.assert_close(plain.double(), out[name], rtol=1e-4, atol=1e-4, msg=lambda text: f"{name}: {text}")
    return weights | out | {"tokens": tokens.int(), "targets": targets.int()}


def adamw() -> tuple[dict, dict[str, torch.Tensor]]:
    """torch.optim.AdamW over five steps, and clip_grad_norm_ over three tensors, above and below its limit.

    p0 are the parameters before the first step, g0 … g4 the gradients given, p1 … p5 the parameters after each step,
    m5 and v5 the moments after the last. `clip.over.` and `clip.under.` hold grad.0 … grad.2, their global norm and
    the gradients after clipping, clipped.0 … clipped.2.
    """
    hyper = dict(lr=3e-3, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1, max_norm=1.0)
    generator = torch.Generator().manual_seed(5)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float32)

    out = {"p0": normal(257)}
    # Gradients over nine decades (eps shows in the smallest), the first always 0, the second 0 but for the first step.
    sizes = 10.0 ** torch.linspace(-8, 1, 257)
    for step in range(5):
        grad = normal(257) * sizes
        grad[0] = 0.0
        grad[1] = 0.5 if step == 0 else 0.0
        out[f"g{step}"] = grad

    parameter = torch.nn.Parameter(out["p0"].double())
    optimizer = torch.optim.AdamW(
        [parameter],
        lr=hyper["lr"],
        betas=(hyper["beta1"], hyper["beta2"]),
        eps=hyper["eps"],
        weight_decay=hyper["weight_decay"],
    )
    for step in range(5):
        parameter.grad = out[f"g{step}"].double()
        optimizer.step()
        out[f"p{step + 1}"] = parameter.detach().clone()
    out["m5"] = optimizer.state[parameter]["exp_avg"]
    out["v5"] = optimizer.state[parameter]["exp_avg_sq"]

    for case, size in (("over", 0.3), ("under", 0.02)):
        parameters = []
        for index, shape in enumerate(((7, 5), (11,), (3, 13))):
            grad = normal(*shape) * size
            out[f"clip.{case}.grad.{index}"] = grad
            parameters.append(torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64)))
            parameters[-1].grad = grad.double()
        norm = torch.nn.utils.clip_grad_norm_(parameters, hyper["max_norm"])
        assert (norm > hyper["max_norm"]) == (case == "over")
        out[f"clip.{case}.norm"] = norm
        for index, parameter in enumerate(parameters):
            out[f"clip.{case}.clipped.{index}"] = parameter.grad
    return hyper, out


def write(name: str, config: dict, tensors: dict[str, torch.Tensor]) -> None:
    rounded = {
        key: (value if value.dtype == torch.int32 else value.float()).contiguous() for key, value in tensors.items()
    }
    path = HERE / f"{name}.safetensors"
    save_file(rounded, path)
    (HERE / f"{name}.json").write_text(json.dumps(config, indent=2) + "\n")
    print(f"{path.name}: {len(rounded)} tensors, {path.stat().st_size} bytes")


def main() -> None:
    torch.set_num_threads(1)
    for name, config, batch, time, seed in MODELS:
        write(name, config, whole_model(config, batch, time, seed))
    write("adamw", *adamw())


if __name__ == "__main__":
    main()
