"""What models cost to run, measured side by side in one process, turn by turn."""

import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from lomt.evaluation.backends import BACKENDS, Contender, NotMadeFor, Prepared
from lomt.evaluation.cost import cost
from lomt.evaluation.environment import environment
from lomt.evaluation.latency import using_threads
from lomt.evaluation.memory import peak_growth
from lomt.evaluation.timing import interleaved

ENOUGH_FOR_P95 = 20
"""Of fewer passes the 95th percentile is next to the slowest one, and says nothing."""


@dataclass(frozen=True)
class Timing:
    """Time of one pass over a batch, in milliseconds.

    Attributes:
        model: name.
        backend: how it was run.
        batch: images a pass.
        threads: of the backend.
        median: half of the passes took less.
        p95: 19 of 20 passes took less; None of fewer than 20.
        repeats: how many passes were timed.
    """

    model: str
    backend: str
    batch: int
    threads: int
    median: float
    p95: float | None
    repeats: int


@dataclass(frozen=True)
class Memory:
    """Memory of one pass over a batch with one thread, in bytes.

    Attributes:
        model: name.
        backend: how it was run.
        batch: images a pass.
        weights: parameters and buffers, or the file's size.
        growth: by how much the process grew at its highest during the first pass; None where that is unknown.
    """

    model: str
    backend: str
    batch: int
    weights: int
    growth: int | None

    @property
    def peak(self) -> int | None:
        """Both together."""
        return None if self.growth is None else self.weights + self.growth


@dataclass(frozen=True)
class Size:
    """A model's own figures.

    Attributes:
        parameters: how many; None where unknown.
        macs: multiply-accumulates of one image; None where unknown.
        delta_m: Δm in percent; None where unknown.
    """

    parameters: int | None
    macs: int | None
    delta_m: float | None


