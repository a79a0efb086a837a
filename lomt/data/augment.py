"""Joint augmentation of a batch: what is done to the image is done to every label, as its meaning asks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lomt.tasks import Depth, Normals, Task


@dataclass(frozen=True)
class Augmentation:
    """Flips, zooms and colour changes, drawn for each sample of a batch.

    Args:
        flip: probability of a mirror image (left and right); normals change the sign of x.
        zoom: largest magnification s; s is drawn log-uniformly from 1 to it, then a window of ``1/s`` of the height
            and width is cut anywhere inside the picture, so that there is nothing to pad, and brought to full size:
            the image by bilinear interpolation, labels by their nearest pixel.
            Depth is divided by s, because a surface that appears s times larger is s times nearer. Normals keep their
            direction: neither a nearer camera nor a longer lens turns a surface, and a larger picture of a slanted
            wall shows the same slant.
        colour: largest relative change of brightness, contrast, saturation and of each channel's gain.
    """

    flip: float = 0.5
    zoom: float = 1.4
    colour: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip={self.flip} is no probability: use a number from 0 to 1")
        if not 1 <= self.zoom <= 16:
            raise ValueError(f"zoom={self.zoom} is out of range: use a number from 1 (never zoom) to 16")
        if not 0 <= self.colour < 1:
            raise ValueError(f"colour={self.colour} is out of range: use a number from 0 to below 1")

    def __call__(
        self, batch: Mapping[str, Tensor], tasks: Sequence[Task], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """A new batch; the given one stays as it was.

        Args:
            batch: ``"image"`` ``(N, 3, H, W)`` from 0 to 1, and labels as the tasks want them.
            tasks: what the labels mean; a label that no task names is kept as it is.
            generator: where every random number comes from.
        """
        image = batch["image"]
        window = Window.draw(image, self.flip, self.zoom, generator)
        result = dict(batch)
        result["image"] = _recolour(window.interpolate(image), self.colour, generator)
        for task in tasks:
            if task.dense and task.name in batch:
                label = window.nearest(batch[task.name])
                if isinstance(task, Depth):
                    label = label / window.scale[:, None, None, None]
                elif isinstance(task, Normals):
                    label = torch.cat([label[:, :1] * window.sign[:, None, None, None], label[:, 1:]], dim=1)
                result[task.name] = label
        return result


@dataclass(frozen=True)
class Window:
    """What part of each picture is shown: magnification, mirror sign (−1 mirrored), rows and columns to read.

    ``rows`` ``(N, H)`` and ``columns`` ``(N, W)`` are positions in pixels of the source, fractional; ``scale`` and
    ``sign`` are ``(N,)``.
    """

    scale: Tensor
    sign: Tensor
    rows: Tensor
    columns: Tensor

    @classmethod
    def draw(cls, image: Tensor, flip: float, zoom: float, generator: torch.Generator) -> "Window":
        """Windows for a batch ``(N, C, H, W)``."""
        count, _, height, width = image.shape
        scale = torch.exp(torch.rand(count, generator=generator) * math.log(zoom))
        sign = torch.where(torch.rand(count, generator=generator) < flip, -1.0, 1.0)
        corner = torch.rand(count, 2, generator=generator) * (1 - 1 / scale)[:, None]
        rows = (corner[:, :1] + (torch.arange(height) + 0.5) / height / scale[:, None]) * height - 0.5
        columns = (corner[:, 1:] + (torch.arange(width) + 0.5) / width / scale[:, None]) * width - 0.5
        return cls(scale, sign, rows, torch.where(sign[:, None] < 0, columns.flip(1), columns))

    def nearest(self, label: Tensor) -> Tensor:
        """The label's pixel next to each position; ``(N, C, H, W)`` or ``(N, H, W)``."""
        height, width = label.shape[-2:]
        rows = self.rows.round().long().clamp_(0, height - 1)
        columns = self.columns.round().long().clamp_(0, width - 1)
        places = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)
        maps = label.reshape(len(label), -1, height * width)
        return maps.gather(2, places[:, None].expand(-1, maps.shape[1], -1)).reshape(label.shape)

    def interpolate(self, image: Tensor) -> Tensor:
        """Bilinear interpolation at each position; ``(N, C, H, W)``."""
        height, width = image.shape[-2:]
        x = ((self.columns + 0.5) * 2 / width - 1)[:, None, :].expand(-1, height, -1)
        y = ((self.rows + 0.5) * 2 / height - 1)[:, :, None].expand(-1, -1, width)
        return F.grid_sample(image, torch.stack([x, y], -1), padding_mode="border", align_corners=False)


def _recolour(image: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Brightness, channel gains, saturation and contrast as one affine map of colours a sample, then cut to 0 … 1."""
    if strength == 0:
        return image
    count = len(image)
    change = 1 + strength * (2 * torch.rand(count, 6, generator=generator) - 1)
    brightness, contrast, saturation, gains = (
        change[:, 0],
        change[:, 1],
        change[:, 2],
        1 + (change[:, 3:] - 1) / 2,
    )
    grey = torch.tensor([0.299, 0.587, 0.114]).expand(3, 3)
    mix = saturation[:, None, None] * torch.eye(3) + (1 - saturation[:, None, None]) * grey
    matrix = (brightness * contrast)[:, None, None] * mix * gains[:, None, :]
    centre = torch.einsum("nij,nj->ni", matrix, image.mean((2, 3)))
    offset = centre * (1 / contrast - 1)[:, None]
    return (torch.baddbmm(offset[:, :, None], matrix, image.flatten(2)).reshape(image.shape)).clamp_(0, 1)
