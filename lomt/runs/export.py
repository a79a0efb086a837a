"""Saved networks as ONNX files: what is behind ``lomt export``."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from lomt.data import Source
from lomt.export import OnnxExport, Quantized, from_pretrained, int8, names_of, onnx
from lomt.export.fitting import must_fit
from lomt.export.saved import saved
from lomt.files import ready


def export(
    paths: Sequence[str | Path], out: str | Path, source: Source | None = None, overwrite: bool = False
) -> Iterator[OnnxExport | Quantized]:
    """Write each network as ONNX, its normalization inside, and check it in ONNX Runtime.

    Args:
        paths: runs, which stand for all that they have exported, and folders of ``save_pretrained``.
        out: a folder; a network's file has the network's name.
        source: data for 8-bit files beside: its training split to calibrate on, its validation split to measure what
            each task loses; none writes no 8-bit files.
        overwrite: whether files of those names may be replaced.

    Yields:
        What became of each file, as it is written.

    Raises:
        RunFolderError: a run that has exported nothing.
        FileExistsError: a file of one of the names is there already; nothing is written then.
        NotWrittenError: ``out`` can't be written to.
        FileNotFoundError: a path leads nowhere.
        ValueError: a network does not say for images of which shape it is.
    """
    places = names_of(saved(paths))
    files = {name: Path(out) / f"{name.replace('/', '-')}.onnx" for name in places}
    for file in files.values():
        for one in (file, _eight_bits(file)) if source is not None else (file,):
            if one.exists() and not overwrite:
                raise FileExistsError(
                    f"{one} exists already: choose another folder with --out, or overwrite it (--overwrite)"
                )
    ready(Path(out))
    for name, place in places.items():
        network: Any = from_pretrained(place)
        shape = next(iter(network.shapes), None)
        if shape is None:
            raise ValueError(f"{place} does not say for images of which shape it is: save it with an example")
        must_fit(network, torch.zeros(shape), str(place))
        file = files[name]
        yield onnx(network, file, torch.zeros(shape), network.normalization, delta_m=network.delta_m)
        if source is not None:
            yield int8(file, _eight_bits(file), source.train_dataloader(), source.val_dataloader())


def _eight_bits(file: Path) -> Path:
    return file.with_name(f"{file.stem}-int8.onnx")
