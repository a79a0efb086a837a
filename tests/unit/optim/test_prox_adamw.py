"""Proximal AdamW against torch's AdamW without a penalty, and against a textbook in float64 with one."""

import copy
import io

import pytest
import torch
from torch import nn

from lomt.optim import ProxAdamW, ProxSGD, parameter_groups
from lomt.sparsity import GroupLasso, GroupMCP, Penalty
from lomt.sparsity.groups import grouped


def network(seed=0, channels_last=False):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.Flatten()]
    net = nn.Sequential(*layers, nn.Linear(4 * 4 * 4, 5))
    return net.to(memory_format=torch.channels_last) if channels_last else net


def loss_of(net, seed):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(8, 3, 8, 8, generator=generator), torch.randint(5, (8,), generator=generator)
    return nn.functional.cross_entropy(net(x), y)


def train(net, optimizer, steps, first=0):
    for step in range(first, first + steps):
        optimizer.zero_grad()
        loss_of(net, step).backward()
        optimizer.step()


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1, "amsgrad": True}, {"maximize": True, "eps": 1e-3}])
def test_without_penalty_it_is_adamw(options):
    ours, fused, plain = network(), network(), network()
    train(ours, ProxAdamW(ours.parameters(), lr=0.01, **options), 10)
    train(fused, torch.optim.AdamW(fused.parameters(), lr=0.01, fused=True, **options), 10)
    train(plain, torch.optim.AdamW(plain.parameters(), lr=0.01, **options), 10)
    assert same(ours, fused)
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("nesterov", [True, False])
def test_without_penalty_it_is_sgd(nesterov):
    ours, fused, plain = network(), network(), network()
    options = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01, "nesterov": nesterov}
    train(ours, ProxSGD(ours.parameters(), **options), 10)
    train(fused, torch.optim.SGD(fused.parameters(), fused=True, **options), 10)
    train(plain, torch.optim.SGD(plain.parameters(), **options), 10)
    assert same(ours, fused)
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def textbook(weight, gradients, lr, betas, eps, decay, penalty, axis, conv_groups):
    """Adam, decay, and the proximal operator of the group lasso in its metric, in float64."""
    W = weight.double().clone()
    m, v = torch.zeros_like(W), torch.zeros_like(W)
    for step, gradient in enumerate(gradients, 1):
        g = gradient.double()
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g.square()
        D = (v / (1 - betas[1] ** step)).sqrt() + eps
        W = W * (1 - lr * decay) - lr * (m / (1 - betas[0] ** step)) / D
        groups, metric = grouped(W, axis, conv_groups), grouped(D, axis, conv_groups)
        tau = lr * penalty.weight * (groups.shape[-1] * groups.shape[-2]) ** 0.5
        low = torch.zeros_like(groups[..., :1, :1])
        high = groups.norm(dim=(2, 3), keepdim=True)
        alive = (groups * metric).norm(dim=(2, 3), keepdim=True) > tau
        for _ in range(100):
            theta = (low + high) / 2
            left = (groups * metric / (metric * theta + tau)).norm(dim=(2, 3), keepdim=True) > 1
            low, high = torch.where(left, theta, low), torch.where(left, high, theta)
        theta = torch.where(alive, high, 0.0)
        groups.copy_(torch.where(theta > 0, groups * metric * theta / (metric * theta + tau), 0.0))
    return W


@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (6, 4, 1, 1), (6, 2, 3, 3), (6, 1, 3, 3), (5, 7)])
@pytest.mark.parametrize("axis", ["in", "out"])
@pytest.mark.parametrize("channels_last", [True, False])
def test_agrees_with_the_textbook(shape, axis, channels_last):
    generator = torch.Generator().manual_seed(0)
    conv_groups = {(6, 2, 3, 3): 2, (6, 1, 3, 3): 6}.get(shape, 1)
    start = torch.randn(shape, generator=generator) * 0.2
    scale = torch.logspace(-2, 0.5, shape[1])[(...,) + (None,) * (len(shape) - 2)]
    gradients = [torch.randn(shape, generator=generator) * scale for _ in range(12)]
    penalty = GroupLasso(0.15)
    form = torch.channels_last if channels_last and len(shape) == 4 else torch.contiguous_format
    weight = nn.Parameter(start.clone().to(memory_format=form))
    options = {"penalty": penalty, "axis": axis, "conv_groups": conv_groups}
    optimizer = ProxAdamW([weight], lr=0.05, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.1, **options)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    expected = textbook(start, gradients, 0.05, (0.8, 0.95), 1e-4, 0.1, penalty, axis, conv_groups)
    assert torch.equal(weight == 0, expected == 0)
    torch.testing.assert_close(weight.detach().double(), expected, rtol=2e-5, atol=2e-6)


