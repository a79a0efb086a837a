"""ODS-F with a tolerance, and the mean absolute error, of edges."""

import math
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanAbsoluteError, Metric, MetricCollection

from lomt.tasks.metrics.labelled import LabelledOnly, Predict, SkipMissing

TOLERANCE = 0.0075
"""How far a matching edge may be, as a share of the image's diagonal (Martin et al., PAMI 2004)."""


def edges(predict: Predict) -> MetricCollection:
    """``ODS_F`` and ``MAE``."""
    return LabelledOnly(partial(_predicted, predict), {"ODS_F": _BestF(), "MAE": _LabelledError()})


class _LabelledError(SkipMissing, MeanAbsoluteError):
    """torchmetrics' mean absolute error over labelled pixels."""


class _BestF(Metric):
    """F-measure at the best threshold of the whole split (torchmetrics knows no tolerance).

    Thresholds cost nothing: a true pixel is found at every threshold up to the largest probability within its
    reach, so two dilations and three histograms an image give the counts of all thresholds at once, exactly.
    """

    full_state_update = False
    predicted: Tensor
    right: Tensor
    found: Tensor
    true: Tensor
    thresholds: Tensor

    def __init__(self, thresholds: int = 99) -> None:
        super().__init__()
        self.levels = thresholds + 1
        steps = torch.arange(1, self.levels) / self.levels
        self.register_buffer("thresholds", steps, persistent=False)
        for state in ("predicted", "right", "found"):
            self.add_state(state, torch.zeros(self.levels, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("true", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, probability: Tensor, truth: Tensor) -> None:
        valid = truth.isfinite()
        radius = TOLERANCE * math.hypot(*truth.shape[-2:])
        edge = truth > 0.5
        # Level k: the probability reaches the first k thresholds. Missing pixels reach none.
        level = torch.bucketize(probability, self.thresholds, right=True)
        level = torch.where(valid, level, 0)
        reach = dilate(level.float(), radius)
        near = dilate(edge.float(), radius) > 0
        self.predicted += self._histogram(level.flatten())
        self.right += self._histogram(level[near])
        self.found += self._histogram(reach[edge].long())
        self.true += edge.sum()

    def compute(self) -> Tensor:
        """F at its best threshold; NaN where the split has no edge at all."""
        if self.true == 0:
            return torch.full((), torch.nan, device=self.true.device)
        predicted, right, found = (
            counts.flip(0).cumsum(0).flip(0)[1:] for counts in (self.predicted, self.right, self.found)
        )
        precision = right / predicted.clamp(min=1)
        recall = found / self.true
        f_measure = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
        return f_measure.max()

    def _histogram(self, levels: Tensor) -> Tensor:
        return torch.bincount(levels, minlength=self.levels)


def dilate(map_: Tensor, radius: float) -> Tensor:
    """Largest value within a disk around every pixel.

    Args:
        map_: ``(N, 1, H, W)``, floating and not negative.
        radius: pixels, 0 or more; the disk holds all pixels whose centre is no farther.

    Returns:
        ``(N, 1, H, W)``. Row by row of the disk, so that the cost grows with the radius, not with its square.
    """
    height = map_.shape[-2]
    result = torch.zeros_like(map_)
    for shift in range(min(int(radius), height - 1) + 1):
        reach = int(math.sqrt(radius * radius - shift * shift))
        wide = F.max_pool2d(map_, (1, 2 * reach + 1), stride=1, padding=(0, reach)) if reach else map_
        up, down = slice(shift, None), slice(None, height - shift)
        result[..., up, :] = torch.maximum(result[..., up, :], wide[..., down, :])
        if shift:
            result[..., down, :] = torch.maximum(result[..., down, :], wide[..., up, :])
    return result


def _predicted(predict: Predict, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return predict(output), target
