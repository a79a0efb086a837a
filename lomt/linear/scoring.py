"""How good predictions are, in figures that can be averaged over tasks of different kinds."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from lomt.linear.losses.base import Array
from lomt.linear.problem import TaskInfo

SCORINGS = ("deviance", "auc")


def deviance_explained(task: TaskInfo, z: Array, y: Array, weights: Array) -> float:
    """1 − loss / loss of the best constant: R² for least squares, D² for every other loss.

    Args:
        task: The task.
        z: Linear predictors `(k, n)` in the standardized unit.
        y: Targets `(k, n)`, as `TaskInfo.targets` gives them.
        weights: `(n,)`.

    Returns:
        At most 1; NaN where the labels do not vary, for then nothing can be explained.
    """
    if np.all(y == y[:, :1]):
        return float("nan")
    weights = weights / weights.max()
    a = np.broadcast_to(weights, y.shape)
    constant = np.repeat(task.loss.null(y, weights / weights.sum())[:, None], y.shape[1], axis=1)
    null = task.loss.value(constant, y, a)
    if null == 0:
        return float("nan")
    return 1.0 - task.loss.value(z, y, a) / null


def area_under_curve(task: TaskInfo, z: Array, y: Array, weights: Array) -> float:
    """Area under the ROC curve, of fixed direction: less than ½ is worse than chance and stays so.

    For more than two classes the mean of each class against the rest. NaN where a class is absent.
    """
    del task
    areas = []
    for scores, truth in zip(z, y, strict=True):
        if truth.min() == truth.max():
            return float("nan")
        areas.append(roc_auc_score(truth, scores, sample_weight=weights))
    return float(np.mean(areas))


def task_score(scoring: str, task: TaskInfo, z: Array, y: Array, weights: Array) -> float:
    """The score of one task: greater is better.

    Args:
        scoring: `"deviance"`: the share of deviance explained, for all tasks; `"auc"`: the area under the curve
            for classification, R² (the share of deviance) for the rest, as MTLComb's cross-validation.
        task: The task.
        z: Linear predictors `(k, n)`.
        y: Targets `(k, n)`.
        weights: `(n,)`.

    Raises:
        ValueError: If the scoring is unknown.
    """
    if scoring not in SCORINGS:
        raise ValueError(f"unknown scoring {scoring!r}: expected one of {SCORINGS}")
    if scoring == "auc" and task.loss.kind == "classification":
        return area_under_curve(task, z, y, weights)
    return deviance_explained(task, z, y, weights)
