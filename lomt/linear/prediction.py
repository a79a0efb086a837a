"""What every fitted mixed model can do: predict, score, and tell what it selected."""

# ruff: noqa: N803 - X, W, G and Q keep the names of the papers and of scikit-learn
from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from lomt.linear.inputs import feature_matrix, first_twice, observed, take_task_column, tidy
from lomt.linear.losses.base import Array, Labels
from lomt.linear.problem import TaskInfo
from lomt.linear.scoring import task_score
from lomt.linear.tasks import Name


def _may_have_classes(model: Any) -> bool:
    """Whether `predict_proba` makes sense, which only the labels tell."""
    if all(info.classes is None for info in getattr(model, "_tasks", [])):
        raise AttributeError("predict_proba needs a model fitted with a classification task")
    return True


class MixedLinearModel(BaseEstimator):
    """The part of a mixed model that does not care how it was fitted.

    A fit leaves `coef_ (C, p)`, `intercept_ (C,)`, `feature_importances_ (p,)`, `task_names_` and `_tasks`; C is
    the number T of tasks, but that a multinomial task has one row a class (see `columns_`).
    """

    task_feature: int | str | None
    coef_: Array
    intercept_: Array
    standardized_coef_: Array
    feature_importances_: Array
    task_names_: list[Name]
    columns_: list[tuple[Name, Any]]
    _tasks: list[TaskInfo]
    _labels_2d: bool

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.input_tags.sparse = True
        return tags

    def decision_function(self, X: Any, task: Any = None) -> Any:
        """Linear predictors: for a regression task the prediction, for classes their log-odds, for counts the log.

        Args:
            X: Features `(n, p)`.
            task: The task of each row `(n,)`, or one for all rows, or None for all tasks.

        Returns:
            `(n,)` with tasks (all must have one column); without, `(n, C)`, or `(n,)` if there is just one task
            of one column.
        """
        matrix, task = self._read(X, task)
        z = self._linear(matrix)
        if task is None:
            return z[:, 0] if z.shape[1] == 1 and not self._labels_2d else z
        result = np.empty(len(z))
        for info, rows in self._rows(task):
            if info.columns.stop - info.columns.start > 1:
                raise ValueError(f"task {info.name!r} has several columns; use predict_proba, or leave task out")
            result[rows] = z[rows, info.columns.start]
        return result

    def predict(self, X: Any, task: Any = None) -> Any:
        """Predicted labels: numbers, counts (their mean) or classes, as the task's labels were given.

        Args:
            X: Features `(n, p)`.
            task: The task of each row `(n,)`, or one for all rows, or None for all tasks.

        Returns:
            `(n,)` with tasks or if there is only one; else `(n, T)`. Of dtype object where tasks mix numbers
            and other labels.

        Raises:
            ValueError: If a task was not there at the fit.
        """
        matrix, task = self._read(X, task)
        z = self._linear(matrix)
        if task is None:
            every = [self._respond(info, z) for info in self._tasks]
            if len(every) == 1 and not self._labels_2d:
                return every[0]
            return np.stack(_alike(every), axis=1)
        parts = list(self._rows(task))
        values = _alike([self._respond(info, z[rows]) for info, rows in parts])
        result = np.empty(len(z), dtype=np.result_type(*values) if values else np.float64)
        for (_, rows), value in zip(parts, values, strict=True):
            result[rows] = value
        return result

    @available_if(_may_have_classes)
    def predict_proba(self, X: Any, task: Any = None) -> Any:
        """Probabilities of the classes, in the order of `task_classes_`.

        Args:
            X: Features `(n, p)`.
            task: The task of each row `(n,)`, or one for all rows, or None for all tasks.

        Returns:
            `(n, K)` with tasks, rows of regression tasks NaN. Without: a mapping from each classification task
            to `(n, K)`, or just that array if the model has a single task.

        Raises:
            ValueError: If no task has classes, or the tasks asked for differ in their number of classes.
        """
        matrix, task = self._read(X, task)
        z = self._linear(matrix)
        if task is None:
            every = {info.name: _probabilities(info, z) for info in self._tasks if info.classes is not None}
            return next(iter(every.values())) if len(self._tasks) == 1 else every
        parts = list(self._rows(task))
        sizes = {len(info.classes) for info, _ in parts if info.classes is not None}
        if len(sizes) != 1:
            raise ValueError(
                f"the tasks asked for have {sorted(sizes) or 'no'} classes: "
                "call predict_proba for each task, or without task"
            )
        result = np.full((len(z), sizes.pop()), np.nan)
        for info, rows in parts:
            if info.classes is not None:
                result[rows] = _probabilities(info, z[rows])
        return result

    def score(self, X: Any, y: Any, task: Any = None, sample_weight: Any = None) -> float:
        """Mean over the tasks of the share of deviance explained (R² for least squares); at best 1.

        Args:
            X: Features `(n, p)`.
            y: Labels as at the fit; unobserved ones are left out.
            task: The task of each row `(n,)`, where the fit had it.
            sample_weight: `(n,)`.
        """
        scores = list(self.task_scores(X, y, task, sample_weight).values())
        known = [score for score in scores if not np.isnan(score)]
        return float(np.mean(known)) if known else float("nan")

    def task_scores(
        self, X: Any, y: Any, task: Any = None, sample_weight: Any = None, scoring: str = "deviance"
    ) -> dict[Name, float]:
        """The score of each task that occurs in the data; NaN where its labels do not vary.

        Args:
            X: Features `(n, p)`.
            y: Labels as at the fit.
            task: The task of each row `(n,)`, where the fit had it.
            sample_weight: `(n,)`.
            scoring: `"deviance"` or `"auc"`, see `lomt.linear.scoring.task_score`.
        """
        matrix, task = self._read(X, task)
        z = self._linear(matrix)
        weights = _check_sample_weight(sample_weight, matrix, dtype=np.float64)
        columns = _label_columns(y)
        if len(columns[0]) != len(z):
            raise ValueError(f"X has {len(z)} rows, but y has {len(columns[0])}")
        if task is None and len(columns) != len(self._tasks):
            raise ValueError(
                f"y has {len(columns)} columns, but there are {len(self._tasks)} tasks; or is task missing?"
            )
        everything = np.arange(len(z))
        parts = (
            [(info, everything, column) for info, column in zip(self._tasks, columns, strict=True)]
            if task is None
            else [(info, rows, columns[0]) for info, rows in self._rows(task)]
        )
        scores = {}
        for info, candidates, column in parts:
            usable = observed(column[candidates]) & (weights[candidates] > 0)
            rows = candidates[usable]
            if len(rows):
                standardized = (z[rows][:, info.columns].T - info.shift) / info.scale
                target = info.targets(tidy(column[rows]))
                scores[info.name] = task_score(scoring, info, standardized, target, weights[rows])
        return scores

    def get_support(self, indices: bool = False) -> Any:
        """The features that any task uses: a mask `(p,)`, or their indices."""
        check_is_fitted(self)
        mask = np.any(self.coef_ != 0, axis=0)
        return np.flatnonzero(mask) if indices else mask

    def to_frame(self) -> Any:
        """The coefficients as a pandas DataFrame, features × tasks, with their names."""
        import pandas as pd

        check_is_fitted(self)
        names = [name if label is None else f"{name}: {label}" for name, label in self.columns_]
        return pd.DataFrame(self.coef_.T, index=self.coef_names_, columns=names)

    @property
    def coef_names_(self) -> list[Any]:
        """Name of each feature of `coef_`: the DataFrame's, else its position among the features."""
        check_is_fitted(self)
        names = getattr(self, "feature_names_in_", None)
        if names is None:
            return list(range(self.coef_.shape[1]))
        if self.task_feature is None or len(names) == self.coef_.shape[1]:
            return list(names)
        dropped = self.task_feature if isinstance(self.task_feature, str) else names[self.task_feature]
        return [name for name in names if name != dropped]

    @property
    def task_classes_(self) -> dict[Name, Labels]:
        """The classes of each classification task, in the order of `predict_proba`."""
        check_is_fitted(self)
        return {info.name: info.classes for info in self._tasks if info.classes is not None}

    def _read(self, X: Any, task: Any) -> tuple[Any, Labels | None]:
        """Checked features, and the task of each row if there is one."""
        check_is_fitted(self)
        given = X
        if self.task_feature is not None:
            if task is not None:
                raise ValueError(f"the task comes from column {self.task_feature!r} (task_feature); leave task out")
            X, task = take_task_column(X, self.task_feature)
        matrix = feature_matrix(X)
        validate_data(self, given, reset=False, skip_check_array=True)
        if matrix.shape[1] != self.coef_.shape[1]:
            raise ValueError(
                f"X has {matrix.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.coef_.shape[1]} features as input"
            )
        if task is None:
            return matrix, None
        labels = np.asarray(task)
        if labels.ndim == 0:
            labels = np.repeat(labels, matrix.shape[0])
        if labels.shape != (matrix.shape[0],):
            raise ValueError(f"task must have one entry a row of X ({matrix.shape[0]}), got shape {labels.shape}")
        unknown = ~np.isin(labels, np.asarray(self.task_names_))
        if unknown.any():
            raise ValueError(
                f"unknown task {labels[unknown].tolist()[0]!r}: the model was fitted on {self.task_names_}"
            )
        return matrix, labels

    def _linear(self, matrix: Any) -> Array:
        z = matrix @ self.coef_.T
        return np.asarray(z.toarray() if sp.issparse(z) else z) + self.intercept_

    def _rows(self, task: Labels) -> list[tuple[TaskInfo, np.ndarray]]:
        pairs = [(info, np.flatnonzero(task == info.name)) for info in self._tasks]
        return [(info, rows) for info, rows in pairs if len(rows)]

    def _respond(self, info: TaskInfo, z: Array) -> Labels:
        mine = z[:, info.columns].T
        if info.classes is None:
            return np.asarray(info.loss.response(mine)[0])
        if len(mine) == 1:
            positive = (mine[0] > 0) if len(info.classes) == 2 else np.zeros(mine.shape[1], dtype=int)
            return np.asarray(info.classes[positive.astype(int)])
        return np.asarray(info.classes[np.argmax(mine, axis=0)])


