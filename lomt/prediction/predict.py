"""Predictions for a picture or a folder of them, as files; what can't be read stops nothing."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from tqdm import tqdm

from lomt.files import NotWrittenError, cell, ready, write_atomically
from lomt.prediction.pictures import read_picture
from lomt.prediction.predictor import Predictor
from lomt.prediction.sources import find_pictures
from lomt.prediction.writers import write_about, writer

Values = dict[str, dict[str, Any]]
"""Task name → what is said of one picture in words and numbers."""


@dataclass(frozen=True)
class Predictions:
    """What became of all pictures.

    Attributes:
        folder: where the predictions are.
        values: name of the prediction → task → values.
        bad: file → why there is no prediction for it.
    """

    folder: Path
    values: Mapping[str, Values]
    bad: Mapping[Path, str]

    def __str__(self) -> str:
        done, all_ = len(self.values), len(self.values) + len(self.bad)
        lines = [f"{done} of {all_} pictures predicted: {self.folder}"]
        return "\n".join(lines + [f"  left out: {why}" for why in self.bad.values()])


def predict(
    source: str | Path,
    model: nn.Module,
    out: str | Path = "predictions",
    *,
    device: str = "cpu",
    overwrite: bool = False,
    progress: bool | None = None,
) -> Predictions:
    """Predict every picture and write what its tasks say, at the picture's size.

    ``out`` gets a folder a task, with a PNG a picture; ``about.json``, which says what the files hold, with units;
    ``values.json`` and ``values.csv`` for what is no map.

    Args:
        source: a picture, or a folder that is searched through.
        model: what :func:`lomt.export.open_model` gives, PyTorch or ONNX Runtime.
        out: a folder, which is made.
        device: where PyTorch computes.
        overwrite: write into ``out`` even if it holds something.
        progress: whether to show a bar; None shows it on a terminal.

    Raises:
        FileExistsError: ``out`` holds something already.
        NotWrittenError: ``out`` can't be written to, or its disk is full; what was written stays.
        FileNotFoundError: there is no ``source``.
        ValueError: a folder without pictures, or a model that does not say enough of itself.
    """
    out = Path(out)
    predictor = Predictor(model, device)
    pictures = find_pictures(source, out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not overwrite:
        raise FileExistsError(f"{out} exists already: choose another folder with --out, or overwrite it (--overwrite)")
    ready(out)
    writers = [writer(task, out) for task in predictor.tasks]
    write_about(writers, out)
    values: dict[str, Values] = {}
    bad: dict[Path, str] = {}
    hidden = None if progress is None else not progress
    try:
        for name, path in tqdm(pictures.items(), unit="picture", disable=hidden):
            try:
                picture = read_picture(path)
                outputs = predictor.outputs(picture)
                size = picture.shape[:2]
                values[name] = {one.task.name: one.write(name, outputs[one.task.name], size) for one in writers}
            except (ValueError, RuntimeError, OSError, MemoryError) as error:
                if isinstance(error, NotWrittenError) and error.full:
                    raise  # it is no matter of this picture
                said = str(error) or "there is not enough memory for it: make it smaller"
                bad[path] = _printable(said if str(path) in said else f"{path}: {said}")
    finally:
        _write_values(values, out)
    return Predictions(out, values, bad)


def _write_values(values: Mapping[str, Values], folder: Path) -> None:
    said = {name: {task: found for task, found in row.items() if found} for name, row in values.items()}
    if not any(said.values()):
        return
    text = json.dumps(said, indent=1, ensure_ascii=False)
    write_atomically(folder / "values.json", text + "\n")
    flat = {
        name: {f"{task}.{key}": value for task, found in row.items() for key, value in found.items()}
        for name, row in said.items()
    }
    columns = list(dict.fromkeys(key for row in flat.values() for key in row))
    lines = io.StringIO(newline="")
    table = csv.writer(lines)
    table.writerow(["picture", *map(cell, columns)])
    table.writerows([cell(name), *(cell(row.get(column, "")) for column in columns)] for name, row in flat.items())
    write_atomically(folder / "values.csv", lines.getvalue())


def _printable(text: str) -> str:
    """One line that any terminal can show, whatever a file's name holds."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
