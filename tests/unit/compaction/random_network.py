"""Random networks with random dead groups: what the property tests of compaction are made of."""

import random

import torch
import torch.nn.functional as F
from odd_layers import odd_layers
from torch import nn


class Residual(nn.Module):
    def __init__(self, c, mid, norm):
        super().__init__()
        self.conv1 = nn.Conv2d(c, mid, 3, padding=1, bias=not norm)
        self.bn1 = nn.BatchNorm2d(mid) if norm else nn.Identity()
        self.conv2 = nn.Conv2d(mid, c, 3, padding=1, bias=not norm)
        self.bn2 = nn.BatchNorm2d(c) if norm else nn.Identity()
        self.act = nn.ReLU(inplace=norm)

    def forward(self, x):
        out = self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))
        out += x
        return self.act(out)


class SqueezeExcite(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(c, 3, 1), nn.Conv2d(3, c, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class NextBlock(nn.Module):
    """ConvNeXt-like: channels last, layer norm, global response norm, layer scale."""

    def __init__(self, c, scale):
        super().__init__()
        self.dw = nn.Conv2d(c, c, 3, padding=1, groups=c)
        self.norm = nn.LayerNorm(c)
        self.up, self.down = nn.Linear(c, 2 * c), nn.Linear(2 * c, c)
        self.gamma = nn.Parameter(torch.rand(c) * scale)
        self.beta = nn.Parameter(torch.rand(2 * c))

    def forward(self, x):
        y = F.gelu(self.up(self.norm(self.dw(x).permute(0, 2, 3, 1))))
        energy = y.norm(dim=(1, 2), keepdim=True)
        y = y + self.beta * (y * (energy / (energy.mean(-1, keepdim=True) + 1e-6)))
        return x + (self.gamma * self.down(y)).permute(0, 3, 1, 2)


class Gated(nn.Module):
    def __init__(self, c, out):
        super().__init__()
        self.conv = nn.Conv2d(c, 2 * out, 1)

    def forward(self, x):
        a, b = self.conv(x).chunk(2, dim=1)
        return a * torch.sigmoid(b)


class Unpadded(nn.Module):
    def __init__(self, c, out):
        super().__init__()
        self.conv = nn.Conv2d(c, out, 3)

    def forward(self, x):
        y = self.conv(x)
        return F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)


class Shuffle(nn.Module):
    def forward(self, x):
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class RandomNetwork(nn.Module):
    """Steps that read earlier values at random, and heads on some of the values."""

    def __init__(self, rng, steps, odd):
        super().__init__()
        self.odd = odd
        self.plan, self.layers, widths = [], nn.ModuleList(), [3]
        for _ in range(steps):
            source = rng.randrange(max(0, len(widths) - 3), len(widths))
            other = rng.randrange(len(widths))
            layer, kind, width = self.step(rng, widths[source], widths[other])
            self.layers.append(layer)
            self.plan.append((kind, source, other))
            widths.append(width)
        self.heads, self.taps = nn.ModuleDict(), {}
        for i in range(rng.randint(1, 3)):
            tap = len(widths) - 1 if i == 0 else rng.randrange(1, len(widths))
            self.taps[f"head{i}"] = tap
            self.heads[f"head{i}"] = self.head(rng, widths[tap])

    def step(self, rng, c, other):
        out, dilation = rng.choice([2, 4, 6, 8]), rng.choice([1, 2])
        act = rng.choice([nn.ReLU, nn.GELU, nn.Sigmoid, nn.Hardswish])
        mode = rng.choice(["zeros", "replicate"])
        wide = {"padding": dilation, "dilation": dilation, "padding_mode": mode}
        pools = [
            lambda: nn.MaxPool2d(3, 1, 1),
            lambda: nn.AvgPool2d(3, 1, 1),
            lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
            lambda: nn.Sequential(nn.ReflectionPad2d((1, 0, 0, 1)), nn.MaxPool2d(2, 1)),
        ]
        one = [
            (lambda: nn.Conv2d(c, out, 3, **wide), out),
            (lambda: nn.Sequential(nn.Conv2d(c, out, 1, bias=False), nn.BatchNorm2d(out), act()), out),
            (lambda: nn.Sequential(nn.Conv2d(c, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(True)), out),
            (lambda: nn.BatchNorm2d(c), c),
            (act, c),
            (lambda: nn.PReLU(c), c),
            (rng.choice(pools), c),
            *[(lambda: Residual(c, out, rng.random() < 0.7), c)] * 3,
            (lambda: nn.Conv2d(c, c * dilation, 3, padding=1, groups=c), c * dilation),
            (lambda: SqueezeExcite(c), c),
            (lambda: NextBlock(c, rng.choice([0, 1])), c),
            (lambda: Gated(c, out), out),
            (lambda: Unpadded(c, out), out),
            (lambda: nn.ConvTranspose2d(c, out, 3, padding=1), out),
            (lambda: nn.GroupNorm(1, c), c),
            (lambda: nn.InstanceNorm2d(c, affine=True), c),
        ]
        if c % 2 == 0:
            one += [
                (lambda: nn.Conv2d(c, out, 3, padding=1, groups=2), out),
                (lambda: nn.ConvTranspose2d(c, out, 1, groups=2), out),
                (Shuffle, c),
            ]
        one += odd_layers(rng, c, out) * (rng.random() < self.odd)
        joins = [("cat", c + other)] * 2 + [("half", c // 2)] * (c % 2 == 0)
        joins += [("add", c), ("add", c), ("sub", c), ("mul", c)] * (c == other)
        if rng.random() < len(joins) / (len(joins) + len(one)):
            kind, width = rng.choice(joins)
            return nn.Identity(), kind, width
        make, width = rng.choice(one)
        return make(), "one", width

    def head(self, rng, c):
        pooled = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * c, 5), nn.ReLU(), nn.Linear(5, 2)]
        dense = [nn.Conv2d(c, 4, 3, padding=1), nn.Dropout(), nn.ReLU(), nn.Conv2d(4, 2, 1)]
        return rng.choice([nn.Sequential(*pooled), nn.Sequential(*dense), nn.Conv2d(c, 2, 1), nn.Identity()])

    def forward(self, x):
        values = [x]
        for layer, (kind, source, other) in zip(self.layers, self.plan, strict=True):
            value = values[source]
            if kind == "cat":
                value = torch.cat([value, values[other]], 1)
            elif kind == "half":
                value = value[:, value.shape[1] // 2 :] if source % 2 else value.chunk(2, 1)[0]
            elif kind in ("add", "sub", "mul"):
                value = getattr(torch, kind)(value, values[other])
            values.append(layer(value.clone() if getattr(layer, "inplace", False) else value))
        return {name: head(values[self.taps[name]]) for name, head in self.heads.items()}


def kill(network, rng):
    """Zero random input slices, filters, whole layers, norm entries and biases; random statistics elsewhere."""
    share = rng.choice([0.2, 0.5, 0.8])
    for layer in network.modules():
        weight = getattr(layer, "weight", None)
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            if layer.weight is None:
                continue
            layer.weight.data.uniform_(0.5, 1.5)
            layer.bias.data.normal_()
            for dead in (layer.weight, layer.bias):
                if rng.random() < 0.3:
                    dead.data[torch.rand(len(dead)) < share] = 0
        elif isinstance(weight, torch.Tensor) and weight.dim() > 1:
            what = rng.random()
            if what < 0.15:
                weight.data.zero_()
            if what > 0.3:
                weight.data[:, torch.rand(weight.shape[1]) < share] = 0
            if what > 0.7:
                weight.data[torch.rand(len(weight)) < share] = 0
            if layer.bias is not None and rng.random() < 0.6:
                layer.bias.data[torch.rand(len(layer.bias)) < rng.choice([share, 1])] = 0


def random_network(seed, steps, odd=0.0):
    """A network in eval mode, float64, that depends on nothing but its arguments.

    ``odd``: how often the layers of ``odd_layers.py`` are among those that a step is drawn from.
    """
    rng = random.Random(seed)
    torch.manual_seed(seed)
    network = RandomNetwork(rng, steps, odd).double().eval()
    with torch.no_grad():
        kill(network, rng)
    return network
