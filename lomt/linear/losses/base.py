"""What a loss has to offer to take part in a mixed fit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[Any]

LARGEST = 1e150
"""What is larger has a square that overflows."""


class Loss(ABC):
    """A convex loss ℓ(z; y) of the linear predictor z, summed over samples with weights a ≥ 0.

    A loss that is `separable` works on arrays of any shape, element by element: `z`, `y` and `a` agree in
    shape. One that is not (multinomial) works on `(K, n)` arrays: one row a class.

    All methods are exact and safe against overflow; `value` is shifted so that its minimum over z is 0, which
    makes "relative to the null objective" meaningful for every loss.

    Attributes:
        name: What `losses=` calls it.
        kind: `"regression"`, `"count"` or `"classification"`; decides the score and what `predict` returns.
        separable: Whether each element stands alone.
        constant_curvature: Whether `curvature` does not depend on z (its Gram matrix is then computed once).
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    separable: ClassVar[bool] = True
    constant_curvature: ClassVar[bool] = False

    @abstractmethod
    def encode(self, y: Labels, where: str) -> tuple[Array, Labels | None]:
        """Turn labels `(n,)` into targets `(k, n)` and, for classification, the classes `(K,)`.

        Raises:
            ValueError: If the labels do not suit the loss; the message names `where`.
        """

    @abstractmethod
    def value(self, z: Array, y: Array, a: Array) -> float:
        """Σ a ℓ(z; y)."""

    @abstractmethod
    def gradient(self, z: Array, y: Array, a: Array) -> Array:
        """Derivative of `value` in z."""

    @abstractmethod
    def curvature(self, z: Array, y: Array, a: Array) -> Array:
        """A positive diagonal that is, or dominates, the second derivative of `value` in z."""

    @abstractmethod
    def conjugate(self, theta: Array, y: Array, a: Array) -> float:
        """Σ a ℓ*(θ/a; y), the convex conjugate; infinite outside its domain."""

    @abstractmethod
    def null(self, y: Array, weights: Array) -> Array:
        """The constants `(k,)` that minimize the loss of targets `(k, n)` with sample weights `(n,)`."""

    @abstractmethod
    def response(self, z: Array) -> Array:
        """From linear predictors `(k, n)` to the mean response (probabilities for classes)."""

    def natural_scale(self, y: Array, weights: Array) -> tuple[float, float]:
        """Shift and scale that bring targets `(1, n)` to a common unit.

        (0, 1) where y has a unit of its own, as counts and classes have; a scale of 0 where y does not vary.
        """
        del y, weights
        return 0.0, 1.0

    def degenerate(self, y: Array) -> bool:
        """Whether these targets have no finite best constant (one class only, or no event at all)."""
        del y
        return False


def finite(y: Labels, where: str, loss: str) -> Array:
    """Labels as float64, or an error that says which label is no number."""
    try:
        values = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        first = y[:1].tolist()[0]
        msg = f"{where}: the {loss} loss needs numbers, got {first!r}; use 'logistic' or 'multinomial' for labels"
        raise ValueError(msg) from error
    if not np.isfinite(values).all():
        bad = values[~np.isfinite(values)][0]
        msg = f"{where}: expected finite numbers (NaN marks an unobserved label), got {bad}"
        raise ValueError(msg)
    if (largest := np.abs(values).max(initial=0.0)) > LARGEST:
        raise ValueError(f"{where}: labels up to {largest:.3g} can't be squared; rescale them, to {LARGEST:g} at most")
    return values
