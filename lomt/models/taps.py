"""The places of a backbone where a decoder can be attached."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lomt.models.near import near


@dataclass(frozen=True)
class Tap:
    """A module whose output is a map that a decoder can read.

    Attributes:
        name: as in ``named_modules()``.
        channels: of the module's output.
        stride: image pixels a step of the output, rounded, at least 1 (the larger of both axes).
        shape: of the output in the dry run, ``(N, C, h, w)``.
    """

    name: str
    channels: int
    stride: int
    shape: tuple[int, int, int, int]


def taps(module: nn.Module, example: Tensor | None = None) -> list[Tap]:
    """List every submodule of a backbone whose output is a 4-D tensor, in order of completion.

    The module runs once, in eval mode and without gradients; its modes and buffers are as before afterwards.
    Containers are listed behind their parts. A module that is called several times counts where it ends last.

    Args:
        module: any module that maps images ``(N, C, H, W)``.
        example: images of a size that it accepts; by default one RGB image of 64×64.

    Raises:
        ValueError: if the module can't run the example.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        >>> [(tap.name, tap.channels, tap.stride) for tap in taps(net)]
        [('0', 8, 2), ('1', 8, 2)]
    """
    image = example_for(module, example)
    found: dict[str, Tap] = {}

    def note(name: str, output: Any) -> None:
        found.pop(name, None)
        if isinstance(output, Tensor) and output.dim() == 4:
            found[name] = _tap(name, output, image)

    with mode(module, training=False), watched(module, note):
        dry_run(module, image)
    return list(found.values())


def _tap(name: str, output: Tensor, image: Tensor) -> Tap:
    n, channels, height, width = output.shape
    stride = max(image.shape[-2] / max(height, 1), image.shape[-1] / max(width, 1))
    return Tap(name, channels, max(1, round(stride)), (n, channels, height, width))


def example_for(module: nn.Module, example: Tensor | None) -> Tensor:
    """The example, or one RGB image of 64×64, with the device and type of the module's first parameter.

    Raises:
        ValueError: if the example is no batch of images.
    """
    if example is not None and (example.dim() != 4 or 0 in example.shape or not example.is_floating_point()):
        shape = tuple(example.shape)
        raise ValueError(f"example of shape {shape}, {example.dtype}: give float images (N, channels, height, width)")
    image = torch.zeros(1, 3, 64, 64) if example is None else example.detach()
    like = next((p for p in module.parameters() if p.is_floating_point()), None)
    return image if like is None else image.to(like)


def dry_run(module: nn.Module, image: Tensor) -> None:
    """Run a module without gradients.

    Raises:
        ValueError: if it can't run images of this shape.
    """
    try:
        with torch.no_grad():
            module(image)
    except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
        shape = tuple(image.shape)
        raise ValueError(
            f"the backbone can't run an example of shape {shape}: {error}; pass a fitting example"
        ) from error


@contextmanager
def mode(module: nn.Module, *, training: bool) -> Iterator[None]:
    """Set a module's mode, and give every submodule its own back afterwards."""
    before = {part: part.training for part in module.modules()}
    module.train(training)
    try:
        yield
    finally:
        for part, was in before.items():
            part.training = was


@contextmanager
def watched(module: nn.Module, note: Any) -> Iterator[None]:
    """Call ``note(name, output)`` whenever a submodule (not the module itself) has run."""
    handles = [
        part.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name, part in module.named_modules()
        if name
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def find(module: nn.Module, name: str, candidates: Mapping[str, Tap]) -> Tap:
    """The tap of this name; a module that goes by several names is found by each of them.

    Raises:
        ValueError: if there is no such module, or its output is no map.
    """
    parts = dict(module.named_modules(remove_duplicate=False))
    if not name or name not in parts:
        children = [child for child, _ in module.named_children()]
        known = f"{children[0]} … {children[-1]}" if len(children) > 2 else " and ".join(children) or "no parts"
        known = f"the backbone has {known}; see lomt.taps(backbone, example)"
        raise ValueError(f"unknown tap {name!r} – {known}{near(name, parts)}")
    first = next(canonical for canonical, part in module.named_modules() if part is parts[name])
    if first not in candidates:
        raise ValueError(
            f"tap {name!r} ({type(parts[name]).__name__}) gives no map (N, C, h, w) in a forward pass; "
            f"choose one of lomt.taps(backbone, example)"
        )
    return candidates[first]
