"""A dense decoder that costs next to nothing."""

from typing import ClassVar

from torch import Tensor, nn

from lomt.checks import check_whole
from lomt.models.decoder import Decoder, conv_norm_relu
from lomt.tasks.base import Task


class Light(Decoder):
    """1×1, 3×3, 1×1 convolution, for dense tasks: what the backbone does not know, this will not add.

    Args:
        in_channels: channels of the features.
        task: a dense task.
        width: channels in between.

    Example:
        >>> import torch
        >>> from lomt.tasks import Edges
        >>> Light(16, Edges("edges"))(torch.zeros(2, 16, 12, 16)).shape
        torch.Size([2, 1, 12, 16])
    """

    dense: ClassVar[bool] = True

    def __init__(self, in_channels: int, task: Task, width: int = 32) -> None:
        super().__init__(in_channels, task)
        check_whole("the width of decoder Light", width, 1)
        self.reduce = conv_norm_relu(in_channels, width, 1)
        self.mix = conv_norm_relu(width, width, 3)
        self.predict = nn.Conv2d(width, task.channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, in_channels, h, w)`` to ``(N, task.channels, h, w)``."""
        return self.predict(self.mix(self.reduce(features)))

    def readers(self) -> list[nn.Module]:
        """The first convolution."""
        return [self.reduce[0]]
