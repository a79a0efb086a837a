"""Errors in metres, relative errors and shares within a ratio, of depths."""

from functools import partial

import torch
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanAbsolutePercentageError, MeanSquaredError, Metric, MetricCollection

from lomt.tasks.metrics.labelled import LabelledOnly, Predict


def depth(predict: Predict) -> MetricCollection:
    """``MAE``, ``RMSE``, ``AbsRel``, ``delta1``, ``delta2`` and ``delta3``."""
    return LabelledOnly(
        partial(_labelled, predict),
        {
            "MAE": MeanAbsoluteError(),
            "RMSE": MeanSquaredError(squared=False),
            "AbsRel": MeanAbsolutePercentageError(),
            "ratios": _WithinRatio(),
        },
    )


class _WithinRatio(Metric):
    """Shares of depths whose ratio to the truth is below 1.25, 1.25² and 1.25³ (torchmetrics has none)."""

    full_state_update = False
    hits: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("hits", torch.zeros(3, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, depth: Tensor, truth: Tensor) -> None:
        ratio = torch.maximum(depth / truth, truth / depth)
        self.hits += torch.stack([(ratio < 1.25**k).sum() for k in (1, 2, 3)])
        self.total += truth.numel()

    def compute(self) -> dict[str, Tensor]:
        shares = self.hits / self.total
        return {f"delta{k}": share for k, share in enumerate(shares, start=1)}


def _labelled(predict: Predict, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    valid = target.isfinite()
    return predict(output)[valid], target[valid]
