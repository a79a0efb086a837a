"""The few features that a solver works on: their dense samples, their curvatures, their Gram matrices."""

# ruff: noqa: N803 - X, W, G and Q keep the names of the papers and of scikit-learn
from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lomt.linear.descent import descend, weigh
from lomt.linear.gram import GramCache
from lomt.linear.losses.base import Array
from lomt.linear.penalty import MixedPenalty
from lomt.linear.problem import Problem

Indices = npt.NDArray[np.intp]


class WorkingSet:
    """Features in the order in which they came, gathered once for a whole path.

    Attributes:
        indices: The features `(m,)`.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.indices: Indices = np.empty(0, dtype=np.intp)
        self._member = np.zeros(problem.features, dtype=bool)
        self._capacity = 0
        self._buffer = np.empty(0)
        self._blocks = [np.empty((0, matrix.samples)) for matrix in problem.designs]
        self._starts = np.array([where.start for where in problem.column_slices], dtype=np.intp)
        self._lengths = np.array([where.stop - where.start for where in problem.column_slices], dtype=np.intp)
        self._columns_of = [np.flatnonzero(problem.design_of == index) for index in range(len(problem.designs))]
        self._grams = GramCache(problem)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def outside(self) -> npt.NDArray[np.bool_]:
        """Which of all features are not in the set `(p,)`."""
        return ~self._member

    def extend(self, features: Indices) -> None:
        """Add features that are not in the set yet."""
        if not len(features):
            return
        old = len(self)
        self.indices = np.concatenate([self.indices, features])
        self._member[features] = True
        self._reserve(len(self))
        for block, matrix in zip(self._blocks, self.problem.designs, strict=True):
            block[old : len(self)] = matrix.columns(features)

    def keep(self, kept: npt.NDArray[np.bool_]) -> None:
        """Let the features go for which `kept` `(m,)` is false."""
        self._member[self.indices[~kept]] = False
        self.indices = self.indices[kept]
        for block in self._blocks:
            block[: len(self)] = block[: len(kept)][kept]
        self._grams.keep(kept)

    def forward(self, W: Array) -> Array:
        """Linear predictors of coefficients `(C, m)`, flat, without intercepts."""
        z = np.empty(len(self.problem.y))
        for block, mine in zip(self._blocks, self._columns_of, strict=True):
            for column, row in zip(mine, W[mine] @ block[: len(self)], strict=True):
                z[self.problem.column_slices[column]] = row
        return z

    def backward(self, theta: Array) -> Array:
        """Gradient in the coefficients `(C, m)` of the set, from the one in z, flat."""
        result = np.empty((self.problem.columns, len(self)))
        for block, mine in zip(self._blocks, self._columns_of, strict=True):
            rows = np.stack([theta[self.problem.column_slices[c]] for c in mine])
            result[mine] = rows @ block[: len(self)].T
        return result

    def minimize_model(
        self,
        penalty: MixedPenalty,
        W: Array,
        theta: Array,
        curvature: Array,
        gradient: Array,
        budget: int,
        enough: float,
    ) -> tuple[Array, Array, int]:
        """Minimize the quadratic model of the losses plus the penalty by block coordinate descent.

        Args:
            penalty: The penalty.
            W: Where the model was taken `(C, m)`.
            theta: Gradient of the losses in z there, flat.
            curvature: Curvature of the losses in z there, flat.
            gradient: Gradient in W there `(C, m)`.
            budget: Passes at most.
            enough: Stop once no step mends more than this of a feature's gradient.

        Returns:
            The minimizer `(C, m)`, the change of the profiled intercepts `(C,)`, and the number of passes.
        """
        rotated = penalty.is_quadratic and penalty.l1_ratio == 0
        goal, pull = W.copy(), penalty.pull(W)
        begin = self._begin()
        means, squares = np.zeros_like(W), np.empty_like(W)
        weigh(self._buffer, begin, self._starts, self._lengths, curvature, means, squares)
        gram_of, grams, scales = self._grams.renew(self._blocks, len(self), curvature)
        sweeps: int = descend(
            goal,
            np.where(gram_of[:, None] >= 0, gradient + pull, pull),
            squares,
            gram_of,
            grams,
            scales,
            self._buffer,
            begin,
            self._starts,
            self._lengths,
            theta.copy(),
            curvature,
            means,
            penalty.quadratic,
            penalty.spectrum[1],
            penalty.spectrum[0] if rotated else penalty.majorizer,
            rotated,
            penalty.alpha * (1 - penalty.l1_ratio),
            penalty.alpha * penalty.l1_ratio,
            budget,
            enough,
        )
        return goal, -np.einsum("cj,cj->c", means, goal - W), sweeps

    def _begin(self) -> Indices:
        """Where each column's block begins in the buffer `(C,)`."""
        sizes = [matrix.samples * self._capacity for matrix in self.problem.designs]
        return np.concatenate([[0], np.cumsum(sizes)])[self.problem.design_of].astype(np.intp)

    def _reserve(self, size: int) -> None:
        """Room for at least `size` features in one flat buffer, one block a design."""
        if size <= self._capacity:
            return
        self._capacity = min(max(size, int(1.5 * self._capacity), 64), self.problem.features)
        buffer = np.empty(sum(matrix.samples for matrix in self.problem.designs) * self._capacity)
        position = 0
        for index, block in enumerate(self._blocks):
            samples = block.shape[1]
            room = buffer[position : position + self._capacity * samples].reshape(self._capacity, samples)
            room[: len(block)] = block
            self._blocks[index] = room
            position += self._capacity * samples
        self._buffer = buffer
