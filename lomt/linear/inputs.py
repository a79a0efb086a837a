"""Every way to hand over many tasks, turned into one: a list of `Samples`."""

# ruff: noqa: N803 - X, W, G and Q keep the names of the papers and of scikit-learn
from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import _get_feature_names, check_array

from lomt.linear.losses.base import LARGEST, Array, Labels
from lomt.linear.tasks import Name, Samples


def feature_matrix(X: Any) -> Any:
    """X as float64, dense or sparse with each cell once; its NaN and infinities are errors that name the place.

    Raises:
        ValueError: If X is not two-dimensional, empty, or has values that are no finite numbers.
    """
    checked = check_array(
        X, accept_sparse=["csr", "csc"], dtype=np.float64, ensure_all_finite=False, estimator="MixedMultiTaskLasso"
    )
    if sp.issparse(checked) and not checked.has_canonical_format:
        checked = checked.copy()
        checked.sum_duplicates()  # a cell may come in parts, and its square is not the sum of theirs
    values = checked.data if sp.issparse(checked) else checked
    # A sum is finite if all its terms are (the converse may fail by overflow): one quick pass decides.
    with np.errstate(over="ignore", invalid="ignore"):
        suspicious = not np.isfinite(values.sum())
    if suspicious and not np.isfinite(values).all():
        coordinates = checked.tocoo() if sp.issparse(checked) else None
        bad = np.argwhere(~np.isfinite(values))[0]
        row, column = (coordinates.row[bad[0]], coordinates.col[bad[0]]) if coordinates is not None else bad
        raise ValueError(
            f"Input X contains NaN or infinity (first at row {row}, feature {_feature(X, column)}); "
            "impute it first, e.g. with sklearn.impute.SimpleImputer (only labels may be missing)"
        )
    return checked


def check_magnitude(matrix: Any, X: Any) -> None:
    """Raise where the squares of a feature overflow, or vanish although it has values.

    Args:
        matrix: X as `feature_matrix` gives it.
        X: As the user gave it, with the names of features.
    """
    high, low = matrix.max(axis=0), matrix.min(axis=0)
    if sp.issparse(matrix):
        high, low = high.toarray().ravel(), low.toarray().ravel()
    size = np.maximum(high, -low)
    wrong = np.flatnonzero((size > LARGEST) | ((size > 0) & (size < 1 / LARGEST)))
    if len(wrong):
        raise ValueError(
            f"feature {_feature(X, wrong[0])} has values up to {size[wrong[0]]:.3g}, beyond what can be squared; "
            f"rescale it, to between {1 / LARGEST:g} and {LARGEST:g}"
        )


def _feature(X: Any, column: int) -> str:
    names = _get_feature_names(X)
    return f"{names[column]!r}" if names is not None else str(column)


def take_task_column(X: Any, task_feature: int | str) -> tuple[Any, Labels]:
    """Split the column that holds the task from the features.

    Raises:
        ValueError: If there is no such column.
    """
    if hasattr(X, "columns"):
        if task_feature in X.columns:
            return X.drop(columns=[task_feature]), np.asarray(X[task_feature])
        if not isinstance(task_feature, int | np.integer):
            raise ValueError(f"task_feature={task_feature!r} is no column of X; X has {list(X.columns)[:8]} …")
        name = X.columns[task_feature]
        return X.drop(columns=[name]), np.asarray(X[name])
    if isinstance(task_feature, str):
        raise ValueError(f"task_feature={task_feature!r} is a name, but X is no DataFrame: give the column's position")
    width = X.shape[1] if hasattr(X, "shape") else len(X[0])
    if not -width <= task_feature < width:
        raise ValueError(f"task_feature={task_feature} is out of range: X has {width} columns")
    keep = np.delete(np.arange(width), task_feature)
    if sp.issparse(X):
        columns = X.tocsc()
        return columns[:, keep].tocsr(), np.asarray(columns[:, [task_feature % width]].toarray()).ravel()
    values = np.asarray(X)
    return values[:, keep], values[:, task_feature]


def observed(y: Labels) -> np.ndarray:
    """Which labels are there: not NaN and not None `(n,)`.

    >>> observed(np.array(["a", None, float("nan")], dtype=object))
    array([ True, False, False])
    """
    if y.dtype.kind == "f":
        return np.asarray(~np.isnan(y))
    if y.dtype.kind == "O":
        nothing = (None, getattr(sys.modules.get("pandas"), "NA", None))
        return np.array([not any(label is none for none in nothing) and label == label for label in y], dtype=bool)
    return np.ones(len(y), dtype=bool)


def tidy(y: Labels) -> Labels:
    """Labels of dtype object become numbers where they all are."""
    if y.dtype.kind != "O":
        return y
    numeric = all(isinstance(label, int | float | np.number) and not isinstance(label, bool) for label in y)
    return y.astype(np.float64) if numeric else np.array(y.tolist())


