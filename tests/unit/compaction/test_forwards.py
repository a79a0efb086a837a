"""Forwards as people write them: what a graph makes of their loops, sizes, regions, assignments and helpers."""

import math

import pytest
import torch
import torch.nn.functional as F
from odd_layers import Do
from torch import nn

from lomt.compaction import OtherSizesError, UntraceableError, compact
from lomt.compaction.agreement import verify
from lomt.compaction.graph import as_graph

IMAGE = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
OTHER = torch.randn(3, 3, 20, 14, generator=torch.Generator().manual_seed(1))


def three(function):
    """A function of an input and the layers a: 3 → 6 channels, b: 6 → 6, c: 6 → 2; c reads 4 of b's."""
    torch.manual_seed(0)
    layers = {"a": nn.Conv2d(3, 6, 3, padding=1), "b": nn.Conv2d(6, 6, 3, padding=1), "c": nn.Conv2d(6, 2, 1)}
    layers["c"].weight.data[:, :2] = 0
    return Do(function, **layers).eval()


def nested(function):
    """The same, as a part that somebody else's layers follow."""
    net = nn.Sequential(nn.Conv2d(3, 5, 1), nn.Conv2d(5, 3, 1), three(function), nn.Conv2d(2, 2, 1)).eval()
    net[1].weight.data[:, 1:3] = 0
    return net


def scaled(size):
    return lambda self, x: F.interpolate(self.c(self.b(self.a(x))), size=[size(s) for s in x.shape[-2:]])


def assigned(self, x):
    y = self.b(self.a(x))
    y[:, 0] = 0.0
    y[:, 3:, ::2] += 1
    return self.c(y)


WORKS = {
    "int of a product": scaled(lambda s: int(s * 0.5)),
    "int of a quotient": scaled(lambda s: int(s / 3) + 1),
    "int of a float": scaled(lambda s: int(float(s) / 2)),
    "floor": scaled(lambda s: math.floor(s * 0.7)),
    "ceil": scaled(lambda s: math.ceil(s / 3)),
    "round": scaled(lambda s: round(s * 0.7)),
    "whole quotient": scaled(lambda s: s // 3),
    "an int is an int": scaled(lambda s: int("4") if isinstance(s, str) else s),
    "a module made in forward": lambda self, x: nn.Sigmoid()(self.c(nn.Sequential(nn.ReLU())(self.b(self.a(x))))),
    "item assignment": assigned,
    "ones of a size": lambda self, x: self.c(self.b(self.a(x)) * torch.ones(x.shape[0], 1, 1, 1)),
    "a grid of a size": lambda self, x: self.c(self.b(self.a(x)) + torch.arange(x.shape[-1]) / x.size(3)),
    "zeros of a shape": lambda self, x: self.c(self.b(self.a(x)) + torch.zeros(x.shape[0], 6, *x.shape[2:])),
    "checks that hold": lambda self, x: [self.c(self.b(self.a(x)))][len(x.shape) - 4 if x.shape[-1] % 2 == 0 else 1],
}


@pytest.mark.parametrize("case", WORKS)
def test_a_forward_is_compacted_for_inputs_of_any_size(case):
    net = three(WORKS[case])
    small = compact(net, IMAGE)
    with torch.no_grad():
        for image in (IMAGE, OTHER, IMAGE[:1]):
            torch.testing.assert_close(small(image), net(image), rtol=1e-4, atol=1e-5)
    reads_all = case in ("item assignment", "zeros of a shape")
    assert small.record.after["b"][1] == (6 if reads_all else 4)


LOOPS = {
    "over a tensor": lambda self, x: torch.stack([self.c(self.b(self.a(q[None])))[0] for q in x]),
    "split(1)": lambda self, x: torch.cat([self.c(self.b(self.a(q))) for q in x.split(1)]),
    "unbind": lambda self, x: torch.stack([self.c(self.b(self.a(q[None])))[0] for q in x.unbind()]),
    "chunk": lambda self, x: torch.cat([self.c(self.b(self.a(q))) for q in x.chunk(64)]),
    "a range": lambda self, x: torch.cat([self.c(self.b(self.a(x[i : i + 1]))) for i in range(len(x))]),
    "rows": lambda self, x: torch.stack([self.c(self.b(self.a(x)))[:, :, i] for i in range(x.shape[2])], 2),
    "columns": lambda self, x: torch.stack([q * 2 for q in self.c(self.b(self.a(x))).unbind(-1)], -1),
}


@pytest.mark.parametrize("case", LOOPS)
def test_a_part_that_loops_over_a_size_stays_whole_and_serves_any_size(case):
    net = nested(LOOPS[case])
    small = compact(net, IMAGE)
    with torch.no_grad():
        for image in (IMAGE, OTHER, IMAGE[:1]):
            torch.testing.assert_close(small(image), net(image), rtol=1e-4, atol=1e-5)
    assert small.record.after["0"][1] == 3  # around it all goes that is dead
    assert "'2' stays whole: its forward loops" in str(small.record)


@pytest.mark.parametrize("case", LOOPS)
def test_a_whole_that_loops_over_a_size_says_so_for_another_one(case):
    net = three(LOOPS[case])
    small = compact(net, IMAGE)
    torch.testing.assert_close(small(IMAGE), net(IMAGE), rtol=1e-4, atol=1e-5)
    with pytest.raises(OtherSizesError, match="another way for inputs of this size"):
        small(OTHER)


@pytest.mark.parametrize(
    "parts", [lambda y: y.chunk(2, 1), lambda y: y.split(3, 1), lambda y: torch.split(y, [3, 3], 1)]
)
def test_parts_whose_number_no_size_changes_are_seen_through(parts):
    net = three(lambda self, x: self.c(torch.cat([p.relu() for p in parts(self.b(self.a(x)))], 1)))
    small = compact(net, IMAGE)
    torch.testing.assert_close(small(OTHER), net(OTHER), rtol=1e-4, atol=1e-5)
    assert small.record.after["b"][1] == 4


class Doubled(torch.autograd.Function):
    """The identity, with twice its gradient."""

    @staticmethod
    def forward(_, x):
        return x.clone()

    @staticmethod
    def backward(_, gradient):
        return 2 * gradient


def regions(self, x):
    with torch.no_grad():
        x = self.a(x).relu()
    with torch.autocast("cpu", enabled=False):
        x = self.b(x.float())
    return Doubled.apply(self.c(x))


@pytest.mark.parametrize("autocast", [False, True])
def test_regions_and_gradients_are_kept(autocast):
    net = three(regions)
    small = compact(net, IMAGE, for_training=True)
    outputs = []
    for module in (net, small):
        with torch.autocast("cpu", enabled=autocast):
            outputs.append(module(OTHER))
        outputs[-1].float().square().sum().backward()
    assert outputs[0].dtype == outputs[1].dtype
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-5)
    assert small.get_parameter("a.weight").grad is None
    torch.testing.assert_close(small.get_parameter("b.bias").grad, net.b.bias.grad[2:], rtol=1e-3, atol=1e-3)


