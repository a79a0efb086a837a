"""The quadratic penalty: ridge, and what pulls tasks towards each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from lomt.linear.losses.base import Array
from lomt.linear.problem import Problem


def mean_laplacian(tasks: int) -> Array:
    """I − 11ᵀ/T: every task is pulled towards the mean of all (mean-regularized multi-task learning).

    >>> mean_laplacian(2)
    array([[ 0.5, -0.5],
           [-0.5,  0.5]])
    """
    return np.eye(tasks) - 1.0 / tasks


def quadratic_penalty(problem: Problem, ridge: float, similarity: float, graph: Any) -> Array:
    """Q `(C, C)` = similarity · L + ridge · I over the columns of a problem.

    A task with several columns (multinomial) takes no part in the similarity: its columns stand for classes that
    other tasks do not have.

    Args:
        problem: The tasks.
        ridge: Weight C₂ ≥ 0 of ½‖W‖².
        similarity: Weight C ≥ 0 of ½ tr(W L Wᵀ).
        graph: A graph Laplacian `(T, T)`, or None for the mean of all single-column tasks.

    Raises:
        ValueError: If a weight is negative, or `graph` is no Laplacian-like (symmetric, positive semidefinite)
            matrix of the right size, or joins a multinomial task.
    """
    for name, value in (("ridge", ridge), ("similarity", similarity)):
        if not 0 <= value < np.inf:
            raise ValueError(f"{name} must be at least 0 and finite, got {value}")
    Q = ridge * np.eye(problem.columns)
    if similarity == 0:
        return Q
    single = [t for t, task in enumerate(problem.tasks) if task.columns.stop - task.columns.start == 1]
    laplacian = _checked(graph, problem, single) if graph is not None else mean_laplacian(max(len(single), 1))
    where = [problem.tasks[t].columns.start for t in single]
    Q[np.ix_(where, where)] += similarity * laplacian
    return Q


def _checked(graph: Any, problem: Problem, single: list[int]) -> Array:
    tasks = len(problem.tasks)
    laplacian = np.asarray(graph, dtype=np.float64)
    if laplacian.shape != (tasks, tasks):
        raise ValueError(
            f"graph must be a Laplacian of shape ({tasks}, {tasks}), one row a task, got {laplacian.shape}"
        )
    if not np.allclose(laplacian, laplacian.T):
        raise ValueError("graph must be symmetric; scipy.sparse.csgraph.laplacian makes a Laplacian of edge weights")
    lowest = np.linalg.eigvalsh(laplacian)[0]
    if lowest < -1e-9 * max(np.abs(laplacian).max(), 1.0):
        raise ValueError(
            f"graph must be positive semidefinite (a Laplacian, not an adjacency), got eigenvalue {lowest:.3g}"
        )
    several = [t for t in range(tasks) if t not in single]
    if np.any(laplacian[several]):
        name = problem.tasks[next(t for t in several if np.any(laplacian[t]))].name
        raise ValueError(f"graph joins task {name!r}, which is multinomial: its columns are classes, not one predictor")
    return laplacian[np.ix_(single, single)]
