"""Regression: some real numbers for a whole image."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from lomt.tasks.base import Task
from lomt.tasks.checks import check_form
from lomt.tasks.missing import full_precision, mean_where

if TYPE_CHECKING:
    from torchmetrics import MetricCollection


class Regression(Task):
    """Real numbers; targets ``(N, K)`` float32, NaN where missing, outputs ``(N, K)``.

    The loss is the squared error, the mean over all values that are there. Metrics: ``RMSE`` and ``MAE`` over
    all values, and ``R2``, the mean over the outputs with two values or more of 1 − residual / total sum of
    squares.

    Args:
        name: key of the label and of the output.
        outputs: numbers an image, K.
        weight: factor of the loss.
    """

    dense: ClassVar[bool] = False
    higher_is_better: ClassVar[Mapping[str, bool]] = {"RMSE": False, "MAE": False, "R2": True}
    headline: ClassVar[tuple[str, ...]] = ("RMSE",)

    def __init__(self, name: str, outputs: int = 1, weight: float = 1.0) -> None:
        super().__init__(name, outputs, weight)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean squared error over the values that are there."""
        raw = full_precision(output)
        valid = target.isfinite()
        error = raw - torch.where(valid, target, 0.0)
        return mean_where(error * error, valid)

    def metrics(self) -> "MetricCollection":
        """``RMSE``, ``MAE`` and ``R2`` over a whole split."""
        from lomt.tasks.metrics.regression import regression

        return regression(self.channels)

    def prediction(self, output: Tensor) -> Tensor:
        """The numbers ``(N, K)``."""
        return full_precision(output)

    def check(self, target: Tensor, where: str) -> None:
        """Raise where a number is infinite; NaN means missing and is fine."""
        check_form(target, where, torch.float32, (self.channels,))
        if bool(target.isinf().any()):
            raise ValueError(f"{where}: infinite label {target.tolist()} – set missing values to NaN")
