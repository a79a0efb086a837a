"""Edges: whether a pixel lies on a boundary."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from lomt.tasks.base import Task
from lomt.tasks.checks import check_form, pixel
from lomt.tasks.missing import full_precision, mean_where

if TYPE_CHECKING:
    from torchmetrics import MetricCollection


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

    def metrics(self) -> "MetricCollection":
        """``ODS_F`` and ``MAE`` over a whole split."""
        from lomt.tasks.metrics.edges import edges

        return edges(self.prediction)

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
