"""What goes, what stays, and what is said of it."""

import logging

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lomt.compaction import OtherSizesError, UntraceableError, compact, fold_norms
from lomt.models import Network, backbone
from lomt.tasks import Classification, Depth, Edges, Segmentation

IMAGE = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0)).double()


def randomized(module, seed=0):
    """Float64, eval mode, norms with random entries."""
    torch.manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias)
    return module.double().eval()


@torch.no_grad()
def shrunk(module, **options):
    """The compacted module, checked for equality."""
    small = compact(module, IMAGE[:1], **options)
    torch.testing.assert_close(small(IMAGE), module(IMAGE), rtol=1e-10, atol=1e-10)
    return small


class Block(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x):
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


def residual():
    return randomized(nn.Sequential(nn.Conv2d(3, 8, 3), Block(), Block(), nn.Conv2d(8, 2, 3)))


@torch.no_grad()
def test_unread_channel_goes_with_its_filter_and_norm():
    net = residual()
    net[1].conv2.weight[:, [1, 4]] = 0
    small = shrunk(net)
    assert small.record.after["1.conv1"] == (8, 6)
    assert small.record.after["1.conv2"] == (6, 8)
    assert small.get_submodule("1.bn1").running_mean.shape == (6,)
    assert torch.equal(small.get_submodule("1.bn1").weight, net[1].bn1.weight[[0, 2, 3, 5, 6, 7]])


@torch.no_grad()
def test_stream_channel_goes_only_if_all_readers_ignore_it():
    net = residual()
    for reader in (net[1].conv1, net[2].conv1):
        reader.weight[:, 3] = 0
    assert shrunk(net).record.nothing
    net[3].weight[:, 3] = 0
    assert shrunk(net).record.after["0"] == (3, 7)


@torch.no_grad()
def test_dead_branch_becomes_a_bias():
    net = residual()
    net[2].conv2.weight.zero_()
    small = shrunk(net)
    assert small.record.removed == ["2.conv1", "2.conv2"]
    assert not any("bn" in name and name.startswith("2.") for name, _ in small.named_modules())
    net[2].bn2.bias.zero_()
    net[2].bn2.running_mean.zero_()
    assert not [name for name, _ in shrunk(net).named_parameters() if name.startswith("constants")]


@torch.no_grad()
def test_branch_is_cut_only_where_it_is_constant_in_space():
    net = residual()
    net[2].conv1.weight.zero_()  # conv2 pads relu(bn1(0)), which is not 0: its map has a frame
    assert "2.conv2" in shrunk(net).record.after
    net[2].bn1.bias.fill_(-100)
    assert "2.conv2" not in shrunk(net).record.after


@pytest.mark.parametrize(("padding", "mode", "left"), [(0, "zeros", 2), (1, "zeros", 4), (1, "replicate", 2)])
@torch.no_grad()
def test_constant_folds_only_where_borders_allow_it(padding, mode, left):
    net = randomized(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sigmoid(), nn.Conv2d(4, 2, 3, 1, padding, padding_mode=mode)))
    net[0].weight[:2] = 0
    assert shrunk(net).record.after["2"] == (left, 2)


@pytest.mark.parametrize("counts", [True, False])
@torch.no_grad()
def test_average_pooling_that_counts_padding_blocks_a_constant(counts):
    pool = nn.AvgPool2d(3, 1, 1, count_include_pad=counts)
    net = randomized(nn.Sequential(nn.Conv2d(3, 4, 1), pool, nn.Conv2d(4, 2, 1)))
    net[0].weight[:2] = 0
    assert shrunk(net).record.after["2"] == (4 if counts else 2, 2)


@pytest.mark.parametrize("norm", [nn.GroupNorm(2, 4), nn.Softmax(1), nn.LocalResponseNorm(2)])
@torch.no_grad()
def test_what_reads_across_channels_is_a_live_reader(norm):
    net = randomized(nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.Conv2d(4, 2, 1)))
    net[2].weight[:, :2] = 0
    assert shrunk(net).record.nothing


@torch.no_grad()
def test_linear_after_flatten_loses_the_channels_pixels():
    net = randomized(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 3)))
    net[3].weight[:, 100:200] = 0
    net[3].weight[:, 250] = 0
    assert shrunk(net).record.after == {"0": (3, 3), "3": (300, 3)}


@pytest.mark.parametrize(("groups", "ins", "outs"), [(8, 6, 6), (4, 8, 8), (2, 8, 6)])
@torch.no_grad()
def test_groups_of_a_convolution_stay_equally_wide(groups, ins, outs):
    net = randomized(nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=groups), nn.Conv2d(8, 2, 1)))
    net[2].weight[:, [0, 7]] = 0  # two whole groups of 8; one half of two of 4, which can't go; a quarter of both of 2
    assert shrunk(net, gather=False).record.after == {"0": (3, ins), "1": (ins, outs), "2": (outs, 2)}


