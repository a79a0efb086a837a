"""Surface normals: the direction that every visible surface faces."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric, MetricCollection

from lomt.tasks.base import Task
from lomt.tasks.checks import check_form, pixel
from lomt.tasks.metrics import LabelledOnly
from lomt.tasks.missing import full_precision, mean_where

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
        valid = target.sum(1).isfinite()
        truth = target.nan_to_num(0.0, 0.0, 0.0).to(raw.dtype)
        # The floor keeps the gradient finite where a dead decoder gives vectors of length 0.
        lengths = (_dot(raw, raw) + 1e-6) * _dot(truth, truth).clamp(min=1e-6)
        return mean_where(1 - _dot(raw, truth) * lengths.rsqrt(), valid)

    def metrics(self) -> MetricCollection:
        """Angles over all labelled pixels of a split."""
        return LabelledOnly(_as_floats, {"angles": _Angles()})

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
        angles = angle(vectors, truth)[truth.sum(1).isfinite()]
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
        first: vectors ``(N, 3, …)`` of any length.
        second: vectors of the same shape.

    Returns:
        ``(N, …)`` in [0, 180], from sine and cosine: near 0° the arc cosine alone would lose half of the digits. A
        vector of length 0 stands at 90° to all others.
    """
    (a, b, c), (x, y, z) = first.unbind(1), second.unbind(1)
    sine = torch.sqrt((b * z - c * y) ** 2 + (c * x - a * z) ** 2 + (a * y - b * x) ** 2)
    cosine = _dot(first, second)
    nowhere = (sine == 0) & (cosine == 0)
    return torch.rad2deg(torch.atan2(sine.masked_fill(nowhere, 1.0), cosine))


def _dot(first: Tensor, second: Tensor) -> Tensor:
    """Scalar product over dimension 1, channel by channel: several times faster than a sum over so few."""
    (a, b, c), (x, y, z) = first.unbind(1), second.unbind(1)
    return a * x + b * y + c * z


def _as_floats(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return full_precision(output), target
