"""How long `Network()`, `compact` and an ONNX export take for a large network: python benchmarks/build_time.py.

A ResNet-D-101 of width 128 with four DeepLab decoders behind its last stage (295 million parameters), one image of
64×64; for `compact` and the compacted file, half of what each convolution reads is dead. Every figure is of a process
of its own, with one thread: seconds of processor time and of the wall, medians of three. An export comes after one of
a single convolution, which pays for imports and for the exporter's tables and is timed by itself ("first"). Peak memory
is what the process grew by, over the bytes of the weights. With `--against DIR`, another state of the code (a checkout)
is measured in turn with this one. Writes benchmarks/results/stages/build_time.json after each row.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lomt.compaction import compact
from lomt.evaluation.environment import environment
from lomt.evaluation.memory import peak_growth
from lomt.files import read_record, write_record
from lomt.models import Network, backbone
from lomt.tasks import Depth, Edges, Normals, Segmentation, Task

RESULTS = Path(__file__).parent / "results/stages/build_time.json"
WHAT = ["Network()", "compact", "onnx, dense", "onnx, compacted"]
ROUNDS = 3


def tasks() -> list[Task]:
    """Those of NYU-Depth-v2."""
    return [Segmentation("seg", 13), Depth("depth"), Normals("normals"), Edges("edges")]


def network() -> nn.Module:
    """A network of which half of what each convolution reads is dead."""
    wanted = tasks()
    net = Network(backbone("resnetd101", 128), wanted, {task.name: "layer4" for task in wanted})
    draw = torch.Generator().manual_seed(0)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d) and layer.in_channels > 3:
            dead = torch.randperm(layer.in_channels, generator=draw)[: layer.in_channels // 2]
            layer.weight.data[:, dead] = 0
    return net.eval()


def timed(call: Callable[[], Any]) -> dict[str, Any]:
    """Seconds of processor time and of the wall, and by how much the process grew."""
    spent: dict[str, Any] = {}

    def run() -> None:
        wall, processor = time.perf_counter(), time.process_time()
        call()
        spent["processor"], spent["wall"] = time.process_time() - processor, time.perf_counter() - wall

    return spent | {"grew": peak_growth(run)}


def measure(what: str) -> dict[str, Any]:
    """What one process measures."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    example = torch.randn(1, 3, 64, 64)
    if what == "Network()":
        base, wanted = backbone("resnetd101", 128), tasks()
        made = []
        found = timed(lambda: made.append(Network(base, wanted, {task.name: "layer4" for task in wanted})))
        return found | {"weights": size(made[0])}
    net = network()
    if what == "compact":
        return timed(lambda: compact(net, example)) | {"weights": size(net)}
    if what == "onnx, compacted":
        net = compact(net, example)
    with tempfile.TemporaryDirectory() as folder:

        def export(module: nn.Module, image: torch.Tensor) -> Any:
            from lomt.export import onnx

            return onnx(module, Path(folder) / "network.onnx", image)

        first = timed(lambda: export(nn.Conv2d(3, 3, 1), torch.zeros(1, 3, 8, 8)))
        found = timed(lambda: export(net, example))
    return found | {"first": first, "weights": size(net)}


def size(net: nn.Module) -> int:
    """Bytes of the parameters."""
    return sum(parameter.nbytes for parameter in net.parameters())


def middle(found: list[dict[str, Any]]) -> dict[str, float]:
    """Medians of what the processes measured, and what each of them measured."""
    figures: dict[str, float] = {}
    for key in ("processor", "wall"):
        figures[key] = round(statistics.median(one[key] for one in found), 2)
        figures[f"{key} of each"] = [round(one[key], 2) for one in found]  # type: ignore[assignment]
        if "first" in found[0]:
            figures[f"first {key}"] = round(statistics.median(one["first"][key] for one in found), 2)
    figures["weights"] = found[0]["weights"]
    figures["peak over weights"] = round(statistics.median(one["grew"] / one["weights"] for one in found), 2)
    return figures


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="folder of another state of the code")
    parser.add_argument("--only", nargs="+", choices=WHAT, default=WHAT, help="the others keep the figures they have")
    parser.add_argument("--child", choices=WHAT, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps(measure(asked.child)))
        return
    folders = {"before": asked.against} if asked.against else {}
    folders["now"] = Path(__file__).parents[1]
    torch.set_num_threads(1)
    rows: dict[str, Any] = read_record(RESULTS, "measure anew")["rows"] if RESULTS.exists() else {}
    for what in asked.only:
        found: dict[str, list[dict[str, Any]]] = {state: [] for state in folders}
        for _ in range(ROUNDS):
            for state, folder in folders.items():
                found[state].append(in_process(what, folder))
        for state in folders:
            rows.setdefault(what, {})[state] = middle(found[state])
            print(f"{what}, {state}: {rows[what][state]}", flush=True)
        write_record(RESULTS, {"environment": environment(), "rows": rows})


def in_process(what: str, folder: Path) -> dict[str, Any]:
    """What a fresh process measures of the code in a folder."""
    command = [sys.executable, __file__, "--child", what]
    place = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=place).stdout
    made: dict[str, Any] = json.loads(said.splitlines()[-1])
    return made


if __name__ == "__main__":
    main()
