"""MTLComb for Python: features shared across regression, classification and count tasks.

Needs the extra `linear`: `pip install 'lomt-kernels[linear]'`.
"""

from lomt.extras import need

need("lomt.linear", "linear", "joblib", "matplotlib", "numba", "scipy", "sklearn")

from lomt.linear.cross_validation import MixedMultiTaskLassoCV
from lomt.linear.datasets import breast_cancer, simulate
from lomt.linear.estimator import MixedMultiTaskLasso
from lomt.linear.folds import TaskStratifiedKFold
from lomt.linear.losses import LOSSES, Huber, Logistic, Loss, Multinomial, Poisson, Squared
from lomt.linear.path import MixedPath, mixed_path
from lomt.linear.plots import plot_coefficients, plot_cv, plot_path, plot_stability
from lomt.linear.stability import StabilitySelection, stability_selection

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
