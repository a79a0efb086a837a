"""How much each task's loss counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lomt.linear.losses import Huber, Logistic, Loss, Multinomial, Poisson, Squared
from lomt.linear.losses.base import Array
from lomt.linear.tasks import Name

LossWeights = str | Sequence[float] | Mapping[Name, float] | Array | None


def balanced_weight(loss: Loss, y: Array, shares: Array) -> float:
    """The weight that makes every task's gradient at the best constant equally large, in the mean square.

    A feature that is noise then reaches the same size in every task, so that all tasks enter the path at the
    same α. For classes with shares π the weight is 1/√(π(1 − π)) (for more classes 1/√Σπₖ(1 − πₖ)), for
    counts one over their standard deviation. A squared or Huber loss gets the spread of y over that of its
    gradient: 1 for least squares (whose y has unit variance once standardized; without standardization, α keeps
    the scale of scikit-learn's `MultiTaskLasso`).

    Args:
        loss: The task's loss.
        y: Targets `(k, n)`.
        shares: Sample weights `(n,)` that sum to 1.
    """
    if loss.degenerate(y):
        return 1.0
    z = np.repeat(loss.null(y, shares)[:, None], y.shape[1], axis=1)
    spread = np.sqrt((shares * loss.gradient(z, y, np.ones_like(y)) ** 2).sum())
    _, natural = loss.natural_scale(y, shares)
    return float(natural / spread) if spread > 1e-13 * (1.0 + np.abs(y).max()) else 1.0


# Weights of the R package MTLComb and of the paper: the logistic loss counts twice.
_MTLCOMB: dict[type[Loss], float] = {Squared: 1.0, Logistic: 2.0, Multinomial: 2.0, Poisson: 1.0, Huber: 1.0}


def loss_weight(weights: LossWeights, loss: Loss, y: Array, shares: Array, name: Name, index: int, total: int) -> float:
    """The weight of one task, from what the user said about all of them.

    Args:
        weights: `"balanced"`, `"mtlcomb"` (1 for squared, 2 for logistic), None (1 for all), a sequence in the
            order of tasks, or a mapping from task names (1 where absent).
        loss: The task's loss.
        y: Targets `(k, n)`.
        shares: Sample weights `(n,)` that sum to 1.
        name: The task's name.
        index: The task's position.
        total: Number of tasks.

    Raises:
        ValueError: If the weights are of no such form, of another length, or not positive.
    """
    if weights is None:
        return 1.0
    if isinstance(weights, str):
        if weights == "balanced":
            return balanced_weight(loss, y, shares)
        if weights == "mtlcomb":
            return _MTLCOMB.get(type(loss), 1.0)
        raise ValueError(f"loss_weights={weights!r}: expected 'balanced', 'mtlcomb', None or one weight a task")
    if isinstance(weights, Mapping):
        weight = float(weights.get(name, 1.0))
    else:
        if len(weights) != total:
            raise ValueError(f"loss_weights has {len(weights)} entries, but there are {total} tasks")
        weight = float(weights[index])
    if not (weight > 0 and np.isfinite(weight)):
        raise ValueError(f"loss_weights: task {name!r} got {weight}; expected a positive, finite weight")
    return weight
