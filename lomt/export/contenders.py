"""Files and networks as contenders of a bench."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lomt.compaction import UntraceableError
from lomt.compaction.module import is_ours
from lomt.evaluation.backends import Contender
from lomt.export.fitting import must_fit
from lomt.export.pretrained import from_pretrained
from lomt.export.runtime import OnnxModel
from lomt.export.to_onnx import onnx

_LOG = logging.getLogger("lomt")


def open_model(path: str | Path) -> nn.Module:
    """A saved model: a folder that :func:`save_pretrained` wrote, a run, or an ONNX file.

    Raises:
        FileNotFoundError: there is neither.
        ValueError: it is damaged.
    """
    return OnnxModel(path) if Path(path).suffix == ".onnx" else from_pretrained(path)


def names_of(paths: Sequence[str | Path]) -> dict[str, Path]:
    """Short names for paths: their last part, or as many parts as tell them apart.

    Example:
        >>> list(names_of(["runs/a/net", "runs/b/net", "small.onnx"]))
        ['a/net', 'b/net', 'small.onnx']

    Raises:
        ValueError: a path is named twice.
    """
    found = [Path(path) for path in paths]
    if len({path.resolve() for path in found}) < len(found):
        raise ValueError(f"a model is named twice among {', '.join(map(str, found))}: name each once")
    parts = [path.resolve().parts for path in found]
    return {_short(mine, [one for one in parts if one != mine]): path for mine, path in zip(parts, found, strict=True)}


def _short(mine: tuple[str, ...], others: Sequence[tuple[str, ...]]) -> str:
    """The shortest end of a path that no other path has."""
    ends = (mine[-count:] for count in range(1, len(mine) + 1))
    return "/".join(next((end for end in ends if all(one[-len(end) :] != end for one in others)), mine))


def contenders(
    models: Mapping[str, nn.Module | str | Path],
    folder: str | Path,
    example: torch.Tensor | None = None,
    export: bool = True,
) -> dict[str, Contender]:
    """What :func:`lomt.evaluation.bench` measures, of networks, folders of :func:`save_pretrained` and ONNX files.

    Networks and folders get an ONNX file each; where one can't be written, the log says why, and they run in PyTorch
    alone.

    Args:
        models: by name.
        folder: where ONNX files are written.
        example: an image for the export, needed for networks that do not say the shapes they were made for.
        export: whether ONNX files are written at all.

    Raises:
        FileNotFoundError: a path leads nowhere.
        ValueError: a file is damaged, or there is no example.
    """
    opened = {name: model if isinstance(model, nn.Module) else open_model(model) for name, model in models.items()}
    return {
        name: _contender(name, model, Path(folder) / f"{index}.onnx", example, export)
        for index, (name, model) in enumerate(opened.items())
    }


def _contender(name: str, model: Any, path: Path, example: torch.Tensor | None, export: bool) -> Contender:
    ours = isinstance(model, OnnxModel) or is_ours(model)
    shape = next(iter(getattr(model, "shapes", ())), None) if ours else None
    delta_m = getattr(model, "delta_m", None) if ours else None
    if isinstance(model, OnnxModel):
        return Contender(None, model.path, delta_m, model.parameter_count, model.macs, shape)
    if example is None:
        if shape is None:
            raise ValueError(f"{name} does not say for images of which shape it is: give an example")
        example = torch.zeros(shape)
        must_fit(model, example, name)
    if export:
        try:
            onnx(model, path, example)
        except (RuntimeError, UntraceableError) as error:
            _LOG.warning("%s: no ONNX file – %s", name, error)
            export = False
    return Contender(model, path if export else None, delta_m, example=tuple(example.shape))
