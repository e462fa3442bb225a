"""Speed and peak memory of PyTorch training GPT-2 on the CPU: the peer that Selvedge's training is measured against.

    python train_step.py --work T2 --mode eager --dtype f32 --threads 2

prints one line of JSON. A step is forward, backward and AdamW on random tokens that are ready in memory; the speed is
the median over the steps after the warm-up. Peak memory is the largest resident set of this process since its start,
PyTorch's own code included.
"""

import argparse
import json
import os
import resource
import statistics
import time
from typing import NamedTuple


class Work(NamedTuple):
    layers: int
    heads: int
    channels: int
    time: int
    batch: int
    vocab: int
    steps: int
    warmup: int


WORKS = {
    "T1": Work(layers=4, heads=4, channels=128, time=64, batch=12, vocab=65, steps=100, warmup=10),
    "T2": Work(layers=6, heads=6, channels=384, time=256, batch=8, vocab=256, steps=10, warmup=3),
    "T3": Work(layers=12, heads=12, channels=768, time=64, batch=4, vocab=50257, steps=5, warmup=2),
    "T4": Work(layers=12, heads=12, channels=768, time=1024, batch=1, vocab=50257, steps=4, warmup=1),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Tokens a second and peak memory of PyTorch's training step.")
    parser.add_argument("--work", choices=WORKS, required=True, help="model and batch, as docs/benchmarks.md has them")
    parser.add_argument("--mode", choices=("eager", "compiled"), default="eager")
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32", help="bf16: autocast, f32 weights")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, help="measured steps; by default as many as the work needs")
    parser.add_argument("--warmup", type=int, help="steps before them (the first compiles)")
    args = parser.parse_args()
    args.steps = WORKS[args.work].steps if args.steps is None else args.steps
    args.warmup = WORKS[args.work].warmup if args.warmup is None else args.warmup
    if args.threads < 1 or args.steps < 1 or args.warmup < 0:
        parser.error("--threads and --steps are at least 1, --warmup at least 0")
    return args


args = arguments()
# Read by the OpenMP runtime when it is loaded, so it has to be set before torch is.
os.environ["OMP_NUM_THREADS"] = str(args.threads)

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402


class Block(nn.Module):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1 = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.attn_out = nn.Linear(channels, channels)
        self.norm_2 = nn.LayerNorm(channels)
        self.mlp_up = nn.Linear(channels, 4 * channels)
        self.mlp_down = nn.Linear(4 * channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, time, channels = x.shape
        heads = self.qkv(self.norm_1(x)).view(batch, time, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.attn_out(mixed.transpose(1, 2).reshape(batch, time, channels))
        return x + self.mlp_down(F.gelu(self.mlp_up(self.norm_2(x)), approximate="tanh"))


class Gpt2(nn.Module):
    """GPT-2 with a tied head, without dropout; gives the mean cross-entropy."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(work.vocab, work.channels)
        self.position_embedding = nn.Embedding(work.time, work.channels)
        self.blocks = nn.ModuleList(Block(work.channels, work.heads) for _ in range(work.layers))
        self.norm_f = nn.LayerNorm(work.channels)
        self.register_buffer("positions", torch.arange(work.time), persistent=False)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        x = self.token_embedding(tokens) + self.position_embedding(self.positions)
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm_f(x), self.token_embedding.weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    groups = [
        {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    try:
        return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=True)
    except RuntimeError:  # a build of PyTorch without the fused kernel for the CPU
        return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95))


def main() -> None:
    work = WORKS[args.work]
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    model = Gpt2(work)
    optimizer = make_optimizer(model)
    loss_of = torch.compile(model) if args.mode == "compiled" else model
    data = torch.randint(work.vocab, (args.warmup + args.steps, work.batch, work.time + 1))

    seconds = []
    for rows in data:
        tokens, targets = rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.dtype == "bf16"):
            loss = loss_of(tokens, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss = loss.item()
        seconds.append(time.perf_counter() - start)
    if not loss == loss:
        raise SystemExit("the loss became NaN")

    per_step = statistics.median(seconds[args.warmup :])
    print(
        json.dumps(
            {
                "work": args.work,
                "mode": args.mode,
                "dtype": args.dtype,
                "threads": args.threads,
                "tokens_per_s": round(work.batch * work.time / per_step, 1),
                # Linux gives KiB.
                "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
