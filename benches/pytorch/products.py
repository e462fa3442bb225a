"""Speed of PyTorch's matrix products on the CPU, to set beside Selvedge's (benches/products).

    python products.py --threads 2 --dtype bf16 --shape 384x384x128

prints one line of JSON a shape. A turn repeats a product for some time and gives its mean; turns of the layouts alternate.
"""

import argparse
import json
import math
import os
import time


def shape_of(text: str) -> tuple[int, int, int]:
    try:
        m, k, n = (int(side) for side in text.split("x"))
    except ValueError:
        m = k = n = 0
    if min(m, k, n) < 1:
        raise argparse.ArgumentTypeError(f"a shape is three numbers above 0, as in 384x384x128, not {text!r}")
    return m, k, n


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="G operations a second of PyTorch's matrix products.")
    parser.add_argument("--shape", type=shape_of, action="append", required=True, help="M x K x N, such as 384x384x128")
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32", help="of operands and result")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--turn-ms", type=float, default=20, help="least milliseconds of a turn")
    args = parser.parse_args()
    if args.threads < 1 or args.turns < 1 or args.turn_ms < 0:
        parser.error("--threads and --turns are at least 1, --turn-ms at least 0")
    return args


args = arguments()
# Read by the OpenMP runtime when it is loaded, so it has to be set before torch is.
os.environ["OMP_NUM_THREADS"] = str(args.threads)

import torch  # noqa: E402


def layouts(m: int, k: int, n: int, dtype: torch.dtype):
    """The products that training computes: as operands lie, with B transposed, with A transposed and added to C."""
    a = torch.rand(m, k).mul_(2).sub_(1).to(dtype)
    b = torch.rand(k, n).mul_(2).sub_(1).to(dtype)
    a_t, b_t = a.t().contiguous(), b.t().contiguous()
    c = torch.zeros(m, n, dtype=dtype)
    return {
        "nn": lambda: torch.mm(a, b, out=c),
        "nt": lambda: torch.mm(a, b_t.t(), out=c),
        "tn": lambda: c.addmm_(a_t.t(), b),
    }


def seconds_of(product, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        product()
    return (time.perf_counter() - start) / repeats


def main() -> None:
    torch.set_num_threads(args.threads)
    dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float32
    for m, k, n in args.shape:
        products = layouts(m, k, n, dtype)
        repeats = {}
        for name, product in products.items():
            product()
            repeats[name] = max(1, math.ceil(args.turn_ms / 1e3 / seconds_of(product, 1)))
        gops = {name: [] for name in products}
        for _ in range(args.turns):
            for name, product in products.items():
                # Once for the caches and for sleeping threads, where that costs little.
                if repeats[name] > 1:
                    product()
                gops[name].append(round(2 * m * k * n / seconds_of(product, repeats[name]) / 1e9, 2))
        line = {
            "m": m,
            "k": k,
            "n": n,
            "dtype": args.dtype,
            "threads": args.threads,
            "peak": [],
            "figures": [{"who": "pytorch", "layout": name, "gops": values} for name, values in gops.items()],
            "torch": torch.__version__,
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
