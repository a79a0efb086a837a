"""α = 0 without any other penalty: every column on its own, by Newton's method."""

from __future__ import annotations

import numpy as np

from lomt.linear.intercepts import settle
from lomt.linear.losses.base import Array
from lomt.linear.problem import Problem, TaskInfo


def fit_unpenalized(problem: Problem, z: Array, target: float, max_iter: int) -> tuple[Array, Array, Array, float, int]:
    """Minimize the losses alone; of many minima (p ≥ n) the one of least norm for least squares.

    The residual, projected onto what no feature and no intercept can explain, is feasible in the dual, so that the
    gap is as rigorous as with a penalty. Classes that can be separated have their minimum at infinity: the gap
    then tells when the loss is as good as zero.

    Args:
        problem: The tasks.
        z: Linear predictors of constants, flat: where to start.
        target: Duality gap at which to stop.
        max_iter: Newton steps at most.

    Returns:
        Coefficients `(C, p)`, intercepts `(C,)`, linear predictors (flat), the gap and the number of steps.
    """
    everything = np.arange(problem.features)
    designs = [matrix.columns(everything).T for matrix in problem.designs]
    W = np.zeros((problem.columns, problem.features))
    intercepts = z[[where.start for where in problem.column_slices]]
    z, shift, theta = settle(problem, z)
    intercepts = intercepts + shift
    value, gap, step = problem.value(z), np.inf, 0
    for step in range(max_iter):  # noqa: B007 - reported
        gap = value - _dual(problem, designs, theta)
        if gap <= target:
            break
        change, bend, dz = _newton(problem, designs, theta, problem.curvature(z))
        size, slope = 1.0, float(np.vdot(theta, dz))
        while problem.value(z + size * dz) > value + 1e-4 * size * slope + 1e-15 * value and size > 1e-10:
            size *= 0.5
        if size <= 1e-10:
            break
        W += size * change
        z, shift, theta = settle(problem, z + size * dz)
        intercepts = intercepts + size * bend + shift
        value = problem.value(z)
    return W, intercepts, z, max(gap, 0.0), step


def _newton(problem: Problem, designs: list[Array], theta: Array, curvature: Array) -> tuple[Array, Array, Array]:
    """The step `(C, p)` that minimizes the quadratic model, with its intercepts `(C,)`, and what it does to z."""
    bend = np.zeros(problem.columns)
    change, dz = np.zeros((problem.columns, problem.features)), np.zeros_like(theta)
    for column, where in enumerate(problem.column_slices):
        weights = curvature[where]
        if not weights.sum() > 0:
            continue
        X = designs[problem.design_of[column]]
        mean = (weights @ X) / weights.sum()
        centred = X - mean
        root = np.sqrt(weights)
        change[column] = np.linalg.lstsq(centred * root[:, None], -theta[where] / root, rcond=1e-12)[0]
        bend[column] = -mean @ change[column]
        dz[where] = centred @ change[column]
    return change, bend, dz


def _dual(problem: Problem, designs: list[Array], theta: Array) -> float:
    """The dual objective at the residual, projected and then shrunk into the domain of the conjugate."""
    feasible = np.zeros_like(theta)
    for column, where in enumerate(problem.column_slices):
        X = designs[problem.design_of[column]]
        centred = X - X.mean(axis=0)
        rest = theta[where] - theta[where].mean()
        for _ in range(2):  # twice is enough: the second pass removes the rounding of the first
            rest = rest - centred @ np.linalg.lstsq(centred, rest, rcond=1e-12)[0]
        feasible[where] = rest
    return sum(_best_shrunk(problem, task, feasible) for task in problem.tasks)


def _best_shrunk(problem: Problem, task: TaskInfo, feasible: Array) -> float:
    """The best dual value of one task over a few shrinkages of its dual point."""
    columns = range(task.columns.start, task.columns.stop)
    theta, y, a = (
        np.stack([flat[problem.column_slices[c]] for c in columns]) for flat in (feasible, problem.y, problem.a)
    )
    shrinkages = (1.0, 1 - 1e-10, 1 - 1e-8, 1 - 1e-5, 0.99, 0.5, 0.0)
    return max(-task.loss.conjugate(shrink * theta, y, a) for shrink in shrinkages)
