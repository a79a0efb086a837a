"""Whether an ONNX file computes what the network does, told by ONNX Runtime."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from lomt.evaluation.backends import onnx_session

TOLERANCE = 1e-3
"""Largest error, relative to an output's largest value, with which a file passes."""


@dataclass(frozen=True)
class OnnxExport:
    """What became of an export.

    Attributes:
        path: the file.
        inputs: name → shape, with names where a dimension is free.
        outputs: names, in the order of the network's dict.
        errors: output → largest difference from the network on the images it was checked with, over the largest
            value.
        sizes: shapes of the inputs it was checked with.
    """

    path: Path
    inputs: dict[str, tuple[int | str, ...]]
    outputs: tuple[str, ...]
    errors: dict[str, float]
    sizes: tuple[tuple[int, ...], ...]

    def __str__(self) -> str:
        worst = ", ".join(f"{name} {error:.1e}" for name, error in self.errors.items())
        shapes = ", ".join(f"{name} {'×'.join(map(str, shape))}" for name, shape in self.inputs.items())
        return f"{self.path}: {shapes}; relative error against ONNX Runtime: {worst}"


def check(
    path: Path, reference: fx.GraphModule, arguments: tuple[Any, ...], names: tuple[str, ...], images: list[Tensor]
) -> OnnxExport:
    """Run file and network on random inputs, on the example, where sizes are free on another size, and on images.

    Args:
        path: of the file.
        reference: the network.
        arguments: the example.
        names: of the outputs.
        images: real inputs, ``(C, H, W)`` or ``(N, C, H, W)``.

    Raises:
        ValueError: the file can't run one of ``images``.
        RuntimeError: an output differs by more than :data:`TOLERANCE`.
    """
    session = onnx_session(path)
    shapes = {node.name: tuple(node.shape) for node in session.get_inputs()}
    trials = [tuple(torch.randn_like(a) for a in arguments), tuple(arguments)]
    trials += [_resized(arguments, tuple(shapes.values()))] if len(arguments) == 1 else []
    trials += [_real(image, *shapes.values()) for image in images]
    errors = dict.fromkeys(names, 0.0)
    for trial in trials:
        with torch.no_grad():
            wanted = _flat(reference(*trial))
        found = session.run(None, {name: value.numpy() for name, value in zip(shapes, trial, strict=True)})
        for name, a, b in zip(names, wanted, found, strict=True):
            error = float(np.abs(a.numpy() - b).max() / max(float(a.abs().max()), 1e-6))
            errors[name] = max(errors[name], error)
    worst = max(errors, key=errors.__getitem__)
    if not errors[worst] < TOLERANCE:
        raise RuntimeError(f"{path} differs from the network by {errors[worst]:.2g} relative in {worst!r}")
    return OnnxExport(path, shapes, names, errors, tuple(tuple(trial[0].shape) for trial in trials))


def _real(image: Tensor, shape: tuple[int | str, ...]) -> tuple[Tensor]:
    """An image as the file takes it.

    Raises:
        ValueError: it can't.
    """
    image = image if image.dim() == len(shape) else image[None]
    if any(isinstance(size, int) and size != found for size, found in zip(shape, image.shape, strict=True)):
        wanted = " × ".join(map(str, shape))
        raise ValueError(f"an image of shape {tuple(image.shape)} to check with: the file takes {wanted}; resize it")
    return (image,)


def _resized(arguments: tuple[Any, ...], shapes: tuple[tuple[int | str, ...], ...]) -> tuple[Tensor, ...]:
    """Random inputs of another size wherever a dimension is free."""
    changed = []
    for value, shape in zip(arguments, shapes, strict=True):
        sizes = list(value.shape)
        for dim, size in enumerate(shape):
            if isinstance(size, str):
                sizes[dim] = sizes[dim] + 1 if dim == 0 else sizes[dim] + 32
        changed.append(torch.randn(sizes, dtype=value.dtype))
    return tuple(changed)


def _flat(value: Any) -> list[Tensor]:
    return list(value.values()) if isinstance(value, dict) else [value] if isinstance(value, Tensor) else list(value)
