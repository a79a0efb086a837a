"""Which weights are a group: against what the convolution itself ignores when they are zero."""

import pytest
import torch
from torch import nn

from lomt.sparsity import channel_groups
from lomt.sparsity.groups import grouped

CONVS = {
    "plain": nn.Conv2d(6, 4, 3),
    "pointwise": nn.Conv2d(6, 4, 1),
    "grouped": nn.Conv2d(6, 4, 3, groups=2),
    "depthwise": nn.Conv2d(6, 6, 3, groups=6),
    "multiplied depthwise": nn.Conv2d(6, 12, 3, groups=6),
    "channels last": nn.Conv2d(6, 4, 3).to(memory_format=torch.channels_last),
    "linear": nn.Linear(6, 4),
    "transposed": nn.ConvTranspose2d(6, 4, 3),
    "grouped transposed": nn.ConvTranspose2d(6, 4, 3, groups=2),
}
KINDS = (nn.Conv2d, nn.Linear, nn.ConvTranspose2d)


def an_input(layer):
    return torch.rand(2, 6) if isinstance(layer, nn.Linear) else torch.rand(2, 6, 5, 5)


@pytest.mark.parametrize("layer", CONVS.values(), ids=CONVS)
def test_a_dead_input_channel_is_ignored_and_all_others_are_not(layer):
    for channel in range(6):
        (view,) = channel_groups(nn.Sequential(layer), "in", KINDS)
        assert view.channels == 6
        kept = layer.weight.detach().clone()
        with torch.no_grad():
            view.tensor[divmod(channel, view.tensor.shape[1])].zero_()
        assert (~view.alive).nonzero().flatten().tolist() == [channel]
        x = an_input(layer)
        for other in range(6):
            changed = x.clone()
            changed[:, other] += 1
            assert torch.equal(layer(x), layer(changed)) == (other == channel)
        with torch.no_grad():
            layer.weight.copy_(kept)


@pytest.mark.parametrize("layer", CONVS.values(), ids=CONVS)
def test_a_dead_output_channel_is_constant(layer):
    (view,) = channel_groups(layer, "out", KINDS)
    channels = layer(an_input(layer)).shape[1]
    assert view.channels == channels
    kept = layer.weight.detach().clone()
    with torch.no_grad():
        view.tensor[divmod(1, view.tensor.shape[1])].zero_()
    y = layer(an_input(layer))
    constant = [(y[:, c] - y[0, c].flatten()[0]).abs().max() < 1e-6 for c in range(channels)]
    assert constant == [c == 1 for c in range(channels)]
    assert (~view.alive).nonzero().flatten().tolist() == [1]
    with torch.no_grad():
        layer.weight.copy_(kept)


def test_names_kinds_and_sizes():
    network = nn.ModuleDict({"body": nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), "head": nn.Linear(8, 2)})
    (view,) = channel_groups(network)
    assert (view.name, view.channels, view.size, view.axis) == ("body.0", 3, 72, "in")
    assert view.parameter is network["body"][0].weight
    assert [view.name for view in channel_groups(network, kinds=(nn.Conv2d, nn.Linear))] == ["body.0", "head"]


def test_shared_weights_are_listed_once():
    first, second = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
    second.weight = first.weight
    assert [view.name for view in channel_groups(nn.Sequential(first, second))] == ["0"]


def test_parametrized_weights_are_no_groups():
    conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    assert channel_groups(nn.Sequential(conv)) == []


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="'in' or 'out'"):
        channel_groups(nn.Conv2d(3, 4, 3), "both")
    with pytest.raises(ValueError, match="penalty=None"):
        grouped(torch.zeros(4), "in")
    with pytest.raises(ValueError, match="conv_groups=3"):
        grouped(torch.zeros(4, 2, 3, 3), "in", 3)
