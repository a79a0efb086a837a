"""The penalty of a mixed fit, and the norm dual to its sparse part."""

# ruff: noqa: N803 - X, W, G and Q keep the names of the papers and of scikit-learn
from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lomt.linear.compiled import compiled
from lomt.linear.losses.base import Array


@compiled
def _dual_norms(gradients: Array, ratio: float) -> Array:  # pragma: no cover - compiled
    """For each column u of `gradients` (C, p): the ν with ‖soft(u, ν·ratio)‖₂ = ν (1 − ratio)."""
    columns, features = gradients.shape
    norms = np.empty(features)
    for j in range(features):
        square = 0.0
        largest = 0.0
        for c in range(columns):
            square += gradients[c, j] ** 2
            largest = max(largest, abs(gradients[c, j]))
        if ratio >= 1.0 or square == 0.0:
            norms[j] = largest
            continue
        if ratio <= 0.0:
            norms[j] = np.sqrt(square)
            continue
        # The left side falls and is convex in ν: Newton from below never overshoots.
        nu = max(np.sqrt(square) / (1.0 - ratio + ratio * np.sqrt(columns)), 0.0)
        for _ in range(60):
            total = 0.0
            slope = 0.0
            for c in range(columns):
                excess = abs(gradients[c, j]) - nu * ratio
                if excess > 0.0:
                    total += excess * excess
                    slope += excess
            norm = np.sqrt(total)
            if norm == 0.0:
                break
            step = (norm - nu * (1.0 - ratio)) / (ratio * slope / norm + (1.0 - ratio))
            nu += step
            if step <= 1e-15 * nu:
                break
        norms[j] = nu
    return norms


@dataclass(frozen=True)
class MixedPenalty:
    """α Σⱼ [(1 − r) ‖wⱼ‖₂ + r ‖wⱼ‖₁] + ½ tr(W Q Wᵀ), over rows wⱼ (one feature, all columns).

    With r = 0 and Q = C·L + C₂·I this is MTLComb's penalty: L = I − 11ᵀ/T pulls the tasks towards their mean,
    and any other graph Laplacian pulls the tasks that its edges join.

    Args:
        alpha: Weight α ≥ 0 of the sparse part.
        l1_ratio: r in [0, 1]: 0 is ℓ2,1, between is the sparse-group lasso (Simon et al., 2013), 1 the lasso.
        quadratic: Q `(C, C)`, positive semidefinite.
    """

    alpha: float
    l1_ratio: float
    quadratic: Array

    def at(self, alpha: float) -> MixedPenalty:
        """The same penalty with another α (what is cached about Q is shared)."""
        moved = replace(self, alpha=alpha)
        for name in ("is_quadratic", "spectrum", "inverse", "majorizer"):
            moved.__dict__[name] = getattr(self, name)
        return moved

    @cached_property
    def is_quadratic(self) -> bool:
        """Whether Q is more than zero."""
        return bool(np.any(self.quadratic))

    @cached_property
    def spectrum(self) -> tuple[Array, Array]:
        """Eigenvalues of Q, ascending and not below 0, and its eigenvectors as columns."""
        values, vectors = np.linalg.eigh(self.quadratic)
        return np.maximum(values, 0.0), np.ascontiguousarray(vectors)

    @cached_property
    def inverse(self) -> Array | None:
        """Q⁻¹ where Q is well enough conditioned for it to serve in a bound, else None."""
        if not self.is_quadratic:
            return None
        values, _ = self.spectrum
        return np.asarray(np.linalg.inv(self.quadratic)) if values[0] > 1e-10 * values[-1] else None

    @cached_property
    def majorizer(self) -> Array:
        """A diagonal that dominates Q: its absolute row sums or its largest eigenvalue, what is less in all."""
        rows = np.abs(self.quadratic).sum(axis=1)
        if not self.is_quadratic:
            return rows
        largest = np.full(len(rows), self.spectrum[0][-1])
        return rows if rows.sum() <= largest.sum() else largest

    def sparse(self, W: Array) -> float:
        """The sparse part without α at W `(C, m)`."""
        value = 0.0
        if self.l1_ratio < 1:
            value += (1 - self.l1_ratio) * float(np.sqrt(np.einsum("cj,cj->j", W, W)).sum())
        if self.l1_ratio > 0:
            value += self.l1_ratio * float(np.abs(W).sum())
        return value

    def pull(self, W: Array) -> Array:
        """Gradient Q W of the quadratic part at W `(C, m)`."""
        return self.quadratic @ W if self.is_quadratic else np.zeros_like(W)

    def value(self, W: Array) -> float:
        """The whole penalty at W `(C, m)`."""
        smooth = 0.5 * float(np.vdot(W, self.pull(W))) if self.is_quadratic else 0.0
        return self.alpha * self.sparse(W) + smooth

    def dual_norms(self, gradients: Array) -> Array:
        """Norm dual to the sparse part, for each feature of `gradients` `(C, p)`.

        A feature can stay at zero exactly if this is at most α.
        """
        if self.l1_ratio == 0:
            return np.asarray(np.sqrt(np.einsum("cj,cj->j", gradients, gradients)))
        return np.asarray(_dual_norms(np.ascontiguousarray(gradients), self.l1_ratio))
