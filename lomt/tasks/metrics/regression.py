"""RMSE, MAE and R² of numbers."""

import torch
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection, R2Score
from torchmetrics.wrappers import MultioutputWrapper

from lomt.tasks.metrics.labelled import LabelledOnly, SkipMissing
from lomt.tasks.missing import full_precision


def regression(outputs: int) -> MetricCollection:
    """``RMSE``, ``MAE`` and ``R2``."""
    return LabelledOnly(
        _float_pair,
        {"RMSE": _SquaredError(squared=False), "MAE": _AbsoluteError(), "R2": _MeanR2(_R2(), outputs)},
    )


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
