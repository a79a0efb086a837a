"""`MixedMultiTaskLassoCV`: the estimator that chooses its own α."""

# ruff: noqa: N803 - X, W, G and Q keep the names of the papers and of scikit-learn
from __future__ import annotations

from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.model_selection import check_cv
from sklearn.utils.validation import _check_sample_weight

from lomt.linear.estimator import MixedModelParameters, MixedMultiTaskLasso
from lomt.linear.folds import TaskStratifiedKFold
from lomt.linear.inputs import take_task_column
from lomt.linear.losses.base import Array
from lomt.linear.path import MixedPath, alpha_grid, descend_path
from lomt.linear.scoring import SCORINGS
from lomt.linear.stacking import stack_tasks
from lomt.linear.tasks import Losses
from lomt.linear.weighting import LossWeights


class MixedMultiTaskLassoCV(MixedModelParameters):
    """`MixedMultiTaskLasso` with α chosen by cross-validation.

    One grid of α, from the largest useful value on all data, serves all folds; folds are stratified by task and
    class; every task counts the same. Folds run in parallel through joblib: under
    `joblib.parallel_backend("ray")` or `"dask"` they run on a cluster.

    Args:
        alphas: The values of α; by default `n_alphas`.
        n_alphas: Number of values.
        alpha_min_ratio: The last α over the first.
        cv: Number of folds, a splitter (its `split` gets the tasks as `groups`), or an iterable of (train, test).
        scoring: `"deviance"`: share of deviance explained in every task (R² for least squares); `"auc"`: area under
            the curve (of fixed direction) for classification, R² for the rest.
        rule: `"best"`, or `"1se"`: the largest α whose mean score is within one standard error of the best.
        n_jobs: Number of folds at a time, as joblib understands it.
        random_state: Seed of the default folds.
        losses: As for `MixedMultiTaskLasso`, as is all that follows.
        loss_weights: See there.
        l1_ratio: See there.
        ridge: See there.
        similarity: See there.
        graph: See there.
        standardize: See there.
        task_feature: See there.
        tol: See there.
        max_iter: See there.
        verbose: See there.

    Attributes:
        alpha_: The α chosen by `rule`.
        alpha_best_: The α of the best mean score.
        alpha_1se_: The α of the one-standard-error rule.
        alphas_: The grid `(A,)`.
        score_path_: Score of each α, task and fold `(A, T, F)`; NaN where a fold could not tell.
        path_: The `MixedPath` on all data.
        coef_: As for `MixedMultiTaskLasso`, as are its other attributes.
    """

    def __init__(
        self,
        *,
        alphas: Any = None,
        n_alphas: int = 50,
        alpha_min_ratio: float = 0.01,
        cv: Any = 5,
        scoring: str = "deviance",
        rule: str = "best",
        n_jobs: int | None = None,
        random_state: Any = 0,
        losses: Losses = "auto",
        loss_weights: LossWeights = "balanced",
        l1_ratio: float = 0.0,
        ridge: float = 0.0,
        similarity: float = 0.0,
        graph: Any = None,
        standardize: bool = True,
        task_feature: int | str | None = None,
        tol: float = 1e-6,
        max_iter: int = 20_000,
        verbose: bool = False,
    ) -> None:
        self.alphas = alphas
        self.n_alphas = n_alphas
        self.alpha_min_ratio = alpha_min_ratio
        self.cv = cv
        self.scoring = scoring
        self.rule = rule
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.losses = losses
        self.loss_weights = loss_weights
        self.l1_ratio = l1_ratio
        self.ridge = ridge
        self.similarity = similarity
        self.graph = graph
        self.standardize = standardize
        self.task_feature = task_feature
        self.tol = tol
        self.max_iter = max_iter
        self.verbose = verbose

    def fit(self, X: Any, y: Any, task: Any = None, sample_weight: Any = None) -> MixedMultiTaskLassoCV:
        """Choose α on folds, then fit all data; arguments as for `MixedMultiTaskLasso.fit`.

        Raises:
            ValueError: If data or parameters make no sense.
        """
        if self.scoring not in SCORINGS:
            raise ValueError(f"unknown scoring {self.scoring!r}: expected one of {SCORINGS}")
        if self.rule not in ("best", "1se"):
            raise ValueError(f"unknown rule {self.rule!r}: expected 'best' or '1se'")
        samples = self._samples(X, y, task, sample_weight)
        solver = self._solver(samples)
        grid = alpha_grid(solver.alpha_max, self.n_alphas, self.alpha_min_ratio) if self.alphas is None else self.alphas
        self.path_: MixedPath = descend_path(solver, grid)
        self.alphas_ = self.path_.alphas
        # Losses are fixed by all data: a fold must not take a rare third value for a class.
        losses = {info.name: info.loss for info in solver.problem.tasks}
        model = MixedMultiTaskLasso(**self._shared(losses))
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
        splits = self._splits(X, y, task)
        scores = Parallel(n_jobs=self.n_jobs, verbose=10 * bool(self.verbose))(
            delayed(fold_scores)(model, self.alphas_, self.scoring, (X, y, task, weights), train, test, list(losses))
            for train, test in splits
        )
        self.score_path_ = np.stack(scores, axis=2)
        chosen = self._choose()
        self._adopt(solver.problem, self.path_.solutions[chosen], solver.null_objective)
        self.alpha_ = float(self.alphas_[chosen])
        return self

    def fit_tasks(self, Xs: Any, ys: Any, sample_weights: Any = None, names: Any = None) -> MixedMultiTaskLassoCV:
        """As `fit`, for one X and y a task; arguments as for `MixedMultiTaskLasso.fit_tasks`.

        The tasks end up in the order of their sorted names.
        """
        if self.task_feature is not None:
            raise ValueError(f"separate tasks need no task_feature, but it is {self.task_feature!r}")
        X, y, task, weights = stack_tasks(Xs, ys, sample_weights, names)
        self.fit(X, y, task=task, sample_weight=weights)
        self._labels_2d = len(self.task_names_) > 1
        return self

    def _choose(self) -> int:
        """Index of the α by `rule`; sets what both rules say."""
        mean, error = score_curve(self.score_path_)
        best = int(np.nanargmax(mean)) if np.isfinite(mean).any() else 0
        enough = np.flatnonzero(mean >= mean[best] - error[best])
        simplest = int(enough[0]) if len(enough) else best
        self.alpha_best_, self.alpha_1se_ = float(self.alphas_[best]), float(self.alphas_[simplest])
        return best if self.rule == "best" else simplest

    def _shared(self, losses: Losses) -> dict[str, Any]:
        names = ("loss_weights", "l1_ratio", "ridge", "similarity", "graph", "standardize", "task_feature", "tol")
        return {"losses": losses, "max_iter": self.max_iter, **{name: getattr(self, name) for name in names}}

    def _splits(self, X: Any, y: Any, task: Any) -> list[tuple[np.ndarray, np.ndarray]]:
        groups = take_task_column(X, self.task_feature)[1] if self.task_feature is not None else task
        if isinstance(self.cv, int | np.integer):
            splitter: Any = TaskStratifiedKFold(int(self.cv), random_state=self.random_state)
        else:
            splitter = check_cv(self.cv)
        return list(splitter.split(X, y, groups))


