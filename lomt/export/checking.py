"""Whether an ONNX file computes what the network does, told by ONNX Runtime."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lomt.compaction import Compacted
from lomt.compaction.agreement import relative_error
from lomt.evaluation.backends import onnx_session
from lomt.export.outputs import tensors, tolerance
from lomt.export.programs import resized
from lomt.tracing.once import computing


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
    path: Path, network: Compacted, arguments: tuple[Any, ...], names: tuple[str, ...], images: list[Tensor]
) -> OnnxExport:
    """Run file and network on the example, on random inputs, on another size where sizes are free, and on images.

    Args:
        path: of the file.
        network: what it was made of.
        arguments: the example.
        names: of the outputs.
        images: real inputs, ``(C, H, W)`` or ``(N, C, H, W)``.

    Raises:
        ValueError: the file can't run one of ``images``, or the network itself gives NaNs.
        RuntimeError: the file does not run, or an output differs by more than the tolerance.
    """
    # The file's graph is what is checked, not how weights are laid out for speed.
    session = onnx_session(path, pack=False)
    shapes = {node.name: tuple(node.shape) for node in session.get_inputs()}
    first = next(iter(shapes.values()))
    free = tuple(dim for dim, size in enumerate(first) if not isinstance(size, int))
    trials = [tuple(arguments), resized(arguments, free if len(arguments) == 1 else ())]
    trials += [(arguments[0][:1],)] if 0 in free and len(arguments) == 1 < len(arguments[0]) else []
    trials += [_real(image, first) for image in images]
    errors = dict.fromkeys(names, 0.0)
    for trial in trials:
        with computing():
            wanted = tensors(network(*trial))
        for (_, a), b, name in zip(wanted, _run(session, path, trial), names, strict=True):
            if bool(a.isnan().any()):
                raise ValueError(
                    f"the network gives NaNs in {name!r} for inputs of shape {tuple(trial[0].shape)}, so that no file "
                    "can be checked against it: look at its weights"
                )
            errors[name] = max(errors[name], relative_error(a, b, floor=1e-6))
    worst = max(errors, key=errors.__getitem__)
    if not errors[worst] < tolerance(network.graph):
        raise RuntimeError(f"{path} differs from the network by {errors[worst]:.2g} relative in {worst!r}")
    return OnnxExport(path, shapes, names, errors, tuple(tuple(trial[0].shape) for trial in trials))


def _run(session: Any, path: Path, inputs: tuple[Any, ...]) -> list[Tensor]:
    names = [node.name for node in session.get_inputs()]
    try:
        found = session.run(None, {name: value.numpy() for name, value in zip(names, inputs, strict=True)})
    except Exception as error:
        shapes = ", ".join(str(tuple(value.shape)) for value in inputs)
        raise RuntimeError(
            f"ONNX Runtime can't run {path} on inputs of shape {shapes}: {str(error).splitlines()[0]}"
        ) from error
    return [torch.from_numpy(value) for value in found]


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
