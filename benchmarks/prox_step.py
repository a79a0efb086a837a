"""What the proximal step costs: ProxAdamW beside torch's AdamW on a ResNet-50, both in one process, in turn.

Run: python benchmarks/prox_step.py [--threads 1 2] [--steps 15] [--train-steps 5] [--batch 8] [--size 256]

The first table is the optimizer's step alone: every convolution of the backbone grouped by input channel, in a state
in which about half of the groups live and weights still move. Gradients are those of a quadratic loss whose channels
matter by different amounts, with noise. The second one is a whole training step: forward, backward, optimizer.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lomt.evaluation.environment import environment
from lomt.models import backbone
from lomt.optim import ProxAdamW, parameter_groups
from lomt.sparsity import GroupLasso, channel_groups

PRICE = 1e-2
NOISE = 1e-2


class Quadratic:
    """½ ‖W − target‖² with noisy gradients, where the channels of the target span two decades around λ."""

    def __init__(self, network: nn.Module, seed: int = 0) -> None:
        self.weights = [view.parameter for view in channel_groups(network)]
        generator = torch.Generator().manual_seed(seed)
        self.targets = []
        for weight in self.weights:
            scale = 10 ** (2 * torch.rand(1, weight.shape[1], 1, 1, generator=generator) - 3)
            target = torch.randn(weight.shape, generator=generator) * scale
            self.targets.append(target)
            # Start near the solution, where a training spends most of its time.
            weight.data.copy_(target * (1 - PRICE / scale).clamp(min=0))
        self.noise = torch.randn(max(weight.numel() for weight in self.weights) * 2, generator=generator) * NOISE
        self.offsets = torch.Generator().manual_seed(seed)

    def backward(self) -> None:
        """New gradients."""
        for weight, target in zip(self.weights, self.targets, strict=True):
            first = int(torch.randint(weight.numel(), (), generator=self.offsets))
            noise = self.noise[first : first + weight.numel()].view(weight.shape)
            weight.grad = (weight.detach() - target).add_(noise)


def optimizers(lr: float) -> dict[str, Callable[[nn.Module], torch.optim.Optimizer]]:
    """The sides, each made from a network."""

    def plain(fused: bool | None) -> Callable[[nn.Module], torch.optim.Optimizer]:
        return lambda net: torch.optim.AdamW(net.parameters(), lr=lr, fused=fused)

    return {
        "AdamW": plain(None),
        "AdamW, fused": plain(True),
        "ProxAdamW": lambda net: ProxAdamW(parameter_groups(net, GroupLasso(PRICE)), lr=lr),
    }


def optimizer_steps(steps: int, lr: float) -> tuple[dict[str, list[float]], float]:
    """Seconds of each side's steps, and the share of groups that live in the end."""
    sides = {}
    for name, make in optimizers(lr).items():
        network = backbone("resnetd50")
        sides[name] = (Quadratic(network), make(network))
    times: dict[str, list[float]] = {name: [] for name in sides}
    for step in range(steps + 5):
        for name, (problem, optimizer) in sides.items():
            problem.backward()
            start = time.perf_counter()
            optimizer.step()
            if step >= 5:
                times[name].append(time.perf_counter() - start)
    alive = torch.cat([view.alive for view in channel_groups(network)])
    return times, alive.float().mean().item()


def training_steps(steps: int, batch: int, size: int, lr: float) -> dict[str, list[float]]:
    """Seconds of each side's whole training steps."""
    torch.manual_seed(0)
    sides = {}
    for name, make in optimizers(lr).items():
        network = backbone("resnetd50").train()
        sides[name] = (network, make(network))
    x = torch.randn(batch, 3, size, size)
    times: dict[str, list[float]] = {name: [] for name in sides}
    for step in range(steps + 1):
        for name, (network, optimizer) in sides.items():
            start = time.perf_counter()
            optimizer.zero_grad()
            network(x).square().mean().backward()
            optimizer.step()
            if step >= 1:
                times[name].append(time.perf_counter() - start)
    return times


def table(title: str, times: dict[str, list[float]]) -> dict[str, Any]:
    """Print medians in milliseconds with quartiles, and ratios to AdamW's; returns them for a file."""
    print(f"\n{title}\n{'':14}{'median ms':>11}{'quartiles':>20}{'ratio to AdamW':>17}")
    reference = statistics.median(times["AdamW"])
    for name, seconds in times.items():
        low, median, high = statistics.quantiles(seconds, n=4)
        print(f"{name:14}{median * 1e3:11.1f}{low * 1e3:11.1f} – {high * 1e3:6.1f}{median / reference:17.2f}")
    return {"what": title, "quartiles_s": {name: statistics.quantiles(found, n=4) for name, found in times.items()}}


def main() -> None:
    """Run both tables for each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--train-steps", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--json", type=Path, help="also write the quartiles here")
    options = parser.parse_args()
    rows = []
    for threads in options.threads:
        torch.set_num_threads(threads)
        times, alive = optimizer_steps(options.steps, options.lr)
        title = f"optimizer step, ResNet-50 backbone, {threads} thread(s), {alive:.0%} of groups live"
        rows.append(table(title, times))
        if options.train_steps:
            times = training_steps(options.train_steps, options.batch, options.size, options.lr)
            shape = f"{options.batch}×{options.size}²"
            rows.append(table(f"whole training step, ResNet-50, {shape}, {threads} thread(s)", times))
    if options.json:
        options.json.write_text(json.dumps({"environment": environment(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
