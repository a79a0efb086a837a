"""A table from a CSV file, split into features, labels and tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


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
        drop: Columns that are neither.

    Raises:
        ValueError: If the file holds no table, a column is missing, a feature is no number, or both forms are asked
            for at once.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ValueError("reading a table needs pandas: pip install 'lomt-kernels[linear]'") from error

    try:
        with path.open("rb") as file:
            if b"\0" in file.read(1 << 16):
                raise ValueError(f"{path} is no text in UTF-8 (it has null bytes); expected a CSV file with a header")
        frame = pd.read_csv(path)
    except pd.errors.ParserError as error:
        raise ValueError(f"{path} is no CSV file with a header: {error}") from error
    except pd.errors.EmptyDataError as error:
        raise ValueError(f"{path} is empty; expected a CSV file with a header") from error
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ValueError(f"{path} is no text in UTF-8 (byte 0x{byte:02x}); save it as a CSV file in UTF-8") from error
    if frame.empty:
        raise ValueError(f"{path} has a header but no rows")
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
