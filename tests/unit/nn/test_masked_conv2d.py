"""Converted networks compute what they computed, skip what is dead, and survive what people do with networks."""

import copy
import io
import logging
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import lomt
from lomt.compaction import fold_norms
from lomt.nn import MaskedConv2d, convert, freeze, plain, thaw
from lomt.optim import ProxAdamW, parameter_groups
from lomt.sparsity import GroupLasso
from lomt_kernels import group_alive


def network(dtype=torch.float32, mode="zeros"):
    """Convolutions of several kinds, some channels of which are dead."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, padding_mode=mode),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, 2, padding=1, groups=2, bias=False),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=2, dilation=2, groups=12),
        nn.Conv2d(12, 6, 1),
    ).to(dtype)
    with torch.no_grad():
        net[3].weight[:6, 1] = 0
        net[3].weight[8] = 0
        net[6].weight[:, ::3] = 0
    return net


def batch(seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(2, 3, 12, 12, generator=generator, dtype=dtype),
        torch.randn(2, 6, 6, 6, generator=generator, dtype=dtype),
    )


def train(net, optimizer, steps, first=0):
    losses = []
    for i in range(first, first + steps):
        images, targets = batch(i, next(net.parameters()).dtype)
        loss = nn.functional.mse_loss(net(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("mode", ["zeros", "reflect", "circular"])
def test_a_converted_network_is_the_same_network(mode):
    plain = network(torch.float64, mode)
    net = copy.deepcopy(plain)
    layers, parameters = dict(net.named_modules()), dict(net.named_parameters())
    assert convert(net) is net
    assert all(layer is layers[name] for name, layer in net.named_modules())
    assert all(parameter is parameters[name] for name, parameter in net.named_parameters())
    assert net.state_dict().keys() == plain.state_dict().keys()
    assert [type(layer) for layer in net if isinstance(layer, nn.Conv2d)] == [MaskedConv2d] * 4
    assert repr(net) == repr(plain).replace("Conv2d", "MaskedConv2d")
    images, targets = batch(0, torch.float64)
    sides = []
    for one in (plain, net):
        images.requires_grad_().grad = None
        nn.functional.mse_loss(one(images), targets).backward()
        sides.append([one(images).detach(), images.grad.clone(), *(p.grad for p in one.parameters())])
    for found, expected in zip(sides[1], sides[0], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


def test_the_constructor_is_that_of_a_convolution():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = nn.Conv2d(4, 6, (3, 5), (2, 1), (1, 2), 1, 2, False, "replicate", dtype=torch.float64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ours = MaskedConv2d(4, 6, (3, 5), (2, 1), (1, 2), 1, 2, False, "replicate", dtype=torch.float64)
    x = torch.randn(2, 4, 7, 7, dtype=torch.float64)
    torch.testing.assert_close(ours(x), plain(x), rtol=1e-12, atol=1e-12)
    assert ours.revive_every == 1


@pytest.mark.parametrize("ours", [True, False], ids=["ProxAdamW", "SGD"])
def test_training_is_plain_pytorch_by_default(ours):
    def optimizer(net):
        if ours:
            return ProxAdamW(parameter_groups(net, GroupLasso(3e-2)), lr=1e-2)
        return torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)

    plain, net = network(torch.float64), convert(network(torch.float64))
    losses = [train(one, optimizer(one), 20) for one in (plain, net)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-9)
    for found, expected in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)
        assert torch.equal(found == 0, expected == 0)


def test_what_is_dead_comes_back_by_its_gradient_or_never():
    nets = {every: convert(network(), revive_every=every) for every in (1, 3, None)}
    for every, net in nets.items():
        optimizer = ProxAdamW(parameter_groups(net, GroupLasso(0.0)), lr=1e-2, weight_decay=0)
        dead = ~group_alive(net[6].weight)
        back = []
        for step in range(4):
            train(net, optimizer, 1, first=step)
            grads = net[6].weight.grad[:, dead]
            back.append(bool((grads != 0).any()))
            if every is None:
                assert not (net[6].weight[:, dead] != 0).any()
                assert not optimizer.state[net[6].weight]["exp_avg"][:, dead].any()
        assert back == {1: [True] * 4, 3: [True, False, False, True], None: [False] * 4}[every] or every == 3
        if every == 3:  # revived in the first step, they are alive from then on
            assert back[0]
            assert group_alive(net[6].weight).all()


def test_groups_of_steps_without_a_gradient_keep_their_moments():
    net = convert(network(), revive_every=2)
    weight = net[6].weight
    optimizer = ProxAdamW(parameter_groups(net, GroupLasso(10.0)), lr=1e-3)  # so strong that nothing comes back
    train(net, optimizer, 1)
    assert not group_alive(weight).any()
    moments = optimizer.state[weight]["exp_avg"].clone()
    assert moments.any()
    train(net, optimizer, 1, first=1)
    assert torch.equal(optimizer.state[weight]["exp_avg"], moments)
    train(net, optimizer, 1, first=2)
    assert not torch.equal(optimizer.state[weight]["exp_avg"], moments)


def test_frozen_layers_hold_what_is_dead_at_zero(caplog):
    net = freeze(convert(network()))
    assert net[6].frozen
    live = net[6].live
    assert live.indices[: int(live.count)].tolist() == [c for c in range(12) if c % 3]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for parameter in net.parameters():  # what momentum had gathered before the channels died
        optimizer.state[parameter]["momentum_buffer"] = torch.ones_like(parameter)
    with caplog.at_level(logging.WARNING, "lomt"):
        train(net, optimizer, 1)
        assert (net[6].weight[:, ::3] != 0).any()
        train(net, optimizer, 2, first=1)
    assert len([r for r in caplog.records if "set to 0 again" in r.message]) == 2  # the two layers with dead channels
    net(batch(0)[0])
    assert not net[6].weight[:, ::3].any()
    assert not net[6].weight.grad[:, ::3].any()
    assert not net[3].weight[8].any()
    thaw(net)
    assert not net[6].frozen
    train(net, optimizer, 1, first=3)
    assert net[6].weight.grad[:, ::3].any()


def test_nothing_is_remembered_while_it_is_not_frozen():
    plain, net = network(), convert(network())
    images, _ = batch(0)
    net(images)
    for one in (plain, net):
        one[6].weight.data[:, 0] = 0.5  # which no version counter sees
        one[0].stride, one[0].padding = (2, 2), (2, 2)
        one[5].bias = nn.Parameter(torch.ones(12))
    torch.testing.assert_close(net(images), plain(images))


def test_it_is_copied_saved_and_moved():
    net = freeze(convert(network(), revive_every=5))
    images, _ = batch(0)
    expected = net(images)
    buffer = io.BytesIO()
    torch.save(net, buffer)
    buffer.seek(0)
    for one in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), torch.load(buffer, weights_only=False)):
        assert one[6].frozen
        assert one[6].revive_every == 5
        assert torch.equal(one(images), expected)
    assert net.double()(images.double()).dtype == torch.float64
    plain = network()
    plain.load_state_dict(net.state_dict())
    assert len(net.state_dict()) == len(plain.state_dict())


def test_weights_that_are_not_parameters():
    """As meta-learning makes them: a functional call, and a plain tensor in the parameter's place."""
    plain, net = network().eval(), convert(network()).eval()
    images, _ = batch(0)
    other = {name: p.detach() * 2 for name, p in plain.named_parameters()}
    torch.testing.assert_close(
        torch.func.functional_call(net, other, images), torch.func.functional_call(plain, other, images)
    )
    gradients = [
        torch.func.grad(lambda p, one=one: torch.func.functional_call(one, p, images).square().mean())(other)
        for one in (plain, net)
    ]
    for name in other:
        torch.testing.assert_close(gradients[1][name], gradients[0][name])
    for one in (plain, net):
        weight = one[6].weight
        del one[6].weight
        one[6].weight = weight * 3
    found = [torch.autograd.grad(one(images).sum(), one[0].weight)[0] for one in (plain, net)]
    torch.testing.assert_close(found[1], found[0])


