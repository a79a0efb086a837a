"""`MixedMultiTaskLasso`: the estimator."""

# ruff: noqa: N803 - X, W, G and Q keep the names of the papers and of scikit-learn
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils.validation import _check_sample_weight, validate_data

from lomt.linear.coupling import quadratic_penalty
from lomt.linear.inputs import (
    check_magnitude,
    feature_matrix,
    same_x_samples,
    separate_samples,
    stacked_samples,
    take_task_column,
)
from lomt.linear.losses.base import Array
from lomt.linear.penalty import MixedPenalty
from lomt.linear.prediction import MixedLinearModel, _label_columns
from lomt.linear.problem import Problem
from lomt.linear.solver import Solution, Solver
from lomt.linear.tasks import Losses, Samples
from lomt.linear.weighting import LossWeights


class MixedModelParameters(MixedLinearModel):
    """Reading of data and parameters, which a fit at one α and a fit along a path have in common."""

    losses: Losses
    loss_weights: LossWeights
    l1_ratio: float
    ridge: float
    similarity: float
    graph: Any
    standardize: bool
    tol: float
    max_iter: int
    verbose: bool

    def _samples(self, X: Any, y: Any, task: Any, sample_weight: Any) -> list[Samples]:
        """The tasks in stacked or same-X data, after the checks that scikit-learn asks for."""
        given = X
        if self.task_feature is not None:
            if task is not None:
                raise ValueError(f"the task comes from column {self.task_feature!r} (task_feature); leave task out")
            X, task = take_task_column(X, self.task_feature)
        matrix = feature_matrix(X)
        check_magnitude(matrix, X)
        validate_data(self, given, y, skip_check_array=True)
        columns = _label_columns(y)
        if any(len(column) != matrix.shape[0] for column in columns):
            raise ValueError(f"X has {matrix.shape[0]} rows, but y has {len(columns[0])}")
        weights = _check_sample_weight(sample_weight, matrix, dtype=np.float64, ensure_non_negative=True)
        self._labels_2d = task is None and np.asarray(y).ndim == 2
        if task is None:
            names = list(y.columns) if hasattr(y, "columns") else list(range(len(columns)))
            return same_x_samples(matrix, columns, names, weights)
        labels = np.asarray(task)
        if labels.shape != (matrix.shape[0],) or len(columns) != 1:
            raise ValueError(
                f"stacked data need one label and one task a row: X has {matrix.shape[0]} rows, "
                f"y {len(columns)} column(s), task shape {labels.shape}"
            )
        return stacked_samples(matrix, columns[0], labels, weights)

    def _separate(self, Xs: Any, ys: Any, sample_weights: Any = None, names: Any = None) -> list[Samples]:
        """The tasks in data that come apart from the start."""
        if self.task_feature is not None:
            raise ValueError(f"separate tasks need no task_feature, but it is {self.task_feature!r}")
        samples = separate_samples(Xs, ys, sample_weights, names)
        first = next(iter(Xs.values())) if isinstance(Xs, Mapping) else Xs[0]
        validate_data(self, first, skip_check_array=True)
        self._labels_2d = len(samples) > 1
        return samples

    def _solver(self, samples: list[Samples]) -> Solver:
        """The solver for the tasks, under this estimator's parameters."""
        if not 0 <= self.l1_ratio <= 1:
            raise ValueError(f"l1_ratio must lie in [0, 1], got {self.l1_ratio}")
        if not 0 < self.tol < np.inf:
            raise ValueError(f"tol must be positive and finite, got {self.tol}")
        problem = Problem(samples, self.losses, self.loss_weights, self.standardize)
        Q = quadratic_penalty(problem, self.ridge, self.similarity, self.graph)
        penalty = MixedPenalty(0.0, self.l1_ratio, Q)
        return Solver(problem, penalty, self.tol, self.max_iter, self.verbose)

    def _adopt(self, problem: Problem, solution: Solution, null_objective: float) -> None:
        """Set the fitted attributes, in the units of the data."""
        self._tasks = problem.tasks
        self.task_names_ = [info.name for info in problem.tasks]
        self.coef_, self.intercept_ = original_units(problem, solution)
        lost = ~(np.isfinite(self.coef_).all(axis=1) & np.isfinite(self.intercept_))
        for info in problem.tasks:
            if lost[info.columns].any():
                raise ValueError(f"task {info.name!r} has no finite fit: rescale its labels, features or weights")
        self.standardized_coef_ = np.zeros_like(self.coef_)
        self.standardized_coef_[:, solution.features] = solution.W
        self.feature_importances_ = np.sqrt((self.standardized_coef_**2).sum(axis=0))
        self.columns_ = [
            (info.name, None if info.columns.stop - info.columns.start == 1 else label)
            for info in problem.tasks
            for label in (info.classes if info.classes is not None else [None])[
                : info.columns.stop - info.columns.start
            ]
        ]
        self.dual_gap_ = solution.gap / null_objective if null_objective > 0 else 0.0
        self.objective_ = solution.objective
        self.null_objective_ = null_objective
        self.n_iter_ = solution.iterations


