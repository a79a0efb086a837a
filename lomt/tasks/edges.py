"""Edges: whether a pixel lies on a boundary."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanAbsoluteError, Metric, MetricCollection

from lomt.tasks.base import Task
from lomt.tasks.checks import check_form, pixel
from lomt.tasks.metrics import LabelledOnly, SkipMissing
from lomt.tasks.missing import full_precision, mean_where

TOLERANCE = 0.0075
"""How far a matching edge may be, as a share of the image's diagonal (Martin et al., PAMI 2004)."""


class Edges(Task):
    """Boundary or not; targets ``(N, 1, H, W)`` float32 0 or 1, NaN where missing, outputs logits alike.

    The loss is a class-balanced binary cross-entropy: the mean over the batch's edge pixels plus the mean
    over all others, halved, so that both weigh the same however rare edges are (after Xie & Tu, arXiv
    1504.06375, eq. 2, there an image at a time). If only one of the two kinds occurs, it is the mean over
    that one.

    Metrics: ``MAE`` of the probability, and ``ODS_F``, the best F-measure over 99 thresholds, each threshold
    the same for the whole split, with matches up to .0075 of the image's diagonal away.

    **What matches.** A predicted edge pixel is right if a true one lies within the tolerance; a true one is
    found if a predicted one does. That is a correspondence by dilation, not one to one as in the BSDS
    benchmark, and predictions are not thinned: a thick line is not punished as long as it stays within the
    tolerance, and figures come out higher than BSDS's. Below a diagonal of 134 pixels the tolerance is less
    than one pixel and only the very pixel matches.

    Args:
        name: key of the label and of the output.
        weight: factor of the loss.
    """

    dense: ClassVar[bool] = True
    higher_is_better: ClassVar[Mapping[str, bool]] = {"ODS_F": True, "MAE": False}
    headline: ClassVar[tuple[str, ...]] = ("ODS_F",)

    def __init__(self, name: str, weight: float = 1.0) -> None:
        super().__init__(name, 1, weight)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Class-balanced binary cross-entropy, in nats."""
        raw = full_precision(output)
        on, off = target > 0.5, target <= 0.5  # NaN is neither
        entropy = F.binary_cross_entropy_with_logits(raw, on.to(raw.dtype), reduction="none")
        kinds = on.any().to(raw.dtype) + off.any().to(raw.dtype)
        return (mean_where(entropy, on) + mean_where(entropy, off)) / kinds.clamp(min=1)

    def metrics(self) -> MetricCollection:
        """``ODS_F`` and ``MAE`` over a whole split."""
        return LabelledOnly(_probability, {"ODS_F": _BestF(), "MAE": _LabelledError()})

    def prediction(self, output: Tensor) -> Tensor:
        """Probabilities ``(N, 1, H, W)``."""
        return full_precision(output).sigmoid()

    def check(self, target: Tensor, where: str) -> None:
        """Raise where a label is neither 0 nor 1; NaN means missing and is fine."""
        check_form(target, where, torch.float32, (1, None, None))
        wrong = (target != 0) & (target != 1) & ~target.isnan()
        if bool(wrong.any()):
            raise ValueError(
                f"{where}: edge label {float(target[wrong][0]):g} at {pixel(wrong)} ({int(wrong.sum())} such "
                f"pixels), expected 0 or 1 – threshold it, set missing ones to NaN"
            )


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


def _probability(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return full_precision(output).sigmoid(), target
