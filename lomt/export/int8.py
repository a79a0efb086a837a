"""8-bit ONNX files, and what that costs each task."""

import itertools
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor

from lomt.evaluation import Results, evaluate, per_task
from lomt.evaluation.formatting import number
from lomt.export.runtime import METADATA, OnnxModel
from lomt.files import beside
from lomt.tasks import Task

Batches = Iterable[Mapping[str, Tensor]]


@dataclass(frozen=True)
class Quantized:
    """What became of a file.

    Attributes:
        path: the 8-bit file.
        sizes: bytes before and after.
        images: how many it was calibrated on.
        before: metrics of the file that it was made of; None where no data was given to measure on.
        after: its own.
        gains: task → mean relative gain of its headline metrics over the file before, in percent; below 0 is a loss;
            None where a metric was 0 or undefined before.
    """

    path: Path
    sizes: tuple[int, int]
    images: int
    before: Results | None = None
    after: Results | None = None
    gains: Mapping[str, float | None] | None = None

    def __str__(self) -> str:
        old, new = (number(size / 1e6) for size in self.sizes)
        said = f"{self.path}: {old} → {new} MB, calibrated on {self.images} images"
        if self.gains is None:
            return f"{said}; what it costs was not measured"
        changes = ", ".join(
            f"{task} can't be told" if gain is None else f"{task} {number(gain, 2, signed=True)} %"
            for task, gain in self.gains.items()
        )
        return f"{said}; quality against the file before: {changes}"


def int8(
    source: str | Path,
    path: str | Path,
    calibration: Batches,
    evaluation: Batches | None = None,
    *,
    samples: int = 200,
    reduce_range: bool = True,
    keep: Sequence[str] = (),
    delta_m: float | None = None,
) -> Quantized:
    """Quantize weights and activations of an ONNX file, and measure what each task loses.

    Weights have a scale for each channel, activations one range each, which is the widest that the calibration saw.
    The layers that give the outputs stay in float32: they cost little, and everything that is lost there is lost.

    Args:
        source: a file that :func:`lomt.export.onnx` wrote.
        path: of the new file; one that is there is replaced.
        calibration: batches with ``"image"``, as a source's train loader gives them: not the data to be tested on.
        evaluation: batches with labels, as a source's validation or test loader gives them; both files are measured.
        samples: images to calibrate on; as many as there are, where there are fewer.
        reduce_range: weights of 7 bits: sums of products of 8 bits overflow on processors without VNNI.
        keep: names of further operations of the file that stay in float32.
        delta_m: what the 8-bit file is worth, for its metadata, if you know it; it is not that of the file before.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no images, or ``evaluation`` for a file that does not say its tasks.
    """
    source, path = Path(source), Path(path)
    before = OnnxModel(source)
    tasks: list[Task] = list(before.tasks)
    if evaluation is not None and not tasks:
        raise ValueError(f"{source} does not say its tasks: export a lomt.Network, or leave evaluation out")
    images = _Images(before, calibration, samples)
    with beside(path) as folder, _quiet():
        prepared, made = folder / "prepared.onnx", folder / path.name
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            made,
            images,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=reduce_range,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[*_last_layers(onnx.load(prepared)), *keep],
        )
        _copy_metadata(source, made, delta_m)
        made.replace(path)
    sizes = (source.stat().st_size, path.stat().st_size)
    if evaluation is None:
        return Quantized(path, sizes, images.count)
    was, is_ = (evaluate(model, evaluation, tasks) for model in (before, OnnxModel(path)))
    gains = {task.name: _gain(is_, was, task) for task in tasks if task.name in was}
    return Quantized(path, sizes, images.count, was, is_, gains)


def _gain(after: Results, before: Results, task: Task) -> float | None:
    try:
        return per_task(after, before, [task])[task.name]
    except ValueError:  # a metric that was 0 or undefined before: nothing is relative to that
        return None


class _Images(CalibrationDataReader):
    """Images one by one, as the file takes them."""

    def __init__(self, model: OnnxModel, batches: Batches, samples: int) -> None:
        found = itertools.islice((image for batch in batches for image in batch["image"]), samples)
        self.arrays = [{model.input: model.fed(image[None])} for image in found]
        self.count = len(self.arrays)
        if not self.count:
            raise ValueError("no images to calibrate on: give batches with 'image', and samples of 1 or more")
        self._left = iter(self.arrays)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._left, None)

    def rewind(self) -> None:
        self._left = iter(self.arrays)


def _last_layers(model: Any) -> list[str]:
    """The convolutions and matrix products behind which, on the way to an output, no other one comes."""
    makers = {name: node for node in model.graph.node for name in node.output}
    found: dict[str, None] = {}
    left, seen = [output.name for output in model.graph.output], set()
    while left:
        node = makers.get(left.pop())
        if node is None or node.name in seen:
            continue
        seen.add(node.name)
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            found[node.name] = None
        else:
            left += node.input
    return list(found)


def _copy_metadata(source: Path, path: Path, delta_m: float | None) -> None:
    """What the file says of itself, which quantization forgets; but its worth is its own."""
    said, model = onnx.load(source, load_external_data=False).metadata_props, onnx.load(path)
    del model.metadata_props[:]
    model.metadata_props.extend(said)
    for entry in model.metadata_props:
        if entry.key == METADATA:
            entry.value = json.dumps(json.loads(entry.value) | {"delta_m": delta_m})
    onnx.save(model, path)


@contextmanager
def _quiet() -> Iterator[None]:
    """No advice of the quantizer's on what was done already."""
    log = logging.getLogger()
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
