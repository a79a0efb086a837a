"""Training goes on after compaction, with the optimizer where it was."""

import copy

import pytest
import torch
from torch import nn

from lomt.compaction import compact, compact_in_training, dead_groups, freeze
from lomt.compaction.training import freeze_entries
from lomt.optim import ProxAdamW, ProxSGD, parameter_groups
from lomt.sparsity import GroupLasso, GroupMCP


class Net(nn.Module):
    """A residual block, a dead one, a concatenation and a head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.blocks = nn.ModuleList([self.block() for _ in range(3)])
        self.side = nn.Conv2d(8, 6, 3, padding=1)
        self.head = nn.Sequential(nn.Conv2d(14, 5, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 36, 4))

    def block(self):
        first, second = nn.Conv2d(8, 12, 3, padding=1, bias=False), nn.Conv2d(12, 8, 3, padding=1, bias=False)
        depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        return nn.Sequential(first, nn.BatchNorm2d(12), nn.ReLU(), depthwise, nn.ReLU(), second, nn.BatchNorm2d(8))

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = torch.relu(x + block(x))
        return self.head(torch.cat([x, self.side(x)], 1))


def network():
    torch.manual_seed(0)
    return Net().double().train()


@torch.no_grad()
def kill(net, stage):
    """What a penalty would do: first much, later the last input of a layer, whatever its number is by then."""
    layer = net.get_submodule
    if stage == 0:
        layer("blocks.0.5").weight[:, :7] = 0
        layer("blocks.1.5").weight.zero_()
        layer("blocks.2.0").weight[:, 3:5] = 0
        layer("head.0").weight[:, 10:] = 0
    elif stage == 1:
        layer("blocks.0.5").weight[:, -1] = 0


def train(net, optimizer, steps, seed):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        images = torch.randn(4, 3, 6, 6, generator=generator, dtype=torch.double)
        optimizer.zero_grad()
        net(images).square().mean().add(net(images.flip(0)).mean()).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()


def freeze_instead(net, example, optimizer):
    """The slow way: everything that compaction would remove is zeroed and frozen at full size."""
    small = compact(net, example, for_training=True)
    left = dict(small.named_parameters())
    for name, parameter in net.named_parameters():
        gone = torch.ones(parameter.shape, dtype=torch.bool)
        if name in left:
            places = torch.arange(parameter.numel()).view(parameter.shape)
            cut = small.record.cuts.get(name)
            gone.view(-1)[(places if cut is None else cut(places)).flatten()] = False
        freeze_entries(parameter, gone, optimizer)
    freeze(net, dead_groups(net), optimizer)


OPTIMIZERS = {
    "adamw": lambda net: torch.optim.AdamW(net.parameters(), 1e-2, weight_decay=0.1),
    "sgd": lambda net: torch.optim.SGD(net.parameters(), 1e-2, momentum=0.9, nesterov=True),
    "amsgrad": lambda net: torch.optim.AdamW(net.parameters(), 1e-2, amsgrad=True),
    "prox": lambda net: ProxAdamW(parameter_groups(net, None), 1e-2),
    "lasso": lambda net: ProxAdamW(parameter_groups(net, GroupLasso(3e-3)), 1e-2),
    "mcp": lambda net: ProxAdamW(parameter_groups(net, GroupMCP(3e-3, 100.0)), 1e-2),
    "lasso-sgd": lambda net: ProxSGD(parameter_groups(net, GroupLasso(3e-3)), 1e-2, momentum=0.9),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_equals_a_run_that_freezes(kind):
    example = torch.zeros(1, 3, 6, 6).double()
    fast = network()
    slow = copy.deepcopy(fast)
    optimizers = [OPTIMIZERS[kind](net) for net in (fast, slow)]
    for stage in range(2):
        for net, optimizer in zip((fast, slow), optimizers, strict=True):
            train(net, optimizer, 2, stage)
        kill(fast, stage)
        kill(slow, stage)
        freeze_instead(slow, example, optimizers[1])
        fast = compact_in_training(fast, example, optimizers[0])
    for net, optimizer in zip((fast, slow), optimizers, strict=True):
        train(net, optimizer, 3, 9)
    images = torch.randn(2, 3, 6, 6).double()
    assert fast.get_submodule("blocks.0.3").groups == 4
    assert sum(p.numel() for p in fast.parameters()) < 0.7 * sum(p.numel() for p in slow.parameters())
    for mode in (True, False):
        torch.testing.assert_close(fast.train(mode)(images), slow.train(mode)(images), rtol=1e-9, atol=1e-11)
