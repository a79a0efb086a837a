"""Layers as other people write them: each maps ``(N, c, 8, 8)`` to a map of that size and of its own width."""

import torch
import torch.nn.functional as F
from torch import nn


class Do(nn.Module):
    """Layers and a function of them and the map."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.function(self, x)


class Split(nn.Module):
    """As in CSP: one half is worked on, by a list of sizes, and joined again."""

    def __init__(self, c):
        super().__init__()
        self.sizes = [c // 3, c - c // 3]
        self.conv = nn.Conv2d(self.sizes[1], self.sizes[1], 3, padding=1)

    def forward(self, x):
        kept, worked = torch.split(x, self.sizes, dim=1)
        return torch.cat(tensors=[F.relu(input=self.conv(worked)), kept], dim=1)


class InvertedResidual(nn.Module):
    """As in MobileNet and EfficientNet: wide in the middle, depthwise, gated, linear at the end."""

    def __init__(self, c, wide):
        super().__init__()
        self.up, self.norm1 = nn.Conv2d(c, wide, 1, bias=False), nn.BatchNorm2d(wide)
        self.depthwise, self.norm2 = nn.Conv2d(wide, wide, 3, 1, 1, groups=wide, bias=False), nn.BatchNorm2d(wide)
        self.squeeze, self.excite = nn.Linear(wide, 2), nn.Linear(2, wide)
        self.down, self.norm3 = nn.Conv2d(wide, c, 1, bias=False), nn.BatchNorm2d(c)

    def forward(self, x):
        y = F.hardswish(self.norm2(self.depthwise(F.silu(self.norm1(self.up(x)), inplace=True))))
        gate = self.excite(F.relu_(self.squeeze(F.adaptive_avg_pool2d(y, 1).flatten(1)))).sigmoid()
        return x + self.norm3(self.down(y * gate[:, :, None, None]))


class Attention(nn.Module):
    """One head over places."""

    def __init__(self, c):
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(c), nn.Linear(c, 3 * c), nn.Linear(c, c)

    def forward(self, x):
        n, c, h, w = x.shape
        y = self.norm(x.flatten(2).transpose(1, 2))
        q, k, v = self.qkv(y).chunk(3, dim=-1)
        y = torch.softmax(q @ k.transpose(-2, -1) * c**-0.5, -1) @ v
        return x + self.out(y).transpose(1, 2).reshape(n, c, h, w)


class Shared(nn.Module):
    """One layer that is called several times, with a norm for each call."""

    def __init__(self, c):
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(c) for _ in range(2)])

    def forward(self, x):
        first = x
        for norm in self.norms:
            x = norm(self.conv(x)).relu_()
        return x.add_(first)


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self, c):
        super().__init__()
        self.one, self.two = nn.Conv2d(c, c, 1), nn.Conv2d(c, c, 1)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.two(torch.tanh(self.one(x)))


class Standardized(nn.Conv2d):
    """Its forward makes another weight of the one that it has."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, padding=self.padding)


class Unbiased(nn.Conv2d):
    """Its forward knows of no bias."""

    def forward(self, x):
        return F.conv2d(x, self.weight, None, self.stride, self.padding, self.dilation, self.groups)


class Scaled(nn.Module):
    """A number a channel, of a parameter, twice; a map of numbers, of a buffer."""

    def __init__(self, c):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(1, c, 1, 1) * (torch.rand(c) > 0.3).view(1, c, 1, 1))
        self.register_buffer("place", torch.randn(c, 8, 8))

    def forward(self, x):
        return (self.scale * x + self.place).relu() * self.scale


class DropPath(nn.Module):
    """Does what can't be traced, in training only."""

    def forward(self, x):
        if not self.training:
            return x
        return x * torch.empty(len(x), 1, 1, 1).bernoulli_(0.9)


def upsampled(c, out):
    """Down, and up again by a transposed convolution."""
    return nn.Sequential(nn.AvgPool2d(2), nn.ConvTranspose2d(c, out, 3, stride=2, padding=1, output_padding=1))


def eca():
    """A convolution over channels."""
    return Do(
        lambda self, x: x * torch.sigmoid(self.mix(x.mean((2, 3)).unsqueeze(1))).squeeze(1)[:, :, None, None],
        mix=nn.Conv1d(1, 1, 3, padding=1),
    )


