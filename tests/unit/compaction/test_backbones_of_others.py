"""Networks on backbones that behave otherwise in training, look at sizes, or loop: cut, compacted, as they are."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lomt.compaction import UntraceableError, compact
from lomt.models import Network
from lomt.models.stopped import Stopped
from lomt.tasks import Depth

IMAGE = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Backbone(nn.Module):
    """A stem, a branch and a tail, all tapped; ``joined`` says how the branch is joined."""

    def __init__(self, joined):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.branch = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(inplace=True))
        self.tail, self.beyond = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.joined = joined

    def forward(self, x):
        return self.beyond(self.tail(self.joined(self, self.stem(x))))


def noise(self, x):
    return x + self.branch(x) * (1 + torch.randn_like(x) if self.training else 1)


def drop_path(self, x):
    kept = self.branch(x)
    if self.training:
        kept = kept * torch.empty(len(x), 1, 1, 1).bernoulli_(0.8) / 0.8
    return x + kept


def stochastic_depth(self, x):  # as in torchvision
    if not self.training:
        return x + self.branch(x)
    return x + self.branch(x) * torch.empty([x.shape[0], 1, 1, 1]).bernoulli_(0.8).div_(0.8)


def skipped(self, x):
    return x if self.training and torch.rand(()) < 0.5 else x + self.branch(x)


def asserted(self, x):
    assert x.shape[-1] % 2 == 0
    if x.shape[-2] % 2:
        raise ValueError("odd")
    return x + self.branch(x)


def padded(self, x):
    _, _, h, w = x.size()
    if h % 2 or w % 2:
        x = F.pad(x, (0, w % 2, 0, h % 2))
    return x + self.branch(x)


WAYS = {one.__name__: one for one in (noise, drop_path, stochastic_depth, skipped, asserted, padded)}


@pytest.mark.parametrize("way", WAYS)
def test_a_backbone_that_runs_its_own_code_is_compacted(way):
    backbone = Backbone(WAYS[way])
    backbone.tail.weight.data[:, :3] = 0
    backbone.branch[0].weight.data[:, :3] = 0
    network = Network(backbone, [Depth("a"), Depth("b")], {"a": "tail", "b": "branch"}, "light").eval()
    network.decoders["a"].reduce[0].weight.data[:, 3:5] = 0
    assert isinstance(network.backbone, Stopped)
    small = compact(network, IMAGE)
    assert small.record.after["backbone.tail"] == (5, 6)
    assert small.record.after["backbone.branch.0"] == (5, 8)
    image = torch.randn(3, 3, 64, 48)
    with torch.no_grad():
        wanted, found = network(image), small(image)
    for task, output in wanted.items():
        torch.testing.assert_close(found[task], output, rtol=1e-4, atol=1e-5)


def test_what_is_decided_by_data_is_named_and_may_stay_whole():
    def by_data(self, x):
        return x + self.branch(x) if x.mean() > 0 else x

    network = Network(Backbone(by_data), [Depth("a")], {"a": "tail"}, "light").eval()
    network.decoders["a"].mix[0].weight.data[:, :8] = 0
    with pytest.raises(UntraceableError, match=r"can't trace 'backbone' \(Stopped\).*opaque=\['backbone'\]"):
        compact(network, IMAGE)
    small = compact(network, IMAGE, opaque=["backbone"])
    assert small.record.after["decoders.a.mix.0"] == (24, 32)
    with torch.no_grad():
        for image in (IMAGE, -IMAGE):
            torch.testing.assert_close(small(image)["a"], network(image)["a"], rtol=1e-4, atol=1e-5)
