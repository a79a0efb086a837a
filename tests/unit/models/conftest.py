"""Backbones of every temper, to be cut."""

import random

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lomt.models import ResNetD, backbone


def conv(inputs, outputs, stride=1):
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)


class Functional(nn.Module):
    """Functions instead of modules, parameters and buffers of its own, an optional argument, a dict as output."""

    def __init__(self):
        super().__init__()
        self.conv1 = conv(3, 8, 2)
        self.norm1 = nn.BatchNorm2d(8)
        self.scale = nn.Parameter(torch.full((1, 8, 1, 1), 1.5))
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 0.25))
        self.register_buffer("hint", torch.full((1, 8, 1, 1), 0.5), persistent=False)
        self.block = nn.ModuleDict({"a": conv(8, 8), "b": conv(8, 8), "c": conv(8, 8)})
        self.late = nn.Parameter(torch.ones(8))
        self.fc = nn.Linear(8, 5)

    def forward(self, x, mask=None):
        x = F.relu(self.norm1(self.conv1(x - self.mean)), inplace=True) * self.scale
        if mask is not None:
            x = x * mask
        y = self.block["a"](x) + self.hint
        y += x
        z = torch.cat([self.block["b"](F.max_pool2d(y, 2)), self.block["c"](F.max_pool2d(y, 2))], 1)
        return {"map": z, "logits": self.fc(z[:, :8].mean((2, 3)) * self.late)}


class ByData(nn.Module):
    """Chooses its way by what it sees; can't be traced."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv(3, 8, 2), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.dark = conv(8, 8)
        self.bright = conv(8, 8)
        self.shift = nn.Parameter(torch.ones(1, 8, 1, 1))
        self.blocks = nn.ModuleList([conv(8, 8) for _ in range(3)])
        self.tail = nn.Sequential(conv(8, 16), nn.BatchNorm2d(16))
        self.late = nn.Parameter(torch.ones(1))

    def forward(self, x):
        way = self.bright if x.mean() > 0 else self.dark
        x = way(self.stem(x)) + self.shift
        for block in self.blocks:
            x = x + block(x)
        return self.tail(x) * self.late


class ByMode(nn.Module):
    """Goes another way in train mode, in code of a container: a trace would freeze it."""

    def __init__(self):
        super().__init__()
        self.conv1 = conv(3, 8, 2)
        self.noisy = conv(8, 8)
        self.conv2 = conv(8, 8)
        self.norm2 = nn.BatchNorm2d(8)
        self.tail = conv(8, 8)

    def forward(self, x):
        x = self.conv1(x)
        if self.training:
            x = F.dropout(self.noisy(x), 0.5)
        return self.tail(self.norm2(self.conv2(F.dropout(x, 0.1, self.training))))


class BySize(nn.Module):
    """Goes another way for wide images."""

    def __init__(self):
        super().__init__()
        self.conv1 = conv(3, 8, 2)
        self.conv2 = conv(8, 8)
        self.tail = conv(8, 8)

    def forward(self, x):
        x = self.conv1(x)
        return self.tail(self.conv2(x[..., ::2] if int(x.shape[-1]) > 40 else x))


class Baked(nn.Module):
    """Makes a grid for the size it sees first: tracing would keep that size."""

    def __init__(self):
        super().__init__()
        self.conv1 = conv(3, 8, 2)
        self.conv2 = conv(8, 8)
        self.tail = conv(8, 8)

    def forward(self, x):
        x = self.conv1(x)
        return self.tail(self.conv2(x + torch.linspace(0, 1, 8)[:, None, None]))


class Chance(nn.Module):
    """Skips a branch at random, as stochastic depth does."""

    def __init__(self):
        super().__init__()
        self.conv1 = conv(3, 8, 2)
        self.branch = conv(8, 8)
        self.conv2 = conv(8, 8)
        self.tail = conv(8, 8)

    def forward(self, x):
        x = self.conv1(x)
        if torch.rand(()) < 0.5:
            x = x + self.branch(x)
        return self.tail(self.conv2(x))


class Twice(nn.Module):
    """Calls one convolution three times and knows it by two names."""

    def __init__(self):
        super().__init__()
        self.conv1 = conv(3, 8, 2)
        self.again = conv(8, 8)
        self.alias = self.again
        self.tail = nn.BatchNorm2d(8)

    def forward(self, x):
        x = self.again(self.conv1(x))
        return self.tail(self.alias(F.relu(self.again(x))))


class TwiceByData(Twice):
    """The same, untraceable."""

    def forward(self, x):
        return super().forward(x if float(x.mean()) > 0 else -x)


class Counting(nn.Module):
    """Refers to its blocks by their number, so none may go."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([conv(3, 8, 2), conv(8, 8), conv(8, 8)])

    def forward(self, x):
        x = self.blocks[0](x) * (1 if x.mean() > 9 else len(self.blocks))
        return self.blocks[-1](self.blocks[1](x))


def chain():
    """Overwrites what it taps."""
    return nn.Sequential(
        conv(3, 8, 2),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Sequential(conv(8, 8), nn.Dropout(0.5), nn.ReLU(inplace=True)),
        conv(8, 16, 2),
        nn.Flatten(),
    )


MAKERS = {
    "resnetd18": lambda: backbone("resnetd18", width=8),
    "resnetd26": lambda: backbone("resnetd26", width=4, output_stride=32),
    "functional": Functional,
    "by data": ByData,
    "by mode": ByMode,
    "by size": BySize,
    "baked": Baked,
    "chance": Chance,
    "twice": Twice,
    "twice by data": TwiceByData,
    "counting": Counting,
    "chain": chain,
}


@pytest.fixture(scope="session")
def make():
    """Make a backbone of the list above, the same at every call; norms and biases are not at their defaults."""

    def _make(name) -> nn.Module | ResNetD:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            random.seed(0)
            made = MAKERS[name]()
            for module in made.modules():
                if isinstance(module, nn.BatchNorm2d):
                    nn.init.uniform_(module.weight, 0.5, 1.5)
                    nn.init.uniform_(module.bias, -0.5, 0.5)
                    nn.init.uniform_(module.running_mean, -0.5, 0.5)
                    nn.init.uniform_(module.running_var, 0.5, 1.5)
        return made

    return _make


@pytest.fixture
def image():
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
