"""How far from the optimum at most: the duality gap."""

# ruff: noqa: N803 - X, W, G and Q keep the names of the papers and of scikit-learn
from __future__ import annotations

import numpy as np

from lomt.linear.losses.base import Array
from lomt.linear.penalty import MixedPenalty
from lomt.linear.problem import Problem


def dual_value(problem: Problem, penalty: MixedPenalty, theta: Array, gradient: Array, W: Array) -> float:
    """The best lower bound on the optimal objective that two dual points give.

    With u = −Xᵀθ the dual objective is −f*(θ) − g*(u), where g is the penalty and 1ᵀθ = 0 in every column, for
    the intercepts are free. g*(u) is the least ½ vᵀQ⁻¹v with the rest u − v in the dual ball of radius α, which
    leaves two choices:

    - v = Q W, and the whole point shrunk until u − v is in the ball: works for every Q, also for none;
    - u − Q W projected into the ball, v the remainder: needs Q invertible, and then works down to α = 0.

    Args:
        problem: The tasks.
        penalty: The penalty.
        theta: Gradient of the losses, flat; each column sums to zero.
        gradient: Xᵀθ `(C, m)` for the features in question.
        W: Coefficients `(C, m)` of the same features.
    """
    pull = penalty.pull(W)
    rest = -gradient - pull
    norms = penalty.dual_norms(rest)
    largest = float(norms.max(initial=0.0))
    shrink = min(1.0, penalty.alpha / largest) if largest > 0 else 1.0
    best = -problem.conjugate(shrink * theta) - 0.5 * shrink**2 * float(np.vdot(W, pull))
    if penalty.inverse is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = np.where(norms > penalty.alpha, penalty.alpha / norms, 1.0)
        v = -gradient - inside * rest
        best = max(best, -problem.conjugate(theta) - 0.5 * float(np.vdot(v, penalty.inverse @ v)))
    return best
