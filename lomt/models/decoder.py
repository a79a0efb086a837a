"""What every decoder is: features of one tap in, one task's raw output out."""

from typing import ClassVar

from torch import nn

from lomt.tasks.base import Task


class Decoder(nn.Module):
    """Base of decoders.

    Maps features ``(N, in_channels, h, w)`` to the raw output of a task: ``(N, task.channels, h', w')`` of any
    resolution where the task is dense (:class:`lomt.models.Network` brings it to the image's), else
    ``(N, task.channels)``.

    Args:
        in_channels: channels of the features.
        task: whose output is made; only its kind and number of channels matter.

    Attributes:
        dense: whether maps come out, so which kind of task fits.

    Raises:
        ValueError: if the task is of the other kind.
    """

    dense: ClassVar[bool]

    def __init__(self, in_channels: int, task: Task) -> None:
        super().__init__()
        if task.dense != self.dense:
            gives, wants = ("maps", "a vector") if self.dense else ("a vector", "maps")
            raise ValueError(
                f"decoder {type(self).__name__} gives {gives}, but task {task.name!r} wants {wants}: "
                f"choose a decoder for {'dense' if task.dense else 'image-level'} tasks"
            )
        self.in_channels = in_channels
        self.channels = task.channels

    def readers(self) -> list[nn.Module]:
        """The convolutions that are called on the features themselves, for decoders at a shared tap to call as one.

        None by default, which is always right: each then reads by itself.
        """
        return []


def conv_norm_relu(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """A convolution that keeps the resolution, batch norm and ReLU: the brick of all decoders here."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())
