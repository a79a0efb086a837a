"""Saved networks as ONNX files: what is behind ``lomt export``."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from lomt.data import Source
from lomt.export import OnnxExport, Quantized, from_pretrained, int8, names_of, onnx
from lomt.export.fitting import must_fit
from lomt.export.saved import saved


def export(
    paths: Sequence[str | Path], out: str | Path, source: Source | None = None
) -> Iterator[OnnxExport | Quantized]:
    """Write each network as ONNX, its normalization inside, and check it in ONNX Runtime.

    Args:
        paths: runs, which stand for all that they have exported, and folders of ``save_pretrained``.
        out: a folder; a network's file has the network's name, and what is there under that name is replaced.
        source: data for 8-bit files beside: its training split to calibrate on, its validation split to measure what
            each task loses; none writes no 8-bit files.

    Yields:
        What became of each file, as it is written.

    Raises:
        RunFolderError: a run that has exported nothing.
        FileNotFoundError: a path leads nowhere.
        ValueError: a network does not say for images of which shape it is.
    """
    for name, place in names_of(saved(paths)).items():
        network: Any = from_pretrained(place)
        shape = next(iter(network.shapes), None)
        if shape is None:
            raise ValueError(f"{place} does not say for images of which shape it is: save it with an example")
        must_fit(network, torch.zeros(shape), str(place))
        file = Path(out) / f"{name.replace('/', '-')}.onnx"
        yield onnx(network, file, torch.zeros(shape), network.normalization, delta_m=network.delta_m)
        if source is not None:
            eight = file.with_name(f"{file.stem}-int8.onnx")
            yield int8(file, eight, source.train_dataloader(), source.val_dataloader())
