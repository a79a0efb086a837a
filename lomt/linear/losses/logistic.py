"""Two classes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.special import expit, xlogy

from lomt.linear.losses.base import Array, Labels, Loss


class Logistic(Loss):
    """ℓ(z; y) = log(1 + eᶻ) − y z with y ∈ {0, 1}: the second of the two classes, sorted, is 1.

    >>> Logistic().encode(np.array(["well", "ill", "ill"]), "diagnosis")[1]
    array(['ill', 'well'], dtype='<U4')
    """

    name: ClassVar[str] = "logistic"
    kind: ClassVar[str] = "classification"

    def encode(self, y: Labels, where: str) -> tuple[Array, Labels | None]:
        """0 and 1 for the two classes, sorted."""
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) > 2:
            raise ValueError(
                f"{where}: the logistic loss needs two classes, got {len(classes)} ({classes[:4].tolist()} …); "
                "use 'multinomial' for more classes or 'squared' for numbers"
            )
        return codes.astype(np.float64)[None, :], classes

    def value(self, z: Array, y: Array, a: Array) -> float:
        """Σ a log(1 + e^∓z)."""
        # log(1 + eᶻ) = max(z, 0) + log(1 + e^−|z|); with y ∈ {0, 1} this also stays exact for tiny losses.
        signed = np.where(y > 0.5, -z, z)
        return float(np.vdot(a, np.maximum(signed, 0.0) + np.log1p(np.exp(-np.abs(z)))))

    def gradient(self, z: Array, y: Array, a: Array) -> Array:
        """A (p − y), exact also where p is near y."""
        signed = np.where(y > 0.5, -z, z)
        return a * np.where(y > 0.5, -1.0, 1.0) * expit(signed)

    def curvature(self, z: Array, y: Array, a: Array) -> Array:
        """P (1 − p), weighted, kept from vanishing."""
        del y
        return a * np.maximum(expit(z) * expit(-z), 1e-10)

    def conjugate(self, theta: Array, y: Array, a: Array) -> float:
        """Minus the entropy of the chance u + y, on [0, 1]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            chance = np.where(a > 0, theta / a, 0.0) + y
        if np.any(chance < -1e-12) or np.any(chance > 1 + 1e-12):
            return float("inf")
        chance = np.clip(chance, 0.0, 1.0)
        return float(np.vdot(a, xlogy(chance, chance) + xlogy(1 - chance, 1 - chance)))

    def null(self, y: Array, weights: Array) -> Array:
        """Log-odds of the classes."""
        share = np.average(y, axis=1, weights=weights)
        # Half a sample on each side keeps a single class finite; it changes nothing where there are two.
        one_sided = (share <= 0) | (share >= 1)
        share = np.where(one_sided, (share * y.shape[1] + 0.5) / (y.shape[1] + 1), share)
        return np.asarray(np.log(share) - np.log1p(-share))

    def degenerate(self, y: Array) -> bool:
        """Whether there is only one class."""
        return bool(y.min() == y.max())

    def response(self, z: Array) -> Array:
        """The chance of the second class."""
        return np.asarray(expit(z))
