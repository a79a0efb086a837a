"""Separate tasks put below each other."""

# ruff: noqa: N803 - X, W, G and Q keep the names of the papers and of scikit-learn
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from lomt.linear.inputs import separate_samples
from lomt.linear.losses.base import Array, Labels
from lomt.linear.tasks import Name


def are_separate(X: Any) -> bool:
    """Whether `X` is one matrix a task (a mapping or a sequence of them), not a matrix itself."""
    if sp.issparse(X):  # one kind of them is a mapping
        return False
    return isinstance(X, Mapping) or (isinstance(X, list | tuple) and len(X) > 0 and np.ndim(X[0]) == 2)


def stack_tasks(
    Xs: Mapping[Name, Any] | Sequence[Any], ys: Mapping[Name, Any] | Sequence[Any], sample_weights: Any, names: Any
) -> tuple[Any, Labels, Labels, Array]:
    """Separate tasks below each other, for what has to take them apart by rows: X, y, task and weights.

    Raises:
        ValueError: As `separate_samples`.
    """
    separate_samples(Xs, ys, sample_weights, names)
    if isinstance(Xs, Mapping):
        names = list(Xs)
        Xs, ys = list(Xs.values()), [ys[name] for name in names]
        if isinstance(sample_weights, Mapping):
            sample_weights = [sample_weights.get(name) for name in names]
    labels = [np.asarray(y) for y in ys]
    sizes = [len(y) for y in labels]
    shares = [None] * len(sizes) if sample_weights is None else sample_weights
    weights = [np.ones(n) if part is None else np.asarray(part) for n, part in zip(sizes, shares, strict=True)]
    if len({y.dtype.kind for y in labels}) > 1:  # else concatenation would make strings of numbers
        labels = [y.astype(object) for y in labels]
    if all(hasattr(X, "columns") for X in Xs):
        import pandas as pd

        X = pd.concat(list(Xs), ignore_index=True)
    else:
        X = sp.vstack(Xs, format="csr") if any(sp.issparse(X) for X in Xs) else np.vstack(Xs)
    names = list(range(len(sizes))) if names is None else names
    return X, np.concatenate(labels), np.repeat(np.asarray(names), sizes), np.concatenate(weights)
