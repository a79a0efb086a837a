"""Paths, cross-validation, folds, stability selection."""

from __future__ import annotations

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from joblib._parallel_backends import SequentialBackend
from joblib.externals.loky import get_reusable_executor

from lomt.linear import (
    MixedMultiTaskLasso,
    MixedMultiTaskLassoCV,
    TaskStratifiedKFold,
    mixed_path,
    simulate,
    stability_selection,
)
from lomt.linear.losses import Logistic
from lomt.linear.problem import TaskInfo
from lomt.linear.scoring import area_under_curve


@pytest.fixture(scope="module")
def stacked():
    data = simulate(2, 2, samples=[60, 60, 80, 80], features=40, active=4, noise=0.3)
    return np.vstack(data.Xs), np.concatenate(data.ys), np.repeat(list("abcd"), [60, 60, 80, 80]), data.support


def test_a_path_is_its_single_fits(stacked):
    X, y, task, _ = stacked
    path = mixed_path(X, y, task, n_alphas=8, alpha_min_ratio=0.05, tol=1e-10)
    assert path.dual_gaps.max() <= 1e-10
    assert not path.supports[0].any()
    for index in (3, 7):
        alone = MixedMultiTaskLasso(path.alphas[index], tol=1e-10).fit(X, y, task=task)
        coef, intercept = path.coefficients(index)
        np.testing.assert_allclose(alone.coef_, coef, atol=1e-6)
        np.testing.assert_allclose(alone.intercept_, intercept, atol=1e-6)


def test_every_fold_has_every_task_and_class(stacked):
    X, y, task, _ = stacked
    tested = np.zeros(len(y))
    for train, test in TaskStratifiedKFold(5).split(X, y, task):
        assert not set(train) & set(test)
        tested[test] += 1
        for name in "abcd":
            assert abs((task[test] == name).sum() - (task == name).sum() / 5) <= 1
        for name in "cd":
            for label in (0.0, 1.0):
                everywhere = ((task == name) & (y == label)).sum() / 5
                assert abs(((task[test] == name) & (y[test] == label)).sum() - everywhere) < 1
    np.testing.assert_array_equal(tested, 1)


@pytest.mark.parametrize("scoring", ["deviance", "auc"])
def test_cross_validation_finds_the_features(stacked, scoring):
    X, y, task, support = stacked
    model = MixedMultiTaskLassoCV(n_alphas=12, alpha_min_ratio=0.05, cv=3, scoring=scoring).fit(X, y, task=task)
    assert model.get_support()[support].all()
    assert model.score_path_.shape == (12, 4, 3)
    assert model.alpha_1se_ >= model.alpha_best_ == model.alpha_
    again = MixedMultiTaskLasso(model.alpha_).fit(X, y, task=task)
    np.testing.assert_allclose(model.coef_, again.coef_, atol=1e-3)


def test_one_standard_error_rule(stacked):
    X, y, task, _ = stacked
    options = {"n_alphas": 12, "alpha_min_ratio": 0.05, "cv": 4}
    simple = MixedMultiTaskLassoCV(rule="1se", **options).fit(X, y, task=task)
    folds = simple.score_path_.mean(axis=1)  # (A, F): every task counts the same
    mean, error = folds.mean(axis=1), folds.std(axis=1, ddof=1) / np.sqrt(4)
    best = mean.argmax()
    within = simple.alphas_[mean >= mean[best] - error[best]]
    assert simple.alpha_best_ == simple.alphas_[best]
    assert simple.alpha_ == simple.alpha_1se_ == within.max() > simple.alpha_best_
    greedy = MixedMultiTaskLassoCV(rule="best", **options).fit(X, y, task=task)
    assert greedy.alpha_ == simple.alpha_best_
    assert simple.get_support().sum() < greedy.get_support().sum()


class _Cluster(SequentialBackend):
    """Stands for joblib's Ray and Dask backends, which register themselves in the same way."""

    supports_return_generator = False
    tasks = 0

    def submit(self, func, callback=None):
        type(self).tasks += 1
        return super().submit(func, callback)


def test_folds_go_wherever_joblib_takes_them(stacked):
    X, y, task, _ = stacked
    options = {"n_alphas": 4, "alpha_min_ratio": 0.2, "cv": 3}
    here = MixedMultiTaskLassoCV(**options).fit(X, y, task=task)
    joblib.register_parallel_backend("cluster", _Cluster)
    for backend in ("threading", "loky", "cluster"):
        with joblib.parallel_config(backend, n_jobs=2):
            there = MixedMultiTaskLassoCV(**options).fit(X, y, task=task)
        np.testing.assert_allclose(there.score_path_, here.score_path_, rtol=1e-12)
    get_reusable_executor().shutdown()


