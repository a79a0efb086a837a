"""ONNX and torch.export programs, checked against the network that they were made of."""

import copy
import json
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from tailor.compaction import Compacted
from tailor.compaction.inplace import remove_dead_code
from tailor.compaction.shrink import as_graph
from tailor.compaction.trace import Example, example_arguments
from tailor.compaction.tracer import OtherSizesError, expect
from tailor.evaluation import cost
from tailor.evaluation.backends import onnx_session
from tailor.export.facts import VERSION, Facts, Normalization
from tailor.export.fitting import must_fit
from tailor.export.runtime import METADATA

TOLERANCE = 1e-3
OPSET = 18


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


def program(module: nn.Module, example: Example, normalization: Normalization | None = None) -> Any:
    """A ``torch.export.ExportedProgram`` whose batch, height and width are free where the network allows it.

    Args:
        module: a network, compacted or not, or any traceable module.
        example: an input; at least 2 images, or they are repeated, since a batch of 1 may be taken for fixed.
        normalization: mean and standard deviation to put inside; images then are RGB in [0, 1].

    Raises:
        UntraceableError: as :func:`tailor.compact`.
        RuntimeError: torch.export gives up even for fixed sizes.
    """
    graph = _graph(module, example, normalization)
    must_fit(graph, example)
    for _, exported in _programs(graph, example_arguments(example)):
        return exported
    raise AssertionError("the last try raises")


def _programs(graph: Compacted, arguments: tuple[Any, ...]) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Free dimensions and program, from the freest on: a format that can't follow takes the next.

    Raises:
        RuntimeError: torch.export can't make even the last, of fixed sizes.
    """
    arguments = tuple(_several(value) for value in arguments)
    plain = _without_checks(graph)
    for dims in ((0, 2, 3), (0,), ()) if _sizes_are_free(graph, arguments) else ((0,), ()):
        shapes = tuple(
            {d: torch.export.Dim.AUTO for d in dims if d < v.dim()} if isinstance(v, Tensor) else None
            for v in arguments
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield dims, torch.export.export(plain, arguments, dynamic_shapes=shapes, strict=False)
        except Exception as error:
            if not dims:
                raise RuntimeError(f"torch.export can't follow the network: {str(error).splitlines()[0]}") from error


def onnx(
    module: nn.Module,
    path: str | Path,
    example: Example,
    normalization: Normalization | None = None,
    images: Iterable[Tensor] = (),
    delta_m: float | None = None,
) -> OnnxExport:
    """Write an ONNX file, and check it against the network in ONNX Runtime.

    The file's metadata hold what the network says of itself (:class:`tailor.export.facts.Facts`), so that
    :class:`tailor.export.OnnxModel`, ``tailor predict`` and ``tailor bench`` need nothing else.

    Args:
        module: a network, compacted or not, or any traceable module; in eval mode from here on as a copy.
        path: of the file; a file that is there is replaced, once the new one is checked.
        example: an input ``(N, C, H, W)``, which the file calls ``image``; or a tuple of them.
        normalization: mean and standard deviation to put inside; the file's images then are RGB in [0, 1]. The
            example and ``images`` are taken as the file will get them. Where None, the network's own is stated in
            the metadata, if it is known.
        images: real inputs to check with, beside random ones of the example's size and, where sizes are free, others.
        delta_m: what the network is worth, in percent, for the metadata.

    Returns:
        The file's inputs, outputs and errors; ``print`` it.

    Raises:
        ValueError: the network does not run on the example, or the file can't on one of ``images``.
        RuntimeError: the file does not agree with the network.
        IsADirectoryError: ``path`` is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the name of a file, such as {path / 'network.onnx'}")
    graph = _graph(module, example, normalization)
    must_fit(graph, example)
    arguments = example_arguments(example)
    reference = _without_checks(graph)
    names = _output_names(reference)
    inputs = [str(node.target) for node in reference.graph.nodes if node.op == "placeholder"]
    inputs = ["image"] if len(inputs) == 1 else inputs
    said = _metadata(module, graph, arguments, normalization, delta_m)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        written = Path(folder) / path.name
        for dims, exported in _programs(graph, arguments):
            try:
                _write(exported, written, inputs, names, said)
            except Exception as error:
                if not dims:
                    raise RuntimeError(f"{path} can't be written: {str(error).splitlines()[0]}") from error
            else:
                break
        made = _check(written, reference, arguments, names, list(images))
        for file in Path(folder).iterdir():  # weights of 2 GB and more stand in a file of their own
            file.replace(path.parent / file.name)
    return replace(made, path=path)