def test_groups_die_exactly_and_come_back():
    weight = nn.Parameter(torch.tensor([[1.0, 0.1], [1.0, 0.1]]))
    optimizer = ProxAdamW([weight], lr=0.1, betas=(0.0, 0.9), weight_decay=0.0, penalty=GroupLasso(0.5))
    target = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    for _ in range(50):
        weight.grad = weight.detach() - target
        optimizer.step()
    assert not weight[:, 1].any()
    assert weight[:, 0].all()
    target[:, 1] = 2.0
    for _ in range(100):
        weight.grad = weight.detach() - target
        optimizer.step()
    assert weight[:, 1].all()


def test_ends_at_the_optimum_of_loss_plus_penalty():
    """With a fixed metric in the end, the stationary point is that of the penalized loss: no scale is lost."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(20, 6, generator=generator) * torch.tensor([0.01, 0.05, 0.3, 0.5, 1.0, 2.0])
    start = target + 0.3 * torch.randn(20, 6, generator=generator)
    weight, penalty = nn.Parameter(start), GroupLasso(0.2)
    optimizer = ProxAdamW([weight], betas=(0.9, 0.99), weight_decay=0.0, penalty=penalty)
    for step in range(400):
        optimizer.param_groups[0]["lr"] = 0.02 * 0.99**step
        weight.grad = weight.detach() - target
        optimizer.step()
    groups = grouped(weight.detach(), "in")
    assert penalty.distance(groups, grouped(weight.detach() - target, "in")).max() < 5e-3
    assert (groups == 0).all(-1).all(-1).flatten().tolist() == [True, True, False, False, False, False]


@pytest.mark.parametrize("penalty", [GroupLasso(0.02), GroupMCP(0.1)], ids=repr)
@pytest.mark.parametrize("kind", [ProxAdamW, ProxSGD])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_resuming_is_bit_identical(kind, penalty, dtype):
    straight = network().to(dtype)
    options = {"lr": 0.01} if kind is ProxAdamW else {"lr": 0.05, "momentum": 0.9}

    def run(net, optimizer, steps, first):
        for step in range(first, first + steps):
            optimizer.zero_grad()
            generator = torch.Generator().manual_seed(step)
            x = torch.randn(8, 3, 8, 8, generator=generator).to(dtype)
            nn.functional.cross_entropy(net(x).float(), torch.arange(8) % 5).backward()
            optimizer.step()

    optimizer = kind(parameter_groups(straight, penalty), **options)
    run(straight, optimizer, 8, 0)
    buffer = io.BytesIO()
    torch.save([straight.state_dict(), optimizer.state_dict()], buffer)
    buffer.seek(0)
    weights, state = torch.load(buffer, weights_only=True)
    resumed = network(seed=1).to(dtype)
    resumed.load_state_dict(weights)
    again = kind(parameter_groups(resumed, type(penalty)(9.0)), lr=1.0)
    again.load_state_dict(state)
    assert again.param_groups[0]["penalty"] == penalty
    run(straight, optimizer, 8, 8)
    run(resumed, again, 8, 8)
    assert same(straight, resumed)
    assert any((view == 0).all() for view in straight[4].weight.unbind(1)) or kind is ProxSGD


def test_loads_adamws_state_and_keeps_its_own_penalty():
    net = network()
    plain = torch.optim.AdamW(net.parameters(), lr=0.02)
    train(net, plain, 3)
    convs = [p for p in net.parameters() if p.ndim == 4]
    ours = ProxAdamW([{"params": net.parameters()}], penalty=None)
    ours.load_state_dict(plain.state_dict())
    assert ours.param_groups[0]["lr"] == 0.02
    penalty = GroupLasso(0.1)
    sparse = ProxAdamW(convs, penalty=penalty)
    sparse.load_state_dict(torch.optim.AdamW(convs).state_dict())
    assert sparse.param_groups[0]["penalty"] is penalty
    sparse.load_state_dict(ProxAdamW(convs, penalty=GroupLasso(0.7)).state_dict())
    assert sparse.param_groups[0]["penalty"] is penalty
    assert penalty.weight == 0.7
    sparse.load_state_dict(ProxAdamW(convs, penalty=GroupMCP(0.7, 5.0)).state_dict())
    assert sparse.param_groups[0]["penalty"] == GroupMCP(0.7, 5.0)


def test_unknown_stored_penalty_is_an_error():
    class Own(GroupLasso):
        name = "own"

    net = nn.Conv2d(2, 2, 1)
    state = ProxAdamW([net.weight], penalty=Own(0.1)).state_dict()
    own = ProxAdamW([net.weight], penalty=Own(0.5))
    own.load_state_dict(state)
    assert own.param_groups[0]["penalty"].weight == 0.1
    with pytest.raises(ValueError, match=r"'own'.*make the optimizer with that penalty first"):
        ProxAdamW([net.weight], penalty=GroupLasso(0.1)).load_state_dict(state)


@pytest.mark.parametrize("kind", [ProxAdamW, ProxSGD])
def test_parameters_without_gradient_are_left_alone(kind):
    weights = [nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))]
    optimizer = kind(weights, lr=1.0, penalty=GroupLasso(100.0))
    weights[0].grad = torch.zeros(2, 2)
    optimizer.step()
    assert not weights[0].any()
    assert torch.equal(weights[1], torch.ones(2, 2))
    assert weights[1] not in optimizer.state


@pytest.mark.parametrize("kind", [ProxAdamW, ProxSGD])
def test_closures_and_hooks_run_once(kind):
    torch.optim.AdamW([nn.Parameter(torch.ones(1))])  # torch patches the step of a class at its first instance
    net, calls = network(), []
    optimizer = kind(parameter_groups(net, GroupLasso(0.01)), lr=0.01)
    optimizer.register_step_post_hook(lambda *_: calls.append(1))

    def closure():
        optimizer.zero_grad()
        loss = loss_of(net, 0)
        loss.backward()
        return loss

    first = optimizer.step(closure)
    assert optimizer.step(closure) < first
    assert len(calls) == 2


def test_accumulated_gradients_and_clipping():
    whole, parts = network(), network()
    first = ProxAdamW(parameter_groups(whole, GroupLasso(0.01)), lr=0.01)
    second = ProxAdamW(parameter_groups(parts, GroupLasso(0.01)), lr=0.01)
    for step in range(5):
        for optimizer in (first, second):
            optimizer.zero_grad()
        (loss_of(whole, 2 * step) / 2 + loss_of(whole, 2 * step + 1) / 2).backward()
        for seed in (2 * step, 2 * step + 1):
            (loss_of(parts, seed) / 2).backward()
        for net, optimizer in ((whole, first), (parts, second)):
            nn.utils.clip_grad_norm_(net.parameters(), 0.1)
            optimizer.step()
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_grad_scaler_skips_whole_steps():
    net = network()
    optimizer = ProxAdamW(parameter_groups(net, GroupLasso(0.05)), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    before = copy.deepcopy(net)
    for step in range(3):
        optimizer.zero_grad()
        scaler.scale(loss_of(net, step)).backward()
        if step == 1:
            net[0].weight.grad[0, 0, 0, 0] = float("inf")
            before = copy.deepcopy(net)
        scaler.step(optimizer)
        scaler.update()
        if step == 1:
            assert same(net, before)
    assert optimizer.state[net[0].weight]["step"].item() == 2
    # Scaled or not, the steps are the same.
    other = network()
    plain = ProxAdamW(parameter_groups(other, GroupLasso(0.05)), lr=0.01)
    for step in (0, 2):
        plain.zero_grad()
        loss_of(other, step).backward()
        plain.step()
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_gradients_in_another_layout_are_understood():
    weights = [
        nn.Parameter(torch.ones(4, 3, 2, 2).to(memory_format=torch.channels_last)),
        nn.Parameter(torch.ones(4, 3, 2, 2)),
    ]
    gradient = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    for weight, own in zip(weights, (gradient, gradient), strict=True):
        optimizer = ProxAdamW([weight], lr=0.1, penalty=GroupLasso(0.01))
        weight.grad = own.clone(memory_format=torch.contiguous_format)
        optimizer.step()
    torch.testing.assert_close(*weights)


def test_a_penalty_from_outside_works():
    class Cap(Penalty):
        name = "cap"

        def value(self, weights):
            return torch.where(weights.amax() > self.weight, torch.inf, 0.0)

        def prox(self, weights, step, metric=None):
            assert step > 0
            assert metric is None or metric.shape == weights.shape
            return weights.clamp(max=self.weight)

        def distance(self, weights, gradient):
            return torch.where(weights < self.weight, gradient, gradient.clamp(min=0)).norm(dim=(-2, -1))

    for kind in (ProxAdamW, ProxSGD):
        net = network()
        optimizer = kind(parameter_groups(net, Cap(0.01)), lr=0.01)
        train(net, optimizer, 2)
        assert net[0].weight.max().item() == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "learning rate: -1.0"),
        ({"penalty": 0.1}, "give an instance"),
        ({"axis": "sideways"}, "'in' or 'out'"),
        ({"betas": (0.9, 1.0)}, "beta parameter"),
        ({"penalty": GroupLasso(0.1), "conv_groups": 3}, "groups=3 does not divide"),
    ],
)
def test_rejects_what_cannot_be(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ProxAdamW([nn.Parameter(torch.ones(2, 2, 1, 1))], **options)


def test_rejects_penalized_vectors_and_sparse_gradients():
    with pytest.raises(ValueError, match="penalty=None"):
        ProxAdamW(nn.Conv2d(2, 2, 1).parameters(), penalty=GroupLasso(0.1))
    table = nn.Embedding(5, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="sparse=False"):
        ProxAdamW(table.parameters()).step()