@torch.no_grad()
def test_reader_of_few_channels_of_a_stream_gathers_them():
    net = residual()
    net[1].conv1.weight[:, :5] = 0
    small = shrunk(net)
    assert small.record.after["1.conv1"] == (3, 8)
    assert small.record.after["0"] == (3, 8)
    assert shrunk(net, round_to=4).record.after["1.conv1"] == (4, 8)
    assert shrunk(net, gather=False).record.nothing
    small.get_submodule("1.conv1").weight[:, 1] = 0  # and once more, with the gathering in place
    again = compact(small, IMAGE)
    assert again.record.after["1.conv1"] == (2, 8)
    torch.testing.assert_close(again(IMAGE), small(IMAGE), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("round_to", "width"), [(1, 3), (2, 4), (8, 8)])
@torch.no_grad()
def test_round_to_keeps_dead_channels(round_to, width):
    net = residual()
    net[1].conv2.weight[:, 3:] = 0
    assert shrunk(net, round_to=round_to).record.after["1.conv1"] == (8, width)


@torch.no_grad()
def test_several_decoders_on_one_tap():
    tasks = [Segmentation("seg", 3), Depth("depth"), Edges("edges"), Classification("room", 2)]
    taps = {"seg": "layer2", "depth": "layer2", "edges": "layer1.0.conv2", "room": ("layer2", "layer1.0.conv2")}
    net = randomized(Network(backbone("resnetd18", width=8), tasks, taps, "light"))
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d) and not name.endswith("predict"):
            layer.weight[:, torch.rand(layer.weight.shape[1]) < 0.4] = 0
    image = torch.randn(2, 3, 40, 48).double()
    small = compact(net, image[:1])
    other = torch.randn(1, 3, 64, 32).double()
    torch.testing.assert_close(small(other), net(other), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(small(image, tasks=["edges"]), {"edges": net(image)["edges"]}, rtol=1e-10, atol=1e-10)
    assert small.record.parameters[1] < small.record.parameters[0]
    assert small.taps == net.taps
    assert [task.name for task in small.tasks] == [task.name for task in net.tasks]
    assert compact(small, image).record.nothing
    folded = fold_norms(small, image)
    norms = [name for name, layer in folded.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    assert norms == ["backbone.layer1.0.bn2"]  # its convolution is tapped
    torch.testing.assert_close(folded(other), net(other), rtol=1e-9, atol=1e-9)


def test_nothing_dead_is_said(caplog):
    caplog.set_level("INFO", "lomt")
    net = residual()
    small = shrunk(net)
    assert small.record.nothing
    assert "nothing is dead" in str(small.record)
    assert "nothing is dead" in caplog.text


@torch.no_grad()
def test_all_channels_of_a_layer_dead(caplog):
    caplog.set_level(logging.INFO, "lomt")
    net = residual()
    net[3].weight.zero_()
    small = shrunk(net)
    assert small.record.after["0"] == (3, 1)
    assert "narrowed" in caplog.text


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Padding(nn.Module):
    def forward(self, x):
        return F.pad(x, (0, 1)) if x.shape[-1] % 2 else x


def test_untraceable_module_is_named():
    with pytest.raises(UntraceableError, match=r"'1' \(Branching\).*opaque=\['1'\]"):
        compact(nn.Sequential(nn.Conv2d(3, 4, 1), Branching()), IMAGE.float())
    with pytest.raises(UntraceableError, match="Branching"):
        compact(Branching(), IMAGE)


@torch.no_grad()
def test_opaque_module_is_left_alone():
    net = randomized(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), Branching(), nn.Conv2d(4, 2, 1)))
    net[1].weight[:, :2] = 0
    net[3].weight[:, :2] = 0
    assert shrunk(net, opaque=["2"]).record.after == {"0": (3, 2), "1": (2, 4), "3": (4, 2)}


def test_decisions_on_sizes_are_checked():
    small = compact(nn.Sequential(nn.Conv2d(3, 4, 1), Padding()), torch.zeros(1, 3, 4, 5))
    assert small(torch.zeros(2, 3, 6, 7)).shape == (2, 4, 6, 8)
    with pytest.raises(OtherSizesError, match="example of this size"):
        small(torch.zeros(2, 3, 6, 8))


@pytest.mark.parametrize("shape", [(1, 5, 8, 8), (1, 3), (3, 1, 1)])
def test_example_of_wrong_shape(shape):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))
    with pytest.raises(ValueError, match=r"does not run on an example of shape \[\(" + str(shape[0])):
        compact(net, torch.zeros(shape))
    with pytest.raises(ValueError, match="round_to is 0"):
        compact(net, torch.zeros(1, 3, 8, 8), round_to=0)
