"""What a multinomial loss cannot see: the same number added to a feature's coefficients for all classes."""

# ruff: noqa: N803 - X, W, G and Q keep the names of the papers and of scikit-learn
from __future__ import annotations

import numpy as np

from lomt.linear.losses.base import Array
from lomt.linear.penalty import MixedPenalty
from lomt.linear.problem import Problem


def recentre(problem: Problem, penalty: MixedPenalty, W: Array) -> Array | None:
    """The change of `W` `(C, m)` that leaves every loss as it is and makes the penalty small.

    Along this direction descent only sees the penalty, and steps that are sized for the loss are far too short. For
    ‖w‖₂ the best shift makes the mean over the classes 0; ‖w‖₁ prefers the median 0, so that both are tried.

    Returns:
        The change `(C, m)`, or None if there is none.
    """
    tasks = [task.columns for task in problem.tasks if not task.loss.separable]
    if not tasks:
        return None
    change = np.zeros_like(W)
    for columns in tasks:
        part = W[columns]
        centres = [part.mean(axis=0)]
        if penalty.l1_ratio > 0:
            centres += [np.median(part, axis=0), np.zeros(W.shape[1])]
        others = (W**2).sum(axis=0) - (part**2).sum(axis=0)
        ridge = np.diag(penalty.quadratic)[columns.start]  # these columns are tied to no others
        costs = [_cost(penalty, part - centre, others, ridge) for centre in centres]
        change[columns] = -np.choose(np.argmin(costs, axis=0), centres)
    return change


def _cost(penalty: MixedPenalty, part: Array, others: Array, ridge: float) -> Array:
    """The penalty of each feature `(m,)`, as far as it depends on the classes' coefficients `part`."""
    squares = (part**2).sum(axis=0)
    sparse = (1 - penalty.l1_ratio) * np.sqrt(squares + others) + penalty.l1_ratio * np.abs(part).sum(axis=0)
    return np.asarray(penalty.alpha * sparse + 0.5 * ridge * squares)
