"""Counts."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.special import xlogy

from lomt.linear.losses.base import Array, Labels, Loss, finite


class Poisson(Loss):
    """ℓ(z; y) = eᶻ − y z + y log y − y: half the deviance of a count y ≥ 0 with mean eᶻ."""

    name: ClassVar[str] = "poisson"
    kind: ClassVar[str] = "count"

    def encode(self, y: Labels, where: str) -> tuple[Array, Labels | None]:
        """Counts as they are; they need not be whole numbers."""
        values = finite(y, where, self.name)
        if values.min(initial=0.0) < 0:
            raise ValueError(f"{where}: the poisson loss needs counts ≥ 0, got {values.min()}")
        return values[None, :], None

    def value(self, z: Array, y: Array, a: Array) -> float:
        """Half the deviance; infinite where eᶻ overflows."""
        with np.errstate(over="ignore"):
            return float(np.vdot(a, np.exp(z) - y * z + xlogy(y, y) - y))

    def gradient(self, z: Array, y: Array, a: Array) -> Array:
        """A (eᶻ − y)."""
        with np.errstate(over="ignore"):
            return np.asarray(a * (np.exp(z) - y))

    def curvature(self, z: Array, y: Array, a: Array) -> Array:
        """The mean eᶻ, kept within twelve decades so that quadratic models stay well posed."""
        del y
        return np.asarray(a * np.exp(np.clip(z, -14.0, 14.0)))

    def conjugate(self, theta: Array, y: Array, a: Array) -> float:
        """V log v − v with v = u + y ≥ 0, less the shift."""
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(a > 0, theta / a, 0.0) + y
        if np.any(mean < -1e-12 * np.maximum(y, 1.0)):
            return float("inf")
        mean = np.maximum(mean, 0.0)
        return float(np.vdot(a, xlogy(mean, mean) - mean - xlogy(y, y) + y))

    def null(self, y: Array, weights: Array) -> Array:
        """Logarithm of the mean count."""
        mean = np.average(y, axis=1, weights=weights)
        # No event at all: half an event keeps the rate finite.
        return np.asarray(np.log(np.where(mean > 0, mean, 0.5 / (y.shape[1] + 1))))

    def degenerate(self, y: Array) -> bool:
        """Whether there is no event at all."""
        return bool(y.max() <= 0)

    def response(self, z: Array) -> Array:
        """The mean count eᶻ."""
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(z))