def test_every_way_in_leads_to_the_same_choice(stacked):
    X, y, task, _ = stacked
    options = {"n_alphas": 6, "alpha_min_ratio": 0.1, "cv": 3}
    reference = MixedMultiTaskLassoCV(**options).fit(X, y, task=task)
    parts = {name: task == name for name in "abcd"}
    frame = pd.DataFrame(X, columns=[f"x{j}" for j in range(40)])
    fits = [
        MixedMultiTaskLassoCV(**options).fit(sp.csr_array(X), y, task=task),
        MixedMultiTaskLassoCV(**options, task_feature="group").fit(frame.assign(group=task), y),
        MixedMultiTaskLassoCV(**options).fit_tasks(*({n: part[rows] for n, rows in parts.items()} for part in (X, y))),
        MixedMultiTaskLassoCV(**options).fit_tasks(
            [frame[rows] for rows in parts.values()],
            [np.where(y[task == name] > 0, "yes", "no") if name in "cd" else y[task == name] for name in "abcd"],
            names=list("abcd"),
        ),
    ]
    for fit in fits:
        np.testing.assert_allclose(fit.coef_, reference.coef_, atol=1e-4)
        np.testing.assert_allclose(fit.score_path_, reference.score_path_, atol=1e-4)
        assert fit.task_names_ == list("abcd")
    assert fits[1].coef_names_ == fits[3].coef_names_ == [f"x{j}" for j in range(40)]
    assert set(fits[3].predict(frame, task="c")) == {"no", "yes"}


def test_one_x_with_missing_labels_is_cross_validated_and_halved():
    random = np.random.default_rng(0)
    X = random.normal(size=(90, 10))
    Y = np.c_[X[:, 0] + 0.1 * random.normal(size=90), X[:, 0] > 0.2].astype(float)
    Y[:30, 0], Y[60:, 1] = np.nan, np.nan
    model = MixedMultiTaskLassoCV(n_alphas=8, cv=3).fit(X, Y)
    assert not np.isnan(model.score_path_).any()
    assert model.get_support()[0]
    assert stability_selection(X, Y, n_pairs=4, n_alphas=5).support()[0]


def test_a_class_with_fewer_samples_than_folds_is_left_out_where_it_is_missing():
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 4))
    Y = np.c_[X[:, 0], np.zeros(60)]
    Y[:2, 1] = 1
    model = MixedMultiTaskLassoCV(n_alphas=4, cv=5, scoring="auc").fit(X, Y)
    assert np.isnan(model.score_path_[:, 1]).sum() == 3 * 4  # no positive in three of five folds
    assert not np.isnan(model.score_path_[:, 0]).any()


def test_separate_tasks_are_halved_like_stacked_ones(stacked):
    X, y, task, _ = stacked
    options = {"n_pairs": 2, "n_alphas": 4}
    whole = stability_selection(X, y, task, **options)
    parts = stability_selection(*({n: part[task == n] for n in "abcd"} for part in (X, y)), **options)
    np.testing.assert_array_equal(whole.frequencies, parts.frequencies)


def test_held_out_scores_are_those_of_the_fold_refitted_by_hand(stacked):
    X, y, task, _ = stacked
    splits = list(TaskStratifiedKFold(3, random_state=1).split(X, y, task))
    model = MixedMultiTaskLassoCV(alphas=[0.3, 0.1], cv=splits, tol=1e-9).fit(X, y, task=task)
    train, test = splits[1]
    by_hand = MixedMultiTaskLasso(0.1, tol=1e-9).fit(X[train], y[train], task=task[train])
    expected = by_hand.task_scores(X[test], y[test], task=task[test])
    np.testing.assert_allclose(model.score_path_[1, :, 1], [expected[name] for name in "abcd"], atol=1e-6)


def test_area_under_curve_keeps_its_direction():
    task = TaskInfo("t", Logistic(), np.array([0, 1]), slice(0, 1), 0.0, 1.0, 1.0, 0)
    y = np.array([[0.0, 0, 1, 1]])
    assert area_under_curve(task, np.array([[1.0, 2, 3, 4]]), y, np.ones(4)) == 1
    assert area_under_curve(task, np.array([[4.0, 3, 2, 1]]), y, np.ones(4)) == 0
    assert np.isnan(area_under_curve(task, np.ones((1, 4)), np.ones((1, 4)), np.ones(4)))


def test_stability_selection_keeps_the_true_features_and_few_others(stacked):
    X, y, task, support = stacked
    result = stability_selection(X, y, task, n_pairs=6, n_alphas=10)
    assert (np.diff(result.frequencies, axis=0) >= 0).all()
    assert result.frequencies[-1][support].min() == 1
    chosen = result.support(threshold=0.9, false_positives=1.0)
    assert chosen[support].sum() >= 3
    assert chosen[~support].sum() <= 1
    with pytest.raises(ValueError, match=r"between 0\.5 and 1"):
        result.support(threshold=0.3)
