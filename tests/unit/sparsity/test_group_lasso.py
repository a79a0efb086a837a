"""The group lasso's proximal operator against bisection in float64 and a convex solver."""

import cvxpy as cp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomt.sparsity import GroupLasso
from lomt_kernels.shrink import shrink_step


def bisected(weights: torch.Tensor, metric: torch.Tensor, tau: float) -> torch.Tensor:
    """The proximal operator of τ‖·‖ in a metric in float64, by bisection on the groups' norms; ``(groups, n, 1)``."""
    W, D = weights.double(), metric.double()
    low = torch.zeros(len(W), 1, 1, dtype=torch.float64)
    high = W.norm(dim=1, keepdim=True).clamp(min=1e-300)
    alive = (D * W).norm(dim=1, keepdim=True) > tau
    for _ in range(200):
        middle = torch.where(low > 1e-3 * high, (low + high) / 2, (low * high).sqrt().clamp(min=1e-3 * high))
        # ‖U(θ)‖ / θ falls with θ; 1 at the solution.
        left = (W * D / (D * middle + tau)).norm(dim=1, keepdim=True) > 1
        low, high = torch.where(left, middle, low), torch.where(left, high, middle)
    return torch.where(alive, W * D * high / (D * high + tau), 0.0)


def wild_groups(seed: int, members: int, decades: float, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn(40, members, 1, generator=generator) * 10 ** (torch.rand(40, 1, 1, generator=generator) * 4 - 2)
    exponent = (torch.rand(40, members, 1, generator=generator) - 0.5) * decades
    return W, scale * 10**exponent


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    members=st.sampled_from([1, 2, 9, 100]),
    decades=st.sampled_from([0.0, 1.0, 4.0, 12.0]),
    scale=st.sampled_from([1e-6, 1.0, 1e3]),
    threshold=st.sampled_from([1e-6, 1e-3, 1.0, 30.0]),
    warm=st.sampled_from([None, 0.0, 1e-3, 1.0, 1e4, "near"]),
)
def test_agrees_with_bisection_over_wild_ranges(seed, members, decades, scale, threshold, warm):
    W, D = wild_groups(seed, members, decades, scale)
    tau = threshold * scale
    expected = bisected(W, D, tau)
    start = None if warm is None else torch.full((40,), warm if warm != "near" else 1.0)
    if warm == "near":
        start = expected.norm(dim=(1, 2)).float() * (1 + 0.01 * torch.randn(40).clamp(-3, 3))
    U, norms = shrink_step(W[..., 0], torch.tensor(tau, dtype=torch.float64), D[..., 0], start, axis="out")
    # On the threshold itself, rounding of τ decides.
    clear = ((D.double() * W).norm(dim=(1, 2)) / tau - 1).abs() > 1e-6
    assert torch.equal((norms == 0)[clear], (expected.norm(dim=(1, 2)) == 0)[clear])
    assert torch.equal(~U.any(1) & clear, (norms == 0) & clear)
    torch.testing.assert_close(U[clear].double(), expected[clear][..., 0], rtol=1e-6, atol=1e-36)
    if warm is None:
        penalty = GroupLasso(tau / members**0.5)
        torch.testing.assert_close(penalty.prox(W, 1.0, D)[clear].double(), expected[clear], rtol=1e-6, atol=1e-36)


def test_threshold_separates_exact_zeros_from_the_rest():
    W = torch.full((2, 3, 3), 0.5)
    D = torch.full_like(W, 2.0)
    tau = (D * W).norm(dim=(1, 2))[0].item()
    assert not GroupLasso(1.0).prox(W, tau / 3 * (1 + 1e-9), D).any()
    assert GroupLasso(1.0).prox(W, tau / 3 * (1 - 1e-5), D).all()


@pytest.mark.parametrize("metric", [None, torch.ones(3, 4, 2)])
def test_in_the_identity_metric_it_is_block_soft_thresholding(metric):
    W = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0))
    norm = W.norm(dim=(1, 2), keepdim=True)
    expected = W * (1 - 0.7 * 8**0.5 / norm).clamp(min=0)
    torch.testing.assert_close(GroupLasso(0.7).prox(W, 1.0, metric), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("tau", [0.05, 0.5, 2.0])
def test_agrees_with_a_convex_solver(tau):
    generator = np.random.default_rng(3)
    W, D = generator.normal(size=6), 10 ** generator.uniform(-1.5, 1.5, size=6)
    U = cp.Variable(6)
    cp.Problem(cp.Minimize(cp.sum(cp.multiply(D / 2, cp.square(U - W))) + tau * cp.norm(U))).solve()
    got = GroupLasso(tau / 6**0.5).prox(torch.tensor(W).view(1, 6, 1), 1.0, torch.tensor(D).view(1, 6, 1))
    np.testing.assert_allclose(got.flatten().numpy(), U.value, atol=1e-4)


def test_zero_weights_zero_metric_and_zero_price():
    W = torch.zeros(2, 3, 1)
    assert not GroupLasso(1.0).prox(W, 1.0, torch.ones_like(W)).any()
    W = torch.ones(1, 2, 1)
    # Nothing holds a weight of metric 0: it goes to 0 at any price.
    U = GroupLasso(0.5 / 2**0.5).prox(W, 1.0, torch.tensor([[[1.0], [0.0]]]))
    torch.testing.assert_close(U, torch.tensor([[[0.5], [0.0]]]))
    torch.testing.assert_close(GroupLasso(0.0).prox(W, 1.0, torch.ones_like(W)), W)


def test_nan_stays_visible():
    W = torch.tensor([[[float("nan")], [1.0]], [[1.0], [1.0]]])
    U = GroupLasso(0.1).prox(W, 1.0, torch.ones_like(W))
    assert U[0].isnan().any()
    assert U[1].isfinite().all()


def test_value():
    W = torch.tensor([[[3.0, 4.0]], [[0.0, 0.0]]], requires_grad=True)
    value = GroupLasso(0.1).value(W)
    assert value.item() == pytest.approx(0.1 * 2**0.5 * 5)
    value.backward()
    assert W.grad is not None
    torch.testing.assert_close(W.grad[0], 0.1 * 2**0.5 * torch.tensor([[0.6, 0.8]]))
