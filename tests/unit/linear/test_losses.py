"""Every loss against its own definition: derivatives by differences, conjugates by Fenchel and Young."""

from __future__ import annotations

import numpy as np
import pytest

from lomt.linear.losses import LOSSES, Huber, Logistic, Loss, Poisson

_RANDOM = np.random.default_rng(0)
_LABELS = {
    "squared": _RANDOM.normal(size=12),
    "huber": 3 * _RANDOM.normal(size=12),
    "logistic": np.array([0, 1] * 6),
    "poisson": _RANDOM.poisson(2.0, size=12),
    "multinomial": np.array(list("abc") * 4),
}


@pytest.fixture(params=sorted(LOSSES))
def case(request) -> tuple[Loss, np.ndarray, np.ndarray, np.ndarray]:
    loss = LOSSES[request.param]()
    y, _ = loss.encode(_LABELS[request.param], "here")
    random = np.random.default_rng(1)
    a = np.broadcast_to(random.uniform(0.5, 2.0, size=y.shape[1]), y.shape)
    return loss, random.normal(size=y.shape), y, a


def test_gradient_is_the_derivative_of_value(case):
    loss, z, y, a = case
    numeric = np.empty_like(z)
    for index in np.ndindex(z.shape):
        step = np.zeros_like(z)
        step[index] = 1e-6
        numeric[index] = (loss.value(z + step, y, a) - loss.value(z - step, y, a)) / 2e-6
    np.testing.assert_allclose(loss.gradient(z, y, a), numeric, atol=1e-7)


def test_curvature_dominates_the_change_of_the_gradient(case):
    loss, z, y, a = case
    random = np.random.default_rng(2)
    for _ in range(20):
        v = random.normal(size=z.shape)
        bend = np.vdot(v, loss.gradient(z + 1e-5 * v, y, a) - loss.gradient(z - 1e-5 * v, y, a)) / 2e-5
        assert bend <= np.vdot(v, loss.curvature(z, y, a) * v) * (1 + 1e-6)


def test_conjugate_meets_fenchel_and_young(case):
    loss, z, y, a = case
    theta = loss.gradient(z, y, a)
    dual = loss.conjugate(theta, y, a)
    assert loss.value(z, y, a) + dual == pytest.approx(np.vdot(theta, z), abs=1e-9)
    for seed in range(10):
        other = np.random.default_rng(seed).normal(size=z.shape)
        assert loss.value(other, y, a) + dual >= np.vdot(theta, other) - 1e-9


def test_null_is_the_best_constant_and_the_least_value_is_zero(case):
    loss, z, y, a = case
    best = loss.null(y, a[0])[:, None]
    slope = loss.gradient(np.broadcast_to(best, z.shape), y, a).sum(axis=1)
    np.testing.assert_allclose(slope, 0, atol=1e-9)
    assert loss.value(z, y, a) > 0
    assert loss.conjugate(np.zeros_like(z), y, a) == pytest.approx(0, abs=1e-12)


def test_extreme_predictors_overflow_nothing():
    y, a = np.array([[0.0, 1.0]]), np.ones((1, 2))
    far = np.array([[800.0, -800.0]])
    assert Logistic().value(far, y, a) == pytest.approx(1600)
    np.testing.assert_array_equal(Logistic().gradient(far, y, a), [[1, -1]])
    assert Logistic().value(-far, y, a) == 0
    assert Poisson().value(far, y, a) == np.inf


def test_weighted_median_counts_a_weight_of_two_as_two_samples():
    values = np.array([5.0, 1.0, 3.0, 9.0])
    twice = Huber().natural_scale(np.repeat(values, [1, 2, 1, 3])[None], np.ones(7))
    assert Huber().natural_scale(values[None], np.array([1.0, 2, 1, 3])) == pytest.approx(twice)


def test_conjugates_are_infinite_outside_their_domain():
    y, a = np.array([[1.0]]), np.array([[1.0]])
    assert Logistic().conjugate(np.array([[0.5]]), y, a) == np.inf
    assert Huber(1.0).conjugate(np.array([[1.5]]), y, a) == np.inf
    assert Poisson().conjugate(np.array([[-1.5]]), y, a) == np.inf