class MixedMultiTaskLasso(MixedModelParameters):
    r"""Features shared by regression, classification and count tasks, found in one convex fit.

    Minimizes, over a row of coefficients for each feature and free intercepts,

    Σ_t ω_t · mean ℓ_t(y_t, X_t w_t + b_t) + α Σ_j [(1 − r)‖w_j‖₂ + r‖w_j‖₁] + (C/2) tr(W L Wᵀ) + (C₂/2)‖W‖²,

    the objective of MTLComb (arXiv 2405.09886), with losses, penalties and weights that can be chosen. With
    squared losses, the same X for all tasks and no standardization, α is that of `sklearn.linear_model.MultiTaskLasso`.

    Args:
        alpha: Weight α ≥ 0 of the row-sparse penalty.
        losses: `"auto"` (two distinct values: logistic; other labels that are no numbers: multinomial; else
            squared), or `"squared"`, `"logistic"`, `"multinomial"`, `"poisson"`, `"huber"` or a `Loss` for all tasks,
            a sequence of such in the order of `task_names_`, or a mapping from task names.
        loss_weights: `"balanced"`: every task's null gradient is equally large, so that all enter at the same α
            (1/√(π(1 − π)) for two classes); `"mtlcomb"`: 2 for logistic, 1 for squared, as the R package; None: 1;
            or one weight a task (a sequence or a mapping).
        l1_ratio: r: 0 is ℓ2,1; more makes features drop out of single tasks, too (sparse-group lasso).
        ridge: C₂ ≥ 0.
        similarity: C ≥ 0: pulls the (standardized) coefficients of tasks together.
        graph: The graph Laplacian L `(T, T)` of that pull, in the order of `task_names_`; None for the mean of
            all tasks, L = I − 11ᵀ/T.
        standardize: Whether features, and the y of regression tasks, get unit variance in each task. The
            coefficients are given back in the data's units.
        task_feature: The column of X that holds the task (name or position), for pipelines without routing.
        tol: Duality gap at which to stop, relative to the objective of the best constants.
        max_iter: Passes of coordinate descent at most.
        verbose: Whether to write progress to stderr.

    Attributes:
        coef_: `(C, p)`: one row a task, or a class of a multinomial task.
        intercept_: `(C,)`.
        standardized_coef_: `coef_` in standardized units, in which features and tasks compare.
        columns_: What each row of `coef_` stands for: `(task, None)` or `(task, class)`.
        feature_importances_: Norm of each feature's row in standardized units `(p,)`.
        task_names_: The tasks.
        task_classes_: The classes of each classification task.
        objective_: Value of the objective, in standardized units.
        null_objective_: The same for constants alone.
        dual_gap_: Duality gap, relative to `null_objective_`: a proven bound, at most `tol` unless warned.
        n_iter_: Passes of coordinate descent.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(200, 8))
        >>> task = np.repeat(["dose", "ill"], 100)
        >>> signal = X[:, 0] - X[:, 1]
        >>> y = np.where(task == "dose", 3 * signal, signal > 0)
        >>> model = MixedMultiTaskLasso(alpha=0.5).fit(X, y, task=task)
        >>> model.get_support(indices=True)
        array([0, 1])
        >>> model.predict(X[:2], task=["dose", "ill"]).shape
        (2,)
    """

    def __init__(
        self,
        alpha: float = 1.0,
        *,
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
        self.alpha = alpha
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

    def fit(self, X: Any, y: Any, task: Any = None, sample_weight: Any = None) -> MixedMultiTaskLasso:
        """Fit stacked data, or one X with several columns of labels.

        Args:
            X: Features `(N, p)`, dense, sparse or a DataFrame, without NaN.
            y: Labels `(N,)`; NaN or None is unobserved. Without tasks also `(N, T)`: one column a task.
            task: The task of each row `(N,)`. Under metadata routing, ask for it with
                `set_fit_request(task=True)`.
            sample_weight: `(N,)`; only ratios within a task matter.

        Returns:
            The estimator itself.

        Raises:
            ValueError: If data or parameters make no sense; the message says which, and what to do.
        """
        return self._fit(self._samples(X, y, task, sample_weight))

    def fit_tasks(self, Xs: Any, ys: Any, sample_weights: Any = None, names: Any = None) -> MixedMultiTaskLasso:
        """Fit one X and y a task: sequences, or mappings from task names.

        Args:
            Xs: Features `(n_t, p)` of each task.
            ys: Labels `(n_t,)` of each task.
            sample_weights: `(n_t,)` or None for each task, or None.
            names: Names of the tasks; 0, 1, … if not given.

        Returns:
            The estimator itself.
        """
        return self._fit(self._separate(Xs, ys, sample_weights, names))

    def _fit(self, samples: list[Samples]) -> MixedMultiTaskLasso:
        if not (np.isfinite(self.alpha) and self.alpha >= 0):
            raise ValueError(f"alpha must be at least 0 and finite, got {self.alpha}")
        solver = self._solver(samples)
        solution = solver.solve(float(self.alpha))
        self._adopt(solver.problem, solution, solver.null_objective)
        return self


def original_units(problem: Problem, solution: Solution) -> tuple[Array, Array]:
    """Coefficients `(C, p)` and intercepts `(C,)` for the data as they were given."""
    coef = np.zeros((problem.columns, problem.features))
    intercept = np.empty(problem.columns)
    for info in problem.tasks:
        matrix = problem.designs[info.design]
        mine = info.columns
        slopes = solution.W[mine] / matrix.scale[solution.features] * info.scale
        coef[mine, solution.features] = slopes
        offset = slopes @ matrix.centre[solution.features]
        intercept[mine] = solution.intercepts[mine] * info.scale + info.shift - offset
    return coef, intercept
