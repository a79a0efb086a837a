"""Anderson extrapolation against what it promises."""

from __future__ import annotations

import numpy as np
import pytest

from lomt.linear import MixedMultiTaskLasso
from lomt.linear.extrapolation import mixture, model_value


def test_the_mixture_of_a_linear_iteration_is_its_limit():
    random = np.random.default_rng(0)
    rotation = np.linalg.qr(random.normal(size=(4, 4)))[0]
    iterate, limit = rotation @ np.diag([0.95, 0.9, 0.6, 0.2]) @ rotation.T, random.normal(size=4)
    points = [limit + np.ones(4)]
    for _ in range(5):
        points.append(limit + iterate @ (points[-1] - limit))
    points = np.array(points)
    share = mixture(points[1:] - points[:-1])
    assert share.sum() == pytest.approx(1)
    assert np.linalg.norm(share @ points[1:] - limit) < 0.01 * np.linalg.norm(points[-1] - limit)


def test_model_value_is_the_quadratic_and_its_penalty():
    random = np.random.default_rng(1)
    X, weights, Q = (
        random.normal(size=(2, 9, 5)),
        random.uniform(0.1, 1, size=(2, 9)),
        np.array([[1.0, -0.5], [-0.5, 2]]),
    )
    hessians = [X[c].T @ (weights[c][:, None] * X[c]) for c in range(2)]
    start, end, theta = random.normal(size=(2, 5)), random.normal(size=(2, 5)), random.normal(size=(2, 9))

    def gradient(W, c):
        return X[c].T @ theta[c] + hessians[c] @ (W - start)[c]

    def state(W):  # the first column by its Gram matrix, the second by its residual
        residual = theta + weights * np.stack([X[c] @ (W - start)[c] for c in range(2)])
        return np.stack([gradient(W, 0) + (Q @ W)[0], (Q @ W)[1]]), residual.ravel()

    begins, lengths = np.array([0, 9]), np.array([9, 9])
    found = model_value(
        end, *state(end), start, *state(start), np.array([0, -1]), begins, lengths, weights.ravel(), 0.3, 0.2
    )
    change = end - start
    smooth = sum(X[c].T @ theta[c] @ change[c] + change[c] @ hessians[c] @ change[c] / 2 for c in range(2))
    smooth += (np.sum(end * (Q @ end)) - np.sum(start * (Q @ start))) / 2
    assert found == pytest.approx(smooth + 0.3 * np.linalg.norm(end, axis=0).sum() + 0.2 * np.abs(end).sum())


def test_correlated_features_need_few_passes():
    random = np.random.default_rng(2)
    X = random.normal(size=(60, 1)) + 0.2 * random.normal(size=(60, 30))
    y = X[:, :3].sum(axis=1) + 0.1 * random.normal(size=60)
    model = MixedMultiTaskLasso(1e-3, tol=1e-8, max_iter=1000).fit(X, y)  # 2400 passes without extrapolation
    assert model.dual_gap_ <= 1e-8
