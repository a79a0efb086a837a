"""Runs a backbone as it was given, to know what any cut of it must give."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lomt.models.taps import watched
from lomt.tracing.copying import shadow
from lomt.tracing.once import computing


@dataclass(frozen=True)
class Observation:
    """What a plain forward pass gave at some taps.

    Attributes:
        image: what it was given.
        training: the mode.
        features: output of each tap's last call, as it was when the tap returned it.
        calls: how often each tap was called.
        overwritten: taps whose output was changed in place later on.
        buffers: of the whole backbone, when the last tap had been reached.
    """

    image: Tensor
    training: bool
    features: dict[str, Tensor]
    calls: Counter[str]
    overwritten: frozenset[str]
    buffers: dict[str, Tensor]


def noise(image: Tensor, count: int, height: int, width: int) -> Tensor:
    """Random images with the example's channels, type and device, always the same."""
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, image.shape[1], height, width, generator=generator).to(image)


def small_probes(image: Tensor) -> tuple[Tensor, Tensor]:
    """Small images of two sizes, batch sizes and aspects."""
    return noise(image, 2, 32, 32), noise(image, 1, 32, 48)


def probes(image: Tensor) -> list[Tensor]:
    """Images of the example's size and of another size, batch size and aspect."""
    height, width = image.shape[-2:]
    return [noise(image, 2, height, width), noise(image, 3, height + 64, width + 32)]


def more_probes(image: Tensor) -> list[Tensor]:
    """Further images, bright, dark and the example itself, to see more of a backbone that decides by its data."""
    first = noise(image, 2, *image.shape[-2:])
    return [image[:2], first + 2, first - 2, first * 0]


def observe(backbone: nn.Module, names: Sequence[str], image: Tensor, *, training: bool) -> Observation | None:
    """Run the plain backbone on one batch; ``None`` if it fails before every tap has given something."""
    plain = shadow(backbone)
    outputs: dict[str, tuple[Tensor, int, Tensor]] = {}
    calls: Counter[str] = Counter()
    buffers: dict[str, Tensor] = {}

    def note(name: str, output: Any) -> None:
        if name in names and isinstance(output, Tensor):
            outputs[name] = (output, output._version, output.clone())
            calls[name] += 1
            buffers.update({key: buffer.clone() for key, buffer in plain.named_buffers()})

    with watched(plain, note):
        attempt(plain, image, training=training)
    if len(outputs) < len(set(names)):
        return None
    overwritten = frozenset(name for name, (output, version, _) in outputs.items() if output._version != version)
    features = {name: clone for name, (_, _, clone) in outputs.items()}
    return Observation(image, training, features, calls, overwritten, buffers)


def attempt(module: Callable[[Tensor], Any], image: Tensor, *, training: bool) -> Any:
    """Run a module with fixed randomness; what it returns, or ``None`` if it fails."""
    if isinstance(module, nn.Module):
        module.train(training)
    devices = [image.device] if image.is_cuda else []
    with torch.random.fork_rng(devices), computing():
        torch.manual_seed(0)
        try:
            return module(image)
        except Exception:  # noqa: BLE001 - foreign code may fail in any way; the caller draws the conclusion
            return None


def observe_all(backbone: nn.Module, names: Sequence[str], images: Sequence[Tensor]) -> list[Observation]:
    """Run the plain backbone over every batch in eval and in train mode, where it can."""
    tries = [observe(backbone, names, image, training=training) for image in images for training in (False, True)]
    return [seen for seen in tries if seen is not None]


def agrees(cut: nn.Module, observations: Sequence[Observation]) -> bool:
    """Whether a cut backbone gives exactly the features and leaves exactly the buffers that the plain one did."""
    for seen in observations:
        tried = shadow(cut)
        features = attempt(tried, seen.image, training=seen.training)
        if features is None or not all(_same(features[name], wanted) for name, wanted in seen.features.items()):
            return False
        if not all(_same(buffer, seen.buffers[name]) for name, buffer in tried.named_buffers()):
            return False
    return True


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(), b.nan_to_num())
