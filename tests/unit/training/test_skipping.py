"""A network whose dead channels are skipped, and then taken out, learns what the plain one does, broken off or not."""

import copy

import pytest
import torch
from torch import nn

from lomt.compaction import compact, dead_groups, freeze
from lomt.compaction.training import freeze_entries
from lomt.models import Network, decoder
from lomt.nn import MaskedConv2d
from lomt.sparsity import GroupLasso, GroupMCP, channel_groups, pattern
from lomt.training import CHECKPOINT, Recipe, fit, seed_everything, skipping
from lomt.training.skipping import Skipping
from tests.unit.training.history import timeless

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
    return Recipe(**{"epochs": EPOCHS, "lr": 1e-2, "freeze_after": 1, **changes})


def numbers(row):
    """A row of the history without what depends on how it was computed."""
    return {name: value for name, value in row.items() if name not in ("seconds", "processor", "computed")}


def sparse(source):
    """A network of which a third is dead."""
    net = network(source)
    with torch.no_grad():
        for view in channel_groups(net.backbone.blocks):
            view.tensor[:, ::3] = 0
    return net


def everything(net):
    return torch.cat([value.flatten().double() for value in net.state_dict().values()])


def freeze_instead(self, example, optimizer):
    """What ``Skipping.freeze`` does, the slow way: all that it would remove is set to 0 and frozen at full size."""
    self.frozen = True
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


class Narrowest:
    """Hears how small the network was that was trained."""

    def __init__(self, monkeypatch):
        self.parameters = []
        freeze = Skipping.freeze

        def heard(skipping, *arguments):
            freeze(skipping, *arguments)
            self.parameters.append(sum(p.numel() for p in skipping.network.parameters()))

        monkeypatch.setattr(Skipping, "freeze", heard)


@pytest.mark.parametrize(
    ("penalty", "changes"),
    [
        (GroupLasso(0.02), {}),
        (GroupLasso(0.03), {"freeze_after": 2, "clip": 0.5}),
        (GroupMCP(0.03, 30.0), {"balancing": "dwa", "schedule": "constant"}),
    ],
)
def test_equals_a_training_that_freezes_instead(shapes, monkeypatch, penalty, changes):
    settings = recipe(precision="64-true", channels_last=False, **changes)
    slow, fast = (sparse(shapes).double() for _ in range(2))
    monkeypatch.setattr(Skipping, "skip", lambda _: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Skipping, "freeze", freeze_instead)
        expected = fit(slow, shapes, settings, penalty=copy.deepcopy(penalty))
    narrow = Narrowest(monkeypatch)
    found = fit(fast, shapes, settings, penalty=copy.deepcopy(penalty))
    assert narrow.parameters[-1] < 0.8 * sum(p.numel() for p in fast.parameters())
    assert found.history[-1]["computed"] < 0.8
    for row, other in zip(found.history, expected.history, strict=True):
        assert numbers(row) == pytest.approx(numbers(other), rel=1e-6, abs=1e-9)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(fast.eval()(images), slow.eval()(images), rtol=1e-5, atol=1e-7)
    for view, other in zip(channel_groups(fast), channel_groups(slow), strict=True):
        torch.testing.assert_close(view.parameter, other.parameter, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("after", "epochs", "balancing"),
    [(0, 1.5, "dwa"), (1, 4.5, "uncertainty"), (2, 2.3, "dwa"), (3, 4.2, "dwa"), (None, 2.5, "uncertainty")],
)
def test_a_broken_training_ends_as_an_unbroken_one(shapes, tmp_path, after, epochs, balancing):
    class StoppedError(Exception):
        pass

    def stop(done, _):
        if done > epochs / EPOCHS:
            raise StoppedError

    settings, penalty = recipe(freeze_after=after, balancing=balancing), GroupLasso(0.1)
    whole, broken, resumed = sparse(shapes), sparse(shapes), sparse(shapes)
    expected = fit(whole, shapes, settings, penalty=penalty, folder=tmp_path / "whole")
    with pytest.raises(StoppedError):
        fit(broken, shapes, settings, penalty=penalty, folder=tmp_path / "broken", progress=stop)
    stored = torch.load(tmp_path / "broken" / CHECKPOINT, weights_only=True)["state_dict"]
    left = sum(value.numel() for name, value in stored.items() if name.startswith("network."))
    assert (left < 0.8 * len(everything(whole))) == (after is not None)
    found = fit(resumed, shapes, settings, penalty=penalty, folder=tmp_path / "broken")
    assert torch.equal(everything(whole), everything(resumed))
    assert timeless(found.history) == timeless(expected.history)
    assert len((tmp_path / "broken/metrics.csv").read_text().splitlines()) == 1 + EPOCHS


