"""Surface normals: the direction that every visible surface faces."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from lomt.tasks.base import Task
from lomt.tasks.checks import check_form, pixel
from lomt.tasks.missing import full_precision, mean_where
from lomt.tasks.vectors import dot

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

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
        lengths = (dot(raw, raw) + 1e-6) * dot(truth, truth).clamp(min=1e-6)
        return mean_where(1 - dot(raw, truth) * lengths.rsqrt(), valid)

    def metrics(self) -> "MetricCollection":
        """Angles over all labelled pixels of a split."""
        from lomt.tasks.metrics.normals import normals

        return normals()

    def prediction(self, output: Tensor) -> Tensor:
        """Unit vectors ``(N, 3, H, W)``."""
        return F.normalize(full_precision(output), dim=1)

    def check(self, target: Tensor, where: str) -> None:
        """Raise where a vector is not of length 1; NaN means missing and is fine."""
        check_form(target, where, torch.float32, (3, None, None))
        length = dot(target[None], target[None])[0].sqrt()  # several times faster than a norm over so few
        wrong = (length - 1).abs() > UNIT_TOLERANCE
        if bool(wrong.any()):
            raise ValueError(
                f"{where}: normal of length {float(length[wrong][0]):g} at {pixel(wrong)} "
                f"({int(wrong.sum())} such pixels), expected length 1 – divide normals by "
                f"their length, set missing ones to NaN"
            )
