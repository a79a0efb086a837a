"""Surface normals: the direction that every visible surface faces."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric, MetricCollection

from tailor.tasks.base import Task
from tailor.tasks.checks import check_form, pixel
from tailor.tasks.metrics import LabelledOnly
from tailor.tasks.missing import full_precision, mean_where

UNIT_TOLERANCE = 1e-2
"""How far from 1 a label's length may be: room for float16 and 8-bit storage."""


class Normals(Task):
    """Unit vectors; targets ``(N, 3, H, W)`` float32, NaN where missing, outputs raw ``(N, 3, H, W)``.

    Raw outputs are divided by their length. The loss is 1 − cos of the angle to the truth, the mean over
    labelled pixels. Metrics over all labelled pixels of a split: ``mean_angle`` and ``median_angle`` in
    degrees, and ``within_11.25``, ``within_22.5``, ``within_30``, the percentage of pixels with a smaller
    angle. All are exact but the median, which comes from a histogram of 18 000 bins and is off by 0.005° at
    most.

    Args:
        name: key of the label and of the output.
        weight: factor of the loss.
    """

    dense: ClassVar[bool] = True
    higher_is_better: ClassVar[Mapping[str, bool]] = {
        "mean_angle": False,
        "median_angle": False,
        "within_11.25": True,
        "within_22.5": True,
        "within_30": True,
    }
    headline: ClassVar[tuple[str, ...]] = ("mean_angle", "within_11.25")
    units: ClassVar[Mapping[str, str]] = {
        "mean_angle": "°",
        "median_angle": "°",
        "within_11.25": "%",
        "within_22.5": "%",
        "within_30": "%",
    }

    def __init__(self, name: str, weight: float = 1.0) -> None:
        super().__init__(name, 3, weight)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean of 1 − cos over labelled pixels."""
        raw = full_precision(output)
        valid = target.isfinite().all(1)
        truth = F.normalize(torch.where(valid.unsqueeze(1), target, 1.0).to(raw.dtype), dim=1)
        # The floor keeps the gradient finite where a dead decoder gives vectors of length 0.
        length = torch.sqrt((raw * raw).sum(1) + 1e-6)
        return mean_where(1 - (raw * truth).sum(1) / length, valid)

    def metrics(self) -> MetricCollection:
        """Angles over all labelled pixels of a split."""
        return LabelledOnly(_labelled, {"angles": _Angles()})

    def prediction(self, output: Tensor) -> Tensor:
        """Unit vectors ``(N, 3, H, W)``."""
        return F.normalize(full_precision(output), dim=1)

    def check(self, target: Tensor, where: str) -> None:
        """Raise where a vector is not of length 1; NaN means missing and is fine."""
        check_form(target, where, torch.float32, (3, None, None))
        length = target.norm(dim=0)
        wrong = (length - 1).abs() > UNIT_TOLERANCE
        if bool(wrong.any()):
            raise ValueError(
                f"{where}: normal of length {float(length[wrong][0]):g} at {pixel(wrong)} "
                f"({int(wrong.sum())} such pixels), expected length 1 – divide normals by "
                f"their length, set missing ones to NaN"
            )


class _Angles(Metric):
    """Mean, median and shares of angles between vectors (torchmetrics has none)."""

    full_state_update = False
    limits = (11.25, 22.5, 30.0)
    bins = 18_000
    histogram: Tensor
    within: Tensor
    summed: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("histogram", torch.zeros(self.bins, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("within", torch.zeros(len(self.limits), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("summed", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, vectors: Tensor, truth: Tensor) -> None:
        angles = angle(vectors, truth)
        index = (angles * (self.bins / 180)).long().clamp_(max=self.bins - 1)
        self.histogram += torch.bincount(index, minlength=self.bins)
        self.within += torch.stack([(angles < limit).sum() for limit in self.limits])
        self.summed += angles.sum()

    def compute(self) -> dict[str, Tensor]:
        total = self.histogram.sum()
        shares = 100 * self.within / total
        found = {f"within_{limit:g}": share for limit, share in zip(self.limits, shares, strict=True)}
        return {"mean_angle": self.summed / total, "median_angle": self._median(), **found}

    def _median(self) -> Tensor:
        """Midpoint of the bin of the middle angle, or between the bins of the two middle ones."""
        counts = self.histogram.cumsum(0)
        total = counts[-1]
        if total == 0:
            return torch.full((), torch.nan, device=counts.device)
        middle = torch.stack([(total - 1) // 2, total // 2])
        return (torch.searchsorted(counts, middle, right=True) + 0.5).mean().float() * (180 / self.bins)


def angle(first: Tensor, second: Tensor) -> Tensor:
    """Angle between vectors in degrees.

    Args:
        first: unit vectors ``(N, 3)``.
        second: unit vectors ``(N, 3)``.

    Returns:
        ``(N,)`` in [0, 180], by Kahan's formula 2·atan2(|a − b|, |a + b|): near 0° the arc cosine would lose
        half of the digits.
    """
    return torch.rad2deg(2 * torch.atan2((first - second).norm(dim=1), (first + second).norm(dim=1)))


def _labelled(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    valid = target.isfinite().all(1)
    raw, truth = (map_.movedim(1, -1)[valid] for map_ in (full_precision(output), target))
    return F.normalize(raw, dim=1), F.normalize(truth, dim=1)
