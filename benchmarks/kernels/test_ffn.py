"""The block-sparse feed-forward network against dense ones: a gated one of TinyLlama's size, random weights.

Layers take turns, 500 MB of them and more, so that weights come from memory, as they do when text is generated. Masks
are random, new ones at each call. Ours with all blocks active is the dense network to which the gain by sparsity
compares; the limit is one pass of reading as many bytes. One thread is timed by its own clock.
"""

import itertools
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.kernels.compared import compare
from lomt_kernels import pack_ffn, sparse_ffn

D, NEURONS, BLOCK = 2048, 5632, 32
BLOCKS = NEURONS // BLOCK
BYTES = 500e6
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SHARES = (1.0, 0.5, 0.3, 0.2, 0.1)
ROUNDS = 31


class Layers:
    """Some layers that take turns, and everything that computes them."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        count = int(BYTES / (3 * D * NEURONS * dtype.itemsize)) + 1
        generator = torch.Generator().manual_seed(0)

        def random(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator).mul_(shape[1] ** -0.5).to(dtype)

        self.plain = [(random(NEURONS, D), random(NEURONS, D), random(D, NEURONS)) for _ in range(count)]
        self.packed = [pack_ffn(*weights, BLOCK) for weights in self.plain]
        self.size = sum(weight.numel() * weight.element_size() for weight in self.plain[0])
        self.turns = {name: itertools.cycle(range(count)) for name in ("ours", "dense", "linear", "onednn", "read")}
        self.generator = generator
        self.prepacked: list[tuple[Tensor, ...]] = []

    def masks(self, rows: int, live: float) -> Iterator[Tensor]:
        """Masks with just that share of active blocks in each row, again and again."""
        count = max(1, round(live * BLOCKS))
        found = []
        for _ in range(7):
            places = torch.rand(rows, BLOCKS, generator=self.generator).argsort(1)[:, :count]
            found.append(torch.zeros(rows, BLOCKS, dtype=torch.bool).scatter_(1, places, True))
        return itertools.cycle(found)

    def ours(self, x: Tensor, masks: Iterator[Tensor], name: str = "ours") -> Tensor:
        """Active blocks alone."""
        return sparse_ffn(x, *self.packed[next(self.turns[name])], next(masks))

    def linear(self, x: Tensor) -> Tensor:
        """What a model has."""
        gate, up, down = self.plain[next(self.turns["linear"])]
        return F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)

    def onednn(self, x: Tensor) -> Tensor:
        """The same over weights in oneDNN's own layout, as torch.compile's freezing has it."""
        gate, up, down = self.prepacked[next(self.turns["onednn"])]

        def product(x: Tensor, weight: Tensor) -> Tensor:
            found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
            return found

        return product(F.silu(product(x, gate)) * product(x, up), down)

    def prepack(self, rows: int) -> bool:
        """Whether oneDNN takes such weights on this processor."""
        try:
            self.prepacked = [
                tuple(torch.ops.mkldnn._reorder_linear_weight(weight, rows) for weight in weights)
                for weights in self.plain
            ]
        except RuntimeError:
            return False
        return True

    def read(self, share: float) -> Tensor:
        """One pass over as many bytes."""
        weights = [weight.view(-1).view(torch.float32) for weight in self.plain[next(self.turns["read"])]]
        return torch.stack([weight[: int(share * len(weight))].sum() for weight in weights]).sum()

    def check(self, rows: int) -> None:
        """The tests' reference, on one layer."""
        x, mask = torch.randn(rows, D).to(self.dtype), next(self.masks(rows, 0.5))
        found = sparse_ffn(x, *self.packed[0], mask)
        expected = sparse_ffn(x, *self.packed[0], mask, backend="reference")
        tolerance = 2 * torch.finfo(self.dtype).eps + 1e-5
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


@pytest.fixture(scope="module", params=DTYPES)
def layers(request):
    return request.param, Layers(DTYPES[request.param])


def measure(benchmark, layers, rows: int, live: float, threads: int = 1) -> None:
    name, network = layers
    x = torch.randn(rows, D).to(network.dtype)
    masks, all_ = network.masks(rows, live), network.masks(rows, 1.0)
    union = 1 - (1 - live) ** rows  # of independent masks
    others: dict[str, Callable[[], object]] = {
        "dense, ours": lambda: network.ours(x, all_, "dense"),
        "one pass": lambda: network.read(union),
        "F.linear": lambda: network.linear(x),
    }
    if network.prepack(rows):
        others["dense, oneDNN"] = lambda: network.onednn(x)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            compare(
                benchmark,
                lambda: network.ours(x, masks),
                others,
                check=lambda: network.check(rows),
                rounds=ROUNDS,
                warmup=3,
                timer=time.thread_time if threads == 1 else time.perf_counter,
                floor="one pass",
                moved=round(union * network.size),
                where={"operation": "sparse_ffn", "dtype": name, "threads": threads, "rows": rows, "live": live},
            )
    finally:
        torch.set_num_threads(before)


@pytest.mark.benchmark(timer=time.thread_time)
@pytest.mark.parametrize("live", SHARES)
def test_one_token(benchmark, layers, live):
    measure(benchmark, layers, 1, live)


@pytest.mark.benchmark(timer=time.thread_time)
@pytest.mark.parametrize("live", [0.5, 0.2])
@pytest.mark.parametrize("rows", [2, 4, 8])
def test_several_tokens(benchmark, layers, rows, live):
    """Each with a mask of its own: what is read is the union."""
    measure(benchmark, layers, rows, live)


@pytest.mark.parametrize("live", SHARES)
def test_one_token_on_two_threads(benchmark, layers, live):
    measure(benchmark, layers, 1, live, threads=2)
