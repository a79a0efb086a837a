"""MTLComb for Python: features shared across regression, classification and count tasks.

Needs the extra `linear`: `pip install 'tailor-mtl[linear]'`.
"""

from __future__ import annotations

try:
    import numba as _numba  # noqa: F401
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError("tailor.linear needs scikit-learn and numba: pip install 'tailor-mtl[linear]'") from error

from tailor.linear.estimator import MixedMultiTaskLasso
from tailor.linear.losses import LOSSES, Huber, Logistic, Loss, Multinomial, Poisson, Squared

__all__ = [
    "LOSSES",
    "Huber",
    "Logistic",
    "Loss",
    "MixedMultiTaskLasso",
    "Multinomial",
    "Poisson",
    "Squared",
]
