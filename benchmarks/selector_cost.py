"""What the selecting layer costs a training step: python -m benchmarks.selector_cost.

A ResNet-D-18 of width 32 with DeepLab decoders of width 64, as in the NYU-v2 protocol, on images of 96×128: the
network in which every task reads all taps, against the conventional one with all decoders at the end, both by
ProxAdamW, with the selector's proximal step. Dense, and with a share of each task's taps dead. Processor time of one
thread, in turn, medians and quartiles; and the bytes that a forward pass keeps for the backward one. Writes
benchmarks/results/selection/cost.json.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lomt.evaluation.environment import environment
from lomt.files import write_record
from lomt.models import Network, SelectingNetwork, backbone, decoder
from lomt.optim import ProxAdamW, parameter_groups
from lomt.selection import TapPath
from lomt.tasks import Depth, Task

RESULTS = Path(__file__).parent / "results/selection/cost.json"
BATCH, SIZE = 16, (96, 128)
BLOCKS = [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
TAPS = {
    4: BLOCKS[1::2],
    8: BLOCKS,
    16: [name for block in BLOCKS for name in (f"{block}.relu1", block)],
}
END = BLOCKS[-1]


def conventional(tasks: list[Task]) -> tuple[nn.Module, list[dict[str, Any]], None]:
    """All decoders at the end."""
    made = decoder("deeplab", width=64)
    net = Network(backbone("resnetd18", 32, 8), tasks, {task.name: END for task in tasks}, made, example())
    return net, parameter_groups(net, None), None


def selecting(
    tasks: list[Task], taps: list[str], size_of: str | None, dead: float
) -> tuple[nn.Module, list[dict[str, Any]], TapPath]:
    """Every task reads all taps but a dead share of them."""
    net = SelectingNetwork(
        backbone("resnetd18", 32, 8), tasks, taps, decoder("deeplab", width=64), 64, example(), size_of
    )
    draw = torch.Generator().manual_seed(0)
    for task in tasks:
        order = torch.randperm(len(taps), generator=draw).tolist()
        net.selector.keep(task.name, [taps[place] for place in order[: max(1, round((1 - dead) * len(taps)))]])
    path = TapPath(net.selector, begin=0.0, end=1.0)
    own = {id(parameter) for group in path.groups() for parameter in group["params"]}
    rest = [parameter for parameter in net.parameters() if id(parameter) not in own]
    return net, [*path.groups(), {"params": rest}], path


def example() -> torch.Tensor:
    """One image."""
    return torch.zeros(1, 3, *SIZE)


def step_of(
    net: nn.Module,
    groups: list[dict[str, Any]],
    path: TapPath | None,
    batch: dict[str, torch.Tensor],
    tasks: list[Task],
) -> Callable[[], None]:
    """One training step."""
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = ProxAdamW(groups, lr=1e-6)

    def step() -> None:
        outputs = net(batch["image"])
        loss = torch.stack([task.loss(outputs[task.name], batch[task.name]) for task in tasks]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if path is not None:
            path.step(1e-6)  # at the beginning, so that nothing dies

    return step


def kept(net: nn.Module, image: torch.Tensor) -> int:
    """Bytes that a forward pass keeps for the backward one, each storage once."""
    found: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
        return tensor

    own = {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = net(image)
    total = sum(size for place, size in found.items() if place not in own)
    del outputs
    return total


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    for count in (2, 4, 8):
        tasks: list[Task] = [Depth(f"depth{number}") for number in range(count)]
        image = torch.randn(BATCH, 3, *SIZE).contiguous(memory_format=torch.channels_last)
        batch = {"image": image, **{task.name: torch.rand(BATCH, 1, *SIZE) + 1 for task in tasks}}
        makes: dict[str, Callable[[], tuple[nn.Module, list[dict[str, Any]], TapPath | None]]] = {
            "conventional": lambda tasks=tasks: conventional(tasks)  # type: ignore[misc]
        }
        for number, taps in TAPS.items():
            for stride, size_of in (("last", END), ("finest", None)):
                for dead in (0.0, 0.5, 0.75) if (number, count) == (8, 4) else (0.0,):
                    makes[f"{number} taps, {stride}, {dead:.0%} dead"] = (
                        lambda taps=taps, size_of=size_of, dead=dead, tasks=tasks: selecting(tasks, taps, size_of, dead)  # type: ignore[misc]
                    )
        made = {name: make() for name, make in makes.items()}
        steps = {name: step_of(*one, batch, tasks) for name, one in made.items()}
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for turn in range(given.rounds + 1):
            for name, step in steps.items():
                begin = time.thread_time()
                step()
                if turn:  # the first one warms up
                    seconds[name].append(time.thread_time() - begin)
        base, memory = statistics.median(seconds["conventional"]), kept(made["conventional"][0], image)
        for name, found in seconds.items():
            low, middle, high = statistics.quantiles(found, n=4)
            size = kept(made[name][0], image)
            rows.append(
                {
                    "tasks": count,
                    "network": name,
                    "seconds": round(middle, 4),
                    "quartiles": [round(low, 4), round(high, 4)],
                    "times": round(middle / base, 3),
                    "megabytes": round(size / 1e6, 1),
                    "times memory": round(size / memory, 3),
                }
            )
            print(
                f"{count} tasks, {name}: {middle * 1e3:.0f} ms ({low * 1e3:.0f}–{high * 1e3:.0f}), "
                f"{middle / base:.2f} ×; {size / 1e6:.0f} MB, {size / memory:.2f} ×",
                flush=True,
            )
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    write_record(RESULTS, {"environment": environment(), "rows": rows})


if __name__ == "__main__":
    main()
