"""Least squares."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from lomt.linear.losses.base import Array, Labels, Loss, finite


class Squared(Loss):
    """ℓ(z; y) = ½ (z − y)²: the loss of scikit-learn's `MultiTaskLasso`.

    >>> Squared().value(np.array([1.0]), np.array([3.0]), np.array([1.0]))
    2.0
    """

    name: ClassVar[str] = "squared"
    kind: ClassVar[str] = "regression"
    constant_curvature: ClassVar[bool] = True

    def encode(self, y: Labels, where: str) -> tuple[Array, Labels | None]:
        """Numbers as they are."""
        return finite(y, where, self.name)[None, :], None

    def value(self, z: Array, y: Array, a: Array) -> float:
        """Σ ½ a (z − y)²."""
        residual = z - y
        return 0.5 * float(np.vdot(a * residual, residual))

    def gradient(self, z: Array, y: Array, a: Array) -> Array:
        """The weighted residual."""
        return a * (z - y)

    def curvature(self, z: Array, y: Array, a: Array) -> Array:
        """1, weighted."""
        del z, y
        return a

    def conjugate(self, theta: Array, y: Array, a: Array) -> float:
        """½ u² + u y with u = θ/a."""
        with np.errstate(divide="ignore", invalid="ignore"):
            squares = np.where(a > 0, theta * theta / a, 0.0)
        return float(0.5 * squares.sum() + np.vdot(theta, y))

    def null(self, y: Array, weights: Array) -> Array:
        """The mean."""
        return np.asarray(np.average(y, axis=1, weights=weights))

    def natural_scale(self, y: Array, weights: Array) -> tuple[float, float]:
        """Mean and standard deviation."""
        mean = float(np.average(y, weights=weights[None, :]))
        # In a unit near the largest of them, so that the squares of tiny numbers do not vanish.
        unit = float(np.exp2(np.frexp(np.abs(y - mean).max())[1]))
        deviation = unit * float(np.sqrt(np.average(((y - mean) / unit) ** 2, weights=weights[None, :])))
        return mean, deviation if deviation > 1e-13 * abs(mean) else 0.0

    def response(self, z: Array) -> Array:
        """Z itself."""
        return z
