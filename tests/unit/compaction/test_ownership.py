"""A compacted module is one of its own: what becomes of either is nothing to the other."""

import copy

import pytest
import torch
from torch import nn

from lomt.compaction import UntraceableError, as_graph, compact, fold_norms

IMAGE = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Dead channels, a constant to fold, a convolution that is called twice under two names, a frozen layer."""

    def __init__(self, dead):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.again = nn.Conv2d(8, 8, 1)
        self.alias = nn.Conv2d(8, 8, 1)
        self.alias.weight = self.again.weight
        self.frozen = nn.Conv2d(8, 8, 1).requires_grad_(False)
        self.last = nn.Conv2d(8, 2, 1)
        self.scale = nn.Parameter(torch.full((1, 2, 1, 1), 2.0))
        if dead:
            with torch.no_grad():
                self.frozen.weight[3] = 0
                self.last.weight[:, 5:] = 0
                self.norm.weight[2] = 0

    def forward(self, x):
        x = self.again(torch.relu(self.norm(self.first(x))))
        return self.last(torch.relu(self.frozen(self.alias(x)))) * self.scale


def memory(module):
    return {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())}


@pytest.mark.parametrize("make", [compact, as_graph, fold_norms])
@pytest.mark.parametrize("dead", [False, True])
def test_neither_changes_the_other(make, dead):
    torch.manual_seed(0)
    net = Net(dead).eval()
    before = copy.deepcopy(net.state_dict())
    small = make(net, IMAGE)
    wanted = net(IMAGE)
    torch.testing.assert_close(small(IMAGE), wanted, rtol=1e-4, atol=1e-5)
    assert not memory(small) & memory(net)
    with torch.no_grad():
        for tensor in small.parameters():
            tensor.add_(1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    torch.testing.assert_close(net(IMAGE), wanted, rtol=0, atol=0)


@pytest.mark.parametrize("make", [compact, as_graph])
def test_ties_and_frozen_parameters_stay_such(make):
    small = make(Net(dead=False).eval(), IMAGE)
    assert small.get_parameter("alias.weight") is small.get_parameter("again.weight")
    assert not small.get_parameter("frozen.weight").requires_grad
    assert small.get_parameter("last.weight").requires_grad


def test_sizes_that_depend_on_the_mode_are_told():
    class Coarse(nn.Module):
        def forward(self, x):
            return x[..., ::2] if self.training else x

    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.coarse = nn.Conv2d(3, 4, 1), Coarse()

        def forward(self, x):
            x = self.coarse(self.conv(x))
            return torch.relu(x) if x.shape[-1] > 8 else x

    with pytest.raises(UntraceableError, match="other operations in training"):
        compact(Branching(), IMAGE, for_training=True, opaque=["coarse"])
