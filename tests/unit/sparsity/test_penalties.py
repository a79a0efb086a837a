"""What holds for every penalty: its proximal operator is optimal by its own subdifferential and value."""

import pytest
import torch

from lomt.sparsity import PENALTIES, GroupLasso, GroupMCP, Penalty
from lomt.sparsity.penalties import PENALTIES as LISTED


class Ridge(Penalty):
    """A penalty from outside, with only what the base class asks for: λ/2 Σ W²."""

    name = "ridge"

    def value(self, weights):
        return self.weight / 2 * weights.square().sum()

    def prox(self, weights, step, metric=None):
        metric = torch.ones_like(weights) if metric is None else metric
        return weights * metric / (metric + step * self.weight)

    def distance(self, weights, gradient):
        return (gradient + self.weight * weights).norm(dim=(-2, -1))


ALL = [GroupLasso(0.3), GroupLasso(2.0), GroupMCP(0.3, gamma=3.0), GroupMCP(2.0, gamma=1.5), Ridge(0.5)]


def problem(seed=0, decades=3.0):
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn(50, 3, 4, generator=generator, dtype=torch.float64) * torch.logspace(-2, 1.5, 50)[:, None, None]
    D = 10 ** ((torch.rand(50, 3, 4, generator=generator, dtype=torch.float64) - 0.5) * decades)
    return W, D


@pytest.mark.parametrize("penalty", ALL, ids=repr)
@pytest.mark.parametrize("step", [0.05, 1.0])
@pytest.mark.parametrize("metric", [True, False], ids=["metric", "identity"])
def test_prox_is_stationary(penalty, step, metric):
    W, D = problem()
    D = D if metric else torch.ones_like(D)
    U = penalty.prox(W, step, D if metric else None)
    # D (U − W) / step + ∂penalty(U) ∋ 0
    distance = penalty.distance(U, D * (U - W) / step)
    assert distance.max() < 1e-9 * (D * W).norm() / step


@pytest.mark.parametrize("penalty", ALL, ids=repr)
def test_nothing_near_nor_zero_is_better(penalty):
    W, D = problem(1)
    U = penalty.prox(W, 0.5, D)

    def cost(candidate, g):
        return (D[g] * (candidate - W[g]).square()).sum() / 2 + 0.5 * penalty.value(candidate[None])

    generator = torch.Generator().manual_seed(0)
    for g in range(len(W)):
        best = cost(U[g], g)
        assert best <= cost(torch.zeros_like(U[g]), g) * (1 + 1e-12)
        assert best <= cost(W[g], g) * (1 + 1e-12)
        for radius in (1e-3, 0.1, 1.0):
            other = U[g] + radius * W[g].abs().max() * torch.randn(3, 4, generator=generator, dtype=torch.float64)
            assert best <= cost(other, g) * (1 + 1e-12)


@pytest.mark.parametrize("penalty", [one for one in ALL if not isinstance(one, GroupMCP)], ids=repr)
def test_convex_prox_is_firmly_nonexpansive(penalty):
    W, D = problem(2)
    V = W + torch.randn(W.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    P, Q = penalty.prox(W, 0.5, D), penalty.prox(V, 0.5, D)
    # ‖P − Q‖²_D ≤ ⟨P − Q, W − V⟩_D
    assert (D * (P - Q).square()).sum() <= (D * (P - Q) * (W - V)).sum() * (1 + 1e-12)


@pytest.mark.parametrize("penalty", ALL, ids=repr)
def test_leaves_its_input_alone(penalty):
    W, D = problem()
    before, metric = W.clone(), D.clone()
    penalty.prox(W, 0.5, D)
    assert torch.equal(W, before)
    assert torch.equal(D, metric)


@pytest.mark.parametrize("penalty", ALL, ids=repr)
def test_state_dict_round_trip(penalty):
    other = type(penalty)(**{key: value + 1 for key, value in vars(penalty).items()})
    assert other != penalty
    other.load_state_dict(penalty.state_dict())
    assert other == penalty
    with pytest.raises(ValueError, match="is no state of"):
        other.load_state_dict({"name": "other", "weight": 1.0})


def test_zero_weight_changes_nothing():
    W, D = problem()
    for penalty in (GroupLasso(0.0), GroupMCP(0.0)):
        assert torch.equal(penalty.prox(W, 1.0, D), W)
        assert torch.equal(penalty.prox(W, 1.0), W)


@pytest.mark.parametrize("kind", LISTED.values())
@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_rejects_impossible_weights(kind, weight):
    with pytest.raises(ValueError, match="finite number of 0 or more"):
        kind(weight)


def test_names():
    assert {name: kind.name for name, kind in PENALTIES.items()} == {name: name for name in PENALTIES}


@pytest.mark.parametrize("kind", LISTED.values())
def test_blocks_have_one_channel_or_more(kind):
    assert kind(0.1, block=4).block == 4
    with pytest.raises(ValueError, match="1 channel or more"):
        kind(0.1, block=0)


def test_who_has_an_own_proximal_operator_gets_it_called():
    class Own(GroupLasso):
        def prox(self, weights, step, metric=None):  # noqa: ARG002
            return weights

    class Same(GroupLasso):
        name = "same"

    assert GroupLasso(0.1).curve == Same(0.1).curve == (0.1, float("inf"))
    assert GroupMCP(0.1, 2.0).curve == (0.1, 2.0)
    assert Own(0.1).curve is None
    assert Ridge(0.1).curve is None
