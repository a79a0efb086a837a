"""Regression: some real numbers for a whole image."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection, R2Score
from torchmetrics.wrappers import MultioutputWrapper

from lomt.tasks.base import Task
from lomt.tasks.checks import check_form
from lomt.tasks.metrics import LabelledOnly, SkipMissing
from lomt.tasks.missing import full_precision, mean_where


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
        if outputs < 1:
            raise ValueError(f"task {name!r} has {outputs} outputs: give it 1 or more")

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean squared error over the values that are there."""
        raw = full_precision(output)
        valid = target.isfinite()
        error = raw - torch.where(valid, target, 0.0)
        return mean_where(error * error, valid)

    def metrics(self) -> MetricCollection:
        """``RMSE``, ``MAE`` and ``R2`` over a whole split."""
        return LabelledOnly(
            _float_pair,
            {
                "RMSE": _SquaredError(squared=False),
                "MAE": _AbsoluteError(),
                "R2": _MeanR2(_R2(), self.channels),
            },
        )

    def prediction(self, output: Tensor) -> Tensor:
        """The numbers ``(N, K)``."""
        return full_precision(output)

    def check(self, target: Tensor, where: str) -> None:
        """Raise where a number is infinite; NaN means missing and is fine."""
        check_form(target, where, torch.float32, (self.channels,))
        if bool(target.isinf().any()):
            raise ValueError(f"{where}: infinite label {target.tolist()} – set missing values to NaN")


class _SquaredError(SkipMissing, MeanSquaredError):
    """torchmetrics' mean squared error over labelled values."""


class _AbsoluteError(SkipMissing, MeanAbsoluteError):
    """torchmetrics' mean absolute error over labelled values."""


class _R2(R2Score):
    """torchmetrics' R², NaN instead of an error for fewer than two values."""

    def compute(self) -> Tensor:
        return super().compute() if self.total >= 2 else torch.full((), torch.nan, device=self.device)


class _MeanR2(MultioutputWrapper):
    """R² of each output over its labelled values (the wrapper drops rows with NaN), then their mean."""

    def compute(self) -> Tensor:
        return super().compute().nanmean()

    def forward(self, *args: Tensor, **kwargs: Tensor) -> Tensor:
        scores: Tensor = super().forward(*args, **kwargs)
        return scores.nanmean()


def _float_pair(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return full_precision(output), full_precision(target)
