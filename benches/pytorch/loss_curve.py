"""Trains a model of transformers from given weights on given batches and writes the loss of every step.

    python loss_curve.py --init init.safetensors --config config.json --batches batches.safetensors --lrs lrs.json \\
        --weight-decay 0.1 --beta1 0.9 --beta2 0.95 --eps 1e-8 --clip 1.0 --out losses.csv

--init     float32 weights in Selvedge's names; --config the keys of `selvedge_names.CONFIG_KEYS`
--batches  i32 tensors `tokens` and `targets`, each (steps, B, T)
--lrs      a JSON list with the learning rate of each step
--out      CSV with the header `step,loss`: steps count from 0, the loss is the mean cross-entropy in nats over the
           step's B·T targets, before that step's update

--validation  i32 tensors `tokens` and `targets`, each (batches, B, T), to evaluate on every `--every` steps
--time-out    CSV with the header `step,seconds,loss`: after so many steps and seconds of training, evaluation left out and
              compilation not, the mean cross-entropy over those batches
--dtype bf16  autocast; parameters stay float32
--compiled    by torch.compile

In float32 unless asked otherwise. A step is the gradient of that mean; clipping by the global norm, each gradient times
min(1, clip / (norm + 1e-6)); AdamW, which decays matrices (embeddings among them), not biases and norms.
"""

import argparse
import csv
import json
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

import selvedge_names  # noqa: E402


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The loss of every step of training from given weights and batches.")
    parser.add_argument("--init", type=Path, required=True, help="weights, safetensors")
    parser.add_argument("--config", type=Path, required=True, help="the model's shape, JSON")
    parser.add_argument("--batches", type=Path, required=True, help="tokens and targets, safetensors")
    parser.add_argument("--lrs", type=Path, required=True, help="learning rate of each step, JSON")
    parser.add_argument("--weight-decay", type=float, required=True)
    parser.add_argument("--beta1", type=float, required=True)
    parser.add_argument("--beta2", type=float, required=True)
    parser.add_argument("--eps", type=float, required=True)
    parser.add_argument("--clip", type=float, required=True, help="largest global norm of the gradient; 0: no clipping")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="CSV to write")
    parser.add_argument("--validation", type=Path, help="held-out tokens and targets, safetensors")
    parser.add_argument("--every", type=int, default=25, help="steps between evaluations")
    parser.add_argument("--time-out", type=Path, help="CSV to write: steps, seconds, loss over the held-out tokens")
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--compiled", action="store_true")
    args = parser.parse_args()
    if (args.validation is None) != (args.time_out is None):
        parser.error("--validation and --time-out go together")
    return args


def read_batches(path: Path, config: dict) -> tuple[torch.Tensor, torch.Tensor]:
    batches = load_file(path)
    tokens, targets = batches["tokens"], batches["targets"]
    if tokens.dim() != 3 or tokens.shape != targets.shape:
        raise SystemExit(
            f"{path}: tokens {tuple(tokens.shape)} and targets {tuple(targets.shape)} are not both (steps, B, T)"
        )
    if tokens.shape[2] > config["context"]:
        raise SystemExit(f"{path}: rows of {tokens.shape[2]} tokens do not fit the context of {config['context']}")
    for name, ids in batches.items():
        if ids.min() < 0 or ids.max() >= config["vocab"]:
            raise SystemExit(f"{path}: {name} has ids outside 0 … {config['vocab'] - 1}")
    return tokens.long(), targets.long()


def cross_entropy(model: torch.nn.Module, tokens: torch.Tensor, targets: torch.Tensor, dtype: str) -> torch.Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bf16"):
        logits = model(input_ids=tokens).logits
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def train(
    model: torch.nn.Module,
    tokens: torch.Tensor,
    targets: torch.Tensor,
    held_out: tuple[torch.Tensor, torch.Tensor] | None,
    lrs: list[float],
    args,
) -> tuple[list[float], list[tuple[int, float, float]]]:
    """The loss of every step, and steps, seconds and held-out loss at every evaluation."""
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(
        [
            {
                "params": [p for p in parameters if selvedge_names.is_decayed(p)],
                "weight_decay": args.weight_decay,
            },
            {"params": [p for p in parameters if not selvedge_names.is_decayed(p)], "weight_decay": 0.0},
        ],
        betas=(args.beta1, args.beta2),
        eps=args.eps,
    )
    run = torch.compile(model) if args.compiled else model
    losses, milestones, seconds = [], [], 0.0
    for step, lr in enumerate(lrs):
        began = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad(set_to_none=True)
        loss = cross_entropy(run, tokens[step], targets[step], args.dtype)
        loss.backward()
        if args.clip > 0:
            torch.nn.utils.clip_grad_norm_(parameters, args.clip)
        optimizer.step()
        losses.append(loss.item())
        seconds += time.perf_counter() - began
        if held_out is not None and ((step + 1) % args.every == 0 or step + 1 == len(lrs)):
            with torch.no_grad():
                means = [cross_entropy(model, *batch, args.dtype).item() for batch in zip(*held_out)]
            milestones.append((step + 1, seconds, sum(means) / len(means)))
        if step % 20 == 0 or step + 1 == len(lrs):
            print(f"step {step}: loss {losses[-1]:.4f}", file=sys.stderr)
    return losses, milestones


def write(path: Path, header: tuple[str, ...], rows) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    config = json.loads(args.config.read_text())
    lrs = json.loads(args.lrs.read_text())
    tokens, targets = read_batches(args.batches, config)
    if len(lrs) != len(tokens):
        raise SystemExit(f"{args.lrs} has {len(lrs)} learning rates, {args.batches} has {len(tokens)} steps")
    model = selvedge_names.build_model(config)
    selvedge_names.load(model, config, load_file(args.init))
    model.train()

    held_out = None if args.validation is None else read_batches(args.validation, config)
    losses, milestones = train(model, tokens, targets, held_out, lrs, args)
    write(args.out, ("step", "loss"), enumerate(losses))
    if args.time_out is not None:
        write(args.time_out, ("step", "seconds", "loss"), milestones)


if __name__ == "__main__":
    main()
