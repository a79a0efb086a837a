"""Paths, cross-validation, folds, stability selection."""

from __future__ import annotations

import numpy as np
import pytest

from tailor.linear import (
    MixedMultiTaskLasso,
    MixedMultiTaskLassoCV,
    TaskStratifiedKFold,
    mixed_path,
    simulate,
    stability_selection,
)
from tailor.linear.losses import Logistic
from tailor.linear.problem import TaskInfo
from tailor.linear.scoring import area_under_curve


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


def test_one_standard_error_rule_and_parallel_folds(stacked):
    X, y, task, _ = stacked
    options = {"n_alphas": 12, "alpha_min_ratio": 0.05, "cv": 3}
    simple = MixedMultiTaskLassoCV(rule="1se", **options).fit(X, y, task=task)
    threads = MixedMultiTaskLassoCV(rule="best", n_jobs=1, **options).fit(X, y, task=task)
    np.testing.assert_array_equal(simple.score_path_, threads.score_path_)
    assert simple.alpha_ == threads.alpha_1se_
    assert simple.get_support().sum() <= threads.get_support().sum()


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
