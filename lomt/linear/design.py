"""The standardized design matrix of a task, dense or sparse, without a dense copy of a sparse one."""

# ruff: noqa: N803 - X, W, G and Q keep the names of the papers and of scikit-learn
from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lomt.linear.compiled import compiled
from lomt.linear.losses.base import Array


class Design(ABC):
    """X̃ = (X − 1 centreᵀ) / scale of n samples and p features, seen only through what a solver asks of it.

    Attributes:
        centre: Weighted mean of each feature `(p,)`.
        scale: Weighted standard deviation (not n − 1) of each feature `(p,)`; 1 where nothing varies, and
            everywhere without standardization.
        samples: n.
    """

    centre: Array
    scale: Array
    samples: int

    @abstractmethod
    def columns(self, features: npt.NDArray[np.intp]) -> Array:
        """The features asked for, as dense rows `(m, n)`."""

    @abstractmethod
    def correlate(self, theta: Array) -> Array:
        """X̃ᵀθ of each row of `theta` `(k, n)`, as `(k, p)`."""


@compiled
def _centred(X: Array, centre: Array, weights: Array) -> tuple[Array, Array]:  # pragma: no cover - compiled
    """X − 1 centreᵀ in one pass, and the weighted sum of its squares by column `(p,)`."""
    samples, features = X.shape
    result = np.empty((samples, features))
    squares = np.zeros(features)
    for i in range(samples):
        for j in range(features):
            value = X[i, j] - centre[j]
            result[i, j] = value
            squares[j] += weights[i] * value * value
    return result, squares


class DenseDesign(Design):
    """A standardized copy in row order, which suits both a gradient over all features and the gathering of few."""

    def __init__(self, X: Array, weights: Array, standardize: bool) -> None:
        self.samples = len(X)
        self.centre = weights @ X
        self.matrix, squares = _centred(np.ascontiguousarray(X), self.centre, weights)
        deviation = np.sqrt(squares)
        constant = deviation <= 1e-13 * np.abs(self.centre) + 1e-300
        self.scale = np.where(constant, 1.0, deviation) if standardize else np.ones_like(deviation)
        factors = np.where(constant, 0.0, 1.0 / self.scale)
        if standardize or constant.any():
            self.matrix *= factors

    def columns(self, features: npt.NDArray[np.intp]) -> Array:
        """Standardized features as dense rows."""
        return np.ascontiguousarray(self.matrix[:, features].T)

    def correlate(self, theta: Array) -> Array:
        """One product over all features."""
        return np.asarray(theta @ self.matrix)


class SparseDesign(Design):
    """The sparse matrix as it came, each cell once; centre and scale are applied to what comes out."""

    def __init__(self, X: Any, weights: Array, standardize: bool) -> None:
        self.matrix = sp.csc_array(X, dtype=np.float64)
        self.transposed = self.matrix.T
        self.samples = self.matrix.shape[0]
        self.centre = np.asarray(self.transposed @ weights)
        deviation = np.sqrt(self._variance(weights))
        self.constant = deviation <= 1e-13 * np.abs(self.centre) + 1e-300
        self.scale = np.where(self.constant, 1.0, deviation) if standardize else np.ones_like(deviation)

    def _variance(self, weights: Array) -> Array:
        """Weighted mean of (x − centre)²: over what is stored, then what is not, which is 0.

        The difference of the mean square and the squared mean would lose all digits where features lie far from 0.
        """
        stored = np.diff(self.matrix.indptr)
        feature, share = np.repeat(np.arange(len(stored)), stored), weights[self.matrix.indices]
        squares = share * (self.matrix.data - self.centre[feature]) ** 2
        zeros = 1 - np.bincount(feature, share, len(stored))
        zeros = np.where(stored == self.samples, 0.0, np.maximum(zeros, 0.0))
        return np.asarray(np.bincount(feature, squares, len(stored)) + zeros * self.centre**2)

    def columns(self, features: npt.NDArray[np.intp]) -> Array:
        """Standardized features as dense rows."""
        picked = self.matrix[:, features].T.toarray()
        rows = (picked - self.centre[features, None]) / self.scale[features, None]
        rows[self.constant[features]] = 0.0
        return np.ascontiguousarray(rows)

    def correlate(self, theta: Array) -> Array:
        """One product over all features."""
        raw = np.asarray((self.transposed @ theta.T).T)
        result = (raw - theta.sum(axis=1)[:, None] * self.centre) / self.scale
        result[:, self.constant] = 0.0
        return np.asarray(result)


def design(X: Any, weights: Array, standardize: bool) -> Design:
    """The design of a dense `(n, p)` array or a SciPy sparse one, with sample weights `(n,)` that sum to 1."""
    if sp.issparse(X):
        return SparseDesign(X, weights, standardize)
    return DenseDesign(np.asarray(X, dtype=np.float64), weights, standardize)
