"""The whole regularization path, each fit started from the one before."""

# ruff: noqa: N803 - X, W, G and Q keep the names of the papers and of scikit-learn
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lomt.linear.estimator import MixedModelParameters, MixedMultiTaskLasso, original_units
from lomt.linear.losses.base import Array
from lomt.linear.problem import Problem
from lomt.linear.solver import Solution, Solver
from lomt.linear.stacking import are_separate


@dataclass(frozen=True)
class MixedPath:
    """Fits at falling α.

    Attributes:
        alphas: `(A,)`, from the largest.
        solutions: One `Solution` an α, in standardized units and only for the features that are not zero.
        problem: The tasks.
        null_objective: The objective of the best constants.
    """

    alphas: Array
    solutions: Sequence[Solution]
    problem: Problem
    null_objective: float

    @property
    def dual_gaps(self) -> Array:
        """Relative duality gap of each fit `(A,)`."""
        return np.array([s.gap for s in self.solutions]) / max(self.null_objective, 1e-300)

    @property
    def supports(self) -> np.ndarray:
        """Which features each fit uses `(A, p)`."""
        used = np.zeros((len(self.alphas), self.problem.features), dtype=bool)
        for row, solution in zip(used, self.solutions, strict=True):
            row[solution.features] = True
        return used

    @property
    def row_norms(self) -> Array:
        """Norm of each feature's standardized coefficients over the tasks `(A, p)`."""
        norms = np.zeros((len(self.alphas), self.problem.features))
        for row, solution in zip(norms, self.solutions, strict=True):
            row[solution.features] = np.sqrt((solution.W**2).sum(axis=0))
        return norms

    def coefficients(self, index: int) -> tuple[Array, Array]:
        """`coef_ (C, p)` and `intercept_ (C,)` of one fit, in the units of the data."""
        return original_units(self.problem, self.solutions[index])


def alpha_grid(alpha_max: float, n_alphas: int, alpha_min_ratio: float) -> Array:
    """`n_alphas` values from `alpha_max` down to `alpha_min_ratio · alpha_max`, evenly spaced in the logarithm.

    >>> alpha_grid(1.0, 3, 0.01).round(3).tolist()
    [1.0, 0.1, 0.01]

    Raises:
        ValueError: If there are fewer than one α, or the ratio is not between 0 and 1.
    """
    if n_alphas < 1:
        raise ValueError(f"n_alphas must be at least 1, got {n_alphas}")
    if not 0 < alpha_min_ratio < 1:
        raise ValueError(f"alpha_min_ratio must lie between 0 and 1, got {alpha_min_ratio}")
    top = max(alpha_max, float(np.finfo(np.float64).tiny) / alpha_min_ratio)
    return np.geomspace(top, top * alpha_min_ratio, n_alphas) if n_alphas > 1 else np.array([top])


def descend_path(solver: Solver, alphas: Any) -> MixedPath:
    """Solve at each of `alphas`, from the largest to the smallest."""
    grid = np.sort(np.asarray(alphas, dtype=np.float64).ravel())[::-1]
    if not len(grid) or not np.isfinite(grid).all() or grid[-1] < 0:
        raise ValueError(f"alphas must be finite and at least 0, got {alphas!r}")
    solutions = [solver.solve(float(alpha)) for alpha in grid]
    return MixedPath(grid, solutions, solver.problem, solver.null_objective)


def mixed_path(
    X: Any,
    y: Any,
    task: Any = None,
    sample_weight: Any = None,
    *,
    alphas: Any = None,
    n_alphas: int = 50,
    alpha_min_ratio: float = 0.01,
    **parameters: Any,
) -> MixedPath:
    """Fit `MixedMultiTaskLasso` along a path of α, warm-started.

    Args:
        X: Features `(N, p)`; or one matrix a task, in a sequence or a mapping, with `y` (and weights) likewise.
        y: Labels, as for `MixedMultiTaskLasso.fit`.
        task: The task of each row `(N,)`.
        sample_weight: `(N,)`.
        alphas: The values of α; by default `n_alphas` from where everything is zero.
        n_alphas: Number of values.
        alpha_min_ratio: The last α over the first.
        **parameters: Parameters of `MixedMultiTaskLasso` other than `alpha`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 5))
        >>> path = mixed_path(X, np.c_[X[:, 0], X[:, 0] > 0], n_alphas=5, alpha_min_ratio=0.1)
        >>> path.supports.sum(axis=1)
        array([0, 1, 1, 1, 1])
    """
    model: MixedModelParameters = MixedMultiTaskLasso(**parameters)
    samples = model._separate(X, y, sample_weight) if are_separate(X) else model._samples(X, y, task, sample_weight)
    solver = model._solver(samples)
    grid = alpha_grid(solver.alpha_max, n_alphas, alpha_min_ratio) if alphas is None else alphas
    return descend_path(solver, grid)
