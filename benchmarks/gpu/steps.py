"""The optimizer's step on a GPU: python -m benchmarks.gpu.steps --json FILE.

AdamW with its proximal operator, CUDA and Triton, on a ResNet-50's convolutions, against torch's AdamW alone, fused and
foreach, and against AdamW followed by torch operations for each tensor, as torchao's PAT has it. Shares are of what
the memory is said to move, at 28 bytes a weight, and of a copy's rate. Then how both grow with weights and tensors.
"Replayed" is a CUDA graph: without the host's part.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.gpu.timing import measure, write
from lomt.models import backbone
from lomt_kernels import prox_adamw_, registry
from lomt_kernels.prox import new_norms

BYTES = 28
"""A float32 weight's, its gradient's and its moments', read; all but the gradient's, written."""
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
DIMS = {"in": (0, 2, 3), "out": (1, 2, 3)}
LR, PRICE = 1e-3, 0.1
WEIGHTS = (1, 3, 10, 30, 100, 300)
"""Millions, in 20 tensors."""
TENSORS = (10, 50, 200, 1000, 2000)
"""Of 20 million weights together."""

Step = Callable[[], object]


@cache
def backends() -> list[str]:
    """Those that work here."""
    found = []
    for name in ("cuda", "triton"):
        try:
            registry.choose("prox_adamw_", torch.device("cuda"), torch.float32, name)
            found.append(name)
        except ValueError as error:
            print(error)
    return found


class Ours:
    """Weights, and a step of one of our backends."""

    def __init__(self, weights: Sequence[Tensor], backend: str, axis: str, gamma: float = math.inf) -> None:
        self.weights = [weight.clone() for weight in weights]
        self.grads = gradients(self.weights)
        self.moments = [[torch.zeros_like(w) for w in self.weights] for _ in range(2)]
        self.steps = [torch.zeros((), device=w.device) for w in self.weights]
        self.norms = [new_norms(w, axis=axis) for w in self.weights]
        self.prices = [PRICE * math.sqrt(w.numel() // n.shape[1]) for w, n in zip(weights, self.norms, strict=True)]
        self.how = {"lr": LR, "axis": axis, "gamma": gamma, "backend": backend}

    def __call__(self) -> None:
        """Make a step."""
        prox_adamw_(self.weights, self.grads, *self.moments, self.steps, self.norms, self.prices, **self.how)


class Torchs:
    """Weights, and a step of torch's AdamW."""

    def __init__(self, weights: Sequence[Tensor], **options: bool) -> None:
        self.weights = [weight.clone().requires_grad_() for weight in weights]
        for weight, grad in zip(self.weights, gradients(self.weights), strict=True):
            weight.grad = grad
        self.optimizer = torch.optim.AdamW(self.weights, lr=LR, weight_decay=1e-2, **options)

    def __call__(self) -> None:
        """Make a step."""
        self.optimizer.step()


