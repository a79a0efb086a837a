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
DENSE = ("dense", "0%")
"""The sides that skip nothing: nn.Linear, and our kernel with all experts."""


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
        "prompt": arguments.prompt, "rounds": arguments.rounds, "closed": shares, "limit": limits,
        "threads": {},  # milliseconds a token
    }  # fmt: skip
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        times = decode_times(sides_of(dense, sparse, LEVELS), prompt, arguments.rounds)
        result["threads"][str(threads)] = {name: 1e3 * one for name, one in times.items()}
        print(table(result), flush=True)
    write_record(arguments.out, result)


def table(result: dict[str, Any]) -> str:
    """A line for each number of threads and each sparsity: tokens per second, and how many times the dense ones."""
    lines = [
        "| threads | closed | tokens/s | `nn.Linear` | our kernel, all experts | limit | of its saving |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for threads, times in result["threads"].items():
        for name, limit in result["limit"].items():
            faster = [times[side] / times[name] for side in DENSE]
            saved = " and ".join(f"{(1 - 1 / one) / (1 - 1 / limit):.0%}" for one in faster)
            rates = " | ".join(
                f"{1e3 / times[side]:.2f} ({one:.2f} ×)" for side, one in zip(DENSE, faster, strict=True)
            )
            closed_share = f"{result['closed'][name]:.1%}"
            lines.append(f"| {threads} | {closed_share} | {1e3 / times[name]:.2f} | {rates} | {limit:.2f} | {saved} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
