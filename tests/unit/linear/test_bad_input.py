"""What users get wrong, or data hold in store."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from lomt.linear import MixedMultiTaskLasso, MixedMultiTaskLassoCV, simulate
from lomt.linear.losses import Squared


@pytest.mark.parametrize(("regressions", "classifications"), [(3, 0), (0, 3), (1, 0), (0, 1)])
def test_one_kind_of_task_works(regressions, classifications):
    data = simulate(regressions, classifications, samples=50, features=20, active=3)
    model = MixedMultiTaskLasso(0.1).fit_tasks(data.Xs, data.ys)
    assert model.dual_gap_ <= 1e-6
    assert model.get_support()[data.support].all()


def test_a_task_with_one_class_warns_and_spoils_nothing():
    data = simulate(2, 2, samples=50, features=20, active=3)
    ys = [*data.ys[:3], np.ones(50)]
    losses = ["squared", "squared", "logistic", "logistic"]
    with pytest.warns(UserWarning, match="task 3 has only the class"):
        model = MixedMultiTaskLasso(0.1, losses=losses).fit_tasks(data.Xs, ys)
    without = MixedMultiTaskLasso(0.1, losses=losses[:3]).fit_tasks(data.Xs[:3], ys[:3])
    np.testing.assert_allclose(model.coef_[:3], without.coef_, atol=1e-4)
    assert not model.coef_[3].any()
    assert set(model.predict(data.Xs[3], task=3)) == {1.0}
    assert model.predict_proba(data.Xs[3])[3].shape == (50, 1)


def test_no_event_in_a_poisson_task_warns():
    X = np.random.default_rng(0).normal(size=(30, 3))
    with pytest.warns(UserWarning, match="task 0 has only the label"):
        model = MixedMultiTaskLasso(0.1, losses="poisson").fit(X, np.zeros(30))
    assert 0 < model.predict(X).max() < 0.1


def test_constant_features_and_constant_labels():
    random = np.random.default_rng(0)
    X = np.c_[random.normal(size=(40, 3)), np.full(40, 1e6 + 0.1), np.zeros(40)]
    Y = np.c_[X[:, 0], np.full(40, 0.1)]
    with pytest.warns(UserWarning, match=r"task 1 has only the label 0\.1"):
        model = MixedMultiTaskLasso(0.01, losses="squared").fit(X, Y)
    assert not model.coef_[:, 3:].any()
    np.testing.assert_allclose(model.predict(X)[:, 1], 0.1)


def test_far_more_features_than_samples():
    data = simulate(2, 2, samples=20, features=3000, active=3)
    model = MixedMultiTaskLasso(0.05).fit_tasks(data.Xs, data.ys)
    assert model.dual_gap_ <= 1e-6


def test_nan_in_x_is_named():
    X = pd.DataFrame(np.zeros((5, 2)), columns=["age", "dose"])
    X.loc[3, "dose"] = np.nan
    with pytest.raises(ValueError, match=r"row 3, feature 'dose'.*impute"):
        MixedMultiTaskLasso().fit(X, np.arange(5.0))


def test_nan_in_y_is_unobserved():
    random = np.random.default_rng(0)
    X, y = random.normal(size=(40, 4)), random.normal(size=40)
    y[::4] = np.nan
    seen = ~np.isnan(y)
    a, b = MixedMultiTaskLasso(0.01).fit(X, y), MixedMultiTaskLasso(0.01).fit(X[seen], y[seen])
    np.testing.assert_array_equal(a.coef_, b.coef_)
    assert a.score(X, y) == b.score(X[seen], y[seen])


def test_every_kind_of_missing_label_is_unobserved():
    X = np.random.default_rng(0).normal(size=(40, 4))
    for y in (
        pd.Series([1, 2, 4, pd.NA] * 10, dtype="Int64"),
        pd.Series(["a", "b", "a", None] * 10, dtype="string"),
        np.array(["a", "b", "a", None] * 10, dtype=object),
    ):
        seen = np.arange(40) % 4 != 3
        model = MixedMultiTaskLasso(0.01).fit(X, y)
        known = MixedMultiTaskLasso(0.01).fit(X[seen], np.array(list(y[seen])))
        np.testing.assert_array_equal(model.coef_, known.coef_)


def test_rows_without_a_task_and_tasks_of_two_kinds_are_named():
    X, y = np.random.default_rng(0).normal(size=(6, 2)), np.arange(6.0)
    with pytest.raises(ValueError, match=r"row 4 has no task \(1 in all\)"):
        MixedMultiTaskLasso().fit(X, y, task=[1.0, 1, 2, 2, np.nan, 1])
    with pytest.raises(ValueError, match="all numbers or all strings, got int and str"):
        MixedMultiTaskLasso().fit(X, y, task=np.array([1, 1, 2, "a", "a", "a"], dtype=object))
    with pytest.raises(ValueError, match="leave task out"):
        MixedMultiTaskLasso(task_feature=0).fit(X, y, task=[0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ["a", "a"]}, "two tasks have the name 'a'"),
        ({"names": ["a"]}, "got 2, 2, 1, 2"),
        ({"sample_weights": [np.ones(9), None]}, "task 0: sample weights must be 10"),
        ({"sample_weights": [None, -np.ones(12)]}, "task 1: sample weights must be 12 finite"),
        ({"ys": [np.ones(10), np.ones(3)]}, r"task 1: X has 12 rows, but y has shape \(3,\)"),
        ({"Xs": [np.ones((10, 3)), np.ones((12, 2))]}, "task 1 has 2 features, but the first task has 3"),
        ({"Xs": {"a": np.ones((10, 3))}}, "same keys"),
    ],
)
@pytest.mark.parametrize("model", [MixedMultiTaskLasso(), MixedMultiTaskLassoCV()])
def test_separate_tasks_that_do_not_fit_together(model, change, message):
    random = np.random.default_rng(0)
    data = {"Xs": [random.normal(size=(n, 3)) for n in (10, 12)], "ys": [random.normal(size=n) for n in (10, 12)]}
    with pytest.raises(ValueError, match=message):
        model.fit_tasks(**(data | change))


def test_labels_that_are_neither_numbers_nor_classes_are_said():
    X = np.random.default_rng(0).normal(size=(30, 2))
    with pytest.raises(ValueError, match=r"30 different labels in 30 rows .*'patient 0'"):
        MixedMultiTaskLasso().fit(X, [f"patient {k}" for k in range(30)])


def test_a_task_without_any_label_is_named():
    X = np.random.default_rng(0).normal(size=(6, 2))
    with pytest.raises(ValueError, match="task 1 has no observed label"):
        MixedMultiTaskLasso().fit(X, np.c_[np.arange(6.0), np.full(6, np.nan)])


def test_unknown_task_at_predict():
    X = np.random.default_rng(0).normal(size=(20, 2))
    model = MixedMultiTaskLasso(0.1).fit(X, X[:, 0], task=["a", "b"] * 10)
    with pytest.raises(ValueError, match=r"unknown task 'c'.*\['a', 'b'\]"):
        model.predict(X, task="c")


@pytest.mark.parametrize("labels", [[0, 1], [-1, 1], ["ill", "well"], [False, True], [3, 7]])
def test_labels_are_encoded_and_remembered(labels):
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 3))
    y = np.array(labels)[(X[:, 0] > 0).astype(int)]
    model = MixedMultiTaskLasso(0.05).fit(X, y)
    assert set(model.predict(X)) == set(labels)
    assert (model.predict(X) == y).mean() > 0.9
    assert list(model.task_classes_[0]) == sorted(labels)


@pytest.mark.parametrize("alpha", [0.0, 1e-4])
def test_separable_classes_stay_finite(alpha):
    X = np.random.default_rng(0).normal(size=(40, 3))
    model = MixedMultiTaskLasso(alpha).fit(X, X[:, 0] > 0)
    assert np.isfinite(model.coef_).all()
    assert model.dual_gap_ <= 1e-6
    assert model.score(X, X[:, 0] > 0) > 0.9


@pytest.mark.parametrize("features", [5, 80])
def test_alpha_zero_is_the_unpenalized_fit(features):
    random = np.random.default_rng(0)
    X = random.normal(size=(50, features))
    y = X[:, :5] @ np.ones(5) + random.normal(size=50)
    counts = random.poisson(2.0, size=50)
    model = MixedMultiTaskLasso(0.0, losses=["squared", "poisson"]).fit(X, np.c_[y, counts])
    A = np.c_[np.ones(50), X]
    residual = y - A @ np.linalg.lstsq(A, y)[0]
    np.testing.assert_allclose(y - model.predict(X)[:, 0], residual, atol=1e-6)
    assert model.dual_gap_ <= 1e-6


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alpha": -1.0}, "alpha must be at least 0"),
        ({"l1_ratio": 2.0}, "l1_ratio must lie in"),
        ({"losses": "hinge"}, "unknown loss 'hinge'"),
        ({"losses": ["squared"]}, "losses has 1 entries, but there are 2 tasks"),
        ({"losses": {"z": "squared"}}, "unknown task 'z'"),
        ({"loss_weights": "fair"}, "expected 'balanced'"),
        ({"loss_weights": [1.0, -1.0]}, "got -1.0"),
        ({"ridge": -0.1}, "ridge must be at least 0"),
        ({"similarity": 1.0, "graph": np.ones((3, 3))}, "shape"),
        ({"similarity": 1.0, "graph": 1 - np.eye(2)}, "positive semidefinite"),
        ({"similarity": 1.0, "alpha": 0.0}, "needs ridge > 0"),
        ({"tol": 0.0}, "tol must be positive"),
        ({"losses": "poisson"}, "counts ≥ 0"),
        ({"task_feature": "nobody"}, "is a name"),
        ({"task_feature": 9}, "out of range"),
    ],
)
def test_parameters_that_make_no_sense(parameters, message):
    random = np.random.default_rng(0)
    X = random.normal(size=(30, 3))
    with pytest.raises(ValueError, match=message):
        MixedMultiTaskLasso(**{"alpha": 0.1, **parameters}).fit(X, random.normal(size=(30, 2)))


def test_running_out_of_passes_warns_with_the_gap():
    data = simulate(3, 3, samples=50, features=100, active=10)
    with pytest.warns(ConvergenceWarning, match="relative duality gap"):
        MixedMultiTaskLasso(0.01, max_iter=1).fit_tasks(data.Xs, data.ys)


def test_alpha_max_gives_nothing_and_a_little_less_something():
    from lomt.linear import mixed_path

    data = simulate(3, 3, samples=50, features=100, active=10)
    top = mixed_path(data.Xs, data.ys, n_alphas=1).alphas[0]
    with warnings.catch_warnings():
        assert MixedMultiTaskLasso(top * 1.0001).fit_tasks(data.Xs, data.ys).get_support().sum() == 0
        assert MixedMultiTaskLasso(top * 0.99).fit_tasks(data.Xs, data.ys).get_support().sum() >= 1


def test_labels_and_features_that_can_not_be_squared_are_named():
    random = np.random.default_rng(0)
    X = random.normal(size=(40, 3))
    with pytest.raises(ValueError, match=r"task 0: labels up to 2.*e\+201 can't be squared; rescale them"):
        MixedMultiTaskLasso(0.1).fit(X, 1e201 * X[:, 0])
    for factor, size in ((1e201, r"e\+201"), (1e-201, "e-201")):
        with pytest.raises(ValueError, match=rf"feature 1 has values up to 2.*{size}, beyond what can be squared"):
            MixedMultiTaskLasso(0.1).fit(X * [1, factor, 1], X[:, 0])
        with pytest.raises(ValueError, match="feature 1 has values up to"):
            MixedMultiTaskLasso(0.1).fit_tasks([sp.csr_array(X * [1, factor, 1])], [X[:, 0]])


@pytest.mark.parametrize("factor", [1e-201, 1e-120, 1e120, 1e149])
def test_the_unit_of_labels_and_features_does_not_matter(factor):
    X = np.random.default_rng(0).normal(size=(40, 3))
    plain = MixedMultiTaskLasso(0.1).fit(X, X[:, 0] - X[:, 1])
    labels = MixedMultiTaskLasso(0.1).fit(X, factor * (X[:, 0] - X[:, 1]))
    np.testing.assert_allclose(labels.standardized_coef_, plain.standardized_coef_, atol=1e-9)
    if factor > 1e-150:
        features = MixedMultiTaskLasso(0.1).fit(factor * X, X[:, 0] - X[:, 1])
        np.testing.assert_allclose(features.standardized_coef_, plain.standardized_coef_, atol=1e-9)


class Lost(Squared):
    """A loss of the user's that loses its numbers."""

    def null(self, y, weights):
        return super().null(y, weights) * np.nan