class OneByOne(Torchs):
    """AdamW, then each tensor's group lasso in the Euclidean norm, and how many groups are dead, told to the host."""

    def __init__(self, weights: Sequence[Tensor], axis: str) -> None:
        super().__init__(weights, fused=True)
        self.dims = DIMS[axis]

    @torch.no_grad()
    def __call__(self) -> None:
        """Make a step."""
        super().__call__()
        dead = 0
        for weight in self.weights:
            norm = torch.linalg.vector_norm(weight, dim=self.dims, keepdim=True)
            tau = LR * PRICE * math.sqrt(weight.numel() // norm.numel())
            factor = torch.where(norm > tau, 1 - tau / norm, 0.0)
            weight.mul_(factor)
            dead += int((factor == 0).sum().item())


def gradients(weights: Sequence[Tensor]) -> list[Tensor]:
    """As large as each other, so that nobody dies while time is taken."""
    generator = torch.Generator(device=weights[0].device).manual_seed(0)
    return [torch.empty_like(w).normal_(generator=generator).sign_() for w in weights]


def replayed(step: Step) -> Step:
    """The same in a graph."""
    step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def check(weights: Sequence[Tensor], axis: str) -> None:
    """Refuse to measure what differs from the reference."""
    some = weights[1:4]
    expected = Ours(some, "reference", axis)
    expected()
    for name in backends():
        found = Ours(some, name, axis)
        found()
        for a, b in zip(found.weights + found.norms, expected.weights + expected.norms, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def peak() -> float | None:
    """Bytes a second that the memory is said to move."""
    facts = torch.cuda.get_device_properties(0)
    clock, width = getattr(facts, "memory_clock_rate", None), getattr(facts, "memory_bus_width", None)
    return 2e3 * clock * width / 8 if clock and width else None


def row(
    what: dict[str, object], weights: Sequence[Tensor], variants: dict[str, Step], rounds: int
) -> dict[str, object]:
    """Measure; print times and shares."""
    count = sum(weight.numel() for weight in weights)
    source = torch.empty(min(count, 100_000_000) * 2, device=weights[0].device)
    target = torch.empty_like(source)
    times = measure({"copy": lambda: target.copy_(source), **variants}, rounds=rounds)
    rate, most = 8 * source.numel() / times["copy"][0], peak()
    shares = {name: BYTES * count / found[0] for name, found in times.items() if name != "copy"}
    print(f"{', '.join(f'{key} {value}' for key, value in what.items())}: a copy moves {rate / 1e9:.0f} GB/s")
    for name, moved in shares.items():
        of_peak = f", {100 * moved / most:.0f} % of {most / 1e9:.0f} GB/s" if most else ""
        of_copy = f"{100 * moved / rate:.0f} % of a copy"
        print(f"    {name}: {1e3 * times[name][0]:.3f} ms, {moved / 1e9:.0f} GB/s, {of_copy}{of_peak}")
    return {**what, "weights": count, "bytes": BYTES * count, "copied": rate, "peak": most, "seconds": times}


def resnet(layout: str, axis: str, gamma: float, rounds: int = 15) -> dict[str, object]:
    """All that there is, on a ResNet-50's convolutions."""
    layers = [module.weight for module in backbone("resnetd50").modules() if isinstance(module, torch.nn.Conv2d)]
    weights = [weight.detach().cuda().contiguous(memory_format=FORMATS[layout]) for weight in layers]
    check(weights, axis)
    variants: dict[str, Step] = {
        "AdamW, fused": Torchs(weights, fused=True),
        "AdamW, fused, replayed": replayed(Torchs(weights, fused=True, capturable=True)),
        "AdamW, foreach": Torchs(weights, foreach=True),
        "AdamW, fused, and each tensor by itself": OneByOne(weights, axis),
    }
    for name in backends():
        variants[name] = Ours(weights, name, axis, gamma)
        variants[f"{name}, replayed"] = replayed(Ours(weights, name, axis, gamma))
    for step in variants.values():  # past the first step, and its norms that nobody knows
        step()
    return row({"what": "resnetd50", "layout": layout, "axis": axis, "gamma": str(gamma)}, weights, variants, rounds)


def grown(total: int, tensors: int, rounds: int = 8) -> dict[str, object]:
    """So many weights in so many tensors of 3x3 convolutions with 256 output channels."""
    channels = max(1, round(total / tensors / 2304))
    weights = [torch.randn(256, channels, 3, 3, device="cuda") * 0.05 for _ in range(tensors)]
    variants: dict[str, Step] = {"AdamW, fused": Torchs(weights, fused=True)}
    variants |= {name: Ours(weights, name, "in") for name in backends()}
    for step in variants.values():
        step()
    return row({"what": "growth", "tensors": tensors}, weights, variants, rounds)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/gpu/steps.json"))
    asked = parser.parse_args()
    rows: list[dict[str, object]] = []

    def keep(found: dict[str, object]) -> None:
        rows.append(found)
        write(asked.json, rows)

    for layout, axis, gamma in (
        ("contiguous", "in", math.inf),
        ("channels_last", "in", math.inf),
        ("contiguous", "out", math.inf),
        ("contiguous", "in", 1.0),
    ):
        keep(resnet(layout, axis, gamma))
    for tensors in TENSORS:
        keep(grown(20_000_000, tensors))
    for millions in WEIGHTS:
        if torch.cuda.mem_get_info()[0] < 70e6 * millions:
            print(f"{millions} million weights: not enough memory is free")
            break
        keep(grown(1_000_000 * millions, 20))


if __name__ == "__main__":
    main()
