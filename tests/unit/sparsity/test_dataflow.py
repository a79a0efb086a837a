"""Which layer reads which."""

import torch
from torch import nn

from lomt.sparsity.dataflow import OUTPUT, trace


class Frozen(nn.Module):
    """Its first layers are never trained."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(3, 3, 1) for _ in range(3))

    def forward(self, x):
        with torch.no_grad():
            x = self.b(self.a(x).relu()) * 2
        return self.c(x)


def test_layers_without_gradients_hang_together_too():
    net = Frozen()
    found = trace(net, dict(net.named_children()), torch.zeros(1, 3, 8, 8))
    assert found.sources == {"a": {None}, "b": {"a"}, "c": {"b"}, OUTPUT: {"c"}}
    assert found.series() == [["a", "b", "c"]]
    net(torch.zeros(1, 3, 8, 8)).sum().backward()
    assert net.a.weight.grad is None
