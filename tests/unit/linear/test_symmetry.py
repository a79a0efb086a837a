"""Adding the same to all classes of a multinomial task: the losses do not see it, the penalty does."""

from __future__ import annotations

import numpy as np
import pytest

from lomt.linear.coupling import quadratic_penalty
from lomt.linear.penalty import MixedPenalty
from lomt.linear.problem import Problem
from lomt.linear.symmetry import recentre
from lomt.linear.tasks import Samples


def problem_of(*losses):
    random = np.random.default_rng(0)
    labels = {"squared": random.normal(size=30), "multinomial": np.array(list("abc") * 10)}
    tasks = [Samples(t, random.normal(size=(30, 6)), labels[loss], np.ones(30)) for t, loss in enumerate(losses)]
    return Problem(tasks, list(losses), None, True)


@pytest.mark.parametrize(("ratio", "ridge"), [(0.0, 0.0), (0.0, 0.4), (0.5, 0.1), (1.0, 0.0)])
def test_the_losses_stay_and_the_penalty_falls(ratio, ridge):
    problem = problem_of("squared", "multinomial")
    penalty = MixedPenalty(0.3, ratio, quadratic_penalty(problem, ridge, 0.0, None))
    W = np.random.default_rng(1).normal(size=(4, 6)) + 2
    change = recentre(problem, penalty, W)
    assert not change[0].any()
    z = np.empty_like(problem.y), np.empty_like(problem.y)
    for c, where in enumerate(problem.column_slices):
        rows = problem.designs[problem.design_of[c]].columns(np.arange(6))
        z[0][where], z[1][where] = W[c] @ rows, (W + change)[c] @ rows
    assert problem.value(z[1]) == pytest.approx(problem.value(z[0]), rel=1e-12)
    assert penalty.value(W + change) < penalty.value(W)
    if ratio == 0:  # then nothing else is better
        for shift in (-1e-3, 1e-3):
            other = W + change
            other[1:] += shift
            assert penalty.value(other) > penalty.value(W + change)


def test_nothing_to_do_without_a_multinomial_task():
    problem = problem_of("squared", "squared")
    assert recentre(problem, MixedPenalty(0.3, 0.0, np.zeros((2, 2))), np.ones((2, 6))) is None
