"""Group MCP's proximal operator against brute force over the norm: it must be the global minimizer."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomt.sparsity import GroupLasso, GroupMCP


def least_cost(penalty, weights, metric, step):
    """The least cost over 0, W and the nearest points of 600 spheres, by bisection on their multipliers."""
    W, D = weights, metric
    radius = torch.linspace(0, W.norm().item(), 602, dtype=torch.float64)[1:-1, None, None]
    low, high = torch.zeros_like(radius), (D * W).norm() / radius
    for _ in range(200):
        middle = (low + high) / 2
        outside = (D * W / (D + middle)).norm(dim=(1, 2), keepdim=True) > radius
        low, high = torch.where(outside, middle, low), torch.where(outside, high, middle)
    candidates = torch.cat([torch.zeros_like(W)[None], W[None], D * W / (D + high)])
    distances = (D * (candidates - W).square()).sum((1, 2)) / 2
    return torch.stack([d + step * penalty.value(U[None]) for d, U in zip(distances, candidates, strict=True)]).min()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    weight=st.sampled_from([0.05, 0.3, 1.0]),
    gamma=st.sampled_from([0.1, 0.5, 2.0, 20.0]),
    decades=st.sampled_from([0.0, 1.0, 3.0]),
)
def test_is_the_global_minimizer(seed, weight, gamma, decades):
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn(3, 1, generator=generator, dtype=torch.float64)
    D = 10 ** ((torch.rand(3, 1, generator=generator, dtype=torch.float64) - 0.5) * decades)
    penalty = GroupMCP(weight, gamma)
    U = penalty.prox(W[None], 1.0, D[None])[0]
    cost = (D * (U - W).square()).sum() / 2 + penalty.value(U[None])
    assert cost <= least_cost(penalty, W, D, 1.0) + 1e-12


def test_large_groups_are_not_shrunk_and_small_ones_die():
    W = torch.tensor([[[5.0, 5.0]], [[0.1, 0.1]]])
    U = GroupMCP(0.5, gamma=3.0).prox(W, 1.0)
    assert torch.equal(U[0], W[0])
    assert not U[1].any()


def test_without_bound_it_becomes_the_group_lasso():
    W = torch.randn(20, 4, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    D = torch.rand(20, 4, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.1
    expected = GroupLasso(0.2).prox(W, 0.3, D)
    torch.testing.assert_close(GroupMCP(0.2, gamma=1e9).prox(W, 0.3, D), expected, rtol=1e-6, atol=1e-9)


def test_ties_go_to_zero_and_uniqueness_is_told():
    # D = 1 < step / γ: a hard threshold at ½ w² = γ λ² / 2.
    penalty = GroupMCP(1.0, gamma=0.25)
    metric = torch.ones(2, 1, 1, dtype=torch.float64)
    W = torch.tensor([[[0.5]], [[0.5 + 1e-9]]], dtype=torch.float64)
    U = penalty.prox(W, 1.0, metric)
    assert U[0].item() == 0
    assert U[1].item() == W[1].item()
    assert not penalty.unique(metric, 1.0).any()
    assert penalty.unique(metric, 0.2).all()


def test_continuous_where_unique():
    W = torch.linspace(0, 3, 3001, dtype=torch.float64)[:, None, None]
    penalty, metric = GroupMCP(0.7, gamma=2.0), torch.full_like(W, 0.6)
    assert penalty.unique(metric, 1.0).all()
    jumps = penalty.prox(W, 1.0, metric).flatten().diff()
    # Its slope is D / (D − 1/γ) = 6 at most.
    assert jumps.max() < 6.1e-3
    assert jumps.min() >= 0


@pytest.mark.parametrize("gamma", [0.0, -1.0, float("inf"), float("nan")])
def test_rejects_impossible_gamma(gamma):
    with pytest.raises(ValueError, match="above 0"):
        GroupMCP(1.0, gamma)
