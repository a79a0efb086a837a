"""Which features survive when the data are halved again and again."""

# ruff: noqa: N803 - X, W, G and Q keep the names of the papers and of scikit-learn
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight

from lomt.linear.cross_validation import _rows
from lomt.linear.estimator import MixedMultiTaskLasso
from lomt.linear.folds import TaskStratifiedKFold
from lomt.linear.inputs import take_task_column
from lomt.linear.losses.base import Array
from lomt.linear.path import alpha_grid, descend_path
from lomt.linear.stacking import are_separate, stack_tasks


@dataclass(frozen=True)
class StabilitySelection:
    """How often each feature was selected on halves of the data.

    Attributes:
        alphas: The values of α `(A,)`.
        frequencies: Share of halves in which a feature is selected at an α *or a larger one* `(A, p)`.
        selected_counts: Mean number of features that a half selects, down to each α `(A,)`.
        names: Names of the features `(p,)`.
    """

    alphas: Array
    frequencies: Array
    selected_counts: Array
    names: list[Any]

    def support(self, threshold: float = 0.75, false_positives: float = 1.0) -> np.ndarray:
        """Features that are selected in at least `threshold` of the halves `(p,)`.

        The path is followed down only as far as q selected features keep the expected number of false ones,
        bounded by q² / ((2·threshold − 1) p) (Meinshausen and Bühlmann, 2010, Theorem 1), at most `false_positives`.

        Raises:
            ValueError: If the threshold is not between ½ and 1.
        """
        if not 0.5 < threshold <= 1:
            raise ValueError(f"threshold must lie between 0.5 and 1, got {threshold}")
        bound = self.selected_counts**2 / ((2 * threshold - 1) * self.frequencies.shape[1])
        allowed = np.flatnonzero(bound <= false_positives)
        if not len(allowed):
            return np.zeros(self.frequencies.shape[1], dtype=bool)
        return np.asarray(self.frequencies[allowed[-1]] >= threshold)


def stability_selection(
    X: Any,
    y: Any,
    task: Any = None,
    sample_weight: Any = None,
    *,
    n_pairs: int = 50,
    alphas: Any = None,
    n_alphas: int = 30,
    alpha_min_ratio: float = 0.1,
    n_jobs: int | None = None,
    random_state: Any = 0,
    **parameters: Any,
) -> StabilitySelection:
    """Stability selection with complementary pairs of halves, stratified by task and class.

    Args:
        X: Features `(N, p)`; or one matrix a task, in a sequence or a mapping, with `y` (and weights) likewise.
        y: Labels, as for `MixedMultiTaskLasso.fit`.
        task: The task of each row `(N,)`.
        sample_weight: `(N,)`.
        n_pairs: Number of pairs of halves (Shah and Samworth, 2013); each pair is two fits of a path.
        alphas: The values of α; by default `n_alphas` from where everything is zero.
        n_alphas: Number of values.
        alpha_min_ratio: The last α over the first.
        n_jobs: Number of pairs at a time, as joblib understands it.
        random_state: Seed of the halves.
        **parameters: Parameters of `MixedMultiTaskLasso` other than `alpha`.
    """
    if n_pairs < 1:
        raise ValueError(f"n_pairs must be at least 1, got {n_pairs}")
    if are_separate(X):
        X, y, task, sample_weight = stack_tasks(X, y, sample_weight, None)
    model = MixedMultiTaskLasso(**parameters)
    solver = model._solver(model._samples(X, y, task, sample_weight))
    grid = alpha_grid(solver.alpha_max, n_alphas, alpha_min_ratio) if alphas is None else np.sort(alphas)[::-1]
    losses = {info.name: info.loss for info in solver.problem.tasks}
    model.set_params(losses=losses)
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
    groups = take_task_column(X, model.task_feature)[1] if model.task_feature is not None else task
    seeds = check_random_state(random_state).randint(2**31 - 1, size=n_pairs)
    halves = [half for seed in seeds for _, half in TaskStratifiedKFold(2, random_state=int(seed)).split(X, y, groups)]
    progress = 10 * bool(model.verbose)
    model.set_params(verbose=False)
    runs = Parallel(n_jobs=n_jobs, verbose=progress)(
        delayed(_selected)(model, grid, (X, y, task, weights), half) for half in halves
    )
    ever = np.stack(runs)
    model._tasks, model.coef_ = solver.problem.tasks, np.zeros((solver.problem.columns, solver.problem.features))
    return StabilitySelection(grid, ever.mean(axis=0), ever.sum(axis=2).mean(axis=0), model.coef_names_)


def _selected(
    model: MixedMultiTaskLasso, alphas: Array, data: tuple[Any, Any, Any, Array], rows: np.ndarray
) -> np.ndarray:
    """Whether each feature is selected down to each α on some rows `(A, p)`."""
    X, y, task, weights = data
    pick = [None if part is None else _rows(part, rows) for part in (X, y, task)]
    path = descend_path(model._solver(model._samples(pick[0], pick[1], pick[2], weights[rows])), alphas)
    return np.maximum.accumulate(path.supports, axis=0)
