"""Decoders that read a shared tap in one call, against one call each: python -m benchmarks.shared_reading.

Two networks with four DeepLab heads on their last tap, in channels_last, one thread; a share of every layer's input
channels is dead, others for each layer:

- protocol: resnetd18 of width 32, output stride 8, heads of width 64, 16 images of 96×128;
- resnet50: that of benchmarks.training_step, 2 images of 128×128.

Training steps (forward, loss, backward, a step of SGD that moves nothing) and evaluation of the same network, in turn,
processor time, medians. "Taken out" is what lomt trains once it is frozen: dead channels are removed, and what a layer
reads of those that others read is picked out before it, or skipped by the layer. Then the peak memory of a training
step, each in a process of its own. Writes benchmarks/results/kernels/shared_reading.json.
"""

import argparse
import contextlib
import copy
import json
import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from benchmarks import training_step
from benchmarks.kernels.__main__ import KEEP
from benchmarks.kernels.memory import status
from lomt.compaction import compact
from lomt.evaluation.environment import environment
from lomt.models import Architecture, Network
from lomt.nn import convert, freeze

RESULTS = Path(__file__).parent / "results/kernels/shared_reading.json"
CALLERS = ("lomt.models.network.reading_together", "lomt.compaction.module.reading_together")
SHARES = (0.0, 0.5, 0.75)
SIZES = {"protocol": (16, 96, 128), "resnet50": (training_step.BATCH, training_step.SIZE, training_step.SIZE)}
"""Images, height, width."""


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Each layer reads by itself."""
    with contextlib.ExitStack() as patches:
        for caller in CALLERS:
            patches.enter_context(mock.patch(caller, return_value=contextlib.nullcontext()))
        yield


def network(name: str, images: torch.Tensor, dead: float) -> nn.Module:
    """One of the two, of whose layers a share of the inputs is dead."""
    if name == "resnet50":
        return training_step.network(images, dead).train()
    torch.manual_seed(0)
    model = Architecture("resnetd18", 32, 8, "deeplab", 64)
    taps = {task.name: "layer4" for task in training_step.TASKS}
    net = Network(model.make_backbone(), training_step.TASKS, taps, model.make_decoder(), images[:1])
    training_step.kill(net, dead)
    return net.train().to(memory_format=torch.channels_last)


def taken_out(plain: nn.Module, images: torch.Tensor, picks: bool) -> nn.Module:
    """What is trained once it is frozen."""
    return freeze(convert(compact(plain, images[:1], gather=picks, for_training=True)))


MAKE: dict[str, Callable[[nn.Module, torch.Tensor], nn.Module]] = {
    "dense": lambda plain, _: plain,
    "revived at every step": lambda plain, _: convert(copy.deepcopy(plain)),
    "frozen": lambda plain, _: freeze(convert(copy.deepcopy(plain))),
    "taken out, picked": lambda plain, images: taken_out(plain, images, picks=True),
    "taken out": lambda plain, images: taken_out(plain, images, picks=False),
}
SIDES = ("apart", "together")
ONCE = ("dense", "taken out, picked")
"""Ways in which nothing is to be read together."""


def timed(net: nn.Module, images: torch.Tensor, trains: bool) -> float:
    """Processor seconds of a training step, or of an evaluation."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    begin = time.thread_time()
    if trains:
        training_step.step(net, optimizer, images)
    else:
        with torch.no_grad():
            net(images)
    return time.thread_time() - begin


def measured(name: str, dead: float, rounds: int) -> list[dict[str, Any]]:
    """Seconds of each way, and the ratio of together to apart, round by round."""
    images = torch.randn(SIZES[name][0], 3, *SIZES[name][1:]).to(memory_format=torch.channels_last)
    plain = network(name, images, dead)
    nets = {way: make(plain, images) for way, make in MAKE.items()}
    rows = []
    for what in ("training", "evaluation"):
        times: dict[str, dict[str, list[float]]] = {
            way: {side: [] for side in SIDES[: 1 if way in ONCE else 2]} for way in nets
        }
        for turn in range(rounds + 1):
            for way, sides in times.items():
                nets[way].train(what == "training")
                for side in list(sides)[:: 1 if turn % 2 else -1]:
                    with apart() if side == "apart" else contextlib.nullcontext():
                        seconds = timed(nets[way], images, what == "training")
                    sides[side] += [seconds] * (turn > 0)
        for way, sides in times.items():
            row: dict[str, Any] = {"network": name, "dead": dead, "way": way, "what": what}
            row["seconds"] = {side: round(statistics.median(spent), 4) for side, spent in sides.items()}
            if len(sides) > 1:
                pairs = zip(*(sides[side] for side in SIDES), strict=True)
                row["together over apart"] = round(statistics.median(b / a for a, b in pairs), 3)
            print(row, flush=True)
            rows.append(row)
    return rows


def peak(name: str, dead: float, way: str, side: str) -> float:
    """Megabytes that a training step needs beyond the network, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.shared_reading", "--peak", json.dumps([name, dead, way, side])]
    # Memory that is freed goes back at once, so that the peak is what is needed at one time.
    variables = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=True)
    return float(done.stdout)


def peak_here(name: str, dead: float, way: str, side: str) -> float:
    """The same, in this process."""
    torch.set_num_threads(1)
    images = torch.randn(SIZES[name][0], 3, *SIZES[name][1:]).to(memory_format=torch.channels_last)
    net = MAKE[way](network(name, images, dead), images).train()
    with apart() if side == "apart" else contextlib.nullcontext():
        timed(net, images[:1], trains=True)  # what is made at the first call is none of it
        before = status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        timed(net, images, trains=True)
    return (status("VmHWM") - before) / 1000


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    given = parser.parse_args()
    logging.getLogger("lomt").setLevel(logging.ERROR)
    if given.peak:
        print(peak_here(*json.loads(given.peak)))
        return
    if not KEEP.items() <= os.environ.items():  # which the allocator reads when the process begins
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.shared_reading", *sys.argv[1:]], os.environ | KEEP)
    torch.set_num_threads(1)
    rows = [row for name in SIZES for dead in SHARES for row in measured(name, dead, given.rounds)]
    peaks = []
    for name in SIZES:
        for way in ("frozen", "taken out"):
            megabytes = {side: round(peak(name, 0.5, way, side)) for side in SIDES}
            peaks.append({"network": name, "dead": 0.5, "way": way, "megabytes": megabytes})
            print(peaks[-1], flush=True)
    said = {"device": str(environment()["processor"]), "torch": torch.__version__, "rounds": given.rounds}
    RESULTS.write_text(json.dumps(said | {"rows": rows, "peak memory of a training step": peaks}, indent=1) + "\n")


if __name__ == "__main__":
    main()
