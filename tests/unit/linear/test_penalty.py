"""The penalty's dual norm and its block minimum against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from lomt.linear.block_step import block_minimum
from lomt.linear.coupling import mean_laplacian
from lomt.linear.penalty import MixedPenalty


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.9, 1.0])
def test_dual_norm_is_where_zero_stops_being_optimal(ratio):
    random = np.random.default_rng(0)
    gradients = random.normal(size=(4, 30)) * random.uniform(0.01, 100, size=30)
    gradients[:, 0] = 0
    norms = MixedPenalty(1.0, ratio, np.zeros((4, 4))).dual_norms(gradients)
    soft = np.maximum(np.abs(gradients) - norms * ratio, 0)
    np.testing.assert_allclose(np.sqrt((soft**2).sum(axis=0)), norms * (1 - ratio), atol=1e-12 * norms.max())


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_dual_norm_bounds_the_inner_product(ratio):
    random = np.random.default_rng(1)
    penalty = MixedPenalty(1.0, ratio, np.zeros((4, 4)))
    u, W = random.normal(size=(4, 1)), random.normal(size=(4, 500))
    values = np.array([penalty.sparse(w[:, None]) for w in W.T])
    ratios = (u[:, 0] @ W) / values
    assert ratios.max() <= penalty.dual_norms(u)[0] * (1 + 1e-12)


@pytest.mark.parametrize(("group", "single"), [(0.7, 0.0), (0.5, 0.3), (0.0, 0.4), (0.0, 0.0), (9.0, 0.1)])
def test_block_minimum_beats_every_other_point(group, single):
    random = np.random.default_rng(2)
    pull, curvature, best = random.normal(size=5) * 3, random.uniform(0.2, 4, size=5), np.empty(5)
    block_minimum(pull, curvature, group, single, best)

    def value(w):
        return 0.5 * (curvature * w * w).sum() - pull @ w + group * np.linalg.norm(w) + single * np.abs(w).sum()

    for scale in (1e-3, 1e-2, 0.1, 1.0):
        for _ in range(50):
            assert value(best + scale * random.normal(size=5)) >= value(best) - 1e-12
    for c in range(5):  # along each axis to zero, where kinks are
        assert value(np.where(np.arange(5) == c, 0, best)) >= value(best) - 1e-12


def test_majorizer_dominates_the_quadratic_part():
    for Q in (mean_laplacian(6), np.diag([1.0, 2, 3, 4, 5, 6]), 0.1 * np.eye(6) + 2 * mean_laplacian(6)):
        gap = np.diag(MixedPenalty(1.0, 0.0, Q).majorizer) - Q
        assert np.linalg.eigvalsh(gap)[0] >= -1e-12


def test_inverse_is_refused_where_the_quadratic_part_is_singular():
    assert MixedPenalty(1.0, 0.0, mean_laplacian(4)).inverse is None
    assert MixedPenalty(1.0, 0.0, np.zeros((4, 4))).inverse is None
    assert MixedPenalty(1.0, 0.0, np.eye(4)).inverse is not None
