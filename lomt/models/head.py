"""The decoder of tasks that judge the whole image: classification and regression."""

from typing import ClassVar

from torch import Tensor, nn

from lomt.checks import check_whole
from lomt.models.decoder import Decoder, conv_norm_relu
from lomt.tasks.base import Task


class Head(Decoder):
    """A 3×3 convolution, global average pooling and two linear layers.

    As in the LOMT paper (arXiv 2406.03048) for attributes: convolution of 64 channels, pooling, 32 units, output.

    Args:
        in_channels: channels of the features.
        task: a task that is not dense.
        width: channels of the convolution.
        hidden: units of the hidden linear layer.

    Example:
        >>> import torch
        >>> from lomt.tasks import Regression
        >>> Head(16, Regression("age", outputs=2))(torch.zeros(4, 16, 12, 16)).shape
        torch.Size([4, 2])
    """

    dense: ClassVar[bool] = False

    def __init__(self, in_channels: int, task: Task, width: int = 64, hidden: int = 32) -> None:
        super().__init__(in_channels, task)
        check_whole("the width of decoder Head", width, 1)
        check_whole("hidden units of decoder Head", hidden, 1)
        self.conv = conv_norm_relu(in_channels, width, 3)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(width, hidden), nn.ReLU())
        self.predict = nn.Linear(hidden, task.channels)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, in_channels, h, w)`` to ``(N, task.channels)``."""
        return self.predict(self.hidden(self.pool(self.conv(features))))
