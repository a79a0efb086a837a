"""Modules whose weights are masked or computed by hooks, compiled ones, scripted ones."""

import copy
import logging

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from lomt.compaction import UntraceableError, compact

IMAGE = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def plain():
    """Half of the first layer's channels are zeros."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()
    net[0].weight.data[::2], net[0].bias.data[::2] = 0, 0
    return net


def masked():
    net = plain()
    mask = net[0].weight.ne(0).float()
    net[0].weight.data[::2] = 1  # what the mask hides
    prune.custom_from_mask(net[0], "weight", mask)
    net(IMAGE)
    return net


def masked_twice():
    net = masked()
    prune.l1_unstructured(net[0], "weight", 1)
    return net


def compiled():
    return torch.compile(plain())


def compiled_part():
    net = plain()
    net[0] = torch.compile(net[0])
    return net


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("make", [masked, masked_twice, compiled, compiled_part])
def test_the_same_small_network(make, caplog):
    caplog.set_level(logging.INFO, "lomt")
    net, wanted = make(), compact(plain(), IMAGE)
    before = copy.copy(net.state_dict())
    small = compact(net, IMAGE)
    assert small.record.after == wanted.record.after
    assert small.record.after["0"] == (3, 4)
    assert small.state_dict().keys() == wanted.state_dict().keys()
    with torch.no_grad():
        torch.testing.assert_close(small(IMAGE), plain()(IMAGE) if make is not masked_twice else net(IMAGE))
    assert net.state_dict().keys() == before.keys()  # and the network itself stays as it was


@pytest.mark.parametrize("norm", [nn.utils.spectral_norm, nn.utils.parametrizations.weight_norm])
def test_normed_weights_are_what_they_are_in_eval_mode(norm):
    net = plain()
    norm(net[2])
    net.train()(IMAGE)
    net.eval()
    assert torch.allclose(compact(net, IMAGE)(IMAGE), net(IMAGE), atol=1e-6)


def test_masks_do_not_go_on_training():
    with pytest.raises(UntraceableError, match=r"a hook computes the weight of '0'.*prune\.remove"):
        compact(masked(), IMAGE, for_training=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_module_is_refused_and_a_scripted_part_stays_whole():
    with pytest.raises(TypeError, match=r"is scripted.*as it was before torch\.jit"):
        compact(torch.jit.trace(plain(), IMAGE), IMAGE)
    net = nn.Sequential(*plain(), torch.jit.trace(nn.Conv2d(4, 4, 1), torch.zeros(1, 4, 8, 8)))
    small = compact(net, IMAGE)
    assert small.record.after["0"] == (3, 4)
    torch.testing.assert_close(small(IMAGE), net(IMAGE), rtol=1e-4, atol=1e-5)
