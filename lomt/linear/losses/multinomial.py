"""More than two classes: one column of coefficients a class, all in the same groups."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.special import logsumexp, softmax, xlogy

from lomt.linear.losses.base import Array, Labels, Loss


class Multinomial(Loss):
    """ℓ(z; y) = log Σₖ e^{zₖ} − z_y, symmetric in the classes (as glmnet's grouped multinomial).

    The parametrization is redundant; the penalty makes the coefficients of a feature sum to zero over the
    classes, and the intercepts are reported with mean zero.
    """

    name: ClassVar[str] = "multinomial"
    kind: ClassVar[str] = "classification"
    separable: ClassVar[bool] = False

    def encode(self, y: Labels, where: str) -> tuple[Array, Labels | None]:
        """One row of 0 and 1 a class, sorted."""
        del where
        classes, codes = np.unique(y, return_inverse=True)
        return (np.arange(len(classes))[:, None] == codes[None, :]).astype(np.float64), classes

    def value(self, z: Array, y: Array, a: Array) -> float:
        """Σ a (log Σₖ e^{zₖ} − z_y)."""
        return float(np.vdot(a[0], logsumexp(z, axis=0) - (y * z).sum(axis=0)))

    def gradient(self, z: Array, y: Array, a: Array) -> Array:
        """A (p − y)."""
        return np.asarray(a * (softmax(z, axis=0) - y))

    def curvature(self, z: Array, y: Array, a: Array) -> Array:
        """2 p (1 − p): dominates diag(p) − ppᵀ (its absolute row sums, Gershgorin)."""
        del y
        chance = softmax(z, axis=0)
        return np.asarray(a * np.maximum(2.0 * chance * (1.0 - chance), 1e-10))

    def conjugate(self, theta: Array, y: Array, a: Array) -> float:
        """Minus the entropy of the chances u + y."""
        with np.errstate(divide="ignore", invalid="ignore"):
            chance = np.where(a > 0, theta / a, 0.0) + y
        if np.any(chance < -1e-12):
            return float("inf")
        chance = np.maximum(chance, 0.0)
        return float(np.vdot(a, xlogy(chance, chance)))

    def null(self, y: Array, weights: Array) -> Array:
        """Logarithms of the shares, with mean zero."""
        share = np.average(y, axis=1, weights=weights)
        if len(share) == 1:
            return np.zeros(1)
        logs = np.log(np.maximum(share, 0.5 / (y.shape[1] + 1)))
        return np.asarray(logs - logs.mean())

    def degenerate(self, y: Array) -> bool:
        """Whether there is only one class."""
        return y.shape[0] < 2

    def newton_constants(self, z: Array, y: Array, a: Array) -> Array:
        """A Newton step `(K,)` in a constant added to each row of z."""
        chance = softmax(z, axis=0)
        slope = (a * (chance - y)).sum(axis=1)
        hessian = np.diag((a * chance).sum(axis=1)) - (a * chance) @ chance.T
        return np.asarray(-np.linalg.pinv(hessian, hermitian=True) @ slope)

    def response(self, z: Array) -> Array:
        """The chance of each class."""
        return np.asarray(softmax(z, axis=0))