def stacked_samples(X: Any, y: Labels, task: Labels, weights: Array) -> list[Samples]:
    """One `Samples` for each distinct value of `task`, sorted; rows without a label or weight are left out."""
    usable = observed(y) & (weights > 0)
    unnamed = np.flatnonzero(~observed(task))
    if len(unnamed):
        raise ValueError(f"row {unnamed[0]} has no task ({len(unnamed)} in all); drop such rows or name their task")
    try:
        names, codes = np.unique(task, return_inverse=True)
    except TypeError as error:
        kinds = sorted({type(name).__name__ for name in task})
        raise ValueError(f"tasks must be all numbers or all strings, got {' and '.join(kinds)}") from error
    result = []
    for code, name in enumerate(names):
        rows = np.flatnonzero((codes == code) & usable)
        whole = len(rows) == X.shape[0]
        label = name.item() if isinstance(name, np.generic) else name
        result.append(_task(label, X if whole else X[rows], tidy(y[rows]), weights[rows]))
    return result


def same_x_samples(X: Any, columns: Sequence[Labels], names: Sequence[Name], weights: Array) -> list[Samples]:
    """One `Samples` for each column of labels; columns that miss the same rows share one matrix."""
    shared: dict[bytes, tuple[Any, Array, np.ndarray]] = {}
    result = []
    for name, y in zip(names, columns, strict=True):
        usable = observed(y) & (weights > 0)
        key = usable.tobytes()
        if key not in shared:
            rows = np.flatnonzero(usable)
            shared[key] = (X if usable.all() else X[rows], weights[rows], rows)
        part, share, rows = shared[key]
        result.append(_task(name, part, tidy(y[rows]), share))
    return result


def separate_samples(
    Xs: Mapping[Name, Any] | Sequence[Any], ys: Mapping[Name, Any] | Sequence[Any], sample_weights: Any, names: Any
) -> list[Samples]:
    """One `Samples` for each matrix and its labels.

    Raises:
        ValueError: If the numbers of matrices, labels or features do not agree.
    """
    if isinstance(Xs, Mapping):
        names = list(Xs)
        if not isinstance(ys, Mapping) or set(ys) != set(Xs):
            raise ValueError(f"Xs names the tasks {names}; ys must be a mapping with the same keys")
        Xs, ys = [Xs[name] for name in names], [ys[name] for name in names]
        if isinstance(sample_weights, Mapping):
            sample_weights = [sample_weights.get(name) for name in names]
    names = list(range(len(Xs))) if names is None else list(names)
    twice = first_twice(names)
    if twice is not None:
        raise ValueError(f"two tasks have the name {twice!r}; the names are {names}")
    sample_weights = [None] * len(Xs) if sample_weights is None else list(sample_weights)
    if not len(Xs) == len(ys) == len(names) == len(sample_weights):
        raise ValueError(
            f"expected one X, y, name and weights a task, got {len(Xs)}, {len(ys)}, {len(names)}, {len(sample_weights)}"
        )
    result, width = [], None
    seen: dict[int, Any] = {}
    for X, y, name, weights in zip(Xs, ys, names, sample_weights, strict=True):
        if id(X) not in seen:
            seen[id(X)] = feature_matrix(X)
            check_magnitude(seen[id(X)], X)
        matrix = seen[id(X)]
        width = matrix.shape[1] if width is None else width
        if matrix.shape[1] != width:
            raise ValueError(f"task {name!r} has {matrix.shape[1]} features, but the first task has {width}")
        labels = np.asarray(y)
        if labels.shape != (matrix.shape[0],):
            raise ValueError(f"task {name!r}: X has {matrix.shape[0]} rows, but y has shape {labels.shape}")
        share = np.ones(len(labels)) if weights is None else np.asarray(weights, dtype=np.float64)
        if share.shape != labels.shape or not np.all(np.isfinite(share) & (share >= 0)):
            raise ValueError(f"task {name!r}: sample weights must be {len(labels)} finite numbers of at least 0")
        usable = observed(labels) & (share > 0)
        part = matrix if usable.all() else matrix[np.flatnonzero(usable)]
        result.append(_task(name, part, tidy(labels[usable]), share[usable]))
    return result


def first_twice(names: Sequence[Name]) -> Name | None:
    """The first name that was there before, or None."""
    return next((name for index, name in enumerate(names) if name in names[:index]), None)


def _task(name: Name, X: Any, y: Labels, weights: Array) -> Samples:
    if not len(y):
        raise ValueError(f"task {name!r} has no observed label of positive weight; leave it out")
    return Samples(name, X, y, weights)