def _probabilities(info: TaskInfo, z: Array) -> Array:
    chance = info.loss.response(z[:, info.columns].T)
    if info.classes is not None and len(info.classes) == 1:
        return np.ones((len(z), 1))
    return np.stack([1 - chance[0], chance[0]], axis=1) if len(chance) == 1 else np.ascontiguousarray(chance.T)


def _alike(values: list[Labels]) -> list[Labels]:
    """Arrays that can lie in one: as they are if all are numbers or all are strings, else of dtype object."""
    numeric = [np.issubdtype(value.dtype, np.number) for value in values]
    textual = [value.dtype.kind in "US" for value in values]
    if all(numeric) or all(textual):
        return values
    return [value.astype(object) for value in values]


def _label_columns(y: Any) -> list[Labels]:
    """The columns of labels `(n,)` or `(n, T)`, each with its own type where y is a DataFrame.

    Raises:
        ValueError: If two of them have one name.
    """
    if hasattr(y, "columns"):
        twice = first_twice(list(y.columns))
        if twice is not None:
            raise ValueError(f"two columns of y have the name {twice!r}; every task needs a name of its own")
        return [np.asarray(y[name]) for name in y.columns]
    labels = np.asarray(y)
    return [labels] if labels.ndim == 1 else list(labels.T)
