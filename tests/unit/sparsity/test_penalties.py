"""What holds for every penalty: its proximal operator is optimal by its own subdifferential and value."""

import pytest
import torch

from lomt.sparsity import PENALTIES, GroupLasso, GroupMCP, Penalty
from lomt.sparsity.penalties import PENALTIES as LISTED
from lomt.sparsity.penalty import Layer


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
@pytest.mark.parametrize("metric", [True, False], ids=["metric", "identity"])
def test_weights_that_are_not_stored_count_as_zeros(penalty, metric):
    W, D = problem()
    stored, D = W.view(1, 50, 3, 4), D.view(1, 50, 3, 4)
    whole = torch.cat([stored, torch.zeros(1, 50, 5, 4)], 2).double()
    whole_D = torch.cat([D, torch.ones(1, 50, 5, 4)], 2).double()
    expected = penalty.prox(whole, 0.5, whole_D if metric else None)
    small = stored.clone()
    penalty.prox_([Layer(small, 0.5, (lambda: D) if metric else None, members=8 * 4)])
    torch.testing.assert_close(small, expected[:, :, :3], rtol=1e-9, atol=1e-12)


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
@pytest.mark.parametrize("shape", [(7, 5, 3, 3), (1, 4, 6, 1), (6, 1, 1, 9)])
def test_in_place_equals_out_of_place_in_any_layout(penalty, shape):
    generator = torch.Generator().manual_seed(4)
    stored = torch.randn(shape[0], shape[2], shape[1], shape[3], generator=generator)
    W, D = stored.transpose(1, 2), torch.rand(stored.shape, generator=generator).transpose(1, 2) + 0.1
    expected = penalty.prox(W.contiguous(), 0.2, D.contiguous())
    penalty.prox_([Layer(W, 0.2, lambda: D.clone())])
    torch.testing.assert_close(stored.transpose(1, 2), expected, rtol=1e-6, atol=1e-7)


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
