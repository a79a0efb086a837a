"""ONNX files, checked against the network that they were made of."""

import json
import logging
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lomt.compaction import Compacted, OtherSizesError
from lomt.evaluation import cost
from lomt.export.checking import OnnxExport, check
from lomt.export.facts import VERSION, Facts, Normalization
from lomt.export.fitting import must_fit
from lomt.export.lowering import lowered
from lomt.export.outputs import tensors
from lomt.export.programs import graph_of, programs
from lomt.export.runtime import METADATA
from lomt.export.serializing import save
from lomt.files import beside
from lomt.tracing.once import computing, sharing
from lomt.tracing.trace import Example, example_arguments

OPSET = 18


def onnx(
    module: nn.Module,
    path: str | Path,
    example: Example,
    normalization: Normalization | None = None,
    images: Iterable[Tensor] = (),
    delta_m: float | None = None,
) -> OnnxExport:
    """Write an ONNX file, and check it against the network in ONNX Runtime.

    The file's metadata hold what the network says of itself (:class:`lomt.export.facts.Facts`), so that
    :class:`lomt.export.OnnxModel`, ``lomt predict`` and ``lomt bench`` need nothing else.

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
    with sharing():
        must_fit(module, example)
        graph = graph_of(module, example, normalization)
        arguments = example_arguments(example)
        outputs: Any = graph.graph.output_node().args[0]
        names = tuple(name for name, _ in tensors(outputs))
        inputs = [str(node.target) for node in graph.graph.nodes if node.op == "placeholder"]
        inputs = ["image"] if len(inputs) == 1 else inputs
        said = _metadata(module, graph, arguments, normalization, delta_m)
        with beside(path) as folder:
            written = folder / path.name
            for dims, exported in programs(graph, arguments, for_onnx=True):
                try:
                    _write(exported, written, inputs, names, said)
                    made = check(written, graph, arguments, names, list(images))
                    break
                except (ValueError, OSError):
                    raise
                except Exception as error:
                    if not dims:
                        said_by = str(error).splitlines()[0].replace(str(written), str(path))
                        raise RuntimeError(f"{path} can't be written: {said_by}") from error
            for file in folder.iterdir():  # weights of 2 GB and more stand in a file of their own
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
    macs = None
    if len(arguments) == 1:
        # A network for one batch size has no cost of one image.
        with suppress(OtherSizesError), computing(counted=True):
            macs = cost(graph, arguments[0]).macs
    return {
        "format": 1,
        "lomt": VERSION,
        **facts.to_dict(),
        "normalization_inside": normalization is not None,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "macs": macs,
    }


def _write(exported: Any, path: Path, inputs: list[str], outputs: tuple[str, ...], said: dict[str, Any]) -> None:
    with _quiet():
        made = torch.onnx.export(
            lowered(exported),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=inputs,
            output_names=list(outputs),
        )
    assert made is not None
    made.model.metadata_props[METADATA] = json.dumps(said)
    _name_sizes(made.model.graph)
    save(made, path)


def _name_sizes(graph: Any) -> None:
    """Call free sizes of the images batch, height and width, not by the exporter's symbols.

    A size that is not known has no name: two of the same name would have to be equal.
    """
    names = {}
    for given in graph.inputs:
        pairs = zip(given.shape, ("batch", "channels", "height", "width"), strict=False)
        names.update({str(size.value): word for size, word in pairs if not isinstance(size, int) and size.value})
    symbols = re.compile("|".join(rf"\b{re.escape(symbol)}\b" for symbol in names) or r"(?!)")
    for value in [*graph.inputs, *graph.outputs, *(output for node in graph for output in node.outputs)]:
        if value.shape is not None:
            value.shape = type(value.shape)(
                size
                if isinstance(size, int) or size.value is None
                else symbols.sub(lambda found: names[found[0]], str(size.value))
                for size in value.shape
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """No word of every optional library that the exporter does not find."""
    logs = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnx_ir", "onnxscript")]
    before = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, before, strict=True):
            log.setLevel(level)
