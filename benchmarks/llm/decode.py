"""Tokens per second of a LLaMA of TinyLlama's size with random weights, one text, dense beside sparse FFNs.

Run: python -m benchmarks.llm.decode [--layers 22] [--rounds 15] [--threads 1 2]
All sides take turns, token by token: the model as transformers has it (nn.Linear), and the sparse one, router included,
with all experts kept (our dense kernel), 50 % and 80 % closed. Attention and the output layer are nn.Linear everywhere.
Routers have random weights, and thresholds that close the wanted share on random tokens; what they close of the decoded
ones is in the result. Beside it the limit that bytes set: all weights but the skipped ones are read once a token.
"""

from __future__ import annotations

import argparse
import os
import platform
from datetime import date
from pathlib import Path
from typing import Any

import torch

from lomt.files import write_record
from lomt.llm.speed import bytes_limit, closed, decode_times, random_llama, sides_of

RESULTS = Path(__file__).parents[1] / "results/llm/decode.json"
LEVELS = (0.5, 0.8)
DENSE = {"nn.Linear": "dense", "our kernel, all experts": "0%"}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--rounds", type=int, default=15, help="tokens timed for each side")
    parser.add_argument("--prompt", type=int, default=32, help="tokens before them")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    dense, sparse = random_llama(LEVELS, num_hidden_layers=arguments.layers)
    prompt = torch.randint(dense.config.vocab_size, (1, arguments.prompt))
    shares = {f"{level:.0%}": closed(sparse, level, prompt) for level in LEVELS}
    limits = {f"{level:.0%}": bytes_limit(dense, share) for level, share in zip(LEVELS, shares.values(), strict=True)}
    result: dict[str, Any] = {
        "date": date.today().isoformat(), "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(), "load before": os.getloadavg()[0], "torch": torch.__version__, "dtype": "float32",
        "layers": arguments.layers, "parameters": sum(one.numel() for one in dense.parameters()),
        "prompt": arguments.prompt, "rounds": arguments.rounds, "closed": shares, "limit": limits, "threads": {},
    }  # fmt: skip
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        times = decode_times(sides_of(dense, sparse, LEVELS), prompt, arguments.rounds)
        row: dict[str, Any] = {"milliseconds a token": {name: 1e3 * one for name, one in times.items()}}
        print(f"{threads} thread(s): " + ", ".join(f"{name} {1 / one:.2f} tokens/s" for name, one in times.items()))
        for against, side in DENSE.items():
            row[f"times faster than {against}"] = {name: times[side] / times[name] for name in limits}
            saved = {name: (1 - times[name] / times[side]) / (1 - 1 / limits[name]) for name in limits}
            row[f"share of the limit's saving, against {against}"] = saved
            for name, limit in limits.items():
                ratio = times[side] / times[name]
                print(
                    f"  {name} against {against}: {ratio:.2f} times (limit {limit:.2f}), {saved[name]:.0%} of its gain"
                )
        result["threads"][str(threads)] = row
    write_record(arguments.out, result)


if __name__ == "__main__":
    main()
