"""What people do with optimizers: everything that works with torch's AdamW works with ProxAdamW, with a penalty too."""

import copy
import io
import pickle
import warnings

import pytest
import torch
from torch import nn

from lomt.optim import ProxAdamW, ProxSGD, parameter_groups
from lomt.sparsity import GroupLasso, GroupMCP
from lomt_kernels import group_alive
from tests.unit.optim.test_prox_adamw import loss_of, network, same, train


def prox(net, penalty=None, **options):
    return ProxAdamW(parameter_groups(net, penalty or GroupLasso(0.02)), **{"lr": 0.01, **options})


def test_it_is_an_adamw():
    net = network()
    assert isinstance(prox(net), torch.optim.AdamW)
    assert isinstance(ProxSGD(net.parameters()), torch.optim.SGD)


@pytest.mark.parametrize("penalty", [GroupLasso(0.02), GroupMCP(0.02), GroupLasso(0.02, block=2)], ids=repr)
@pytest.mark.parametrize("kind", [ProxAdamW, ProxSGD])
@pytest.mark.parametrize("options", [{"fused": False}, {"foreach": True}], ids=["single", "foreach"])
def test_fused_or_not_it_is_the_same_step(kind, penalty, options):
    """The fused kernel against torch's gradient step and the penalty's own proximal operator, in float64."""
    fused, other = network(), network()
    more = {"lr": 0.01} if kind is ProxAdamW else {"lr": 0.02, "momentum": 0.9, "nesterov": True}
    # A block of two channels fits all but the three input channels of the image.
    convs = [[net[2].weight, net[4].weight] for net in (fused, other)]
    groups = [
        [{"params": [a], "penalty": penalty, "conv_groups": 2}, {"params": [b], "penalty": penalty}] for a, b in convs
    ]
    first, second = kind(groups[0], fused=True, **more), kind(groups[1], **options, **more)
    for step in range(12):
        for net, optimizer in ((fused, first), (other, second)):
            optimizer.zero_grad()
            loss_of(net, step).backward()
            optimizer.step()
        for a, b in zip(*convs, strict=True):
            assert torch.equal(a == 0, b == 0)
            torch.testing.assert_close(a, b, rtol=2e-4, atol=2e-6)


def test_groups_of_several_channels_die_together():
    net = network()
    train(net, prox(net[4], GroupLasso(0.05, block=4)), 40)
    alive = group_alive(net[4].weight, block=4)
    assert alive.tolist() == group_alive(net[4].weight).view(2, 4).any(1).tolist()
    assert not alive.all()


def test_alive_is_a_by_product():
    net = network()
    optimizer = prox(net, GroupLasso(0.05))
    with pytest.raises(KeyError):
        optimizer.alive(net[4].weight)
    train(net, optimizer, 30)
    assert torch.equal(optimizer.alive(net[4].weight), group_alive(net[4].weight))
    assert torch.equal(optimizer.alive(net[2].weight), group_alive(net[2].weight, groups=2))
    assert not optimizer.alive(net[4].weight).all()


@pytest.mark.parametrize("kind", [ProxAdamW, ProxSGD])
def test_groups_without_a_computed_gradient_are_left_alone(kind):
    net = network()
    weight = net[4].weight
    options = {} if kind is ProxAdamW else {"momentum": 0.9}
    optimizer = kind(parameter_groups(net, GroupLasso(0.02)), lr=0.01, **options)
    train(net, optimizer, 3)
    weight.computed_groups = {"in": torch.tensor([True, False] * 4)}
    state = optimizer.state[weight]
    before = {key: value.clone() for key, value in state.items() if key != "step"} | {"weight": weight.detach().clone()}
    train(net, optimizer, 2, first=3)
    after = {key: value for key, value in state.items() if key != "step"} | {"weight": weight.detach()}
    for key, value in after.items():
        assert torch.equal(value[:, 1::2], before[key][:, 1::2]), key
        assert not torch.equal(value[:, 0::2], before[key][:, 0::2]), key
    weight.computed_groups = None
    train(net, optimizer, 1, first=5)
    assert not torch.equal(weight[:, 1::2], before["weight"][:, 1::2])