def _metadata(
    module: nn.Module,
    graph: Compacted,
    arguments: tuple[Any, ...],
    normalization: Normalization | None,
    delta_m: float | None,
) -> dict[str, Any]:
    shapes = [tuple(value.shape) for value in arguments if isinstance(value, Tensor)]
    facts = Facts.of(module, normalization=normalization, shapes=shapes, delta_m=delta_m)
    macs = cost(graph, arguments[0]).macs if len(arguments) == 1 else None
    return {
        "format": 1,
        "tailor": VERSION,
        **facts.to_dict(),
        "normalization_inside": normalization is not None,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "macs": macs,
    }


def _write(exported: Any, path: Path, inputs: list[str], outputs: tuple[str, ...], said: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            exported, dynamo=True, verbose=False, opset_version=OPSET, input_names=inputs, output_names=list(outputs)
        )
        assert made is not None
        made.model.metadata_props[METADATA] = json.dumps(said)
        made.save(str(path))


def _check(
    path: Path, reference: fx.GraphModule, arguments: tuple[Any, ...], names: tuple[str, ...], images: list[Tensor]
) -> OnnxExport:
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


class _Normalized(nn.Module):
    """Images as cameras give them, in [0, 1], to what the network was trained on."""

    def __init__(self, network: nn.Module, normalization: Normalization) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.network = network
        mean, std = (torch.tensor(list(values)).view(1, -1, 1, 1) for values in normalization)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, image: Tensor) -> Any:
        return self.network((image - self.mean) / self.std)


def _graph(module: nn.Module, example: Example, normalization: Normalization | None) -> Compacted:
    """The network as a graph of its own, in eval mode."""
    inner = copy.deepcopy(module).eval()
    if normalization is not None:
        inner = _Normalized(inner, normalization).eval()
    return inner if isinstance(inner, Compacted) else as_graph(inner, example)


def _sizes_are_free(graph: Compacted, arguments: tuple[Any, ...]) -> bool:
    """Whether larger maps, even and odd ones, take the same way through the network's code."""
    for more in (32, 33):
        larger = [
            a.new_zeros(*a.shape[:2], *(size + more for size in a.shape[2:])) if isinstance(a, Tensor) else a
            for a in arguments
        ]
        try:
            with torch.no_grad():
                graph(*larger)
        except OtherSizesError:
            return False
        except RuntimeError:
            if more == 32:
                return False
    return True


def _without_checks(graph: Compacted) -> fx.GraphModule:
    """A graph module without checks of sizes, which exporters can't follow."""
    operations = copy.deepcopy(graph.graph)
    for node in list(operations.nodes):
        if node.target is expect:
            operations.erase_node(node)
    remove_dead_code(operations)
    return fx.GraphModule(graph, operations).eval()


def _several(value: Any) -> Any:
    return value.repeat(2, *[1] * (value.dim() - 1)) if isinstance(value, Tensor) and len(value) == 1 else value


def _output_names(graph: fx.GraphModule) -> tuple[str, ...]:
    outputs: Any = graph.graph.output_node().args[0]
    if isinstance(outputs, dict):
        return tuple(outputs)
    if isinstance(outputs, list | tuple):
        return tuple(f"output{i}" for i in range(len(outputs)))
    return ("output",)


def _flat(value: Any) -> list[Tensor]:
    return list(value.values()) if isinstance(value, dict) else [value] if isinstance(value, Tensor) else list(value)