@dataclass(frozen=True)
class Bench:
    """Everything that was measured.

    Attributes:
        models: by name.
        shape: of one image, ``(C, H, W)``.
        timings: one a model, backend, batch and number of threads.
        memory: one a model, backend and batch.
        failures: ``model, backend`` → why it could not be run.
        machine: processor, versions, date.
    """

    models: Mapping[str, Size]
    shape: tuple[int, ...]
    timings: Sequence[Timing]
    memory: Sequence[Memory]
    failures: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Everything in JSON's types."""
        return asdict(self) | {"shape": list(self.shape)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Bench":
        """What :meth:`to_dict` gave, again."""
        return cls(
            {name: Size(**size) for name, size in stored["models"].items()},
            tuple(stored["shape"]),
            [Timing(**timing) for timing in stored["timings"]],
            [Memory(**memory) for memory in stored["memory"]],
            stored["failures"],
            stored["machine"],
        )


def bench(
    models: Mapping[str, Contender],
    example: Tensor,
    *,
    backends: Sequence[str] = tuple(BACKENDS),
    batches: Sequence[int] = (1, 8),
    threads: Sequence[int] = (1, 2),
    repeats: int = 50,
    warmup: int = 3,
    seconds: float = 10.0,
    progress: bool | None = None,
) -> Bench:
    """Count, weigh and time models: in every round each of them runs once in each of the ways.

    So a busy neighbour slows all alike, and ratios hold where times do not. Memory comes first, when nothing has run.

    Args:
        models: by the names that tables and plots are to show; :func:`lomt.export.contenders` makes them of files.
        example: an image ``(N, C, H, W)``; batches repeat its first sample.
        backends: names of :data:`lomt.evaluation.backends.BACKENDS`; a model that does not exist in the form that
            one runs is left out there.
        batches: images a pass.
        threads: numbers of threads.
        repeats: timed rounds.
        warmup: rounds before, 1 or more.
        seconds: about as long as one model may take in all rounds of one batch and number of threads; slower ones are
            timed less often, but 5 times (bfloat16 is slow where the processor has no instructions for it).
        progress: whether to show a bar; None shows it on a terminal.

    Raises:
        ValueError: no models, an unknown backend, or numbers that are not positive.
    """
    check_settings(backends, batches, threads, repeats, warmup)
    if not models:
        raise ValueError("no models to measure – give at least one")
    images = {batch: example[:1].repeat(batch, *[1] * (example.dim() - 1)).contiguous() for batch in batches}
    failures: dict[str, str] = {}
    sizes = {name: _size(model, example) for name, model in models.items()}
    steps = len(models) * len(backends) + len(threads) * len(batches)
    timings = []
    with tqdm(total=steps, unit="step", disable=None if progress is None else not progress) as bar:
        memory = list(_memory(models, backends, images, failures, bar))
        able = [(one.model, one.backend) for one in memory if one.batch == batches[0]]
        for count in threads:
            with using_threads(count):
                ready = {(name, backend): BACKENDS[backend](models[name], count) for name, backend in able}
                for batch, image in images.items():
                    bar.set_description(f"timing, batch {batch}, threads {count}")
                    passes = {key: prepared.begin(image) for key, prepared in ready.items()}
                    spent = interleaved(passes, repeats, warmup, seconds)
                    timings += [_timing(*key, batch, count, values) for key, values in spent.items()]
                    bar.update()
    return Bench(sizes, tuple(example.shape[1:]), timings, memory, failures, _machine())


def _machine() -> dict[str, Any]:
    """What a reader needs to judge the figures."""
    found: dict[str, Any] = environment() | {"instructions": torch.backends.cpu.get_cpu_capability()}
    found["load"] = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    found["onnxruntime"] = version("onnxruntime") if find_spec("onnxruntime") else None
    return found


def check_settings(
    backends: Sequence[str], batches: Sequence[int] = (1,), threads: Sequence[int] = (1,), *counts: int
) -> None:
    """Make sure that a bench can be run so, before anything is prepared for it.

    Raises:
        ValueError: an unknown backend, none at all, or a number that is not positive.
    """
    for name in backends:
        if name not in BACKENDS:
            raise ValueError(f"unknown backend {name!r}: there are {', '.join(BACKENDS)}")
    numbers = [*batches, *threads, *counts]
    if not (backends and batches and threads) or min(numbers) < 1:
        raise ValueError(
            f"backends {list(backends)}, batches {list(batches)}, threads {list(threads)}, repeats and warm-up "
            f"{counts}: give one of each at least, and use 1 or more"
        )


def _size(model: Contender, example: Tensor) -> Size:
    if model.network is None:
        return Size(model.parameters, model.macs, model.delta_m)
    counted = cost(model.network, example)
    return Size(counted.parameters, counted.macs, model.delta_m)


def _memory(
    models: Mapping[str, Contender],
    backends: Sequence[str],
    images: Mapping[int, Tensor],
    failures: dict[str, str],
    bar: tqdm,
) -> Iterator[Memory]:
    """One pass of everything with one thread, each in a fresh form; what can't be run goes to ``failures``."""
    with using_threads(1):
        for name, model in models.items():
            for backend in backends:
                bar.set_description(f"memory, {name}, {backend}")
                bar.update()
                try:
                    found = [_first_pass(name, backend, model, image) for image in images.values()]
                except NotMadeFor:
                    continue
                except Exception as error:  # noqa: BLE001 – of whatever library: the others are measured all the same
                    failures[f"{name}, {backend}"] = str(error).splitlines()[0] if str(error) else repr(error)
                else:
                    yield from found


def _first_pass(name: str, backend: str, model: Contender, image: Tensor) -> Memory:
    prepared: Prepared = BACKENDS[backend](model, 1)
    run = prepared.begin(image)

    def with_one_thread() -> None:
        with using_threads(1):  # a new thread begins with torch's default
            run()

    return Memory(name, backend, len(image), prepared.weights, peak_growth(with_one_thread))


def _timing(model: str, backend: str, batch: int, threads: int, seconds: list[float]) -> Timing:
    milliseconds = [1000 * value for value in seconds]
    p95 = None
    if len(milliseconds) >= ENOUGH_FOR_P95:
        p95 = statistics.quantiles(milliseconds, n=20, method="inclusive")[-1]
    return Timing(model, backend, batch, threads, statistics.median(milliseconds), p95, len(milliseconds))
