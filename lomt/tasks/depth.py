"""Depth: metres from the camera, for every pixel."""

import math
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

FARTHEST = 1000.0
"""No label is farther, in metres: what is, is in millimetres."""
NEAREST = 1e-3
"""No prediction is nearer than this, in metres: ratios of depths stay finite."""


class Depth(Task):
    """Depth in metres; targets ``(N, 1, H, W)`` float32, NaN where missing, outputs raw ``(N, 1, H, W)``.

    Raw outputs become metres by ``typical · softplus(x + log(e − 1))``, plus a millimetre: positive, linear
    for far things, and ``typical`` at a raw output of 0, so that a fresh network starts near plausible
    depths.

    The loss is that of Hu et al. (arXiv 1803.08673, eqs. 1–5; α = 0.5, all weights 1), shifted by −log α so
    that a perfect prediction costs 0: with the error e = d − g and Sobel derivatives ∂, the sum of

    - ``log(|e|/α + 1)``,
    - ``log(|∂x e|/α + 1) + log(|∂y e|/α + 1)``,
    - ``1 − cos`` of the angle between the surfaces' normals ``(−∂x, −∂y, 1)``,

    each the mean over the pixels where it is known: a derivative is known where its whole 3×3 window lies in
    the image and is labelled.

    Metrics: ``MAE`` and ``RMSE`` in metres, ``AbsRel`` = mean |d − g|/g, and ``delta1``, ``delta2``,
    ``delta3``, the shares of pixels with max(d/g, g/d) below 1.25, 1.25², 1.25³.

    Args:
        name: key of the label and of the output.
        weight: factor of the loss.
        typical: metres that a raw output of 0 stands for.
    """

    dense: ClassVar[bool] = True
    higher_is_better: ClassVar[Mapping[str, bool]] = {
        "MAE": False,
        "RMSE": False,
        "AbsRel": False,
        "delta1": True,
        "delta2": True,
        "delta3": True,
    }
    headline: ClassVar[tuple[str, ...]] = ("RMSE", "AbsRel")
    units: ClassVar[Mapping[str, str]] = {"MAE": "m", "RMSE": "m"}

    def __init__(self, name: str, weight: float = 1.0, *, typical: float = 3.0) -> None:
        super().__init__(name, 1, weight)
        if not 0 < typical < math.inf:
            raise ValueError(f"task {name!r} has a typical depth of {typical} m: give a positive number")
        self.typical = typical

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Log-absolute, gradient and normal terms, 0 for a perfect prediction."""
        depth = self.prediction(output)
        valid = target.isfinite()
        truth = target.nan_to_num(0.0, 0.0, 0.0).to(depth.dtype)
        error = depth - truth
        loss = mean_where(_log_distance(error), valid)
        if min(target.shape[-2:]) < 3:
            return loss
        whole = _whole_windows(valid)
        error_x, error_y = sobel(error)
        loss = loss + mean_where(_log_distance(error_x) + _log_distance(error_y), whole)
        truth_x, truth_y = sobel(truth)
        return loss + mean_where(_normal_distance(truth_x + error_x, truth_y + error_y, truth_x, truth_y), whole)

    def metrics(self) -> "MetricCollection":
        """Errors in metres, relative errors and shares within a ratio, over a whole split."""
        from lomt.tasks.metrics.depth import depth

        return depth(self.prediction)

    def prediction(self, output: Tensor) -> Tensor:
        """Metres, positive, ``(N, 1, H, W)``."""
        raw = full_precision(output)
        return self.typical * F.softplus(raw + math.log(math.e - 1)) + NEAREST

    def check(self, target: Tensor, where: str) -> None:
        """Raise where a depth is not positive, or above :data:`FARTHEST`; NaN means missing and is fine."""
        check_form(target, where, torch.float32, (1, None, None))
        wrong = (target > FARTHEST) | (target <= 0)
        if bool(wrong.any()):
            worst = target[wrong][0].item()
            hint = "divide millimetres by 1000" if FARTHEST < worst < math.inf else "set missing depths to NaN"
            raise ValueError(
                f"{where}: depth of {worst:g} m at {pixel(wrong)} ({int(wrong.sum())} such pixels), expected metres "
                f"above 0, and no more than {FARTHEST:g} – {hint}"
            )


def sobel(map_: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel derivatives along x and y, only where the 3×3 window lies inside.

    Args:
        map_: ``(…, H, W)`` with H, W ≥ 3.

    Returns:
        Two maps ``(…, H − 2, W − 2)``; a slope of 1 a pixel gives 8, the kernel's usual scale. Made of
        slices, not of a convolution, which autocast would turn into bf16.
    """
    down = map_[..., :-2, :] + 2 * map_[..., 1:-1, :] + map_[..., 2:, :]
    across = map_[..., :-2] + 2 * map_[..., 1:-1] + map_[..., 2:]
    return down[..., 2:] - down[..., :-2], across[..., 2:, :] - across[..., :-2, :]


def _whole_windows(valid: Tensor) -> Tensor:
    """Where all nine pixels of the 3×3 window are valid: ``(…, H, W)`` → ``(…, H − 2, W − 2)``."""
    down = valid[..., :-2, :] & valid[..., 1:-1, :] & valid[..., 2:, :]
    return down[..., :-2] & down[..., 1:-1] & down[..., 2:]


def _log_distance(error: Tensor, alpha: float = 0.5) -> Tensor:
    return torch.log1p(error.abs() / alpha)


def _normal_distance(x: Tensor, y: Tensor, true_x: Tensor, true_y: Tensor) -> Tensor:
    """1 − cos between the normals (−x, −y, 1), as ½|a − b|² of unit vectors: exact also near 0."""
    shrink, true_shrink = (x * x + y * y + 1).rsqrt(), (true_x * true_x + true_y * true_y + 1).rsqrt()
    apart_x, apart_y = x * shrink - true_x * true_shrink, y * shrink - true_y * true_shrink
    apart_z = shrink - true_shrink
    return 0.5 * (apart_x * apart_x + apart_y * apart_y + apart_z * apart_z)
