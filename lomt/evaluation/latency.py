"""How long a network takes for one image."""

import statistics
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from lomt.evaluation.timing import interleaved
from lomt.modes import evaluating


@dataclass(frozen=True)
class Latency:
    """Time of one forward pass at batch 1, in milliseconds.

    Attributes:
        median: half of the passes took less.
        low: first quartile.
        high: third quartile.
        repeats: how many passes were timed.
        threads: how many threads PyTorch computed with.
        device: where, as PyTorch calls it.
    """

    median: float
    low: float
    high: float
    repeats: int
    threads: int
    device: str


def latency(
    networks: Mapping[str, nn.Module],
    example: Tensor,
    *,
    repeats: int = 50,
    warmup: int = 5,
    threads: int = 1,
) -> dict[str, Latency]:
    """Time several networks turn by turn, so that a busy neighbour slows all of them alike.

    In every round each network runs once; the network that begins changes from round to round.

    Args:
        networks: name → module, on the device of ``example``; evaluation mode meanwhile, as before afterwards.
        example: an input ``(N, …)``; its first sample is used.
        repeats: timed rounds, 2 or more.
        warmup: rounds before, which are not timed.
        threads: PyTorch's threads meanwhile; the former number is restored.

    Raises:
        ValueError: no networks, fewer than 2 repeats, a negative warm-up, or no thread.
    """
    if not networks:
        raise ValueError("no networks to time – give at least one")
    if repeats < 2 or warmup < 0 or threads < 1:
        raise ValueError(
            f"repeats {repeats}, warmup {warmup}, threads {threads}: use at least 2 repeats, 0 warm-up "
            f"rounds and 1 thread"
        )
    image = example[:1]
    with ExitStack() as stack:
        stack.enter_context(using_threads(threads))
        stack.enter_context(torch.inference_mode())
        for network in networks.values():
            stack.enter_context(evaluating(network))
        passes = {name: partial(forward, network, image) for name, network in networks.items()}
        seconds = interleaved(passes, repeats, warmup)
    return {name: _summary(values, threads, str(image.device)) for name, values in seconds.items()}


def forward(network: nn.Module, image: Tensor) -> None:
    """A pass that is over when this returns: accelerators compute while Python goes on, and a clock must wait."""
    network(image)
    if image.device.type != "cpu":
        torch.accelerator.synchronize(image.device)


def _summary(seconds: list[float], threads: int, device: str) -> Latency:
    low, median, high = (1000 * cut for cut in statistics.quantiles(seconds, n=4, method="inclusive"))
    return Latency(median, low, high, len(seconds), threads, device)


@contextmanager
def using_threads(count: int) -> Iterator[None]:
    """PyTorch computes with so many threads meanwhile; the former number is restored."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
