"""Makes `scores.json`: what the models of the folders under `hf/` make of each token of a text.

    python make_scores.py

with the packages of benches/pytorch/requirements.txt, after `make_hf.py`. For each folder

    tokens            T of them, as many as the context
    nll               T - 1: minus the logarithm of the probability of each token but the first, given those before it
    likeliest         T - 1: whether it is the likeliest

computed by transformers in float64 from the weights as saved. Every other token is the one that the model holds likeliest,
so that both answers are there.
"""

import json

import torch
from make import HERE
from make_hf import MODELS, VOCAB, exact_logits


def main() -> None:
    torch.set_num_threads(1)
    scores = {}
    for name, config in MODELS.items():
        path = HERE / "hf" / name
        generator = torch.Generator().manual_seed(2)
        tokens = torch.randint(VOCAB, (1, getattr(config, "sliding_window", None) or 32), generator=generator)
        for place in range(2, tokens.shape[1], 2):
            tokens[0, place] = exact_logits(path, tokens[:, :place])[0, -1].argmax()
        logits = exact_logits(path, tokens)[0, :-1]
        targets = tokens[0, 1:]
        nll = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        scores[name] = dict(
            tokens=tokens[0].tolist(),
            nll=[round(x, 9) for x in nll.tolist()],
            likeliest=(logits.argmax(-1) == targets).tolist(),
        )
        print(name, nll.mean().item(), sum(scores[name]["likeliest"]))
    lines = [f"  {json.dumps(name)}: {json.dumps(score)}" for name, score in scores.items()]
    (HERE / "scores.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
