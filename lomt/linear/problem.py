"""A mixed fit, assembled: many tasks side by side as columns over the same features."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lomt.linear.design import Design, design
from lomt.linear.losses import Loss
from lomt.linear.losses.base import Array, Labels
from lomt.linear.tasks import Losses, Name, Samples, losses_of, resolve_loss
from lomt.linear.weighting import LossWeights, loss_weight


@dataclass(frozen=True)
class TaskInfo:
    """What is remembered of a task after the fit.

    Attributes:
        name: Its identifier.
        loss: Its loss.
        classes: Its classes `(K,)`, or None for numbers.
        columns: Its columns among all (one, or one a class).
        shift: What was subtracted from y.
        scale: What y was then divided by.
        weight: Weight of its loss.
        design: Index of its design in `Problem.designs`.
    """

    name: Name
    loss: Loss
    classes: Labels | None
    columns: slice
    shift: float
    scale: float
    weight: float
    design: int

    def targets(self, y: Labels) -> Array:
        """Labels `(n,)` in the form that the loss works on, `(k, n)`, by the classes that the fit saw.

        Raises:
            ValueError: If a label is none of the fitted classes, or no number where numbers are needed.
        """
        if self.classes is None:
            return (self.loss.encode(y, f"task {self.name!r}")[0] - self.shift) / self.scale
        unknown = ~np.isin(y, self.classes)
        if unknown.any():
            raise ValueError(
                f"task {self.name!r}: label {y[unknown].tolist()[0]!r} is none of the classes {self.classes.tolist()}"
            )
        codes = np.searchsorted(self.classes, y)
        if self.columns.stop - self.columns.start == 1:
            return codes[None, :].astype(np.float64)
        return np.asarray(np.arange(len(self.classes))[:, None] == codes[None, :], dtype=np.float64)


@dataclass(frozen=True)
class Segment:
    """A stretch of the flat arrays on which one loss works at once, and the columns that it covers in turn."""

    loss: Loss
    where: slice
    shape: tuple[int, ...]
    columns: list[int]


class Problem:
    """Σ_tasks weight · mean loss(y, X̃ w + b), as a function of flat linear predictors.

    Every column (a task, or a class of a multinomial task) owns a stretch of the flat arrays `z`, `y` and `a`
    (the sample weights times the task's loss weight). Tasks with the same loss lie beside each other, so that
    one NumPy call serves them all, however many they are.

    Attributes:
        tasks: What is known of each task, in the user's order.
        designs: The distinct designs.
        design_of: Design of each column `(C,)`.
        starts: Where each column begins in the flat arrays `(C + 1,)`.
        y: Targets, flat.
        a: Weights, flat.
        null_z: Linear predictor of the best constants, flat.
    """

    def __init__(
        self, samples: Sequence[Samples], losses: Losses, loss_weights: LossWeights, standardize: bool
    ) -> None:
        choices = losses_of(losses, [task.name for task in samples])
        resolved = [resolve_loss(choice, task.y, task.name) for choice, task in zip(choices, samples, strict=True)]
        # Columns keep the user's order of tasks; only the flat arrays are sorted by loss.
        self.tasks: list[TaskInfo] = []
        self.designs: list[Design] = []
        self._known: dict[tuple[int, bytes], int] = {}
        parts: list[tuple[Array, Array, Array]] = []
        column = 0
        for index, (task, loss) in enumerate(zip(samples, resolved, strict=True)):
            shares = task.weights / task.weights.max()  # before they are summed, which might overflow
            shares /= shares.sum()
            y, classes = loss.encode(task.y, f"task {task.name!r}")
            shift, scale = loss.natural_scale(y, shares)
            y = np.zeros_like(y) if scale == 0 else y - shift
            scale = scale if standardize and scale > 0 else 1.0
            y = y / scale
            weight = loss_weight(loss_weights, loss, y, shares, task.name, index, len(samples))
            if loss.degenerate(y) or not np.any(y != y[:, :1]):
                _warn_degenerate(task, classes)
            counted = 0.0 if loss.degenerate(y) else weight
            null = np.repeat(loss.null(y, shares)[:, None], y.shape[1], axis=1)
            parts.append((y, np.broadcast_to(counted * shares, y.shape), null))
            where = slice(column, column + len(y))
            known = self._design(task, shares, standardize)
            self.tasks.append(TaskInfo(task.name, loss, classes, where, shift, scale, weight, known))
            column += len(y)
        self.features = len(self.designs[0].centre)
        self._lay_out(parts)

    def _design(self, task: Samples, shares: Array, standardize: bool) -> int:
        key = (id(task.X), shares.tobytes())
        if key not in self._known:
            self._known[key] = len(self.designs)
            self.designs.append(design(task.X, shares, standardize))
        return self._known[key]

    def _lay_out(self, parts: list[tuple[Array, Array, Array]]) -> None:
        """Sort the flat arrays by loss, and note the segments."""
        kinds = [(type(task.loss).__name__, repr(vars(task.loss))) for task in self.tasks]
        order = sorted(range(len(self.tasks)), key=lambda t: (not self.tasks[t].loss.separable, kinds[t], t))
        columns = sum(len(part[0]) for part in parts)
        self.column_slices: list[slice] = [slice(0, 0)] * columns
        self.design_of: npt.NDArray[np.intp] = np.zeros(columns, dtype=np.intp)
        self.segments: list[Segment] = []
        self.flat_order: list[int] = []
        position = 0
        for t in order:
            task, (y, _, _) = self.tasks[t], parts[t]
            begin, previous = position, self.segments[-1] if self.segments else None
            for c in range(task.columns.start, task.columns.stop):
                self.column_slices[c] = slice(position, position + y.shape[1])
                self.design_of[c] = task.design
                self.flat_order.append(c)
                position += y.shape[1]
            owned = list(range(task.columns.start, task.columns.stop))
            if task.loss.separable and previous is not None and kinds[t] == kinds[order[order.index(t) - 1]]:
                begin, owned = previous.where.start, previous.columns + owned
                self.segments.pop()
            shape = (position - begin,) if task.loss.separable else y.shape
            self.segments.append(Segment(task.loss, slice(begin, position), shape, owned))
        self.y = np.concatenate([parts[t][0].ravel() for t in order])
        self.a = np.concatenate([parts[t][1].ravel() for t in order])
        self.null_z = np.concatenate([parts[t][2].ravel() for t in order])
        lengths = [self.column_slices[c].stop - self.column_slices[c].start for c in self.flat_order]
        self.flat_starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.intp)
        self.flat_lengths = np.asarray(lengths, dtype=np.intp)

    @property
    def columns(self) -> int:
        """Number C of columns of coefficients."""
        return len(self.column_slices)

    def value(self, z: Array) -> float:
        """The sum of the weighted losses at linear predictors `z`, flat."""
        return sum(
            s.loss.value(
                z[s.where].reshape(s.shape), self.y[s.where].reshape(s.shape), self.a[s.where].reshape(s.shape)
            )
            for s in self.segments
        )

    def gradient(self, z: Array) -> Array:
        """Derivative of `value` in z, flat."""
        return self._elementwise("gradient", z)

    def curvature(self, z: Array) -> Array:
        """Diagonal that is or dominates the second derivative of `value` in z, flat."""
        return self._elementwise("curvature", z)

    def conjugate(self, theta: Array) -> float:
        """Convex conjugate of `value` at `theta`, flat."""
        return sum(
            s.loss.conjugate(
                theta[s.where].reshape(s.shape), self.y[s.where].reshape(s.shape), self.a[s.where].reshape(s.shape)
            )
            for s in self.segments
        )

    def column_sums(self, flat: Array) -> Array:
        """Sum over the samples of each column `(C,)`."""
        sums = np.empty(self.columns)
        sums[self.flat_order] = np.add.reduceat(flat, self.flat_starts)
        return sums

    def spread(self, per_column: Array) -> Array:
        """One value a column `(C,)`, repeated for all its samples, flat."""
        return np.repeat(per_column[self.flat_order], self.flat_lengths)

    def correlate(self, theta: Array) -> Array:
        """Gradient in the coefficients of all features, `(C, p)`, from the one in z, flat."""
        result = np.empty((self.columns, self.features))
        for index, matrix in enumerate(self.designs):
            mine = np.flatnonzero(self.design_of == index)
            result[mine] = matrix.correlate(np.stack([theta[self.column_slices[c]] for c in mine]))
        return result

    def _elementwise(self, what: str, z: Array) -> Array:
        result = np.empty_like(z)
        for s in self.segments:
            method = getattr(s.loss, what)
            shaped = (x[s.where].reshape(s.shape) for x in (z, self.y, self.a))
            result[s.where] = np.ravel(method(*shaped))
        return result


def _warn_degenerate(task: Samples, classes: Labels | None) -> None:
    value = task.y[0].item() if isinstance(task.y[0], np.generic) else task.y[0]
    seen = "class" if classes is not None else "label"
    warnings.warn(
        f"task {task.name!r} has only the {seen} {value!r}: it cannot tell what matters, and gets coefficients 0",
        UserWarning,
        stacklevel=2,
    )