def test_all_inputs_dead():
    layer = convert(nn.Sequential(nn.Conv2d(4, 3, 3)))[0]
    nn.init.zeros_(layer.weight)
    x = torch.randn(2, 4, 5, 5, requires_grad=True)
    for every in (1, None):
        layer.revive_every = every
        y = layer(x)
        assert torch.equal(y, layer.bias.detach()[None, :, None, None].expand_as(y))
        of_weight, of_x = torch.autograd.grad(y.square().sum(), (layer.weight, x), retain_graph=True)
        again, _ = torch.autograd.grad(y.square().sum(), (layer.weight, x))
        assert torch.equal(of_weight, again)
        assert not of_x.any()
        assert bool(of_weight.any()) == (every == 1)


def test_layouts_and_autocast_are_kept():
    plain, net = (one.to(memory_format=torch.channels_last) for one in (network(), convert(network())))
    images = batch(0)[0].to(memory_format=torch.channels_last)
    assert net(images).is_contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = net[:3](images), plain[:3](images)
        out = net(images)
    assert found.dtype == expected.dtype
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), plain(images), rtol=0.1, atol=0.05)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_tracers_see_a_convolution():
    plain, net = network().eval(), convert(network()).eval()
    images, _ = batch(0)
    expected = plain(images)
    graph = torch.fx.symbolic_trace(net)
    assert sum(node.target is torch.conv2d or "conv2d" in str(node.target) for node in graph.graph.nodes) >= 4
    program = torch.export.export(net, (images,))
    assert sum("conv2d" in str(n.target) and "lomt" not in str(n.target) for n in program.graph.nodes) == 4
    seen = [
        graph(images),
        program.module()(images),
        torch.jit.script(net)(images),
        torch.jit.trace(net, images)(images),
    ]
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    for found in (*seen, compiled(images)):
        torch.testing.assert_close(found, expected)
    pytest.importorskip("onnx")
    made = torch.onnx.export(net, (images,), dynamo=True, verbose=False)
    assert [node.op_type for node in made.model.graph].count("Conv") == 4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_compiles_for_training():
    net = convert(network())
    eager = copy.deepcopy(net)
    images, targets = batch(0)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    for one, forward in ((eager, eager), (net, compiled)):
        nn.functional.mse_loss(forward(images), targets).backward()
        assert one[6].weight.grad[:, ::3].any()
    for found, wanted in zip(net.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad)


