"""Group shrinkage of ResNet-50's weights on one thread, against the memory's limit and against plain PyTorch."""

import pytest
import torch
from torch import Tensor

from benchmarks.kernels.compared import compare
from benchmarks.kernels.layers import resnet50
from lomt_kernels import group_norms, group_shrink
from lomt_kernels.library import OPS

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def weights(layout: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).contiguous(memory_format=FORMATS[layout]) for shape in resnet50()]


def norms(weight: Tensor, axis: str) -> Tensor:
    """The fastest of five ways in plain PyTorch, in float32: a norm over three dimensions at once takes far longer."""
    if axis == "out":
        return torch.linalg.vector_norm(weight, dim=(1, 2, 3), keepdim=True)
    square = weight.square()
    if weight.is_contiguous():
        return square.sum(0, keepdim=True).sum((-2, -1), keepdim=True).sqrt()
    return square.sum((0, 2, 3), keepdim=True).sqrt()


def plain(weight: Tensor, tau: Tensor, axis: str) -> Tensor:
    """Group shrinkage in plain PyTorch, without 0/0."""
    norm = norms(weight, axis)
    return weight * torch.where(norm > tau, 1 - tau / norm, 0)


def same(axis: str, layout: str, metric: bool) -> None:
    """The tests' reference, on two of the layers."""
    for weight in weights(layout)[1:3]:
        D = weight.abs() + 0.1 if metric else None
        tau = group_norms(weight if D is None else weight * D, axis=axis).median()
        found = group_shrink(weight, tau, D, axis=axis)
        expected = group_shrink(
            weight.double(), tau.double(), None if D is None else D.double(), axis=axis, backend="reference"
        )
        torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)
        assert torch.equal(found == 0, expected == 0)


@pytest.mark.parametrize("axis", ["in", "out"])
@pytest.mark.parametrize("layout", FORMATS)
def test_group_shrink(benchmark, layout, axis):
    layers = weights(layout)
    taus = [group_norms(weight, axis=axis).median() for weight in layers]
    size = sum(weight.numel() * weight.element_size() for weight in layers)
    compare(
        benchmark,
        lambda: [group_shrink(weight, tau, axis=axis) for weight, tau in zip(layers, taus, strict=True)],
        {
            "torch.mul": lambda: [torch.mul(weight, 2.0) for weight in layers],
            "plain PyTorch": lambda: [plain(weight, tau, axis) for weight, tau in zip(layers, taus, strict=True)],
        },
        check=lambda: same(axis, layout, metric=False),
        floor="torch.mul",
        moved=2 * size,
        where={"operation": "group_shrink", "layout": layout, "axis": axis},
    )


@pytest.mark.parametrize("axis", ["in", "out"])
@pytest.mark.parametrize("layout", FORMATS)
def test_group_norms(benchmark, layout, axis):
    layers = weights(layout)
    size = sum(weight.numel() * weight.element_size() for weight in layers)
    compare(
        benchmark,
        lambda: [group_norms(weight, axis=axis) for weight in layers],
        {
            "torch.sum": lambda: [weight.sum() for weight in layers],
            "plain PyTorch": lambda: [norms(weight, axis) for weight in layers],
        },
        check=lambda: same(axis, layout, metric=False),
        floor="torch.sum",
        moved=size,
        where={"operation": "group_norms", "layout": layout, "axis": axis},
    )


@pytest.mark.parametrize("axis", ["in", "out"])
@pytest.mark.parametrize("layout", FORMATS)
def test_group_shrink_in_a_metric(benchmark, layout, axis):
    layers = weights(layout)
    metrics = [weight.abs() + 0.1 for weight in layers]
    taus = [group_norms(weight * D, axis=axis).median() for weight, D in zip(layers, metrics, strict=True)]
    size = sum(weight.numel() * weight.element_size() for weight in layers)

    def run(backend: str) -> list[Tensor]:
        return [
            group_shrink(weight, tau, D, axis=axis, backend=backend)
            for weight, tau, D in zip(layers, taus, metrics, strict=True)
        ]

    compare(
        benchmark,
        lambda: run("native"),
        {
            "torch.addcmul": lambda: [torch.addcmul(w, w, D) for w, D in zip(layers, metrics, strict=True)],
            "reference backend": lambda: run("reference"),
        },
        check=lambda: same(axis, layout, metric=True),
        rounds=5,
        floor="torch.addcmul",
        moved=3 * size,
        where={"operation": "group_shrink, metric", "layout": layout, "axis": axis},
    )


@pytest.mark.parametrize("operation", ["group_norms", "group_shrink"])
def test_call_overhead(benchmark, operation):
    """What one call costs where there is nothing to compute: 4 x 4 x 3 x 3 weights, without autograd."""
    weight, tau, many = torch.randn(4, 4, 3, 3), torch.tensor(0.5, dtype=torch.float64), 2000
    public = {"group_norms": lambda: group_norms(weight), "group_shrink": lambda: group_shrink(weight, tau)}
    registered = {
        "group_norms": lambda: OPS.group_norms(weight, 0, 1, 1, "native"),
        "group_shrink": lambda: OPS.group_shrink(weight, tau, None, None, 0, 1, 1, "native"),
    }

    def repeated(call):
        def run():
            for _ in range(many):
                call()

        return run

    compare(
        benchmark,
        repeated(public[operation]),
        {
            "torch.mul": repeated(lambda: torch.mul(weight, 2.0)),
            "through the dispatcher": repeated(registered[operation]),
        },
        check=lambda: same("in", "contiguous", metric=False),
        rounds=11,
        where={"operation": f"a call of {operation}", "calls": many},
    )
