"""What is cut with a channel, beside Torch-Pruning's dependency graph, which is told which channels are dead."""

import copy

import pytest
import torch
from torch import nn

from lomt.compaction import compact
from lomt.models import backbone

pruning = pytest.importorskip("torch_pruning")


class Joined(nn.Module):
    """A residual stream, a depthwise branch, a concatenation, a linear layer after flatten."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.up = nn.Sequential(nn.Conv2d(8, 12, 1), nn.BatchNorm2d(12), nn.ReLU())
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.down = nn.Sequential(nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 8, 1))
        self.side = nn.Conv2d(8, 6, 3, padding=1)
        self.head = nn.Sequential(nn.Conv2d(14, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 36, 4))

    def forward(self, x):
        x = self.stem(x)
        x = x + self.down(self.depthwise(self.up(x)))
        return self.head(torch.cat([x, self.side(x)], 1))


NETWORKS = {
    "joined": (Joined, {"stem.0": [1, 5], "up.0": [0, 3, 4], "side": [2], "head.0": [0, 4]}),
    "resnetd": (
        lambda: nn.Sequential(backbone("resnetd18", width=8), nn.Conv2d(64, 2, 1)),
        {"0.layer1.0.conv1": [0, 6], "0.layer2.1.conv1": [3], "0.layer4.0.conv1": [1, 2, 40], "0.stem.conv3": [4]},
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_shapes_and_outputs_are_those_of_its_surgery(name):
    make, dead = NETWORKS[name]
    torch.manual_seed(0)
    size = 8 if name == "joined" else 32
    net, example = make().double().eval(), torch.randn(1, 3, size, size).double()
    for group in groups(net, example, dead):
        for dependency, channels in group:
            if dependency.handler in (pruning.prune_conv_in_channels, pruning.prune_linear_in_channels):
                with torch.no_grad():
                    dependency.target.module.weight[:, channels] = 0
    small, theirs = compact(net, example, gather=False), copy.deepcopy(net)
    for group in groups(theirs, example, dead):
        group.prune()
    with torch.no_grad():
        torch.testing.assert_close(theirs(example), net(example), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(small(example), net(example), rtol=1e-10, atol=1e-10)
    shapes = [{name: value.shape for name, value in one.named_parameters()} for one in (small, theirs, net)]
    assert shapes[0] == shapes[1] != shapes[2]


def groups(net, example, dead):
    """For each layer with dead outputs, all that its dependency graph ties to them."""
    for layer, channels in dead.items():
        graph = pruning.DependencyGraph().build_dependency(net, example)
        yield graph.get_pruning_group(net.get_submodule(layer), pruning.prune_conv_out_channels, channels)