def test_a_fit_that_is_not_finite_is_an_error():
    X = np.random.default_rng(0).normal(size=(40, 3))
    model = MixedMultiTaskLasso(0.1, losses=["squared", Lost()], max_iter=20)
    with (
        pytest.warns(ConvergenceWarning),
        pytest.raises(ValueError, match="task 1 has no finite fit: rescale its labels"),
    ):
        model.fit(X, X[:, :2])


def test_the_unit_of_sample_weights_does_not_matter():
    X = np.random.default_rng(0).normal(size=(40, 3))
    plain = MixedMultiTaskLasso(0.1).fit(X, X[:, 0])
    for weight in (1e308, 1e-308):
        weighted = MixedMultiTaskLasso(0.1).fit(X, X[:, 0], sample_weight=np.full(40, weight))
        np.testing.assert_allclose(weighted.coef_, plain.coef_, rtol=1e-12)
        np.testing.assert_allclose(
            weighted.score(X, X[:, 0], sample_weight=np.full(40, weight)), plain.score(X, X[:, 0])
        )


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
@pytest.mark.parametrize("name", ["alpha", "ridge", "similarity", "tol"])
def test_parameters_are_finite(name, value):
    X = np.random.default_rng(0).normal(size=(40, 3))
    with pytest.raises(ValueError, match=f"{name} must be .*got {value}"):
        MixedMultiTaskLasso(**{name: value}).fit(X, X[:, 0])
