"""DeepLab's decoder: atrous spatial pyramid pooling."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lomt.checks import check_whole
from lomt.models.decoder import Decoder, conv_norm_relu
from lomt.nn.converting import SKIPPING
from lomt.nn.masked_conv2d import MaskedConv2d
from lomt.tasks.base import Task

REFERENCE = 32
"""Side of the maps for which the rates are given, in pixels: images of 256² at output stride 8."""


class AtrousConv(nn.Conv2d):
    """A 3×3 convolution whose dilation grows with the map.

    The dilation is ``rate · min(h, w) / 32``, rounded, at least 1: the same share of the map at every size.
    Kernel columns (rows) that can only ever meet padding are left out, which changes nothing but the time: at
    rate 36 on a 32×32 map, one ninth of the work is left.

    Args:
        inputs: channels in.
        outputs: channels out.
        rate: dilation in pixels on a map of 32×32.
        bias: whether there is one, as where a norm was folded into it.
    """

    def __init__(self, inputs: int, outputs: int, rate: float, bias: bool = False) -> None:
        super().__init__(inputs, outputs, 3, bias=bias)
        self.rate = rate

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 – torch's name for it
        """Map ``(N, inputs, h, w)`` to ``(N, outputs, h, w)``."""
        weight, stride, padding, dilation = self._window(input)
        return F.conv2d(input, weight, self.bias, stride, padding, dilation)

    def _window(self, x: Tensor) -> tuple[Tensor, int, list[int], int]:
        height, width = x.shape[-2:]
        dilation = max(1, round(self.rate * min(height, width) / REFERENCE))
        weight, padding = self.weight, [dilation, dilation]
        if dilation >= height:
            weight, padding[0] = weight[:, :, 1:2], 0
        if dilation >= width:
            weight, padding[1] = weight[:, :, :, 1:2], 0
        return weight, 1, padding, dilation


class MaskedAtrousConv(MaskedConv2d, AtrousConv):
    """An :class:`AtrousConv` that skips channels that are dead."""

    _window = AtrousConv._window

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002, ARG002
        return AtrousConv.forward(self, input)


SKIPPING[AtrousConv] = MaskedAtrousConv


class DeepLab(Decoder):
    """ASPP and a 3×3 head, for dense tasks.

    Liang-Chieh Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation" (arXiv 1706.05587),
    figure 5: a 1×1 convolution, one 3×3 convolution a rate, and the pooled image beside each other, then 1×1, 3×3
    and 1×1. The branch of the pooled image has a bias instead of a batch norm, so that a batch of one image can be
    trained on.

    Args:
        in_channels: channels of the features.
        task: a dense task.
        width: channels of every branch and of the head.
        rates: dilations on maps of 32×32; they scale with the map's shorter side (:class:`AtrousConv`).
        dropout: probability, behind the branches.

    Example:
        >>> from lomt.tasks import Depth
        >>> DeepLab(16, Depth("depth"), width=8)(torch.zeros(2, 16, 12, 16)).shape
        torch.Size([2, 1, 12, 16])
    """

    dense: ClassVar[bool] = True

    def __init__(
        self,
        in_channels: int,
        task: Task,
        width: int = 256,
        rates: Sequence[float] = (12, 24, 36),
        dropout: float = 0.3,
    ) -> None:
        super().__init__(in_channels, task)
        check_whole("the width of decoder DeepLab", width, 1)
        self.branches = nn.ModuleList([conv_norm_relu(in_channels, width, 1)])
        for rate in rates:
            conv = AtrousConv(in_channels, width, rate)
            self.branches.append(nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU()))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(in_channels, width, 1), nn.ReLU())
        self.project = nn.Sequential(conv_norm_relu(width * (len(rates) + 2), width, 1), nn.Dropout(dropout))
        self.head = nn.Sequential(conv_norm_relu(width, width, 3), nn.Conv2d(width, task.channels, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, in_channels, h, w)`` to ``(N, task.channels, h, w)``."""
        views = [branch(features) for branch in self.branches]
        views.append(self.pool(features).expand(-1, -1, *features.shape[-2:]))
        return self.head(self.project(torch.cat(views, 1)))

    def readers(self) -> list[nn.Module]:
        """The convolutions of the branches, without that of the pooled image."""
        return [branch[0] for branch in self.branches]  # type: ignore[index]
