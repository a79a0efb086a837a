"""The sparse-group lasso: its proximal operator against a convex solver, its limits, and its distance."""

import pytest
import torch

from lomt.sparsity import GroupLasso, SparseGroupLasso


def weight(seed=0, groups=5, rows=2, columns=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(groups, rows, columns, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("mix", [0.0, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("strength", [0.02, 0.2, 0.6])
def test_prox_is_what_a_convex_solver_finds(mix, strength):
    cvxpy = pytest.importorskip("cvxpy")
    W = weight()
    U = cvxpy.Variable(W.numel())
    size = W[0].numel()
    groups = sum(cvxpy.norm(U[place : place + size]) for place in range(0, W.numel(), size))
    penalty = strength * ((1 - mix) * W.numel() ** 0.5 * cvxpy.norm(U) + mix * size**0.5 * groups)
    problem = cvxpy.Problem(cvxpy.Minimize(0.5 * cvxpy.sum_squares(U - W.flatten().numpy()) + penalty))
    problem.solve(solver="CLARABEL")
    ours = SparseGroupLasso(strength, mix).prox(W, 1.0)
    cost = 0.5 * (ours - W).square().sum() + SparseGroupLasso(strength, mix).value(ours)
    assert float(cost) <= problem.value + 1e-12, "a point is better than what is called the minimizer"
    assert torch.allclose(ours.flatten(), torch.from_numpy(U.value), atol=1e-3)


@pytest.mark.parametrize("mix", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("strength", [0.02, 0.3, 3.0])
def test_prox_is_stationary(mix, strength):
    penalty, W = SparseGroupLasso(strength, mix), weight(1)
    U = penalty.prox(W, 0.5)
    assert float(penalty.distance(U, (U - W) / 0.5).max()) < 1e-12 * float(W.norm())
    # And nowhere else.
    assert float(penalty.distance(U + 0.1, (U + 0.1 - W) / 0.5).max()) > 1e-3


def test_a_metric_counts_by_its_mean():
    W, D = weight(2), weight(3).abs() + 0.1
    penalty = SparseGroupLasso(0.3)
    assert torch.equal(penalty.prox(W, 0.5, D), penalty.prox(W, 0.5 / D.mean()))


def test_its_limits_are_group_lassos_of_the_groups_and_of_the_whole():
    W = weight(4)
    assert torch.allclose(SparseGroupLasso(0.3, mix=1.0).prox(W, 1.0), GroupLasso(0.3).prox(W, 1.0), atol=1e-15)
    whole = GroupLasso(0.3).prox(W.reshape(1, 1, -1), 1.0).view_as(W)
    assert torch.allclose(SparseGroupLasso(0.3, mix=0.0).prox(W, 1.0), whole, atol=1e-15)
    assert float(SparseGroupLasso(0.3, mix=1.0).value(W)) == pytest.approx(float(GroupLasso(0.3).value(W)))


def test_what_dies_is_exactly_zero_and_what_is_no_number_stays_visible():
    W = weight(5)
    W[1] *= 1e-3
    left = SparseGroupLasso(0.1).prox(W, 1.0)
    assert not left[1].any()
    assert left[0].all()
    assert not SparseGroupLasso(10.0).prox(W, 1.0).any()
    W[2, 0, 0] = float("nan")
    assert SparseGroupLasso(10.0).prox(W, 1.0).isnan().any()


def test_refuses_an_impossible_share():
    with pytest.raises(ValueError, match="share from 0 to 1"):
        SparseGroupLasso(1.0, mix=1.5)
