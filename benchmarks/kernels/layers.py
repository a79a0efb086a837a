"""The convolutions that kernels are measured on."""

from typing import NamedTuple

Shape = tuple[int, int, int, int]


def resnet50() -> list[Shape]:
    """Weights of all convolutions of a ResNet-50's backbone, 23.5 million numbers."""
    shapes: list[Shape] = [(64, 3, 7, 7)]
    channels = 64
    for width, blocks in zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True):
        for block in range(blocks):
            shapes += [(width, channels, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)]
            if block == 0:
                shapes.append((4 * width, channels, 1, 1))
            channels = 4 * width
    return shapes


class Layer(NamedTuple):
    """A convolution, and the height and width of its input."""

    inputs: int
    outputs: int
    kernel: int
    stride: int
    dilation: int
    size: int

    def __str__(self) -> str:
        more = f", stride {self.stride}" * (self.stride > 1) + f", dilation {self.dilation}" * (self.dilation > 1)
        return f"{self.inputs} to {self.outputs}, {self.kernel}x{self.kernel}{more}, {self.size}x{self.size}"


def convolutions() -> list[Layer]:
    """The distinct convolutions of a ResNet-50 at 256² but its first, and a DeepLab head's dilated one."""
    found = []
    channels, size = 64, 64
    for width in (64, 128, 256, 512):
        stride = 1 if width == 64 else 2
        found += [Layer(channels, width, 1, 1, 1, size), Layer(width, width, 3, stride, 1, size)]
        found.append(Layer(channels, 4 * width, 1, stride, 1, size))
        channels, size = 4 * width, size // stride
        found += [Layer(width, channels, 1, 1, 1, size), Layer(channels, width, 1, 1, 1, size)]
        found.append(Layer(width, width, 3, 1, 1, size))
    return [*dict.fromkeys(found), Layer(2048, 256, 3, 1, 12, 16)]