def fold_scores(
    model: MixedMultiTaskLasso,
    alphas: Array,
    scoring: str,
    data: tuple[Any, Any, Any, Array],
    train: Any,
    test: Any,
    names: list[Any],
) -> Array:
    """Scores `(A, T)` on the test rows of one fold of a path fitted on its train rows."""
    X, y, task, weights = data
    pick, held = ([None if part is None else _rows(part, rows) for part in (X, y, task)] for rows in (train, test))
    model = clone(model)
    samples = model._samples(pick[0], pick[1], pick[2], weights[train])
    if isinstance(model.losses, dict):
        model.set_params(losses={sample.name: model.losses[sample.name] for sample in samples})
    solver = model._solver(samples)
    scores = np.full((len(alphas), len(names)), np.nan)
    for row, alpha in enumerate(alphas):
        model._adopt(solver.problem, solver.solve(float(alpha)), solver.null_objective)
        found = model.task_scores(held[0], held[1], held[2], weights[test], scoring=scoring)
        scores[row] = [found.get(name, np.nan) for name in names]
    return scores


def score_curve(score_path: Array) -> tuple[Array, Array]:
    """Mean over tasks and folds of `score_path (A, T, F)`, and its standard error over the folds, `(A,)` each."""
    with np.errstate(invalid="ignore"):
        known = ~np.isnan(score_path)
        count = known.sum(axis=1)
        per_fold = np.where(count > 0, np.nansum(score_path, axis=1) / np.maximum(count, 1), np.nan)
    folds = (~np.isnan(per_fold)).sum(axis=1)
    mean = np.where(folds > 0, np.nansum(per_fold, axis=1) / np.maximum(folds, 1), np.nan)
    spread = np.nansum((per_fold - mean[:, None]) ** 2, axis=1) / np.maximum(folds - 1, 1)
    return mean, np.sqrt(spread / np.maximum(folds, 1))


def _rows(part: Any, rows: np.ndarray) -> Any:
    if hasattr(part, "iloc"):
        return part.iloc[rows]
    if hasattr(part, "tocsr"):
        return part.tocsr()[rows]
    return np.asarray(part)[rows]