def pyramid(c, out):
    """Pooled to several sizes, resized and joined."""
    sizes = (1, 2, 4)
    layers = nn.ModuleList([nn.Sequential(nn.AdaptiveAvgPool2d(s), nn.Conv2d(c, out, 1), nn.ReLU()) for s in sizes])

    def forward(self, x):
        maps = [
            F.interpolate(layer(x), size=x.shape[2:], mode="bilinear", align_corners=False) for layer in self.layers
        ]
        return torch.cat([x, *maps], 1)

    return Do(forward, layers=layers)


def odd_layers(rng, c, out):
    """``(make, width)`` of each; ``rng`` draws their details."""
    view = rng.choice([lambda x: x.detach(), torch.positive, lambda x: x.view(x.shape), lambda x: x.moveaxis(1, 2)])
    found = [
        (lambda: Split(c), c),
        (lambda: InvertedResidual(c, out), c),
        (lambda: Attention(c), c),
        (lambda: Shared(c), c),
        (lambda: Tied(c), c),
        (lambda: Scaled(c), c),
        (DropPath, c),
        (lambda: Standardized(c, out, 3, padding=1), out),
        (lambda: Unbiased(c, out, 1, bias=False), out),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(c, out, 1)), out),
        (lambda: upsampled(c, out), out),
        (lambda: eca(), c),
        (lambda: pyramid(c, 2), c + 6),
        (lambda: nn.Sequential(nn.Conv2d(c, 4 * out, 1), nn.PixelShuffle(2), nn.MaxPool2d(2)), out),
        (lambda: nn.Sequential(nn.Conv2d(c, 2 * out, 1), nn.GLU(1)), out),
        (lambda: nn.AvgPool2d(3, 1, 1, divisor_override=rng.choice([5, 9])), c),
        (nn.Softmax2d, c),
        (lambda: nn.LocalResponseNorm(3), c),
        (lambda: nn.Conv2d(c, out, 3, padding="same", dilation=2), out),
        (lambda: nn.Conv2d(c, out, 3, padding=1, padding_mode="circular"), out),
        (lambda: nn.BatchNorm2d(c, affine=False), c),
        (lambda: Do(lambda _, x: torch.clamp(x, min=-0.5).pow(2) - 0.3 * x.abs()), c),
        (lambda: Do(lambda _, x: torch.where(x > 0, x, 0.1 * x)), c),
        (lambda: Do(lambda _, x: x.flip(1)), c),
        (lambda: Do(lambda _, x: F.normalize(x, dim=1)), c),
        (lambda: Do(lambda _, x: x / (1 + x.abs().amax(1, keepdim=True))), c),
        (lambda: Do(lambda _, x: x - x.mean((2, 3), keepdim=True)), c),
        (lambda: Do(lambda _, x: torch.stack([x, x.relu()]).sum(0)), c),
        (lambda: Do(lambda _, x: x.unsqueeze(1).expand(-1, 2, -1, -1, -1).mean(1)), c),
        (lambda: Do(lambda _, x: _overwritten(view, x)), c),
        (
            lambda: Do(
                lambda self, x: self.bn(self.fc(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)),
                fc=nn.Linear(c, out),
                bn=nn.BatchNorm2d(out),
            ),
            out,
        ),
        (
            lambda: Do(
                lambda self, x: self.conv(x.flatten(2)).unflatten(2, (8, 8)), conv=nn.Conv1d(c, out, 3, padding=1)
            ),
            out,
        ),
        (
            lambda: Do(
                lambda self, x: self.conv(x.unsqueeze(2)).squeeze(2),
                conv=nn.Conv3d(c, out, (1, 3, 3), padding=(0, 1, 1)),
            ),
            out,
        ),
    ]
    if c % 2 == 0:
        found += [
            (lambda: nn.ChannelShuffle(2), c),
            (lambda: nn.GroupNorm(2, c), c),
            (lambda: nn.Conv2d(c, c, 3, padding=1, groups=c // 2), c),
            (lambda: Do(lambda _, x: x[:, ::2] * x[:, 1::2]), c // 2),
            (lambda: Do(lambda _, x: torch.maximum(*x.chunk(2, 1))), c // 2),
            (lambda: Do(lambda _, x: x.unflatten(1, (2, -1)).amax(1)), c // 2),
        ]
    return found


def _overwritten(view, x):
    """Read after its view was written."""
    x = x * 1
    view(x).relu_()
    return x
