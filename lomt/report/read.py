"""A run folder, ended or not, as the report wants it; nothing here fails for want of a stage."""

import csv
import math
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lomt.files import DamagedFileError, read_record
from lomt.report.comparison import Comparison

Arrays = dict[str, np.ndarray]

History = dict[str, list[float]]
"""Column of ``metrics.csv`` → one value an epoch, NaN where nothing was measured."""

PATHS = "path/"
"""What names of stages begin with that search λ."""


@dataclass(frozen=True)
class Training:
    """One training stage.

    Attributes:
        name: the stage's name.
        method: which method asked for it.
        result: what it left, empty while it runs.
        history: the figures of every epoch.
    """

    name: str
    method: str
    result: dict[str, Any]
    history: History

    @property
    def tasks(self) -> list[str]:
        """The tasks it learns."""
        if self.result.get("taps"):
            return list(self.result["taps"])
        return [key.split("/", 1)[1] for key in self.history if key.startswith("train_loss/")]


@dataclass(frozen=True)
class Run:
    """Everything that the report shows.

    Attributes:
        path: the run folder.
        config: text of ``config.yaml``.
        trainings: training stages that have begun, by name.
        steps: histories of the steps of stages that have some, in their order, by the stage's name.
        paths: results of the stages that searched λ and have ended, by task or method.
        searches: results of the stages that searched taps in one training, by name.
        selection: the result of the stage ``select``, if it has ended.
        comparison: the result of the stage ``compare``, if it has ended.
        compaction: what the stage ``compact`` found, by method; none where it has not ended.
        export: the result of the stage ``export``, if it has ended.
        gallery: arrays of ``gallery.npz``, if there.
        diagnosis: content of ``diagnosis.json``, if there.
        problems: files that could not be read, and what to do; what compaction and export could not do.
    """

    path: Path
    config: str = ""
    trainings: list[Training] = field(default_factory=list)
    steps: dict[str, list[History]] = field(default_factory=dict)
    paths: dict[str, dict[str, Any]] = field(default_factory=dict)
    searches: dict[str, dict[str, Any]] = field(default_factory=dict)
    selection: dict[str, Any] | None = None
    comparison: Comparison | None = None
    compaction: dict[str, Any] | None = None
    export: dict[str, Any] | None = None
    gallery: Arrays | None = None
    diagnosis: dict[str, Any] | None = None
    problems: list[str] = field(default_factory=list)

    def of(self, method: str) -> list[Training]:
        """The trainings of one method."""
        return [training for training in self.trainings if training.method == method]

    @property
    def tasks(self) -> list[str]:
        """Names of all tasks, the comparison's order first."""
        compared = [task.name for task in self.comparison.tasks] if self.comparison else []
        trained = [task for training in self.trainings for task in training.tasks]
        return list(dict.fromkeys([*compared, *trained]))

    @property
    def seconds(self) -> float:
        """How long all trainings that have ended took together."""
        return math.fsum(float(training.result.get("seconds") or 0) for training in self.trainings)


def read(folder: Path) -> Run:
    """Read whatever a run folder has so far.

    Args:
        folder: with ``config.yaml`` and ``stages/``.

    Raises:
        FileNotFoundError: where this is no run folder.
    """
    folder = Path(folder)
    config = folder / "config.yaml"
    if not config.exists():
        raise FileNotFoundError(
            f"{folder} is no run folder: it has no config.yaml. 'lomt run --out {folder}' makes one"
        )
    problems: list[str] = []
    stages = folder / "stages"
    found = {file.parent for name in ("result.json", "metrics.csv") for file in stages.rglob(name)}
    trainings, results = [], {}
    steps: dict[str, list[History]] = {}
    for place in sorted(found, key=_natural):
        name = place.relative_to(stages).as_posix()
        history = _history(place / "metrics.csv", problems)
        if place.name.startswith("step-"):  # it is no network of the run
            steps.setdefault(name.rpartition("/")[0], []).append(history)
            continue
        result = _json(place / "result.json", problems)
        if history or result.get("pattern"):
            method = str(result.get("method") or name.split("/")[0])
            trainings.append(Training(name, method, result, history))
        if result:
            results[name] = result
    compared, compaction, export = (results.get(name) for name in ("compare", "compact", "export"))
    problems += [note for result in (compaction, export) for note in (result or {}).get("notes", ())]
    return Run(
        path=folder,
        config=_config(config, problems),
        trainings=trainings,
        steps=steps,
        paths={name.removeprefix(PATHS): result for name, result in results.items() if name.startswith(PATHS)},
        searches={name: result for name, result in results.items() if "candidates" in result and "path" in result},
        selection=results.get("select"),
        comparison=Comparison.from_dict(compared) if compared else None,
        compaction=(compaction or {}).get("networks"),
        export=export,
        gallery=_gallery(stages / "compare" / "gallery.npz", problems),
        diagnosis=_json(folder / "diagnosis.json", problems) or None,
        problems=problems,
    )


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    """Sort ``trial-2`` before ``trial-10``."""
    words = path.as_posix().replace("-", "/").split("/")
    return [(word.isdecimal(), int(word) if word.isdecimal() else 0, word) for word in words]


def _config(file: Path, problems: list[str]) -> str:
    text = file.read_text(encoding="utf-8", errors="replace")
    try:
        yaml.safe_load(text)
    except yaml.YAMLError:
        problems.append(f"{file} is no valid YAML; it is shown as it stands.")
    return text


def _json(file: Path, problems: list[str]) -> dict[str, Any]:
    if not file.exists():
        return {}
    again = "diagnose" if file.name == "diagnosis.json" else "run"
    try:
        return read_record(file, f"remove it and {again} again to make it anew")
    except DamagedFileError as error:
        problems.append(f"{error}.")
    except OSError as error:
        problems.append(f"{file} can't be read ({error.strerror}): see that it can be.")
    return {}


def _history(file: Path, problems: list[str]) -> History:
    if not file.exists():
        return {}
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
    except (ValueError, OSError, csv.Error) as error:
        problems.append(f"{file} can't be read ({error}): its curves are left out.")
        return {}
    columns: Iterable[str] = rows[0] if rows else ()
    return {name: [_number(row.get(name)) for row in rows] for name in columns if name}


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _gallery(file: Path, problems: list[str]) -> Arrays | None:
    if not file.exists():
        return None
    try:
        # Opened here, since np.load leaves a file open that turns out to be no archive.
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        problems.append(f"{file} can't be read ({error}): the gallery is left out. Repeat the stage 'compare'.")
        return None
