"""What `recipe.compact_every` saves: training steps of sparse networks as a run left them, at full size and compacted.

Run: python benchmarks/compact_every.py runs/nyuv2 [--strides 8 16] [--turns 9] [--batch 16]

For every sparse training of the run: one step at full size, with what is dead frozen, beside the same step compacted,
with and without picking channels out before readers that need few; in turn, one thread, medians of processor seconds.
A step is forward and backward through network and loss-like sum, then the proximal optimizer.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn

from lomt.compaction import carry_over, compact, dead_groups, freeze
from lomt.models import Architecture, Network
from lomt.optim import ProxAdamW, parameter_groups
from lomt.sparsity import GroupLasso
from lomt.tasks import Depth, Edges, Normals, Segmentation, Task

TASKS: dict[str, Task] = {
    "seg": Segmentation("seg", 13),
    "depth": Depth("depth"),
    "normals": Normals("normals"),
    "edges": Edges("edges"),
}


def steps(network: Network, image: Tensor) -> dict[str, Callable[[], tuple[float, float]]]:
    """For each way to train it, a function that takes one step: seconds of forward and backward, of the optimizer."""
    return {
        "full": _step(network, network, image),
        "compacted": _step(network, compact(network, image[:1], for_training=True), image),
        "no gather": _step(network, compact(network, image[:1], for_training=True, gather=False), image),
    }


def _step(network: Network, small: nn.Module, image: Tensor) -> Callable[[], tuple[float, float]]:
    network = copy.deepcopy(network) if small is network else network
    small = network if not hasattr(small, "record") else small
    optimizer = ProxAdamW(parameter_groups(network, GroupLasso(1e-3)), lr=1e-5)
    if small is not network:
        carry_over(optimizer, network, small)
    freeze(small, dead_groups(small), optimizer)

    def step() -> tuple[float, float]:
        begin = time.process_time()
        optimizer.zero_grad()
        sum(output.square().mean() for output in small(image).values()).backward()
        middle = time.process_time()
        optimizer.step()
        return middle - begin, time.process_time() - middle

    return step


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--strides", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = yaml.safe_load((options.run / "config.yaml").read_text())
    image = torch.randn(options.batch, 3, *config["data"]["init_args"]["size"])
    image = image.contiguous(memory_format=torch.channels_last)
    print("stride  trial                way         parameters   forward + backward        optimizer     step")
    for stride in options.strides:
        architecture = Architecture(**{**config["network"], "output_stride": stride})
        for weights in sorted((options.run / "stages/sparse").rglob("weights.pt")):
            task = weights.parts[-3]
            network = Network(
                architecture.make_backbone(), [TASKS[task]], {task: "layer4"}, architecture.make_decoder(), image[:1]
            )
            network.load_state_dict(torch.load(weights, weights_only=True))
            network.train().to(memory_format=torch.channels_last)
            ways = steps(network, image)
            times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
            for turn in range(options.turns + 1):
                for way, step in ways.items():
                    spent = step()
                    times[way] += [spent] * (turn > 0)
            base = _medians(times["full"])
            for way, spent in times.items():
                now = _medians(spent)
                count = f"{sum(p.numel() for p in _parameters(ways[way])):>12,}"
                print(
                    f"{stride:>6}  {'/'.join(weights.parts[-3:-1]):<20} {way:<11} {count}"
                    + "".join(f"{a:>9.3f} s {b / a:>5.2f}×" for a, b in zip(now, base, strict=True))
                )


def _parameters(step: Callable[[], tuple[float, float]]) -> list[Tensor]:
    cells = dict(zip(step.__code__.co_freevars, step.__closure__ or (), strict=True))
    return list(cells["small"].cell_contents.parameters())


def _medians(times: list[tuple[float, float]]) -> tuple[float, float, float]:
    passes, optimizer = zip(*times, strict=True)
    return (
        statistics.median(passes),
        statistics.median(optimizer),
        statistics.median(a + b for a, b in times),
    )


if __name__ == "__main__":
    main()