def test_the_trained_network_has_its_shape_and_the_outputs_of_the_small_one(shapes, monkeypatch):
    modules = []
    end = Skipping.end
    monkeypatch.setattr(Skipping, "end", lambda self: modules.append(self) or end(self))
    net, images = sparse(shapes), torch.randn(2, 3, 32, 32)
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


def test_what_is_dead_at_the_freeze_stays_dead(shapes, monkeypatch):
    dead = []
    freeze = Skipping.freeze

    def note(self, *arguments):
        dead.append(dead_groups(copy.deepcopy(self.full)))
        return freeze(self, *arguments)

    monkeypatch.setattr(Skipping, "freeze", note)
    net = sparse(shapes)
    fit(net, shapes, recipe(), penalty=GroupLasso(0.03))
    end = dead_groups(net)
    assert len(dead) == 1
    assert dead[0]
    for name, groups in dead[0].items():
        assert bool(end[name][groups].all()), name


def noisy(source):
    """A network that is another one in training, so that nothing can be taken out meanwhile."""

    class Noisy(nn.ReLU):
        def forward(self, x):
            return x + torch.randn_like(x) if self.training else x

    net = sparse(source)
    net.backbone.blocks[0].relu = Noisy()
    return net


def test_what_can_not_be_taken_out_is_skipped(shapes, caplog, tmp_path):
    skipping._say.cache_clear()
    net = noisy(shapes)
    before = dead_groups(net)
    fitted = fit(net, shapes, recipe(freeze_after=0), folder=tmp_path)
    assert "'backbone.blocks.0.relu' (Noisy) does other operations" in caplog.text
    assert fitted.history[-1]["computed"] < 0.9
    after = dead_groups(net)
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], groups) for name, groups in before.items())
    assert not any(isinstance(layer, MaskedConv2d) for layer in net.modules())
    (tmp_path / CHECKPOINT).unlink()
    fit(net, shapes, recipe(epochs=2, freeze_after=None))
    assert dead_groups(net) != before, "nothing is held once the training has ended"


def test_what_is_skipped_while_it_may_come_back_changes_nothing(shapes, monkeypatch):
    settings = recipe(precision="64-true", channels_last=False, freeze_after=None)
    masked, plain = (sparse(shapes).double() for _ in range(2))
    kinds = []
    skip = Skipping.skip
    monkeypatch.setattr(
        Skipping, "skip", lambda self: skip(self) or kinds.append({type(m) for m in self.full.modules()})
    )
    found = fit(masked, shapes, settings, penalty=GroupLasso(0.02))
    assert all(MaskedConv2d in each for each in kinds)
    monkeypatch.setattr(Skipping, "skip", lambda _: None)
    expected = fit(plain, shapes, settings, penalty=GroupLasso(0.02))
    for row, other in zip(found.history, expected.history, strict=True):
        assert numbers(row) == pytest.approx(numbers(other), rel=1e-9, abs=1e-9)
    for view, other in zip(channel_groups(masked), channel_groups(plain), strict=True):
        torch.testing.assert_close(view.parameter, other.parameter, rtol=1e-6, atol=1e-8)
    assert not any(isinstance(layer, MaskedConv2d) for layer in masked.modules())


def test_a_backbone_without_a_convolution_that_could_skip_runs_dense_and_says_so(shapes, caplog):
    class Own(nn.Conv2d):
        def forward(self, x):
            return super().forward(x)

    skipping._say.cache_clear()
    net = sparse(shapes)
    for layer in net.modules():
        if type(layer) is nn.Conv2d:
            layer.__class__ = Own
    fit(net, shapes, recipe(epochs=1))
    assert "0 convolutions skip what is dead; these are computed in full: backbone.stem.0 (Own)" in caplog.text


def test_a_recipe_that_freezes_before_anything_died_freezes_nothing(shapes):
    plain, asked = network(shapes), network(shapes)
    fit(plain, shapes, recipe(freeze_after=None))
    fit(asked, shapes, recipe(freeze_after=0))
    assert torch.equal(everything(plain), everything(asked))


@pytest.mark.parametrize("after", [0, 1, None])
def test_a_network_of_which_nothing_lives_is_trained_on(shapes, after):
    net = network(shapes)
    with torch.no_grad():
        for view in channel_groups(net):
            view.parameter.zero_()
    fitted = fit(net, shapes, recipe(epochs=2, freeze_after=after), penalty=GroupLasso(1e3), decoders=True)
    assert fitted.history[-1]["sparsity"] == 1
    assert all(not view.alive.any() for view in channel_groups(net))


def test_the_last_epoch_alone_can_be_validated(shapes):
    each, last = network(shapes), network(shapes)
    expected = fit(each, shapes, recipe(freeze_after=None)).history
    found = fit(last, shapes, recipe(freeze_after=None, validate_last_only=True)).history
    assert torch.equal(everything(each), everything(last))
    assert timeless(found[-1:]) == timeless(expected[-1:])
    assert not any(name.startswith("val_loss") for row in found[:-1] for name in row)
