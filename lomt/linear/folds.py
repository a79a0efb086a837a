"""Folds in which every task, and every class of a task, is there in equal parts."""

# ruff: noqa: N803 - X, W, G and Q keep the names of the papers and of scikit-learn
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from lomt.linear.inputs import observed
from lomt.linear.losses.base import Labels


class TaskStratifiedKFold:
    """A k-fold splitter for `cv=`: stratified by task, and within it by class.

    Labels with few distinct values (at most `max_classes`, or no numbers) are classes; others are only spread by
    task. With several columns of labels, it stratifies by which of them are observed and, where there is room,
    by the classes of each.

    Args:
        n_splits: Number of folds.
        shuffle: Whether to shuffle within each stratum.
        random_state: Seed of the shuffling.
        max_classes: Up to how many distinct numbers count as classes.
    """

    def __init__(self, n_splits: int = 5, *, shuffle: bool = True, random_state: Any = 0, max_classes: int = 2) -> None:
        if n_splits < 2:
            raise ValueError(f"n_splits must be at least 2, got {n_splits}")
        self.n_splits, self.shuffle, self.random_state, self.max_classes = n_splits, shuffle, random_state, max_classes

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of folds."""
        del X, y, groups
        return self.n_splits

    def split(self, X: Any, y: Any, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Train and test rows of each fold; `groups` is the task of each row, if there are tasks."""
        del X
        labels = np.asarray(y)
        strata = self._strata(labels.reshape(len(labels), -1), groups)
        if len(labels) < self.n_splits:
            raise ValueError(f"cannot make {self.n_splits} folds of n_samples={len(labels)}")
        fold = np.empty(len(labels), dtype=int)
        random = check_random_state(self.random_state)
        start = 0
        for stratum in np.unique(strata):
            rows = np.flatnonzero(strata == stratum)
            if self.shuffle:
                rows = random.permutation(rows)
            fold[rows] = (start + np.arange(len(rows))) % self.n_splits
            start += len(rows)  # the next stratum goes on where this one ended, so that folds stay equally large
        for index in range(self.n_splits):
            yield np.flatnonzero(fold != index), np.flatnonzero(fold == index)

    def _strata(self, labels: Labels, groups: Any) -> np.ndarray:
        """A number for each combination of task and class."""
        task = np.zeros(len(labels), dtype=int) if groups is None else np.unique(groups, return_inverse=True)[1]
        strata = task.copy()
        for column in labels.T:
            there = observed(column)
            codes = np.zeros(len(column), dtype=int)
            for which in np.unique(task):
                rows = (task == which) & there
                values, inverse = np.unique(column[rows].astype(str), return_inverse=True)
                numeric = _numeric(column[rows])
                classes = len(values) <= self.max_classes or not numeric
                codes[rows] = 1 + (inverse if classes else 0)
            combined = np.unique(np.stack([strata, codes]), axis=1, return_inverse=True)[1]
            if labels.shape[1] == 1 or np.bincount(combined).min() >= self.n_splits:
                strata = combined
        return strata


def _numeric(values: Labels) -> bool:
    if values.dtype.kind != "O":
        return values.dtype.kind in "biuf"
    return all(isinstance(value, int | float | np.number) for value in values)