def test_a_part_with_parameters_that_is_nobodys_is_named():
    with pytest.raises(
        UntraceableError, match=r"calls a Conv2d with parameters that is no part of it: make it in __init__"
    ):
        compact(three(lambda self, x: nn.Conv2d(2, 2, 1)(self.c(self.b(self.a(x))))), IMAGE)


def test_a_part_that_adds_to_a_list_of_its_caller_is_named_where_it_can_not_be_followed():
    def outer(self, x):
        found = [x]
        self.part(x, found)
        return found[-1]

    class Part(nn.Module):
        def forward(self, x, found):
            found.append(x * 2)

    net = Do(outer, part=Part())
    assert torch.equal(compact(net, IMAGE)(OTHER), OTHER * 2)
    with pytest.raises(UntraceableError, match=r"'part' \(Part\) changes a list or dict that it is given"):
        compact(net, IMAGE, opaque=["part"])


def test_arguments_go_by_their_names_too():
    net = three(lambda self, x: self.c(self.b(self.a(x))))
    small = compact(net, IMAGE)
    assert torch.equal(small(x=OTHER), small(OTHER))
    with pytest.raises(TypeError, match="'scale' has its default for good: this module takes x"):
        small(OTHER, scale=2)
    with pytest.raises(TypeError, match="'x' is given twice"):
        small(OTHER, x=OTHER)


def test_nans_do_not_pass_for_agreement():
    net = three(lambda self, x: self.c(self.b(self.a(x))))
    small, wanted = as_graph(net, IMAGE), net(IMAGE)
    verify(small, wanted, IMAGE)
    small.get_parameter("c.weight").data[0, 0] = math.nan
    with pytest.raises(RuntimeError, match="differs by inf"):
        verify(small, wanted, IMAGE)
