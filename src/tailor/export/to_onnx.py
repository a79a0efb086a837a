"""ONNX and torch.export programs, checked against the network that they were made of."""

import copy
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from tailor.compaction import Compacted
from tailor.compaction.inplace import remove_dead_code
from tailor.compaction.shrink import as_graph
from tailor.compaction.trace import Example, example_arguments
from tailor.compaction.tracer import expect

Normalization = tuple[Sequence[float], Sequence[float]]
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
    arguments = example_arguments(example)
    arguments = tuple(_several(value) for value in arguments)
    graph = _plain(module, example, normalization)
    free = torch.export.Dim.AUTO
    reasons = []
    for dims in ((0, 2, 3), (0,), ()):
        shapes = tuple({d: free for d in dims if isinstance(v, Tensor) and d < v.dim()} for v in arguments)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return torch.export.export(graph, arguments, dynamic_shapes=shapes, strict=False)
        except Exception as error:  # noqa: BLE001 - the exporter raises whatever it meets; a narrower try follows
            reasons.append(str(error).splitlines()[0])
    raise RuntimeError(f"torch.export can't export {type(module).__name__}: {reasons[-1]}")


def onnx(
    module: nn.Module,
    path: str | Path,
    example: Example,
    normalization: Normalization | None = None,
    images: Iterable[Tensor] = (),
) -> OnnxExport:
    """Write an ONNX file, and check it against the network in ONNX Runtime.

    Args:
        module: a network, compacted or not, or any traceable module; in eval mode from here on as a copy.
        path: of the file.
        example: an input ``(N, C, H, W)``, or a tuple of them.
        normalization: mean and standard deviation to put inside; the file's images then are RGB in [0, 1]. The
            example and ``images`` are taken as the file will get them.
        images: real inputs to check with, beside random ones of the example's size and, where sizes are free, others.

    Returns:
        The file's inputs, outputs and errors; ``print`` it.

    Raises:
        RuntimeError: the file does not agree with the network.
    """
    path = Path(path)
    exported = program(module, example, normalization)
    reference = _plain(module, example, normalization)
    arguments = example_arguments(example)
    names = _output_names(reference)
    inputs = [str(node.target) for node in reference.graph.nodes if node.op == "placeholder"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            exported, dynamo=True, verbose=False, opset_version=OPSET, input_names=inputs, output_names=list(names)
        )
        assert made is not None
        made.save(str(path))
    return _check(path, reference, arguments, names, list(images))


def _check(
    path: Path, reference: fx.GraphModule, arguments: tuple[Any, ...], names: tuple[str, ...], images: list[Tensor]
) -> OnnxExport:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    shapes = {node.name: tuple(node.shape) for node in session.get_inputs()}
    trials = [tuple(torch.randn_like(a) for a in arguments), tuple(arguments)]
    trials += [_resized(arguments, tuple(shapes.values()))] if len(arguments) == 1 else []
    trials += [(image if image.dim() == arguments[0].dim() else image[None],) for image in images]
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
        self.network = network
        mean, std = (torch.tensor(list(values)).view(1, -1, 1, 1) for values in normalization)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, image: Tensor) -> Any:
        return self.network((image - self.mean) / self.std)


def _plain(module: nn.Module, example: Example, normalization: Normalization | None) -> fx.GraphModule:
    """The network as a graph module in eval mode, without checks of sizes, which exporters can't follow."""
    inner = copy.deepcopy(module).eval()
    if normalization is not None:
        inner = _Normalized(inner, normalization).eval()
    graph = inner if isinstance(inner, Compacted) else as_graph(inner, example)
    for node in list(graph.graph.nodes):
        if node.target is expect:
            graph.graph.erase_node(node)
        elif node.op == "placeholder" and str(node.target).startswith("inputs"):
            node.target = node.name = str(node.target).replace("inputs_0", "image")
    remove_dead_code(graph.graph)
    return fx.GraphModule(graph, graph.graph).eval()


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
