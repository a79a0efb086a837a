"""MTLComb for Python: features shared across regression, classification and count tasks.

Needs the extra `linear`: `pip install 'tailor-mtl[linear]'`.
"""

from __future__ import annotations

try:
    import numba as _numba  # noqa: F401
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError("tailor.linear needs scikit-learn and numba: pip install 'tailor-mtl[linear]'") from error

from tailor.linear.cross_validation import MixedMultiTaskLassoCV
from tailor.linear.datasets import breast_cancer, simulate
from tailor.linear.estimator import MixedMultiTaskLasso
from tailor.linear.folds import TaskStratifiedKFold
from tailor.linear.losses import LOSSES, Huber, Logistic, Loss, Multinomial, Poisson, Squared
from tailor.linear.path import MixedPath, mixed_path
from tailor.linear.plots import plot_coefficients, plot_cv, plot_path, plot_stability
from tailor.linear.stability import StabilitySelection, stability_selection

__all__ = [
    "LOSSES",
    "Huber",
    "Logistic",
    "Loss",
    "MixedMultiTaskLasso",
    "MixedMultiTaskLassoCV",
    "MixedPath",
    "Multinomial",
    "Poisson",
    "Squared",
    "StabilitySelection",
    "TaskStratifiedKFold",
    "breast_cancer",
    "mixed_path",
    "plot_coefficients",
    "plot_cv",
    "plot_path",
    "plot_stability",
    "simulate",
    "stability_selection",
]
