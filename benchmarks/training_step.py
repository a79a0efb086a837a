"""A whole training step with converted convolutions against the network as it was: python -m benchmarks.training_step.

A ResNet-50 with four DeepLab heads, plain convolutions throughout, channels_last, one thread; in every layer but the
first, a share of the input channels is dead. Forward, loss, backward and a step of SGD that moves nothing, so that the
share stays. Variants in turn, processor time, medians. Writes benchmarks/results/kernels/training_step.json.
"""

import argparse
import copy
import json
import logging
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.kernels.__main__ import KEEP
from lomt.evaluation.environment import environment
from lomt.models import Network, backbone
from lomt.nn import convert, freeze
from lomt.tasks import Depth, Edges, Normals, Segmentation

RESULTS = Path(__file__).parent / "results/kernels/training_step.json"
TASKS = [Segmentation("seg", 13), Depth("depth"), Normals("normals"), Edges("edges")]
BATCH, SIZE = 2, 128


def network(images: torch.Tensor, dead: float) -> nn.Module:
    """The network, a share of the inputs of whose convolutions is dead."""
    torch.manual_seed(0)
    net = Network(backbone("resnetd50"), TASKS, {task.name: "layer4" for task in TASKS}, example=images)
    for layer in net.modules():
        if type(layer).__name__ == "AtrousConv":  # a convolution of its own kind, which convert leaves alone
            layer.__class__ = nn.Conv2d
            layer.dilation = layer.padding = (max(1, round(layer.rate * SIZE / 8 / 32)),) * 2
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d) and layer.in_channels > 3:
            with torch.no_grad():
                layer.weight[:, torch.randperm(layer.in_channels)[: round(dead * layer.in_channels)]] = 0
    return net.to(memory_format=torch.channels_last)


def measured(dead: float, rounds: int) -> dict[str, Any]:
    """Seconds of a step of each variant."""
    images = torch.randn(BATCH, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    plain = network(images, dead)
    variants = {
        "dense": plain,
        "frozen": freeze(convert(copy.deepcopy(plain))),
        "frozen, unread outputs skipped": freeze(convert(copy.deepcopy(plain), images, skip_outputs=True)),
        "never revived": convert(copy.deepcopy(plain), revive_every=None),
        "revived at every step": convert(copy.deepcopy(plain)),
    }
    optimizers = {name: torch.optim.SGD(net.parameters(), lr=0.0) for name, net in variants.items()}
    times: dict[str, list[float]] = {name: [] for name in variants}
    for round_ in range(rounds + 1):
        for name, net in variants.items():
            begin = time.thread_time()
            loss = sum(output.square().mean() for output in net(images).values())
            optimizers[name].zero_grad()
            loss.backward()
            optimizers[name].step()
            if round_:
                times[name].append(time.thread_time() - begin)
    found = {name: [statistics.median(each), min(each), max(each)] for name, each in times.items()}
    for name, (median, *_) in found.items():
        print(f"{dead:.0%} dead, {name}: {median:.2f} s, {found['dense'][0] / median:.2f} times as fast as dense")
    return {"dead": dead, "rounds": rounds, "seconds (median, least, most)": found}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    if not KEEP.items() <= os.environ.items():  # which the allocator reads when the process begins
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.training_step", *sys.argv[1:]], os.environ | KEEP)
    torch.set_num_threads(1)
    logging.getLogger("lomt").setLevel(logging.ERROR)
    rows = [measured(dead, rounds) for dead in (0.0, 0.5, 0.75)]
    said = {"device": str(environment()["processor"]), "torch": torch.__version__, "batch": BATCH, "size": SIZE}
    RESULTS.write_text(json.dumps(said | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
