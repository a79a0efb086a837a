"""ResNet-D backbones of any width and output stride, without a classifier."""

from collections import OrderedDict

from torch import Tensor, nn

OUTPUT_STRIDES = (8, 16, 32)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """Average pooling before a 1×1 convolution, so that no input pixel is skipped ("D" of ResNet-D)."""
    if inputs == outputs and stride == 1:
        return None
    # ceil_mode makes odd sizes agree with a padded 3×3 convolution of the same stride.
    pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False) if stride > 1 else nn.Identity()
    return nn.Sequential(pool, _conv(inputs, outputs, 1), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut.

    Args:
        inputs: channels that come in.
        width: channels of the stage.
        stride: of the first convolution.
        dilations: of the first convolution that sees context, and of the block's rest.
    """

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, dilations: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, width, 3, stride, dilations[0])
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = _conv(width, width, 3, 1, dilations[1])
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inputs, H, W)`` to ``(N, width, ⌈H / stride⌉, ⌈W / stride⌉)``."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        return self.relu(x + shortcut)


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolution and a shortcut; the 3×3 one carries stride and dilation.

    Args:
        inputs: channels that come in.
        width: channels of the two inner convolutions; four times as many go out.
        stride: of the 3×3 convolution.
        dilations: the first is that of the 3×3 convolution.
    """

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, dilations: tuple[int, int]) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = _conv(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = _conv(width, width, 3, stride, dilations[0])
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = _conv(width, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inputs, H, W)`` to ``(N, 4 · width, ⌈H / stride⌉, ⌈W / stride⌉)``."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.relu2(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        return self.relu(x + shortcut)


class ResNetD(nn.Module):
    """ResNet-D: a stem of three 3×3 convolutions, and shortcuts that average before they reduce.

    Tong He et al., "Bag of Tricks for Image Classification with Convolutional Neural Networks" (arXiv
    1812.01187), figure 2d. A stage that may not reduce any further (``output_stride``) dilates instead: its first
    block still sees the dilation of the stage before, as in DeepLab. Module names are torchvision's
    (``layer3.1.conv2``, ``layer2.0.downsample.1``); the stem is ``stem.conv1 … stem.relu3`` and ``maxpool``.

    Args:
        block: :class:`BasicBlock` or :class:`Bottleneck`.
        depths: blocks of ``layer1`` … ``layer4``.
        width: channels of the stem and the inner channels of ``layer1``; each further stage doubles them.
        output_stride: image pixels a step of the last map, 8, 16 or 32. With 8: stem and ``layer1`` at a quarter of
            the image's resolution, ``layer2`` … ``layer4`` at an eighth.

    Raises:
        ValueError: if the width is odd or below 2, or the output stride is none of the three.

    Example:
        >>> import torch
        >>> backbone = ResNetD(BasicBlock, (2, 2, 2, 2), width=8, output_stride=8)
        >>> backbone(torch.zeros(1, 3, 64, 96)).shape
        torch.Size([1, 64, 8, 12])
    """

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
        width: int = 64,
        output_stride: int = 8,
    ) -> None:
        super().__init__()
        if not isinstance(width, int) or width < 2 or width % 2:
            raise ValueError(f"backbone width {width}: use an even number of channels, 2 or more (default 64)")
        if output_stride not in OUTPUT_STRIDES:
            raise ValueError(f"output stride {output_stride}: use one of {', '.join(map(str, OUTPUT_STRIDES))}")
        self.stem = _stem(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs, reached, dilation = width, 4, 1
        for stage, depth in enumerate(depths):
            stride = 1 if stage == 0 or reached == output_stride else 2
            reached *= stride
            first = dilation
            if stage > 0 and stride == 1:
                dilation *= 2
            blocks = []
            for index in range(depth):
                dilations = (first if index == 0 else dilation, dilation)
                blocks.append(block(inputs, width << stage, stride if index == 0 else 1, dilations))
                inputs = (width << stage) * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self._initialize()

    def _initialize(self) -> None:
        # The last norm of a block does not start at 0, as many recipes have it: at 0 the branch gets no
        # gradient at first, and a group penalty would kill its convolutions before they had begun to learn.
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        """Map images ``(N, 3, H, W)`` to the last features ``(N, C, ⌈H / output_stride⌉, ⌈W / output_stride⌉)``."""
        x = self.maxpool(self.stem(image))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


def _stem(width: int) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    channels = (3, width // 2, width // 2, width)
    for index in (1, 2, 3):
        parts[f"conv{index}"] = _conv(channels[index - 1], channels[index], 3, 2 if index == 1 else 1)
        parts[f"bn{index}"] = nn.BatchNorm2d(channels[index])
        parts[f"relu{index}"] = nn.ReLU()
    return nn.Sequential(parts)


def resnetd18(width: int = 64, output_stride: int = 8) -> ResNetD:
    """Two basic blocks a stage."""
    return ResNetD(BasicBlock, (2, 2, 2, 2), width, output_stride)


def resnetd26(width: int = 64, output_stride: int = 8) -> ResNetD:
    """Two bottlenecks a stage."""
    return ResNetD(Bottleneck, (2, 2, 2, 2), width, output_stride)


def resnetd50(width: int = 64, output_stride: int = 8) -> ResNetD:
    """The smaller backbone of the LOMT paper."""
    return ResNetD(Bottleneck, (3, 4, 6, 3), width, output_stride)


def resnetd101(width: int = 64, output_stride: int = 8) -> ResNetD:
    """The larger backbone of the LOMT paper."""
    return ResNetD(Bottleneck, (3, 4, 23, 3), width, output_stride)