def test_state_of_one_group_is_loaded_into_several():
    """As from ``AdamW(model.parameters())`` to ``ProxAdamW(parameter_groups(model, penalty))``, and on as it would."""
    net = network()
    plain = torch.optim.AdamW(net.parameters(), lr=0.02, betas=(0.8, 0.9))
    train(net, plain, 5)
    ours = ProxAdamW(parameter_groups(net, GroupLasso(0.0)))
    assert len(ours.param_groups) > 2
    ours.load_state_dict(copy.deepcopy(plain.state_dict()))
    for group in ours.param_groups:
        assert (group["lr"], group["betas"]) == (0.02, (0.8, 0.9))
    assert [group["weight_decay"] for group in ours.param_groups].count(0.0) == 1
    for parameter in net.parameters():
        for key, value in plain.state[parameter].items():
            assert torch.equal(ours.state[parameter][key], value)
    other = copy.deepcopy(net)
    theirs = torch.optim.AdamW(other.parameters())
    theirs.load_state_dict(plain.state_dict())
    train(net, ours, 3, first=5)
    train(other, theirs, 3, first=5)
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        if a.ndim > 1:  # vectors do not decay here
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_own_groups_load_one_group_in_their_order():
    net = network()
    plain = torch.optim.AdamW(net.parameters())
    train(net, plain, 2)
    parameters = list(net.parameters())
    ours = ProxAdamW([{"params": parameters[:3]}, {"params": parameters[3:]}])
    ours.load_state_dict(plain.state_dict())
    for parameter in parameters:
        assert torch.equal(ours.state[parameter]["exp_avg"], plain.state[parameter]["exp_avg"])
    turned = ProxAdamW([{"params": parameters[3:]}, {"params": parameters[:3]}])
    with pytest.raises(ValueError, match="of another order of them"):
        turned.load_state_dict(plain.state_dict())


def test_adamw_loads_ours():
    net = network()
    ours = ProxAdamW([net[4].weight], penalty=GroupLasso(0.02))
    train(net, ours, 3)
    plain = torch.optim.AdamW([net[4].weight])
    plain.load_state_dict(ours.state_dict())
    assert torch.equal(plain.state[net[4].weight]["exp_avg"], ours.state[net[4].weight]["exp_avg"])
    train(net, plain, 2, first=3)


def test_a_state_of_other_shapes_is_refused():
    one, other = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 1)
    first = ProxAdamW([one.weight], penalty=GroupLasso(0.1))
    one(torch.randn(1, 3, 5, 5)).sum().backward()
    first.step()
    second = ProxAdamW([other.weight], penalty=GroupLasso(0.1))
    with pytest.raises(ValueError, match=r"shape \(4, 3, 3, 3\), the parameter has \(4, 3, 1, 1\)"):
        second.load_state_dict(first.state_dict())


def test_copies_and_pickles_go_on_alike():
    net = network()
    optimizer = prox(net)
    train(net, optimizer, 4)
    copied, optimizer_of_copy = copy.deepcopy((net, optimizer))
    pickled, optimizer_of_pickle = pickle.loads(pickle.dumps((net, optimizer)))
    for one, its in ((net, optimizer), (copied, optimizer_of_copy), (pickled, optimizer_of_pickle)):
        train(one, its, 4, first=4)
    assert same(net, copied)
    assert same(net, pickled)


def test_a_refused_group_is_not_kept():
    net = network()
    optimizer = prox(net)
    count = len(optimizer.param_groups)

    class Raises(GroupLasso):
        @property
        def block(self):
            raise ZeroDivisionError

        @block.setter
        def block(self, value):
            pass

        def check(self):
            pass

    for group, error in (
        ({"params": [nn.Parameter(torch.ones(3))], "penalty": GroupLasso(0.1)}, ValueError),
        ({"params": [nn.Parameter(torch.ones(3, 3))], "penalty": "lasso"}, TypeError),
        ({"params": [nn.Parameter(torch.ones(3, 3))], "penalty": Raises(0.1)}, ZeroDivisionError),
    ):
        with pytest.raises(error):
            optimizer.add_param_group(group)
        assert len(optimizer.param_groups) == count
    train(net, optimizer, 1)


def test_parameters_that_are_not_dense():
    """A view into a larger tensor: three steps as if it were alone, and its neighbours untouched."""
    for penalty in (None, GroupLasso(0.01), GroupMCP(0.01)):
        for kind in (ProxAdamW, ProxSGD):
            whole = torch.ones(8, 6, 3, 3)
            part = whole[:, :3].requires_grad_()
            alone = torch.ones(8, 3, 3, 3, requires_grad=True)
            for weight in (part, alone):
                optimizer = kind([weight], lr=0.1, penalty=penalty)
                for _ in range(3):
                    weight.grad = torch.ones(8, 3, 3, 3)
                    optimizer.step()
            torch.testing.assert_close(part, alone, rtol=1e-6, atol=1e-6)
            assert (whole[:, 3:] == 1).all()


