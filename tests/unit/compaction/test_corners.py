"""Networks that were compacted wrongly, or not at all, in one draft or another."""

import pytest
import torch
import torch.nn.functional as F
from odd_layers import Do, DropPath, Unbiased
from torch import nn

from lomt.compaction import UntraceableError, compact, expand

IMAGE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()


def constant(*names):
    """The first two channels of these layers are the same everywhere, and not 0."""
    return lambda net: [net.get_submodule(name).weight[:2].zero_() for name in names]


def unread(name, count=2):
    """This layer does not read its first channels."""
    return lambda net: net.get_submodule(name).weight[:, :count].zero_()


def dead(name):
    """All that this layer gives is its bias."""
    return lambda net: net.get_submodule(name).weight.zero_()


def three(function, first=nn.Conv2d):
    """A function of an input and the layers a, c: 3 → 6 channels, b: 6 → 2, and a pool."""
    torch.manual_seed(0)
    options = {"bias": False} if first is Unbiased else {}
    layers = {"a": first(3, 6, 1, **options), "c": nn.Conv2d(3, 6, 1), "b": nn.Conv2d(6, 2, 1)}
    return Do(function, **layers, pool=nn.AvgPool2d(2, divisor_override=3))


def written(view):
    """A view is overwritten, and then what it shows is read."""

    def function(self, x):
        y = self.a(x)
        view(y).relu_()
        return self.b(y)

    return three(function)


CORNERS = {
    "a mean over more places than there are": (
        three(lambda self, x: self.b(F.relu(self.pool(self.a(x))))),
        constant("a"),
        (6, 2),
    ),
    "the only part of a split": (three(lambda self, x: self.b(torch.split(self.a(x), [6], 1)[0])), unread("b"), (4, 2)),
    "a part of no width": (
        three(lambda self, x: self.b(torch.cat(torch.split(self.a(x), [0, 6], 1), 1))),
        unread("b"),
        (6, 2),
    ),
    "tensors by keyword": (
        Do(
            lambda self, x: self.b(input=F.relu(input=torch.cat(tensors=[self.a(x), self.c(input=x)], dim=1))),
            a=nn.Conv2d(3, 6, 1),
            c=nn.Conv2d(3, 2, 1),
            b=nn.Conv2d(8, 2, 1),
        ),
        unread("b"),
        (6, 2),
    ),
    "flatten by keyword": (
        Do(
            lambda self, x: self.b(torch.flatten(input=self.a(x), start_dim=1)),
            a=nn.Conv2d(3, 6, 1),
            b=nn.Linear(384, 2),
        ),
        unread("b", 64),
        (320, 2),
    ),
    "one reader of two constants": (
        three(lambda self, x: self.b(self.a(x)) + self.b(self.c(x).relu())),
        constant("a", "c"),
        (6, 2),
    ),
    "a convolution that has no bias beside a dead branch": (
        three(lambda self, x: self.b(self.a(x) + self.c(x)), Unbiased),
        dead("c"),
        (6, 2),
    ),
    "a view of another shape": (written(lambda y: y.ravel()), unread("b"), (6, 2)),
    "a view of another order": (written(lambda y: y.moveaxis(1, 2)), unread("b"), (6, 2)),
    "a copy that is none": (written(torch.positive), unread("b"), (6, 2)),
    "random in training": (three(lambda self, x: self.b(DropPath.forward(self, self.a(x)))), unread("b"), (4, 2)),
}


@pytest.mark.parametrize("name", CORNERS)
@torch.no_grad()
def test_corner(name):
    net, kill, reader = CORNERS[name]
    net = net.double().eval()
    kill(net)
    small = compact(net, IMAGE[:1])
    torch.testing.assert_close(small(IMAGE), net(IMAGE), rtol=1e-10, atol=1e-10)
    assert small.record.after["b"] == reader


@torch.no_grad()
def test_layers_with_one_weight_fold_nothing_into_it():
    net = three(lambda self, x: self.b(self.d(torch.tanh(self.d2(self.a(x))))))
    net.d, net.d2 = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1)
    net.d2.weight = net.d.weight
    net = net.double().eval()
    constant("a")(net)
    torch.testing.assert_close(compact(net, IMAGE[:1])(IMAGE), net(IMAGE), rtol=1e-10, atol=1e-10)


def test_what_training_does_otherwise_is_named():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), DropPath(), nn.Conv2d(4, 2, 1))
    with pytest.raises(UntraceableError, match=r"'1' \(DropPath\) does other operations in training"):
        compact(net, IMAGE[:1].float(), for_training=True)
    assert compact(net, IMAGE[:1].float(), for_training=True, opaque=["1"]).record.nothing


def test_folded_constants_do_not_go_back():
    net = three(lambda self, x: self.b(torch.sigmoid(self.a(x)) + self.c(x).relu())).double()
    with torch.no_grad():
        dead("a")(net)
        small = compact(net, IMAGE[:1])
    assert [name for name, _ in small.named_parameters() if name.startswith("constants")]
    with pytest.raises(ValueError, match=r"'constants\..*no place.*for_training=True"):
        expand(small, net)
