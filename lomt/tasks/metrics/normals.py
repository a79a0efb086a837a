"""Mean, median and shares of the angles between normals."""

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from lomt.tasks.metrics.labelled import LabelledOnly
from lomt.tasks.missing import full_precision
from lomt.tasks.vectors import angle


def normals() -> MetricCollection:
    """``mean_angle``, ``median_angle`` and the shares ``within_11.25``, ``within_22.5``, ``within_30``."""
    return LabelledOnly(_as_floats, {"angles": _Angles()})


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


def _as_floats(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return full_precision(output), target
