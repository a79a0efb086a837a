"""The channel-masked convolution against the dense one, the compacted one, and index_select before the compacted one.

The distinct convolutions of a ResNet-50 at 256² (but the first, which has three input channels), and a DeepLab head's
dilated one, batch 8, one thread. Input channels die. torch computes 1×1 convolutions of stride 1 without oneDNN where a
batch is small and there is one thread; for those, oneDNN's is measured, too.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.kernels.compared import compare
from benchmarks.kernels.layers import Layer, convolutions
from lomt_kernels import LiveList, masked_conv2d, masked_conv2d_readers

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
MODES = ("forward", "both", "both, dense grad_W")
BATCH = 8
ROUNDS = 3
CASES = [
    *((layout, "forward", live) for layout in FORMATS for live in (1, 0.9, 0.75, 0.5, 0.25, 0.1)),
    *(("channels_last", "both", live) for live in (1, 0.75, 0.5, 0.25, 0.1)),
    *(("contiguous", "both", live) for live in (0.75, 0.5, 0.25)),
    ("channels_last", "both, dense grad_W", 0.5),
]
READERS = [Layer(256, 64, 1, 1, 1, 64), Layer(2048, 256, 1, 1, 1, 16), Layer(2048, 256, 3, 1, 12, 16)]

Call = Callable[[], object]


class Problem:
    """One layer with some live input channels, and everything that computes it."""

    def __init__(self, layer: Layer, layout: str, live: float, batch: int = BATCH) -> None:
        generator = torch.Generator().manual_seed(0)
        self.format = FORMATS[layout]

        def tensor(*sizes: int) -> Tensor:
            return torch.randn(sizes, generator=generator).contiguous(memory_format=self.format).requires_grad_()

        self.x = tensor(batch, layer.inputs, layer.size, layer.size)
        self.weight = tensor(layer.outputs, layer.inputs, layer.kernel, layer.kernel)
        alive = torch.randperm(layer.inputs, generator=generator)[: max(1, round(live * layer.inputs))]
        self.numbers = alive.sort().values
        self.live = LiveList.of(self.numbers, layer.inputs)
        self.narrow_x, self.narrow_weight = (
            part.detach().index_select(1, self.numbers).contiguous(memory_format=self.format).requires_grad_()
            for part in (self.x, self.weight)
        )
        self.how = (layer.stride, layer.dilation * (layer.kernel // 2), layer.dilation)
        self.gradient = torch.randn_like(self.dense(), memory_format=torch.preserve_format)
        self.onednn = layer.kernel == 1 and layer.stride == 1

    def dense(self) -> Tensor:
        """With all channels."""
        return F.conv2d(self.x, self.weight, None, *self.how)

    def compacted(self) -> Tensor:
        """The shape that is left of it."""
        return F.conv2d(self.narrow_x, self.narrow_weight, None, *self.how)

    def compacted_by_onednn(self) -> Tensor:
        """The same, not left to torch's choice; without a gradient."""
        stride, padding, dilation = ([number] * 2 for number in self.how)
        found: Tensor = torch.ops.aten.mkldnn_convolution(
            self.narrow_x, self.narrow_weight, None, padding, stride, dilation, 1
        )
        return found

    def selected(self) -> Tensor:
        """Two lines of PyTorch."""
        x, weight = self.x.index_select(1, self.numbers), self.weight.index_select(1, self.numbers)
        return F.conv2d(x, weight, None, *self.how)

    def masked(self, revive: bool = False) -> Tensor:
        """Ours."""
        return masked_conv2d(self.x, self.weight, None, *self.how, live_in=self.live, revive=revive)

    def both(self, forward: Callable[[], Tensor], narrow: bool = False) -> Call:
        """Forward and backward."""
        leaves = (self.narrow_x, self.narrow_weight) if narrow else (self.x, self.weight)
        return lambda: torch.autograd.grad(forward(), leaves, self.gradient)

    def check(self) -> None:
        """Ours computes what selecting does, and its gradients."""
        for wanted, found in zip(
            (self.selected(), *self.both(self.selected)()), (self.masked(), *self.both(self.masked)()), strict=True
        ):  # type: ignore[misc]
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.detach().abs().max()))

    def sides(self, mode: str) -> tuple[Call, dict[str, Call]]:
        """Ours, and the others."""
        if mode == "forward":
            others: dict[str, Callable[[], Tensor]] = {
                "dense": self.dense,
                "compacted": self.compacted,
                "index_select": self.selected,
            }
            if self.onednn:
                others["compacted, oneDNN"] = self.compacted_by_onednn
            return torch.no_grad()(self.masked), {name: torch.no_grad()(call) for name, call in others.items()}
        ours = self.both(lambda: self.masked(revive=mode != "both"))
        return ours, {
            "dense": self.both(self.dense),
            "compacted": self.both(self.compacted, narrow=True),
            "index_select": self.both(self.selected),
        }


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("layer", convolutions(), ids=str)
@pytest.mark.parametrize(("layout", "mode", "live"), CASES)
def test_convolution(benchmark, layout, mode, live, layer):
    problem = Problem(layer, layout, live)
    ours, others = problem.sides(mode)
    compare(
        benchmark,
        ours,
        others,
        check=Problem(layer, layout, live, batch=1).check,
        rounds=ROUNDS,
        warmup=1,
        where={"operation": "masked_conv2d", "layer": str(layer), "layout": layout, "mode": mode, "live": live},
    )


@pytest.mark.parametrize("mode", MODES[:2])
@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("layer", READERS, ids=str)
def test_readers(benchmark, layer, layout, mode):
    """Four readers of one map, a quarter of whose channels each reads, in one call."""
    problem = Problem(layer, layout, 0.25)
    weights = [torch.randn_like(problem.weight).requires_grad_() for _ in range(4)]
    lists = [LiveList.of(torch.randperm(layer.inputs)[: layer.inputs // 4], layer.inputs) for _ in weights]
    how = problem.how

    def together() -> list[Tensor]:
        return masked_conv2d_readers(problem.x, weights, None, *how, live_in=lists)

    def apart() -> list[Tensor]:
        return [masked_conv2d(problem.x, w, None, *how, live_in=live) for w, live in zip(weights, lists, strict=True)]

    def dense() -> list[Tensor]:
        return [F.conv2d(problem.x, w, None, *how) for w in weights]

    def check() -> None:
        for a, b in zip(together(), apart(), strict=True):
            torch.testing.assert_close(a, b)

    def measured(call: Callable[[], list[Tensor]]) -> Call:
        if mode == "forward":
            return torch.no_grad()(call)
        return lambda: torch.autograd.grad(call(), (problem.x, *weights), [problem.gradient] * 4)

    compare(
        benchmark,
        measured(together),
        {"four calls": measured(apart), "four dense": measured(dense)},
        check=check,
        rounds=ROUNDS,
        warmup=1,
        where={"operation": "four readers", "layer": str(layer), "layout": layout, "mode": mode, "live": 0.25},
    )
