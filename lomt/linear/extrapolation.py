"""Anderson extrapolation: where coordinate descent crawls, a better point from the last few passes."""

# ruff: noqa: N803 - X, W, G and Q keep the names of the papers and of scikit-learn
from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lomt.linear.compiled import compiled
from lomt.linear.losses.base import Array


@compiled
def mixture(steps: Array) -> Array:  # pragma: no cover - compiled
    """Weights `(K,)`, sum 1, for which the mixture of the last K `steps` `(K, size)` is shortest.

    The same mixture of the points after those steps is close to the limit of a linear iteration (Anderson, 1965;
    for coordinate descent Bertrand and Massias, 2021).
    """
    count = len(steps)
    products = np.empty((count, count))
    for a in range(count):
        for b in range(a + 1):
            total = 0.0
            for i in range(steps.shape[1]):
                total += steps[a, i] * steps[b, i]
            products[a, b] = total
            products[b, a] = total
    trace = np.trace(products)
    for a in range(count):
        products[a, a] += 1e-14 * trace + 1e-300
    weights = np.linalg.solve(products, np.ones(count))
    result: Array = weights / weights.sum()
    return result


@compiled
def model_value(
    W: Array,
    G: Array,
    residual: Array,
    W_start: Array,
    G_start: Array,
    residual_start: Array,
    gram_of: npt.NDArray[np.intp],
    starts: npt.NDArray[np.intp],
    lengths: npt.NDArray[np.intp],
    weights: Array,
    group: float,
    single: float,
) -> float:  # pragma: no cover - compiled
    """What `descend` minimizes, less its value at the start; arguments as there, and their state at the start.

    A quadratic changes by half the sum of its two gradients times the step; for columns that keep residuals that
    is a sum over their samples.
    """
    columns, features = W.shape
    total = 0.0
    for c in range(columns):
        for j in range(features):
            total += 0.5 * (G_start[c, j] + G[c, j]) * (W[c, j] - W_start[c, j])
        if gram_of[c] < 0:
            for i in range(starts[c], starts[c] + lengths[c]):
                if weights[i] > 0.0:
                    change = residual[i] - residual_start[i]
                    total += 0.5 * change * (residual[i] + residual_start[i]) / weights[i]
    for j in range(features):
        square = 0.0
        absolute = 0.0
        for c in range(columns):
            square += W[c, j] * W[c, j]
            absolute += abs(W[c, j])
        total += group * np.sqrt(square) + single * absolute
    return total
