"""Gram matrices of a working set, kept for as long as they are worth it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lomt.linear.losses.base import Array
from lomt.linear.problem import Problem

Indices = npt.NDArray[np.intp]


class GramCache:
    """Xᵀ D X of the features in a working set, X centred, for designs of constant curvature with many samples.

    With a Gram matrix, a step of coordinate descent costs m per column instead of 2n, and nothing where a
    feature stays at zero. It pays where there are more samples than features in the set; all columns that
    share a design (least squares on the same X) share it, and only what is new in the set is computed, once for a
    whole path.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._size = 0
        self._gram_of: Indices = np.full(problem.columns, -1, dtype=np.intp)
        self._scales = np.ones(problem.columns)
        self._owner: list[int] = []  # the column whose weights a Gram matrix is computed with
        index: dict[int, int] = {}
        for task in problem.tasks:
            if task.loss.constant_curvature:
                for column in range(task.columns.start, task.columns.stop):
                    if task.design not in index:
                        index[task.design] = len(self._owner)
                        self._owner.append(column)
                    self._gram_of[column] = index[task.design]
                    self._scales[column] = task.weight
        self._grams = np.empty((len(self._owner), 0, 0))
        self._rows = np.array([problem.designs[problem.design_of[c]].samples for c in self._owner], dtype=np.intp)

    def renew(self, blocks: list[Array], size: int, curvature: Array) -> tuple[Indices, Array, Array]:
        """Bring the matrices up to the `size` features of the set.

        Args:
            blocks: Samples of the features, `(≥size, n)` for each design.
            size: Features in the set.
            curvature: Curvature of the losses, flat.

        Returns:
            The matrix of each column or −1 `(C,)`, the matrices `(G, ≥size, ≥size)`, the columns' factors `(C,)`.
        """
        pays = self._pays = self._rows > size
        active = np.append(pays, False)[self._gram_of]
        if size > self._size and pays.any():
            self._reserve(size)
            for gram in np.flatnonzero(pays):
                column = self._owner[gram]
                weights = curvature[self._problem.column_slices[column]] / self._scales[column]
                block = blocks[self._problem.design_of[column]][:size]
                fresh = (block[self._size :] * weights) @ block.T
                self._grams[gram, self._size : size, :size] = fresh
                self._grams[gram, : self._size, self._size : size] = fresh[:, : self._size].T
        self._size = max(size, self._size)
        return np.where(active, self._gram_of, -1), self._grams, self._scales

    def keep(self, kept: npt.NDArray[np.bool_]) -> None:
        """Let the features go for which `kept` is false."""
        stay = np.flatnonzero(kept[: self._size])
        for gram in np.flatnonzero(self._rows > len(kept)):
            self._grams[gram, : len(stay), : len(stay)] = self._grams[gram][np.ix_(stay, stay)]
        self._size = len(stay)

    def _reserve(self, size: int) -> None:
        capacity = self._grams.shape[1]
        if size <= capacity:
            return
        grown = min(max(size, int(1.5 * capacity), 64), self._problem.features)
        grams = np.empty((len(self._owner), grown, grown))
        grams[:, :capacity, :capacity] = self._grams
        self._grams = grams
