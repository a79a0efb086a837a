"""With skip_outputs, what nobody reads is not computed, and outputs and gradients stay the same."""

import copy
import pickle

import pytest
import torch
from torch import nn

import lomt
from lomt.nn import convert, freeze, thaw


class Residual(nn.Module):
    """Two blocks on one stream, a branch that two heads read, and a convolution that is called twice."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.first = nn.Sequential(nn.Conv2d(8, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 1))
        self.second = nn.Sequential(nn.Conv2d(8, 6, 1, groups=2), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1))
        self.twice = nn.Conv2d(8, 8, 3, padding=1)
        self.joined = nn.Conv2d(16, 4, 1)
        self.heads = nn.ModuleDict({"a": nn.Conv2d(4, 2, 1), "b": nn.Conv2d(8, 3, 1)})

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.first(x))
        x = torch.relu(x + self.second(x))
        y = self.twice(torch.relu(self.twice(x)))
        joined = self.joined(
            torch.cat([x, nn.functional.max_pool2d(y, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)], 1)
        )
        return {"a": self.heads["a"](joined), "b": self.heads["b"](x)}


def network():
    """Channels 1 and 4 of the stream are read by nobody, nor are channels 2 and 3 of the first block's inside."""
    torch.manual_seed(0)
    net = Residual().double()
    with torch.no_grad():
        for layer in (net.first[0], net.twice, net.heads["b"]):
            layer.weight[:, [1, 4]] = 0
        net.second[0].weight[:3, 1] = 0
        net.second[0].weight[3:, 0] = 0
        net.joined.weight[:, [1, 4, 8, 10]] = 0
        net.first[3].weight[:, [2, 3]] = 0
        net.heads["a"].weight[:, 0] = 0
    return net


def images():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def computed(net, x):
    """How many output channels each convolution of a call has computed."""
    found, kernel = [], torch.ops.lomt_kernels.masked_conv2d

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is kernel.default:
                found.append(args[1][0].shape[0] if args[3][3] is None else int(args[3][3]))
            return func(*args, **(kwargs or {}))

    with Watch():
        net(x)
    return found


def grads(net, x):
    net.zero_grad()
    x = x.clone().requires_grad_()
    outputs = net(x)
    sum(y.square().mean() for y in outputs.values()).backward()
    return [*outputs.values(), x.grad, *(p.grad for p in net.parameters())]


DENSE = [8, 6, 8, 6, 8, 8, 8, 4, 2, 3]
READ = [6, 4, 6, 6, 6, 8, 8, 3, 2, 3]
"""Of stem, first.0, first.3, second.0, second.2, twice (two calls), joined and the heads."""


@pytest.mark.parametrize("train", [True, False])
def test_frozen_networks_compute_what_is_read(train):
    everything = freeze(convert(network())).train(train)
    net = freeze(convert(network(), images(), skip_outputs=True)).train(train)
    assert computed(everything, images()) == DENSE
    assert computed(net, images()) == READ
    for found, expected in zip(grads(net, images()), grads(everything, images()), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    for found, expected in zip(net(images()).values(), network().train(train)(images()).values(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_nothing_is_skipped_while_readers_revive():
    net = convert(network(), images(), skip_outputs=True)
    assert computed(net, images()) == DENSE
    with torch.no_grad():
        assert computed(net, images()) == READ
    freeze(net)
    thaw(net)
    assert computed(net, images()) == DENSE
    found, expected = grads(net, images()), grads(network(), images())
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_revival_every_so_many_steps():
    net = convert(network(), images(), revive_every=3, skip_outputs=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    seen = []
    for _ in range(4):
        seen.append(computed(net, images()))
        grads(net, images())
        optimizer.step()
    assert seen == [DENSE, READ, READ, DENSE]


def test_a_norm_sees_a_constant():
    net = freeze(convert(network(), images(), skip_outputs=True))
    net(images())
    variance = net.first[1].running_var
    assert (variance[[2, 3]] == 0.9).all()  # 0.1 of the way to 0
    assert (variance[[0, 1, 4, 5]] != 0.9).all()


def test_layers_by_themselves_compute_all():
    net = freeze(convert(network(), images(), skip_outputs=True))
    net(images())
    assert computed(net.first, torch.ones(1, 8, 4, 4, dtype=torch.float64)) == [6, 8]
    with pytest.raises(ValueError, match="does not fit 2 input channels"):
        net(images()[:, :2])
    assert computed(net.first, torch.ones(1, 8, 4, 4, dtype=torch.float64)) == [6, 8]


@pytest.mark.parametrize(
    "of",
    [
        copy.deepcopy,
        lambda net: pickle.loads(pickle.dumps(net)),
        nn.DataParallel,
        lambda net: convert(convert(net), images(), skip_outputs=True),
    ],
    ids=["copied", "pickled", "DataParallel", "converted again"],
)
def test_it_goes_with_the_network(of):
    net = of(freeze(convert(network(), images(), skip_outputs=True)))
    assert computed(net, images()) == READ


def test_converted_again_without():
    net = freeze(convert(convert(network(), images(), skip_outputs=True)))
    assert computed(net, images()) == DENSE
    assert not net._forward_hooks
    assert not net._forward_pre_hooks


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_tracers_see_the_whole_network():
    net = freeze(convert(network(), images(), skip_outputs=True)).eval()
    expected = net(images())
    outer = nn.Sequential(net)
    for captured in (
        torch.fx.symbolic_trace(outer),
        torch.export.export(net, (images(),)).module(),
        torch.compile(net, backend="aot_eager"),
        lomt.compact(net, images()),
    ):
        for found, wanted in zip(captured(images()).values(), expected.values(), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


class Branches(nn.Module):
    """A network whose forward looks at values, or does something else in training."""

    def __init__(self, on):
        super().__init__()
        self.conv, self.on = nn.Conv2d(3, 4, 1), on

    def forward(self, x):
        y = self.conv(x)
        if self.on == "values" and y.sum() > 0:
            return y
        return y.relu() if self.on == "training" and self.training else y.tanh()


def test_bad_input():
    with pytest.raises(ValueError, match="give one, convert"):
        convert(network(), skip_outputs=True)
    with pytest.raises(ValueError, match=r"Residual does not run on an example of shape \[\(2, 4, 8, 8\)\]"):
        convert(network(), torch.ones(2, 4, 8, 8, dtype=torch.float64), skip_outputs=True)
    for on, said in (("values", "must not branch|name it in opaque"), ("training", "other operations in training")):
        net = Branches(on)
        with pytest.raises(ValueError, match=said):
            convert(net, torch.ones(2, 3, 8, 8), skip_outputs=True)
        assert type(net.conv) is nn.Conv2d  # nothing was changed


def test_sharded_networks_are_refused():
    class FSDPModule:
        pass

    class Sharded(FSDPModule, nn.Sequential):
        pass

    net = nn.Sequential(nn.Conv2d(3, 4, 1), Sharded(nn.Conv2d(4, 4, 1)))
    with pytest.raises(TypeError, match=r"1 is sharded \(FSDP\): convert it before"):
        convert(net)