@pytest.mark.parametrize("penalty", [None, GroupLasso(0.01)], ids=repr)
@pytest.mark.parametrize("kind", [ProxAdamW, ProxSGD])
def test_parameters_that_are_not_dense_under_a_scaler(kind, penalty):
    part = torch.ones(8, 6, 3, 3)[:, :3].requires_grad_()
    alone = torch.ones(8, 3, 3, 3, requires_grad=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    scaled, plain = (kind([weight], lr=0.1, penalty=penalty) for weight in (part, alone))
    for _ in range(3):
        scaler.scale(part.sum()).backward()
        scaler.step(scaled)
        scaler.update()
        alone.sum().backward()
        plain.step()
        scaled.zero_grad()
        plain.zero_grad()
    torch.testing.assert_close(part, alone, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", [ProxAdamW, ProxSGD])
def test_an_expanded_gradient_is_only_read(kind):
    weights = [torch.ones(4, 6, requires_grad=True) for _ in range(2)]
    for weight, gradient in zip(weights, (torch.ones(1).expand(4, 6), torch.ones(4, 6)), strict=True):
        optimizer = kind([weight], lr=0.1, penalty=GroupLasso(0.01))
        weight.grad = gradient
        optimizer.step()
    assert torch.equal(*weights)


def test_expanded_parameters_are_refused():
    weight = torch.ones(8, 1, 3, 3).expand(8, 6, 3, 3).requires_grad_()
    with pytest.raises(ValueError, match="is expanded"):
        ProxAdamW([weight], penalty=GroupLasso(0.1))


def test_complex_weights_are_refused_with_a_penalty_only():
    weight = torch.ones(3, 3, dtype=torch.complex64, requires_grad=True)
    with pytest.raises(TypeError, match="complex64"):
        ProxAdamW([weight], penalty=GroupLasso(0.1))
    ours, theirs = weight.detach().clone().requires_grad_(), weight.detach().clone().requires_grad_()
    for w, optimizer in ((ours, ProxAdamW([ours], lr=0.1)), (theirs, torch.optim.AdamW([theirs], lr=0.1))):
        w.grad = torch.full((3, 3), 1 + 2j)
        optimizer.step()
    torch.testing.assert_close(ours, theirs)
    assert ours.imag.any()


def test_distributed_weights_are_refused_with_a_message():
    class Distributed(torch.Tensor):
        placements = ()

    weight = torch.ones(3, 3).as_subclass(Distributed).requires_grad_()
    with pytest.raises(TypeError, match="use its local tensor"):
        ProxAdamW([weight], penalty=GroupLasso(0.1))


def test_integer_weights_are_refused():
    with pytest.raises(TypeError, match="int64"):
        ProxAdamW([torch.ones(3, 3, dtype=torch.int64)], penalty=GroupLasso(0.1))


@pytest.mark.parametrize("penalty", [GroupLasso(0.02), GroupMCP(0.02)], ids=repr)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_bad_gradient_stays_visible_in_its_group_alone(penalty, bad):
    weight, clean = (nn.Parameter(torch.linspace(0.1, 1, 24).view(4, 6)) for _ in range(2))
    for w in (weight, clean):
        optimizer = ProxAdamW([w], lr=0.01, penalty=penalty)
        w.grad = torch.ones(4, 6)
        if w is weight:
            w.grad[1, 2] = bad
        optimizer.step()
    assert not weight[:, 2].isfinite().any()
    keep = [0, 1, 3, 4, 5]
    assert torch.equal(weight[:, keep], clean[:, keep])
    assert optimizer.alive(clean).all()


def test_several_dtypes_in_one_group():
    weights = [nn.Parameter(torch.ones(4, 6, dtype=dtype)) for dtype in (torch.float32, torch.float64, torch.bfloat16)]
    optimizer = ProxAdamW(weights, lr=0.1, penalty=GroupLasso(0.5))
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    torch.testing.assert_close(weights[0].double(), weights[1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(weights[2].double(), weights[1], rtol=1e-2, atol=1e-2)


def test_no_step_size_and_all_dead():
    weight = nn.Parameter(torch.ones(4, 6))
    optimizer = ProxAdamW([weight], lr=0.0, penalty=GroupLasso(0.5))
    weight.grad = torch.ones(4, 6)
    optimizer.step()
    assert torch.equal(weight, torch.ones(4, 6))
    optimizer.param_groups[0]["lr"] = 10.0
    optimizer.param_groups[0]["penalty"].weight = 100.0
    for _ in range(3):
        weight.grad = torch.ones(4, 6)
        optimizer.step()
        assert not weight.any()
    assert not optimizer.alive(weight).any()


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_price_that_was_set_wrong_is_found_by_the_step(weight):
    net, penalty = network(), GroupLasso(0.1)
    optimizer = prox(net, penalty)
    penalty.weight = weight
    with pytest.raises(ValueError, match="finite number of 0 or more"):
        train(net, optimizer, 1)


def test_tensor_lr_and_schedules():
    nets = [network(), network()]
    for net, lr in zip(nets, (0.01, torch.tensor(0.01, dtype=torch.float64)), strict=True):
        optimizer = prox(net, lr=lr)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        for step in range(6):
            train(net, optimizer, 1, first=step)
            schedule.step()
    assert same(*nets)


def test_impossible_combinations_are_refused():
    net = network()
    with pytest.raises(RuntimeError, match="cannot be `True` together"):
        prox(net, fused=True, foreach=True)
    with pytest.raises(ValueError, match="outside autograd"):
        prox(net, differentiable=True)
    with pytest.raises(ValueError, match="empty parameter list"):
        ProxAdamW([])


def test_differentiable_without_a_penalty():
    weight, lr = torch.ones(2, requires_grad=True), torch.tensor(0.1, requires_grad=True)
    moved = weight * 1
    moved.grad = torch.ones(2)
    optimizer = ProxAdamW([weight], lr=0.1, differentiable=True)
    optimizer.param_groups[0]["params"] = [moved]
    optimizer.param_groups[0]["lr"] = lr
    optimizer.step()
    moved.sum().backward()
    assert lr.grad is not None


@pytest.mark.parametrize("penalty", [None, GroupLasso(0.05)], ids=repr)
def test_grad_scaler_leaves_it_to_the_step(penalty):
    """Unscaled and skipped on the way, with no look at found_inf by the host; clipped gradients, too."""
    net, other = network(), network()
    ours, plain = (ProxAdamW(parameter_groups(one, penalty), lr=0.01) for one in (net, other))
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    assert ours._step_supports_amp_scaling
    for step in range(4):
        ours.zero_grad()
        scaler.scale(loss_of(net, step)).backward()
        if step == 1:
            net[4].weight.grad[0, 0] = torch.inf
        if step == 2:
            scaler.unscale_(ours)
        before = copy.deepcopy(net)
        scaler.step(ours)
        scaler.update()
        assert same(net, before) == (step == 1)
        if step != 1:
            plain.zero_grad()
            loss_of(other, step).backward()
            plain.step()
    assert not hasattr(ours, "grad_scale")
    assert ours.state[net[4].weight]["step"].item() == 3
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_a_foreign_penalty_leaves_the_scaler_its_work():
    class Own(GroupLasso):
        def prox(self, weights, step, metric=None):  # noqa: ARG002
            return weights.clamp(max=0.1)

    assert not prox(network(), Own(0.1))._step_supports_amp_scaling


def test_compiled_step():
    nets = [network(), network()]
    optimizers = [prox(net) for net in nets]
    step = torch.compile(optimizers[1].step, backend="eager")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(5):
            for net, optimizer, go in zip(nets, optimizers, (optimizers[0].step, step), strict=True):
                optimizer.zero_grad()
                loss_of(net, number).backward()
                go()
    assert same(*nets)


def test_version_counters_tell_that_weights_changed():
    net = network()
    optimizer = prox(net)
    loss = loss_of(net, 0)
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_one_call_for_all_weights_is_one_each():
    together, apart = network(), network()
    optimizer = prox(together)
    each = [
        ProxAdamW([{**group, "params": [w], "places": [0]}], lr=0.01)
        for group in parameter_groups(apart, GroupLasso(0.02))
        for w in group["params"]
    ]
    for step in range(6):
        train(together, optimizer, 1, first=step)
        apart.zero_grad()
        loss_of(apart, step).backward()
        for one in each:
            one.step()
    assert same(together, apart)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_it_remembers_is_stored_exactly(dtype):
    net = network().to(dtype)
    optimizer = prox(net)
    for weight in net.parameters():
        weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    optimizer.step()
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    again = prox(network().to(dtype))
    again.load_state_dict(torch.load(buffer, weights_only=True))
    first, second = (list(o.state.values()) for o in (optimizer, again))
    found = 0
    for a, b in zip(first, second, strict=True):
        if "norms" in a:
            found += 1
            assert b["norms"].dtype == torch.float32
            assert torch.equal(a["norms"], b["norms"])
    assert found == 3
