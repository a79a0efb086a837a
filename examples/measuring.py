"""What the examples print: validation losses, weights, and seconds, of a network as it was and with lomt."""

import argparse
import time
from collections.abc import Callable, Iterable

import torch
from torch import nn

from shapes import Batch, batches, losses


def arguments(description: str) -> argparse.Namespace:
    """The options that all examples have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--steps", type=int, default=300, help="training steps")
    parser.add_argument("--size", type=int, default=48, help="height and width of the pictures")
    parser.add_argument("--batch", type=int, default=8, help="pictures a batch")
    parser.add_argument("--strength", type=float, default=None, help="λ of the penalty")
    parser.add_argument("--onnx", default="", help="write the compacted network to this file")
    return parser.parse_args()


def seconds(call: Callable[[], object], times: int) -> float:
    """The median time of a call."""
    found = []
    for _ in range(times + 1):
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return sorted(found[1:])[times // 2]


@torch.no_grad()
def validated(model: nn.Module, size: int, batch: int) -> Batch:
    """Each task's loss on pictures that nobody trained with."""
    model.eval()
    held_out: Iterable[Batch] = batches(8, size, batch, seed=1)
    each = [losses(model(one["image"]), one) for one in held_out]
    return {name: torch.stack([one[name] for one in each]).mean() for name in each[0]}


def compare(networks: dict[str, nn.Module], small: nn.Module, gradients: Callable[[nn.Module, Batch], object]) -> None:
    """Print what each network does, how large it is and how long a training step and a forward take, in turn."""
    options = arguments("")
    shape = options.size, options.batch
    found = {name: validated(network, *shape) for name, network in {**networks, "compacted": small}.items()}
    batch = next(batches(1, *shape, seed=2))
    taken: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(5):
        for name, network in networks.items():
            taken[name].append(seconds(lambda network=network: gradients(network.train(), batch), 1))
    steps = {name: f"{1e3 * sorted(each)[2]:.0f} ms" for name, each in taken.items()}
    print(f"{'':16}{'seg':>8}{'depth':>8}{'edges':>8}{'weights':>10}{'step':>10}{'forward':>10}")
    for name, network in {**networks, "compacted": small}.items():
        said = "".join(f"{found[name][task].item():8.3f}" for task in ("seg", "depth", "edges"))
        weights = sum(parameter.numel() for parameter in network.parameters())
        with torch.no_grad():
            forward = seconds(lambda network=network: network.eval()(batch["image"]), 5)
        print(f"{name:16}{said}{weights:10,}{steps.get(name, ''):>10}{1e3 * forward:7.0f} ms")
