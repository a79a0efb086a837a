"""Unpenalized intercepts, solved for exactly: that is what makes the residuals feasible in the dual."""

from __future__ import annotations

import numpy as np

from lomt.linear.losses import Multinomial
from lomt.linear.losses.base import Array
from lomt.linear.problem import Problem, Segment

_EPS = float(np.finfo(np.float64).eps)


def settle(problem: Problem, z: Array) -> tuple[Array, Array, Array]:
    """Shift each column of `z` to the constant that minimizes its loss.

    Args:
        problem: The assembled tasks.
        z: Linear predictors, flat.

    Returns:
        The shifted linear predictors (flat), the shifts `(C,)` and the gradient of the losses there (flat), whose
        sum over each column is zero to rounding.
    """
    settled, theta = np.empty_like(z), np.empty_like(z)
    shifts = np.zeros(problem.columns)
    for segment in problem.segments:
        where = segment.where
        y, a = problem.y[where], problem.a[where]
        solve = _settle_columns if segment.loss.separable else _settle_classes
        lengths = np.array([problem.column_slices[c].stop - problem.column_slices[c].start for c in segment.columns])
        shifts[segment.columns], theta[where] = solve(segment, z[where], y, a, lengths)
        settled[where] = z[where] + np.repeat(shifts[segment.columns], lengths)
    return settled, shifts, theta


def _settle_columns(segment: Segment, z: Array, y: Array, a: Array, lengths: np.ndarray) -> tuple[Array, Array]:
    """Newton in every column at once, kept inside a bracket of the root by bisection."""
    loss = segment.loss
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    shift = np.zeros(len(lengths))
    low, high = np.full(len(lengths), -np.inf), np.full(len(lengths), np.inf)
    theta = loss.gradient(z, y, a)
    for _ in range(100):
        slope = np.add.reduceat(theta, starts)
        noise = 2 * _EPS * np.add.reduceat(np.abs(theta), starts)
        moving = np.abs(slope) > noise
        if not moving.any():
            break
        low, high = np.where(slope < 0, shift, low), np.where(slope > 0, shift, high)
        at = z + np.repeat(shift, lengths) if shift.any() else z
        bend = np.add.reduceat(loss.curvature(at, y, a), starts)
        target = shift - np.clip(slope / np.maximum(bend, 1e-300), -8.0 - np.abs(shift), 8.0 + np.abs(shift))
        outside = (target <= low) | (target >= high)
        with np.errstate(invalid="ignore"):
            middle = 0.5 * (low + high)
        target = np.where(outside & np.isfinite(middle), middle, target)
        target = np.where(moving, target, shift)
        if np.array_equal(target, shift):
            break
        shift = target
        theta = loss.gradient(z + np.repeat(shift, lengths), y, a)
    return shift, theta


def _settle_classes(segment: Segment, z: Array, y: Array, a: Array, lengths: np.ndarray) -> tuple[Array, Array]:
    """Damped Newton in the constants of a multinomial task, which hang together."""
    loss = segment.loss
    if not isinstance(loss, Multinomial):
        raise TypeError(f"{type(loss).__name__} is not separable; only losses derived from Multinomial may be")
    z, y, a = (x.reshape(segment.shape) for x in (z, y, a))
    shift = np.zeros((len(lengths), 1))
    value, theta = loss.value(z, y, a), loss.gradient(z, y, a)
    for _ in range(60):
        if np.all(np.abs(theta.sum(axis=1)) <= 4 * _EPS * np.abs(theta).sum(axis=1)):
            break
        step = loss.newton_constants(z + shift, y, a)[:, None]
        size = 1.0
        while size > 1e-8 and loss.value(z + shift + size * step, y, a) > value + 1e-15 * abs(value):
            size *= 0.5
        if size <= 1e-8:
            break
        shift = shift + size * step
        value, theta = loss.value(z + shift, y, a), loss.gradient(z + shift, y, a)
    return shift[:, 0], np.ravel(theta)
