"""A network that becomes smaller as it trains learns what a frozen one learns, and survives being broken off."""

import copy

import pytest
import torch
from torch import nn

from lomt.compaction import Shrinking, UntraceableError, compact, dead_groups, freeze
from lomt.compaction.training import freeze_entries
from lomt.models import Network, decoder
from lomt.sparsity import GroupLasso, GroupMCP, channel_groups, pattern
from lomt.training import CHECKPOINT, Recipe, fit, seed_everything

EPOCHS = 5


class Block(nn.Module):
    def __init__(self, width, middle, groups=1):
        super().__init__()
        self.conv1 = nn.Conv2d(width, middle, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.depthwise = nn.Conv2d(middle, middle, 3, 1, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv2(self.relu(self.bn2(self.depthwise(y)))))
        return self.relu(x + y)


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU(inplace=True))
        self.blocks = nn.Sequential(Block(12, 16), Block(12, 16, 16), Block(12, 8, 2))

    def forward(self, x):
        return self.blocks(self.stem(x))


def network(source, dtype=torch.float32):
    seed_everything("test")
    tasks = [task for task in source.tasks if task.name in ("seg", "depth")]
    taps = {"seg": "blocks.2", "depth": "blocks.2"}
    return Network(Backbone(), tasks, taps, decoder("light", width=8)).to(dtype)


def recipe(**changes):
    return Recipe(**{"epochs": EPOCHS, "lr": 1e-2, "compact_every": 1, **changes})


def everything(net):
    return torch.cat([value.flatten().double() for value in net.state_dict().values()])


def freeze_instead(self, optimizer, example):
    """What ``Shrinking.shrink`` does, the slow way: all that it would remove is set to 0 and frozen at full size."""
    small = compact(self.full, example, for_training=True)
    left = dict(small.named_parameters())
    for name, parameter in self.full.named_parameters():
        gone = torch.ones_like(parameter, dtype=torch.bool)
        if name in left:
            cut = small.record.cuts.get(name)
            kept = torch.ones_like(left[name])
            gone = (kept if cut is None else cut.back(kept, parameter.shape)) == 0
        freeze_entries(parameter, gone, optimizer)
    freeze(self.full, dead_groups(self.full), optimizer)
    return self.full


class Narrowest:
    """Hears how small the network was that was trained."""

    def __init__(self, monkeypatch):
        self.parameters = []
        shrink = Shrinking.shrink

        def heard(shrinking, *arguments):
            net = shrink(shrinking, *arguments)
            self.parameters.append(sum(p.numel() for p in net.parameters()))
            return net

        monkeypatch.setattr(Shrinking, "shrink", heard)


