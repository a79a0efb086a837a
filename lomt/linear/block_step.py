"""The exact minimum over one feature's row of coefficients."""

# ruff: noqa: N803 - X, W, G and Q keep the names of the papers and of scikit-learn
from __future__ import annotations

import numpy as np

from lomt.linear.compiled import compiled
from lomt.linear.losses.base import Array


@compiled
def block_minimum(
    pull: Array, curvature: Array, group: float, single: float, out: Array
) -> None:  # pragma: no cover - compiled
    """Write argmin_w Σ ½ curvature w² − pull w + group ‖w‖₂ + single ‖w‖₁ to `out`, to machine precision.

    Setting the derivative to zero gives w = soft(pull, single) / (curvature + group / ν) with ν = ‖w‖, so that
    ν is the root of Σ (soft / (curvature ν + group))² = 1; Newton on the reciprocal of its square root, which
    is nearly linear in ν (exactly, where all curvatures agree).
    """
    columns = pull.shape[0]
    square = 0.0
    most = 0.0
    for c in range(columns):
        size = abs(pull[c]) - single
        out[c] = np.copysign(size, pull[c]) if size > 0.0 else 0.0
        square += out[c] * out[c]
        most = max(most, curvature[c])
    norm = np.sqrt(square)
    if norm <= group:
        for c in range(columns):
            out[c] = 0.0
        return
    if group <= 0.0:
        for c in range(columns):
            out[c] = out[c] / curvature[c]
        return
    nu = (norm - group) / most  # from below
    for _ in range(50):
        total = 0.0
        slope = 0.0
        for c in range(columns):
            scale = curvature[c] * nu + group
            part = out[c] / scale
            total += part * part
            slope += part * part * curvature[c] / scale
        root = np.sqrt(total)
        step = total * (root - 1.0) / slope
        nu += step
        if abs(step) <= 1e-14 * nu:
            break
    for c in range(columns):
        out[c] = out[c] * nu / (curvature[c] * nu + group)


@compiled
def rotated_step(
    W: Array,
    slopes: Array,
    squares: Array,
    basis: Array,
    bends: Array,
    group: float,
    j: int,
    pull: Array,
    curvature: Array,
    new: Array,
) -> None:  # pragma: no cover - compiled
    """Write the new row j to `new`, from a model with the curvature h I + Q, h the largest of the row's columns.

    In the eigenbasis of Q that model is diagonal. `curvature` ends as h plus Q's largest eigenvalue.
    """
    columns = len(slopes)
    most = 0.0
    for c in range(columns):
        most = max(most, squares[c, j])
    turned = np.empty(columns)
    highest = 0.0
    for k in range(columns):
        here = 0.0
        slope = 0.0
        for c in range(columns):
            here += basis[c, k] * W[c, j]
            slope += basis[c, k] * slopes[c]
        curvature[k] = max(most + bends[k], 1e-300)
        highest = max(highest, curvature[k])
        pull[k] = curvature[k] * here - slope
    block_minimum(pull, curvature, group, 0.0, turned)
    for c in range(columns):
        value = 0.0
        for k in range(columns):
            value += basis[c, k] * turned[k]
        new[c] = value
    curvature[:] = highest
