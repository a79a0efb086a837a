"""Least squares that large residuals do not dominate."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from lomt.linear.losses.base import Array, Labels, Loss, finite


class Huber(Loss):
    """ℓ(z; y) = ½ r² for |r| ≤ δ, else δ|r| − ½ δ², with r = z − y (Huber, 1964).

    Args:
        delta: Where the square turns into a line, in units of the standardized y (in y's own units without
            standardization). 1.345 keeps 95 % efficiency for normal noise.
    """

    name: ClassVar[str] = "huber"
    kind: ClassVar[str] = "regression"

    def __init__(self, delta: float = 1.345) -> None:
        if not delta > 0:
            raise ValueError(f"delta must be positive, got {delta}")
        self.delta = float(delta)

    def encode(self, y: Labels, where: str) -> tuple[Array, Labels | None]:
        """Numbers as they are."""
        return finite(y, where, self.name)[None, :], None

    def value(self, z: Array, y: Array, a: Array) -> float:
        """Σ a h(z − y), h as above."""
        size = np.abs(z - y)
        inner = np.minimum(size, self.delta)
        return float(np.vdot(a, inner * (size - 0.5 * inner)))

    def gradient(self, z: Array, y: Array, a: Array) -> Array:
        """The weighted residual, clipped at ±δ."""
        return a * np.clip(z - y, -self.delta, self.delta)

    def curvature(self, z: Array, y: Array, a: Array) -> Array:
        """δ / |r| in the tails, where the true curvature is 0: the parabola that touches there lies above the loss."""
        return a * self.delta / np.maximum(np.abs(z - y), self.delta)

    def conjugate(self, theta: Array, y: Array, a: Array) -> float:
        """As for least squares, on |u| ≤ δ."""
        if np.any(np.abs(theta) > a * self.delta * (1 + 1e-12)):
            return float("inf")
        with np.errstate(divide="ignore", invalid="ignore"):
            squares = np.where(a > 0, theta * theta / a, 0.0)
        return float(0.5 * squares.sum() + np.vdot(theta, y))

    def null(self, y: Array, weights: Array) -> Array:
        """Iteratively reweighted means: monotone, and started at the median."""
        centre = np.median(y, axis=1, keepdims=True)
        for _ in range(200):
            share = weights * self.delta / np.maximum(np.abs(y - centre), self.delta)
            moved = (share * y).sum(axis=1, keepdims=True) / share.sum(axis=1, keepdims=True)
            if np.array_equal(moved, centre):
                break
            centre = moved
        return np.asarray(centre[:, 0])

    def natural_scale(self, y: Array, weights: Array) -> tuple[float, float]:
        """Weighted median and the median absolute deviation (× 1.4826: the deviation of a normal sample)."""
        middle = _median(y[0], weights)
        spread = 1.4826 * _median(np.abs(y[0] - middle), weights)
        if spread <= 1e-13 * abs(middle):
            spread = float(np.sqrt(np.average((y[0] - middle) ** 2, weights=weights)))
        return middle, spread if spread > 1e-13 * abs(middle) else 0.0

    def response(self, z: Array) -> Array:
        """Z itself."""
        return z


def _median(values: Array, weights: Array) -> float:
    """Weighted median: the same for a weight of 2 as for a sample given twice."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    half = 0.5 * reached[-1]
    low = np.searchsorted(reached, half * (1 - 1e-12))
    high = np.searchsorted(reached, half * (1 + 1e-12))
    return float(0.5 * (values[order[low]] + values[order[min(high, len(order) - 1)]]))
