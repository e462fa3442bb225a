"""Makes `kernels.safetensors`: kernels' outputs and gradients by PyTorch, for the tests of this crate.

    python make.py

with the packages of benches/pytorch/requirements.txt. Inputs are rounded to float32; everything computed from them is
computed in float64 and rounded to float32 once. Each kernel K has its inputs as `K.NAME`, its output as `K.out`, the
gradient given from above as `K.grad.out` and the gradients that come back as `K.grad.NAME`:

    layer_norm   x (5, 37), weight (37), bias (37); eps 1e-5; row 3 of x is 0
    rms_norm     the same x, weight (37); eps 1e-5
    gelu_tanh    x (131): 0, ±1e-4, ±20 and random, up to about 10 in size
    gelu         the same x; exact, by erf
    swiglu       gate (7, 19), up (7, 19): silu(gate)·up
    attention    q (2, 9, 4, 8), k and v (2, 9, 2, 8): (B, T, heads, D), causal, scores scaled by 1/√8;
                 query heads 0 and 1 read key head 0, query heads 2 and 3 key head 1
    rope         x (2, 9, 3, 10): (B, T, heads, D), positions 0 … 8, theta 10000; pairs are (i, i + D/2) (rotate-half)
"""

import math
from pathlib import Path
from typing import Callable

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
EPS = 1e-5
THETA = 10000.0

generator = torch.Generator().manual_seed(7)


def normal(*shape: int, size: float = 1.0, around: float = 0.0) -> torch.Tensor:
    return around + size * torch.randn(shape, generator=generator, dtype=torch.float32)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True).transpose(1, 2)


def rope(x: torch.Tensor) -> torch.Tensor:
    """As a product of complex numbers: x[i] + i·x[i + D/2], turned by position · theta^(-2i/D)."""
    half = x.shape[-1] // 2
    angles = torch.arange(x.shape[1])[:, None] * THETA ** (-torch.arange(half, dtype=torch.float64) / half)
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angles), angles)[:, None, :]
    return torch.cat((turned.real, turned.imag), dim=-1)


def case(kernel: str, function: Callable[..., torch.Tensor], **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """The kernel's entries: `function` is called with the inputs by name, in float64."""
    exact = {name: value.double().requires_grad_() for name, value in inputs.items()}
    out = function(**exact)
    grad_out = normal(*out.shape)
    grads = torch.autograd.grad(out, list(exact.values()), grad_out.double())
    entries = inputs | {"out": out.detach(), "grad.out": grad_out}
    entries |= {f"grad.{name}": grad for name, grad in zip(exact, grads)}
    # Copies, since safetensors takes neither strided nor shared tensors.
    copies = {name: value.float().clone(memory_format=torch.contiguous_format) for name, value in entries.items()}
    return {f"{kernel}.{name}": value for name, value in copies.items()}


def main() -> None:
    torch.set_num_threads(1)
    x = normal(5, 37, size=2.0, around=0.5)
    x[3] = 0.0
    points = torch.cat((torch.tensor([0.0, 1e-4, -1e-4, 20.0, -20.0]), normal(126, size=3.0)))
    tensors = (
        case(
            "layer_norm",
            lambda x, weight, bias: F.layer_norm(x, (37,), weight, bias, EPS),
            x=x,
            weight=normal(37, around=1.0),
            bias=normal(37),
        )
        | case("rms_norm", lambda x, weight: F.rms_norm(x, (37,), weight, EPS), x=x, weight=normal(37, around=1.0))
        | case("gelu_tanh", lambda x: F.gelu(x, approximate="tanh"), x=points)
        | case("gelu", lambda x: F.gelu(x), x=points)
        | case("swiglu", lambda gate, up: F.silu(gate) * up, gate=normal(7, 19, size=3.0), up=normal(7, 19))
        | case("attention", attention, q=normal(2, 9, 4, 8), k=normal(2, 9, 2, 8), v=normal(2, 9, 2, 8))
        | case("rope", rope, x=normal(2, 9, 3, 10))
    )
    assert all(math.isfinite(value.abs().max()) for value in tensors.values())
    path = HERE / "kernels.safetensors"
    save_file(tensors, path)
    print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