@pytest.mark.parametrize("freezes", [False, True])
def test_compaction_sees_convolutions(freezes):
    net = convert(network()).eval()
    if freezes:
        freeze(net)
    images, _ = batch(0)
    small = lomt.compact(net, images)
    torch.testing.assert_close(small(images), net(images))
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in net.parameters())


def test_norms_fold_into_converted_convolutions():
    net = freeze(convert(network())).eval()
    images, _ = batch(0)
    folded = fold_norms(net, images)
    assert not any(isinstance(layer, nn.BatchNorm2d | MaskedConv2d) for layer in folded.modules())
    torch.testing.assert_close(folded(images), net(images), rtol=1e-4, atol=1e-5)


def test_it_can_be_taken_back():
    net = freeze(convert(network()))
    images, targets = batch(0)
    expected = net(images).detach()
    nn.functional.mse_loss(net(images), targets).backward()
    net[6].weight.data += 1  # as momentum does, dead channels too
    net[6].weight.data -= (net[6].weight.data != 1).float()  # the live ones back
    assert plain(net) is net
    assert not net[6].weight[:, ::3].any()
    assert [type(layer) for layer in net if isinstance(layer, nn.Conv2d)] == [nn.Conv2d] * 4
    assert vars(net[6]).keys() == vars(network()[6]).keys()
    assert not hasattr(net[6].weight, "computed_groups")
    torch.testing.assert_close(net(images), expected)
    assert plain(nn.Linear(2, 2)).weight.shape == (2, 2)


def test_what_it_does_not_know_is_named(caplog):
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        parametrizations.weight_norm(nn.Conv2d(4, 4, 3)),
        nn.Conv3d(1, 1, 1),
        nn.ConvTranspose2d(4, 2, 2),
    )
    with caplog.at_level(logging.WARNING, "lomt"):
        convert(net)
    (record,) = caplog.records
    assert "1 convolutions skip dead channels" in record.message
    for said in ("1 (parametrized)", "2 (Conv3d)", "3 (ConvTranspose2d)"):
        assert said in record.message
    assert type(net[3]) is nn.ConvTranspose2d
    assert type(convert(net, revive_every=None)[0]) is MaskedConv2d  # twice is once
    assert net[0].revive_every is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_bad_input():
    with pytest.raises(ValueError, match=r"Linear has no nn\.Conv2d to convert"):
        convert(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"Conv3d has no nn\.Conv2d to convert: the module itself"):
        convert(nn.Conv3d(1, 1, 1))
    with pytest.raises(TypeError, match="before it is compiled or scripted"):
        convert(torch.jit.script(network()))
    with pytest.raises(TypeError, match="before it is compiled or scripted"):
        convert(torch.compile(network()))
    for every in (0, -1):
        with pytest.raises(ValueError, match="from 1 on"):
            convert(network(), revive_every=every)
    for call in (freeze, thaw):
        with pytest.raises(ValueError, match="has no MaskedConv2d"):
            call(network())
    net = convert(network())
    net[3].weight.data[0, 0] = torch.nan
    with pytest.raises(ValueError, match="3: a weight with NaNs can't be frozen"):
        freeze(net)
    layer = MaskedConv2d(4, 4, 1)
    layer.freeze()
    layer.weight = nn.Parameter(torch.zeros(4, 3, 1, 1))
    with pytest.raises(RuntimeError, match=r"frozen with 4 outputs and 4 inputs.*thaw"):
        layer(torch.randn(1, 3, 2, 2))


@pytest.mark.parametrize("dead", [[], [1]])
def test_one_image_without_a_batch(dead):
    layer = convert(nn.Sequential(nn.Conv2d(3, 4, 3)))[0]
    with torch.no_grad():
        layer.weight[:, dead] = 0
    image = torch.randn(3, 8, 8)
    torch.testing.assert_close(layer(image), nn.functional.conv2d(image, layer.weight, layer.bias))
