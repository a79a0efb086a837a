"""The optimizer's step with its proximal operator against torch's AdamW, which moves 28 bytes a float32 weight.

Both sides have the same problem, go 20 steps before anything is measured, and get new gradients before each step.
"""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from benchmarks.kernels.compared import compare
from benchmarks.kernels.layers import resnet50
from benchmarks.kernels.quadratic import PRICE, Quadratic
from lomt.models import backbone
from lomt.optim import ProxAdamW
from lomt.sparsity import GroupLasso, GroupMCP, Penalty, channel_groups
from lomt_kernels import prox_adamw_
from lomt_kernels.prox import new_norms

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
PENALTIES: dict[str, Callable[[], Penalty]] = {
    "group lasso": lambda: GroupLasso(PRICE),
    "group MCP": lambda: GroupMCP(PRICE),
}
BYTES = 28
WARM_UP = 20
LR = 1e-4


@pytest.fixture(autouse=True)
def _threads_afterwards():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def resnet18() -> list[tuple[int, ...]]:
    """All parameters of a ResNet-18's convolutions at width 16: what the demo trains."""
    return [tuple(view.parameter.shape) for view in channel_groups(backbone("resnetd18", width=16))]


def same(axis: str, gamma: float) -> None:
    """The tests' reference in float64, over some steps of one layer."""
    problem = Quadratic([(48, 40, 3, 3)], axis)
    sides = []
    for dtype, backend in ((torch.float32, "native"), (torch.float64, "reference")):
        weight = problem.weights[0].detach().to(dtype)
        moments = [[torch.zeros_like(weight)] for _ in range(2)]
        sides.append((weight, moments, [torch.zeros(())], [new_norms(weight, axis=axis)], backend))
    for _ in range(5):
        problem.backward()
        assert problem.weights[0].grad is not None
        for weight, moments, steps, norms, backend in sides:
            price = [PRICE * (weight.numel() / norms[0].shape[1]) ** 0.5]
            grad = [problem.weights[0].grad.to(weight.dtype)]
            how = {"axis": axis, "gamma": gamma, "lr": LR, "backend": backend}
            prox_adamw_([weight], grad, *moments, steps, norms, price, **how)
    torch.testing.assert_close(sides[0][0].double(), sides[1][0], rtol=1e-4, atol=1e-6)
    assert torch.equal(sides[0][0] == 0, sides[1][0] == 0)


def against_adamw(
    benchmark,
    shapes: Sequence[tuple[int, ...]],
    penalty: Penalty,
    what: str,
    *,
    axis: str = "in",
    layout: str = "contiguous",
    rounds: int,
    others: Sequence[str] = ("AdamW, fused", "AdamW"),
) -> None:
    """Ours, torch's fused AdamW and its default on the same problem."""
    problems = {name: Quadratic(shapes, axis, FORMATS[layout]) for name in ("ours", *others)}
    steps = {
        name: torch.optim.AdamW(problems[name].weights, lr=LR, fused=True if "fused" in name else None).step
        for name in others
    }
    ours = ProxAdamW(problems["ours"].weights, lr=LR, penalty=penalty, axis=axis)
    for _ in range(WARM_UP):
        for name, problem in problems.items():
            problem.backward()
            (ours.step if name == "ours" else steps[name])()
    live = torch.cat([ours.alive(weight) for weight in problems["ours"].weights]).double().mean()
    weights: list[Tensor] = problems["ours"].weights
    compare(
        benchmark,
        ours.step,
        steps,
        check=lambda: same(axis, penalty.curve[1] if penalty.curve else 0),
        before=lambda name: problems[name].backward(),
        rounds=rounds,
        moved=BYTES * sum(weight.numel() for weight in weights),
        where={
            "operation": f"step: {what}",
            "layout": layout,
            "axis": axis,
            "threads": torch.get_num_threads(),
            "live": round(float(live), 2),
        },
    )


@pytest.mark.parametrize("axis", ["in", "out"])
@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_resnet50(benchmark, penalty, layout, axis):
    torch.set_num_threads(1)
    what = f"ResNet-50, {penalty}"
    against_adamw(benchmark, resnet50(), PENALTIES[penalty](), what, axis=axis, layout=layout, rounds=15)


def test_small_network(benchmark):
    torch.set_num_threads(2)
    what = "ResNet-18 of width 16, 2 threads"
    against_adamw(benchmark, resnet18(), GroupLasso(PRICE), what, rounds=101)


def test_many_small_tensors(benchmark):
    torch.set_num_threads(1)
    shapes = [(10, 10, 10)] * 2000
    what = "2000 tensors of 1000 weights"
    against_adamw(benchmark, shapes, GroupLasso(PRICE), what, rounds=21)


@pytest.mark.parametrize("millions", [1, 10, 100, 300])
def test_growth(benchmark, millions):
    """In tensors of a million weights each."""
    torch.set_num_threads(1)
    shapes = [(1000, 1000)] * millions
    what = f"{millions} M weights"
    against_adamw(benchmark, shapes, GroupLasso(PRICE), what, rounds=5, others=("AdamW, fused",))