@pytest.mark.parametrize(
    ("penalty", "changes"),
    [
        (GroupLasso(0.02), {}),
        (GroupLasso(0.03), {"compact_every": 2, "clip": 0.5}),
        (GroupMCP(0.03, 30.0), {"balancing": "dwa", "schedule": "constant"}),
    ],
)
def test_equals_a_training_that_freezes_instead(shapes, monkeypatch, penalty, changes):
    settings = recipe(precision="64-true", channels_last=False, **changes)
    slow, fast = network(shapes, torch.float64), network(shapes, torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Shrinking, "shrink", freeze_instead)
        expected = fit(slow, shapes, settings, penalty=copy.deepcopy(penalty))
    narrow = Narrowest(monkeypatch)
    found = fit(fast, shapes, settings, penalty=copy.deepcopy(penalty))
    assert narrow.parameters[-1] < 0.8 * sum(p.numel() for p in fast.parameters())
    for row, other in zip(found.history, expected.history, strict=True):
        assert row == pytest.approx(other, rel=1e-9, abs=1e-9)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(fast.eval()(images), slow.eval()(images), rtol=1e-9, atol=1e-9)
    for view, other in zip(channel_groups(fast), channel_groups(slow), strict=True):
        torch.testing.assert_close(view.parameter, other.parameter, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("every", "epochs", "balancing"),
    [(1, 4.5, "uncertainty"), (2, 2.3, "dwa"), (2, 3.7, "uncertainty"), (3, 4.2, "dwa")],
)
def test_a_broken_training_ends_as_an_unbroken_one(shapes, tmp_path, every, epochs, balancing):
    class StoppedError(Exception):
        pass

    def stop(done, _):
        if done > epochs / EPOCHS:
            raise StoppedError

    settings, penalty = recipe(compact_every=every, balancing=balancing), GroupLasso(0.1)
    whole, broken, resumed = network(shapes), network(shapes), network(shapes)
    expected = fit(whole, shapes, settings, penalty=penalty, folder=tmp_path / "whole")
    with pytest.raises(StoppedError):
        fit(broken, shapes, settings, penalty=penalty, folder=tmp_path / "broken", progress=stop)
    stored = torch.load(tmp_path / "broken" / CHECKPOINT, weights_only=True)["state_dict"]
    left = sum(value.numel() for name, value in stored.items() if name.startswith("network."))
    assert left < 0.8 * len(everything(whole))
    found = fit(resumed, shapes, settings, penalty=penalty, folder=tmp_path / "broken")
    assert torch.equal(everything(whole), everything(resumed))
    assert found.history == expected.history
    assert (tmp_path / "whole/metrics.csv").read_bytes() == (tmp_path / "broken/metrics.csv").read_bytes()


def test_the_trained_network_has_its_shape_and_the_outputs_of_the_small_one(shapes, monkeypatch):
    modules = []
    shrink = Shrinking.shrink
    monkeypatch.setattr(Shrinking, "shrink", lambda self, *a: modules.append(self) or shrink(self, *a))
    net, images = network(shapes), torch.randn(2, 3, 32, 32)
    before = {name: value.shape for name, value in net.state_dict().items()}
    fitted = fit(net, shapes, recipe(), penalty=GroupLasso(0.03))
    assert {name: value.shape for name, value in net.state_dict().items()} == before
    small = modules[-1].small.eval()
    with torch.no_grad():
        torch.testing.assert_close(net.eval()(images), small(images), rtol=1e-4, atol=1e-5)
    assert fitted.history[-1]["sparsity"] == pytest.approx(1 - share_alive(net))
    assert pattern(net.backbone, images[:1]).sparsity > 0


def share_alive(net):
    alive = torch.cat([view.alive for view in channel_groups(net.backbone)])
    return float(alive.double().mean())


def test_what_is_dead_stays_dead(shapes, monkeypatch):
    dead = []
    shrink = Shrinking.shrink

    def note(self, *arguments):
        dead.append(dead_groups(copy.deepcopy(self.whole())))
        return shrink(self, *arguments)

    monkeypatch.setattr(Shrinking, "shrink", note)
    net = network(shapes)
    fit(net, shapes, recipe(), penalty=GroupLasso(0.03))
    end = dead_groups(net)
    assert len(dead) == EPOCHS - 1
    for name, groups in dead[0].items():
        assert bool(end[name][groups].all()), name


def test_a_network_that_can_not_be_compacted_says_so_at_once(shapes):
    class Noisy(nn.ReLU):
        def forward(self, x):
            return x + torch.randn_like(x) if self.training else x

    net = network(shapes)
    net.backbone.blocks[0].relu = Noisy()
    with pytest.raises(UntraceableError, match=r"'backbone\.blocks\.0\.relu' \(Noisy\) does other operations"):
        fit(net, shapes, recipe())


def test_without_a_penalty_nothing_is_touched(shapes):
    plain, asked = network(shapes), network(shapes)
    fit(plain, shapes, recipe(compact_every=0))
    fit(asked, shapes, recipe(compact_every=1))
    assert torch.equal(everything(plain), everything(asked))
