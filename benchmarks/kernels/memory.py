"""Peak memory of a convolution's forward and backward pass, masked against dense: python -m benchmarks.kernels.memory.

Each in a process of its own, whose highest resident size is read from the kernel before and after; so what oneDNN takes
for itself counts, too. Writes benchmarks/results/kernels/memory.json.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.kernels.layers import Layer
from benchmarks.kernels.table import RESULTS
from lomt.evaluation.environment import environment

LAYERS = [Layer(256, 256, 3, 1, 1, 64), Layer(256, 128, 1, 1, 1, 64)]
BATCH = 32


def main() -> None:
    """Measure, print and write."""
    rows = []
    for layer in LAYERS:
        for layout in ("channels_last", "contiguous"):
            dense = measured(layer, layout, 1)
            for live in (0.9, 0.5, 0.1):
                found = measured(layer, layout, live)
                print(f"{layer}, {layout}, {live} live: {found:.0f} MB, dense {dense:.0f} MB, {found / dense:.2f} ×")
                rows.append(
                    {"layer": str(layer), "layout": layout, "live": live, "megabytes": found, "dense_megabytes": dense}
                )
    results = {"device": str(environment()["processor"]), "batch": BATCH, "rows": rows}
    (RESULTS / "memory.json").write_text(json.dumps(results, indent=1) + "\n")


def measured(layer: Layer, layout: str, live: float) -> float:
    """Megabytes that a process needs for it beyond what it had before: input, output and gradients included."""
    command = [sys.executable, "-m", "benchmarks.kernels.memory", json.dumps([layer, layout, live])]
    # Memory that is freed goes back at once, so that the peak is what is needed at one time.
    variables = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=True)
    return float(done.stdout)


def one(layer: Layer, layout: str, live: float) -> None:
    """The process."""
    import torch

    from benchmarks.kernels.test_conv import FORMATS
    from lomt_kernels import masked_conv2d

    def run(batch: int, size: int) -> None:
        def tensor(*sizes: int) -> Any:
            return torch.randn(sizes).contiguous(memory_format=FORMATS[layout]).requires_grad_()

        x, weight = (
            tensor(batch, layer.inputs, size, size),
            tensor(layer.outputs, layer.inputs, layer.kernel, layer.kernel),
        )
        alive = torch.arange(layer.inputs) % 10 < 10 * live
        y = masked_conv2d(x, weight, None, layer.stride, layer.kernel // 2, live_in=None if live == 1 else alive)
        y.backward(torch.ones_like(y))

    run(1, 8)  # what is loaded at the first call is none of it
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    run(BATCH, layer.size)
    print((status("VmHWM") - before) / 1000)


def status(name: str) -> float:
    """Kilobytes that the kernel tells of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        shape, *rest = json.loads(sys.argv[1])
        one(Layer(*shape), *rest)
    else:
        main()
