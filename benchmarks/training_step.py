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


def network(images: torch.Tensor, dead: float, block: int = 1) -> nn.Module:
    """The network; a share of the inputs of each of its convolutions is dead, in blocks of so many adjacent ones."""
    torch.manual_seed(0)
    net = Network(backbone("resnetd50"), TASKS, {task.name: "layer4" for task in TASKS}, example=images)
    for layer in net.modules():
        if type(layer).__name__ == "AtrousConv":  # plain ones, as other people have them
            layer.__class__ = nn.Conv2d
            layer.dilation = layer.padding = (max(1, round(layer.rate * images.shape[-1] / 8 / 32)),) * 2
    kill(net, dead, block)
    return net.to(memory_format=torch.channels_last)


def kill(net: nn.Module, dead: float, block: int = 1) -> None:
    """Let a share of the inputs of each convolution but the first die, in blocks of so many adjacent ones."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d) and layer.in_channels > 3:
            blocks = layer.in_channels // block
            gone = torch.randperm(blocks)[: round(dead * blocks), None] * block + torch.arange(block)
            with torch.no_grad():
                layer.weight[:, gone.flatten()] = 0


def variants(plain: nn.Module, images: torch.Tensor) -> dict[str, nn.Module]:
    """The network as it was, and converted in several ways."""
    return {
        "dense": plain,
        "frozen": freeze(convert(copy.deepcopy(plain))),
        "frozen, unread outputs skipped": freeze(convert(copy.deepcopy(plain), images, skip_outputs=True)),
        "never revived": convert(copy.deepcopy(plain), revive_every=None),
        "revived at every step": convert(copy.deepcopy(plain)),
    }


def step(net: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor) -> None:
    """Forward, loss, backward, and a step of the optimizer."""
    loss = sum(output.float().square().mean() for output in net(images).values())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def measured(dead: float, rounds: int) -> dict[str, Any]:
    """Seconds of a step of each variant."""
    images = torch.randn(BATCH, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    nets = variants(network(images, dead), images)
    optimizers = {name: torch.optim.SGD(net.parameters(), lr=0.0) for name, net in nets.items()}
    times: dict[str, list[float]] = {name: [] for name in nets}
    for round_ in range(rounds + 1):
        for name, net in nets.items():
            begin = time.thread_time()
            step(net, optimizers[name], images)
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
