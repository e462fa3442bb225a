"""Makes the goldens of adapters, in the folders below `lora` beside this file.

    python make_lora.py

with the packages of benches/pytorch/requirements.txt. The models are those of make.py, whose weights lie beside this file.
Adapters are the formula of Hu et al. 2021 put around the modules of transformers, y += alpha/r * (x A^T) B^T; everything is
computed in float64 from float32 inputs, as make.py says.

A folder holds `adapter_config.json` and `adapter_model.safetensors` as PEFT writes them, and `expected.safetensors`:

    tokens, targets  i32 (B, T); a target of -1 does not count
    loss_sum         cross-entropy in nats, summed over the targets that count
    logits           (B, T, V)
    grad.NAME        of loss_sum, for every tensor of adapter_model.safetensors without `base_model.model.`
"""

import json

import torch
import torch.nn.functional as F
from make import HERE, Float64, NoFloat32, selvedge_names
from safetensors.torch import load_file, save_file

# Name of the model, modules, rank, alpha, rank-stabilized, seed. What an adapter adds is no larger than what it is added to.
ADAPTERS = [
    ("llama_tiny", ["q_proj", "v_proj", "o_proj", "gate_proj", "down_proj"], 3, 2.0, False, 21),
    ("gpt2_tiny", ["c_attn", "c_fc", "c_proj"], 4, 1.0, True, 22),
]


def adapted(model: torch.nn.Module, weights: dict, scale: float) -> None:
    """Adds to the output of each module what its adapter says."""
    for name, module in model.named_modules():
        if f"{name}.lora_A.weight" in weights:
            a, b = weights[f"{name}.lora_A.weight"], weights[f"{name}.lora_B.weight"]
            module.register_forward_hook(
                lambda module, inputs, out, a=a, b=b: out + scale * (inputs[0] @ a.T @ b.T)
            )


def run(config, base, weights, scale, tokens, targets) -> dict[str, torch.Tensor]:
    """Losses and gradients in torch's default dtype."""
    model = selvedge_names.build_model(config)
    selvedge_names.load(model, config, base)
    weights = {name: value.detach().clone().requires_grad_() for name, value in weights.items()}
    adapted(model, weights, scale)
    logits = model(input_ids=tokens).logits
    flat = targets.view(-1)
    loss_sum = F.cross_entropy(logits.view(-1, config["vocab"]), flat, reduction="sum", ignore_index=-1)
    loss_sum.backward()
    out = {"logits": logits.detach(), "loss_sum": loss_sum.detach()}
    return out | {f"grad.{name}": value.grad for name, value in weights.items()}


def main() -> None:
    for name, modules, rank, alpha, stabilized, seed in ADAPTERS:
        config = json.loads((HERE / f"{name}.json").read_text())
        golden = load_file(HERE / f"{name}.safetensors")
        base = {key: golden[key] for key in selvedge_names.random_tensors(config, 0)}
        generator = torch.Generator().manual_seed(seed)
        weights = {}
        for key, module in selvedge_names.build_model(config).named_modules():
            if key.split(".")[-1] in modules and hasattr(module, "weight"):
                # Those of GPT-2 lie as (in, out).
                shape = module.weight.shape if config["arch"] == "llama" else module.weight.shape[::-1]
                a = torch.randn(rank, shape[1], generator=generator) / shape[1] ** 0.5
                b = torch.randn(shape[0], rank, generator=generator) / rank**0.5
                weights |= {f"{key}.lora_A.weight": a, f"{key}.lora_B.weight": b}
        tokens, targets = golden["tokens"].long(), golden["targets"].long().clone()
        targets[0, :4] = -1
        scale = alpha / (rank**0.5 if stabilized else rank)
        torch.set_default_dtype(torch.float64)
        try:
            with Float64(), NoFloat32():
                double = [{key: value.double() for key, value in of.items()} for of in (base, weights)]
                out = run(config, *double, scale, tokens, targets)
        finally:
            torch.set_default_dtype(torch.float32)
        folder = HERE / "lora" / name
        folder.mkdir(parents=True, exist_ok=True)
        out = {key: value.float().contiguous() for key, value in out.items()}
        out |= {"tokens": tokens.int(), "targets": targets.int()}
        save_file(out, folder / "expected.safetensors")
        save_file(
            {f"base_model.model.{key}": value.contiguous() for key, value in weights.items()},
            folder / "adapter_model.safetensors",
            metadata={"format": "pt"},
        )
        fields = {
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": name, "r": rank, "lora_alpha": alpha,
            "lora_dropout": 0.05, "target_modules": sorted(modules), "bias": "none", "use_rslora": stabilized,
            "fan_in_fan_out": config["arch"] == "gpt2", "use_dora": False, "modules_to_save": None, "rank_pattern": {},
            "alpha_pattern": {}, "init_lora_weights": True, "inference_mode": True, "layers_to_transform": None,
        }  # fmt: skip
        (folder / "adapter_config.json").write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n")
        print(name)


if __name__ == "__main__":
    main()
