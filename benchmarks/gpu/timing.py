"""Times on a GPU: events around many calls, cold caches, variants in turn, medians."""

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def measure(variants: dict[str, Callable[[], object]], rounds: int = 20, warmup: int = 3) -> dict[str, list[float]]:
    """Seconds of each variant: one after the other in each round, the second cache emptied before each.

    Returns:
        Name → [median, first quartile, third quartile].
    """
    flush = torch.empty(256 * 1024 * 1024 // 4, device="cuda")
    times: dict[str, list[float]] = {name: [] for name in variants}
    for round_ in range(warmup + rounds):
        for name, call in variants.items():
            flush.zero_()
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            call()
            end.record()
            torch.cuda.synchronize()
            if round_ >= warmup:
                times[name].append(begin.elapsed_time(end) / 1000)
    return {name: [statistics.median(found), *_quartiles(found)] for name, found in times.items()}


def _quartiles(values: list[float]) -> list[float]:
    first, _, third = statistics.quantiles(values, n=4)
    return [first, third]


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    """The rows with device and versions."""
    import subprocess

    import lomt_kernels

    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    found = {
        "device": torch.cuda.get_device_name(),
        "versions": {"lomt_kernels": lomt_kernels.__version__, "torch": torch.__version__, "cuda": torch.version.cuda},
        "commit": commit or None,
        "rows": rows,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1) + "\n")
