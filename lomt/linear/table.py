"""A table from a CSV file, split into features, labels and tasks."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lomt.linear.inputs import first_twice


@dataclass(frozen=True)
class Table:
    """What a table holds for a fit.

    Attributes:
        title: What to call it.
        X: Features, a DataFrame.
        y: Labels: an array `(N,)` with a task column, else a DataFrame with one column a task.
        task: The task of each row `(N,)`, or None.
    """

    title: str
    X: Any
    y: Any
    task: Any


def read_table(path: Path, targets: Sequence[str], task_column: str | None, drop: Sequence[str]) -> Table:
    """Read a CSV file with a header.

    Args:
        path: The file.
        targets: Columns with labels; several are several tasks on the same rows.
        task_column: Column with the task of each row, for a long table with one target.
        drop: Columns that are neither; "" are all that have no name.

    Raises:
        ValueError: If the file holds no table, a row is longer or shorter than the header, a column is missing, has
            no name or that of another one, a feature is no number, or both forms are asked for at once.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ValueError("reading a table needs pandas: pip install 'lomt-kernels[linear]'") from error

    frame = _frame(path, drop)
    wanted = [*targets, *([task_column] if task_column else []), *drop]
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]!r}; it has {', '.join(map(str, frame.columns[:12]))} …")
    if task_column and len(targets) > 1:
        raise ValueError("--task-column goes with one --target: the tasks are the values of that column")
    for name in wanted:
        roles = [*["--target"] * list(targets).count(name), *["--task-column"] * (name == task_column)]
        roles += ["--drop"] * (name in drop)
        if len(roles) > 1:
            raise ValueError(f"column {name!r} is named by {' and '.join(roles)}: a column has one role, once")
    X = frame.drop(columns=wanted)
    if not len(X.columns):
        raise ValueError(f"{path}: no column is left for the features, once {', '.join(wanted)} are taken out")
    words = [name for name in X.columns if not pd.api.types.is_numeric_dtype(X[name])]
    if words:
        raise ValueError(
            f"{path}: feature {words[0]!r} is no number; encode it, or leave it out with --drop {words[0]}"
        )
    if task_column is None:
        return Table(path.stem, X, frame[list(targets)], None)
    task = np.asarray(frame[task_column])
    return Table(path.stem, X, _numbers_where_they_are(frame[targets[0]], task), task)


def _frame(path: Path, drop: Sequence[str]) -> Any:
    """The whole table under the header's own names, which pandas would change where they are no names."""
    import pandas as pd

    try:
        with path.open("rb") as file:
            if b"\0" in file.read(1 << 16):
                raise ValueError(f"{path} is no text in UTF-8 (it has null bytes); expected a CSV file with a header")
        header = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False)
        _check_names(path, list(header.iloc[0]), drop)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(path, index_col=False)
    except pd.errors.ParserWarning as error:
        raise ValueError(
            f"{path} has rows of more cells than the {header.shape[1]} of its header; name every column"
        ) from error
    except pd.errors.ParserError as error:
        raise ValueError(f"{path} is no CSV file with a header: {error}") from error
    except pd.errors.EmptyDataError as error:
        raise ValueError(f"{path} is empty; expected a CSV file with a header") from error
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ValueError(f"{path} is no text in UTF-8 (byte 0x{byte:02x}); save it as a CSV file in UTF-8") from error
    if frame.empty:
        raise ValueError(f"{path} has a header but no rows")
    if frame.iloc[:, -1].isna().any():
        _check_rows(path, header.shape[1])
    return frame.set_axis(list(header.iloc[0]), axis=1)


def _check_names(path: Path, names: list[str], drop: Sequence[str]) -> None:
    """Raise where a column that is not left out has no name, or that of another one."""
    kept = [name for name in names if name not in drop]
    if "" in kept:
        raise ValueError(f"{path}: column {names.index('') + 1} has no name; name it, or leave it out with --drop ''")
    twice = first_twice(kept)
    if twice is not None:
        places = " and ".join(str(place) for place, name in enumerate(names, 1) if name == twice)
        raise ValueError(f"{path}: columns {places} have the same name {twice!r}; every column needs one of its own")


def _check_rows(path: Path, width: int) -> None:
    """Raise where a row ends early: its last cells are cut off, not missing."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        for row in rows:
            if row and len(row) < width:
                raise ValueError(f"{path}, line {rows.line_num} ends after {len(row)} of {width} cells; mend it")


def _numbers_where_they_are(column: Any, task: np.ndarray) -> np.ndarray:
    """Labels `(N,)` of a long table: those of a task become numbers if all of them are, whatever other tasks have."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return np.asarray(column)
    labels = np.array(column, dtype=object)
    for name in pd.unique(task):
        rows = np.flatnonzero(task == name)
        numbers = pd.to_numeric(column.iloc[rows], errors="coerce")
        if numbers.notna().equals(column.iloc[rows].notna()):
            labels[rows] = numbers
    return labels
