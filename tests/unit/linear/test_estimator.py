"""The estimator among scikit-learn's: its own checks, every way in, pipelines, searches, pickles."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn import config_context
from sklearn.base import clone
from sklearn.feature_selection import SelectFromModel
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from lomt.linear import MixedMultiTaskLasso, MixedMultiTaskLassoCV, TaskStratifiedKFold, simulate


@parametrize_with_checks([MixedMultiTaskLasso(alpha=0.1), MixedMultiTaskLassoCV(n_alphas=4, cv=3, alpha_min_ratio=0.1)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def data():
    return simulate(2, 2, samples=[40, 50, 60, 70], features=12, active=3)


@pytest.fixture(scope="module")
def stacked(data):
    task = np.repeat(["a", "b", "c", "d"], [40, 50, 60, 70])
    return np.vstack(data.Xs), np.concatenate(data.ys), task


def test_every_way_in_leads_to_the_same_fit(data, stacked):
    X, y, task = stacked
    reference = MixedMultiTaskLasso(0.2).fit_tasks(data.Xs, data.ys)
    frame = pd.DataFrame(X, columns=[f"x{j}" for j in range(12)])
    shuffled = np.random.default_rng(0).permutation(len(X))
    fits = [
        MixedMultiTaskLasso(0.2).fit(X, y, task=task),
        MixedMultiTaskLasso(0.2).fit(X[shuffled], y[shuffled], task=task[shuffled]),
        MixedMultiTaskLasso(0.2).fit(sp.csr_array(X), y, task=task),
        MixedMultiTaskLasso(0.2, task_feature="group").fit(frame.assign(group=task), y),
        MixedMultiTaskLasso(0.2, task_feature=-1).fit(np.c_[X, np.unique(task, return_inverse=True)[1]], y),
        MixedMultiTaskLasso(0.2).fit_tasks(dict(zip("abcd", data.Xs)), dict(zip("abcd", data.ys))),  # noqa: B905
    ]
    for fit in fits:
        np.testing.assert_allclose(fit.coef_, reference.coef_, atol=1e-4)
    assert fits[0].task_names_ == ["a", "b", "c", "d"]
    assert fits[3].coef_names_ == [f"x{j}" for j in range(12)]
    assert list(fits[3].to_frame().columns) == ["a", "b", "c", "d"]
    assert fits[3].predict(frame.assign(group=task)).shape == y.shape


def test_same_x_with_missing_labels_is_each_task_on_its_own_rows():
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 10))
    Y = np.c_[X[:, 0], X[:, 0] > 0.2, X[:, 1]].astype(float)
    Y[:20, 0], Y[50:, 1] = np.nan, np.nan
    whole = MixedMultiTaskLasso(0.2).fit(X, Y)
    parts = MixedMultiTaskLasso(0.2).fit_tasks([X[20:], X[:50], X], [Y[20:, 0], Y[:50, 1], Y[:, 2]])
    np.testing.assert_allclose(whole.coef_, parts.coef_, atol=1e-5)
    assert whole.predict(X).shape == (60, 3)
    assert 0 < whole.score(X, Y) <= 1


def test_routing_search_and_pipeline(stacked):
    X, y, task = stacked
    with config_context(enable_metadata_routing=True):
        model = MixedMultiTaskLasso().set_fit_request(task=True).set_score_request(task=True)
        search = GridSearchCV(model, {"alpha": [0.05, 0.5]}, cv=list(TaskStratifiedKFold(3).split(X, y, task)))
        search.fit(X, y, task=task)
        assert search.best_params_ == {"alpha": 0.05}
        scaled = make_pipeline(StandardScaler(), clone(model).set_params(alpha=0.1).set_predict_request(task=True))
        bare = MixedMultiTaskLasso(0.1).fit(StandardScaler().fit_transform(X), y, task=task)
        predicted = scaled.fit(X, y, task=task).predict(X, task=task)
        np.testing.assert_array_equal(predicted, bare.predict(StandardScaler().fit_transform(X), task=task))
        assert scaled.score(X, y, task=task) == bare.score(StandardScaler().fit_transform(X), y, task=task)
    table = np.c_[X, np.unique(task, return_inverse=True)[1]]
    pipeline = make_pipeline(FunctionTransformer(), MixedMultiTaskLasso(0.1, task_feature=12))
    assert cross_val_score(pipeline, table, y, cv=list(TaskStratifiedKFold(3).split(X, y, task))).min() > 0.3


def test_standardization_makes_units_irrelevant(stacked):
    X, y, task = stacked
    scale = np.logspace(-3, 3, 12)
    stretched = np.where(task == "a", 100 * y + 7, y)
    plain = MixedMultiTaskLasso(0.2, tol=1e-9).fit(X, y, task=task)
    scaled = MixedMultiTaskLasso(0.2, tol=1e-9).fit(X * scale + 5, stretched, task=task)
    np.testing.assert_allclose(scaled.standardized_coef_, plain.standardized_coef_, atol=1e-5)
    np.testing.assert_allclose(
        scaled.predict(X[:5] * scale + 5, task=["a"] * 5), 100 * plain.predict(X[:5], task="a") + 7
    )


def test_integer_weights_are_repetitions(stacked):
    X, y, task = stacked
    weights = np.random.default_rng(1).integers(0, 4, size=len(y))
    repeated = [np.repeat(part, weights, axis=0) for part in (X, y, task)]
    a = MixedMultiTaskLasso(0.1, tol=1e-9).fit(X, y, task=task, sample_weight=weights)
    b = MixedMultiTaskLasso(0.1, tol=1e-9).fit(repeated[0], repeated[1], task=repeated[2])
    np.testing.assert_allclose(a.coef_, b.coef_, atol=1e-6)


def test_balanced_tasks_enter_together_whatever_their_classes_share():
    random = np.random.default_rng(2)
    X = random.normal(size=(4000, 6))
    noise = random.normal(size=4000)
    Y = np.c_[X[:, 0] + noise, X[:, 0] + noise > 1.5, random.poisson(np.exp(0.4 * X[:, 0]))].astype(float)
    losses = ["squared", "logistic", "poisson"]
    from lomt.linear.inputs import same_x_samples
    from lomt.linear.intercepts import settle
    from lomt.linear.problem import Problem

    problem = Problem(same_x_samples(X, list(Y.T), [0, 1, 2], np.ones(4000)), losses, "balanced", True)
    _, _, theta = settle(problem, problem.null_z)
    noise_level = np.sqrt((problem.correlate(theta)[:, 1:] ** 2).mean(axis=1)) * np.sqrt(4000)
    np.testing.assert_allclose(noise_level, 1.0, rtol=0.6)
    spread = [np.sqrt((theta[where] ** 2).sum() * 4000) for where in problem.column_slices]
    np.testing.assert_allclose(spread, 1.0, rtol=1e-9)


def test_mtlcomb_weights_are_one_and_two(stacked):
    X, y, task = stacked
    named = MixedMultiTaskLasso(0.1, loss_weights="mtlcomb").fit(X, y, task=task)
    listed = MixedMultiTaskLasso(0.1, loss_weights=[1, 1, 2, 2]).fit(X, y, task=task)
    np.testing.assert_array_equal(named.coef_, listed.coef_)


def test_probabilities_and_labels_agree(stacked):
    X, y, task = stacked
    model = MixedMultiTaskLasso(0.05).fit(X, y, task=task)
    every = model.predict_proba(X)
    assert sorted(every) == ["c", "d"]
    np.testing.assert_array_equal(model.predict(X, task="c"), every["c"].argmax(axis=1))
    rows = model.predict_proba(X, task=task)
    assert np.isnan(rows[task == "a"]).all()
    np.testing.assert_allclose(rows[task == "d"].sum(axis=1), 1)


def test_multinomial_task_next_to_a_regression():
    random = np.random.default_rng(3)
    X = random.normal(size=(120, 5))
    kind = np.array(["low", "mid", "top"])[np.digitize(X[:, 0], [-0.5, 0.5])]
    table = pd.DataFrame({"kind": kind, "size": X[:, 0] + 0.1 * random.normal(size=120)})
    model = MixedMultiTaskLasso(0.1).fit(X, table)
    assert model.coef_.shape == (4, 5)
    assert model.columns_ == [("kind", "low"), ("kind", "mid"), ("kind", "top"), ("size", None)]
    assert model.get_support(indices=True).tolist() == [0]
    prediction = model.predict(X)
    assert (prediction[:, 0] == kind).mean() > 0.75
    exact = MixedMultiTaskLasso(0.1, tol=1e-12, standardize=False).fit(X, table)
    np.testing.assert_allclose(exact.coef_[:3].sum(axis=0), 0, atol=1e-5)


@pytest.mark.parametrize("model", [MixedMultiTaskLasso(0.2), MixedMultiTaskLassoCV(n_alphas=4, cv=3)])
def test_pickle_clone_and_selection(stacked, model):
    X, y, task = stacked
    model.fit(X, y, task=task)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X, task=task), model.predict(X, task=task))
    assert not hasattr(clone(model), "coef_")
    np.testing.assert_allclose(model.feature_importances_, np.linalg.norm(model.standardized_coef_, axis=0))
    picked = SelectFromModel(model, prefit=True, threshold=1e-12, importance_getter="feature_importances_")
    np.testing.assert_array_equal(picked.get_support(), model.get_support())


def test_a_loss_from_outside_is_accepted():
    from lomt.linear import Huber

    random = np.random.default_rng(4)
    X = random.normal(size=(40, 3))
    y = X[:, 0] + 0.1 * random.normal(size=40)
    wide = MixedMultiTaskLasso(0.05, losses=Huber(1e6), standardize=False).fit(X, y)
    np.testing.assert_allclose(wide.coef_, MixedMultiTaskLasso(0.05, standardize=False).fit(X, y).coef_, atol=0.05)


def test_scaler_before_it_changes_nothing_for_one_task():
    random = np.random.default_rng(5)
    X = random.normal(size=(50, 4)) * [1, 10, 100, 1000]
    y = X[:, 0] + 0.01 * X[:, 2]
    bare = MixedMultiTaskLasso(0.1).fit(X, y).predict(X)
    np.testing.assert_allclose(make_pipeline(StandardScaler(), MixedMultiTaskLasso(0.1)).fit(X, y).predict(X), bare)


def test_progress_is_written_on_request(stacked, capsys):
    X, y, task = stacked
    MixedMultiTaskLasso(0.2, verbose=True).fit(X, y, task=task)
    assert "relative gap" in capsys.readouterr().err
