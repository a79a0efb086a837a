"""What networks compute only once while they are looked at, and that nothing else is taken for known."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lomt.compaction import compact
from lomt.evaluation import cost
from lomt.models import Network, backbone
from lomt.tasks import Depth, Segmentation
from lomt.tracing import once
from lomt.tracing.once import computing, sharing


class Convolutions(TorchDispatchMode):
    """Notes the input's shape of every convolution and linear layer that is really computed."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default:
            self.seen.append(tuple(args[0].shape))
        elif func in (torch.ops.aten.addmm.default, torch.ops.aten.mm.default):
            self.seen.append("linear")
        return func(*args, **(kwargs or {}))


def run(*calls):
    """Results of calls in one shared block, and how many convolutions it took."""
    with Convolutions() as count, sharing():
        found = []
        for call in calls:
            with computing():
                found.append(call())
    return found, len(count.seen)


@pytest.fixture
def net():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()


def image(seed=0, count=2):
    return torch.randn(count, 3, 12, 10, generator=torch.Generator().manual_seed(seed))


def test_a_second_run_gives_the_same_bits_and_computes_nothing(net):
    with torch.no_grad():
        wanted = net(image())
    (first, second, third), count = run(*[lambda: net(image())] * 3)
    assert torch.equal(first, wanted)
    assert torch.equal(second, wanted)
    assert torch.equal(third, wanted)
    assert count == 3


def test_other_inputs_weights_and_options_are_computed(net):
    conv, x = net[0], image()
    other = nn.Conv2d(3, 8, 3, padding=1)

    def changed():
        conv.weight.mul_(2)
        return conv(x)

    calls = [
        lambda: conv(x),
        lambda: conv(image(1)),
        lambda: conv(image(count=1)),
        lambda: conv(x.to(memory_format=torch.channels_last)),
        lambda: F.conv2d(x, conv.weight, conv.bias),
        lambda: F.conv2d(x, conv.weight, None, 1, 1),
        lambda: other(x),
        changed,
    ]
    found, count = run(*calls)
    assert count == len(calls)
    with torch.no_grad():
        assert torch.equal(found[-1], conv(x))
        assert torch.equal(found[-2], other(x))
        assert found[3].is_contiguous(memory_format=torch.channels_last)


def test_weights_that_come_and_go_at_one_address_are_not_confused():
    x = image()
    weights = [torch.full((8, 3, 3, 3), float(value)) for value in range(20)]
    found, _ = run(*[lambda w=w: F.conv2d(x, w.clone()) for w in weights])
    assert all(torch.equal(a, F.conv2d(x, w)) for a, w in zip(found, weights, strict=True))


def test_what_is_overwritten_outside_stays_known_as_it_was(net):
    conv, x = net[0], image()
    before = x.clone()

    def spoiled():
        conv(x).zero_()
        x.zero_()

    (_, again), count = run(spoiled, lambda: conv(before))
    assert count == 1
    with torch.no_grad():
        assert torch.equal(again, conv(before))


def test_nothing_is_known_outside_of_a_block_or_with_gradients(net):
    with Convolutions() as count:
        for _ in range(2):
            with computing():
                net(image())
    assert len(count.seen) == 6
    with Convolutions() as count, sharing(), computing(), torch.enable_grad():
        net(image())
        net(image()).sum().backward()
    assert net[0].weight.grad is not None
    assert len(count.seen) >= 6


def test_a_block_within_a_block_shares(net):
    with Convolutions() as count, sharing():
        with computing():
            net(image())
        with sharing(), computing(), computing():
            net(image())
    assert len(count.seen) == 3


def test_memory_is_bounded(net, monkeypatch):
    monkeypatch.setattr(once, "_MOST", 100)
    found, count = run(*[lambda: net(image())] * 2)
    assert torch.equal(*found)
    assert count == 5  # the linear layer's numbers fit


def test_what_is_known_counts(net):
    wanted = cost(net, image()).macs
    with sharing():
        for _ in range(2):
            with computing(counted=True):
                assert cost(net, image()).macs == wanted > 0


def test_a_network_is_made_and_compacted_in_few_passes():
    base, example = backbone("resnetd18", 32), torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    convolutions = sum(isinstance(layer, nn.Conv2d) for layer in base.modules())
    with Convolutions() as count:
        made = Network(
            base, [Depth("depth"), Segmentation("seg", 5)], {"depth": "layer4", "seg": "layer3"}, None, example
        )
    full = [shape for shape in count.seen if shape == example.shape]
    assert len(full) == 1  # to list the taps
    assert len(count.seen) <= 4 * convolutions + 6  # the other passes are small: one to list taps, two as it is
    made.eval()
    layers = sum(isinstance(layer, nn.Conv2d) for layer in made.modules())
    with Convolutions() as count:
        compact(made, example)
    assert len(count.seen) <= 2.3 * layers  # the network, and what is left of it
