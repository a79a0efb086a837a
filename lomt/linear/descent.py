"""Block coordinate descent on a quadratic model, one feature (all its columns) at a time."""

# ruff: noqa: N803 - X, W, G and Q keep the names of the papers and of scikit-learn
from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lomt.linear.block_step import block_minimum, rotated_step
from lomt.linear.compiled import compiled
from lomt.linear.extrapolation import mixture, model_value
from lomt.linear.losses.base import Array

_MEMORY = 8  # passes that an extrapolation looks back


@compiled
def weigh(
    blocks: Array,
    begin: npt.NDArray[np.intp],
    starts: npt.NDArray[np.intp],
    lengths: npt.NDArray[np.intp],
    weights: Array,
    means: Array,
    squares: Array,
) -> None:  # pragma: no cover - compiled
    """Weighted mean and weighted sum of squared deviations of every feature in every column.

    Args:
        blocks: The features' samples: feature j of column c at `begin[c] + j * lengths[c]`, `lengths[c]` long.
        begin: `(C,)`.
        starts: Where each column begins in `weights` `(C,)`.
        lengths: Samples of each column `(C,)`.
        weights: Weights, flat.
        means: Output `(C, m)`.
        squares: Output `(C, m)`.
    """
    columns, features = means.shape
    for c in range(columns):
        samples = lengths[c]
        d = weights[starts[c] : starts[c] + samples]
        total = 0.0
        for i in range(samples):
            total += d[i]
        total = max(total, 1e-300)
        for j in range(features):
            x = blocks[begin[c] + j * samples : begin[c] + (j + 1) * samples]
            first = 0.0
            second = 0.0
            for i in range(samples):
                product = d[i] * x[i]
                first += product
                second += product * x[i]
            means[c, j] = first / total
            squares[c, j] = max(second - first * first / total, 0.0)


@compiled
def descend(
    W: Array,
    G: Array,
    squares: Array,
    gram_of: npt.NDArray[np.intp],
    grams: Array,
    scales: Array,
    blocks: Array,
    begin: npt.NDArray[np.intp],
    starts: npt.NDArray[np.intp],
    lengths: npt.NDArray[np.intp],
    residual: Array,
    weights: Array,
    means: Array,
    Q: Array,
    basis: Array,
    bends: Array,
    rotated: bool,
    group: float,
    single: float,
    max_sweeps: int,
    enough: float,
) -> int:  # pragma: no cover - compiled
    """Minimize ⟨G, ΔW⟩ + ½ Σ_c Δw_cᵀ H_c Δw_c + ½ tr(W Q Wᵀ) + group Σ‖wⱼ‖₂ + single Σ‖wⱼ‖₁, in place.

    A column whose H_c is at hand as a Gram matrix keeps its gradient for all features up to date; where there are
    fewer samples than features it is cheaper to keep the residual, and to form a gradient when its turn comes.
    After each pass over all features come up to ten over those that are not zero, and after every few passes an
    extrapolation, taken if it lowers the objective (all that is kept up to date is affine in W, and mixes likewise).

    Args:
        W: Coefficients `(C, m)`, updated.
        G: For columns with a Gram matrix the gradient of losses and Q at W `(C, m)`, else of Q only; kept up to date.
        squares: Diagonal of H_c `(C, m)`.
        gram_of: Which Gram matrix a column uses, −1 for none `(C,)`.
        grams: Gram matrices `(D, ≥m, ≥m)`; H_c = scales[c] · grams[gram_of[c]][:m, :m].
        scales: Factor of a column's Gram matrix `(C,)`.
        blocks: Samples of the features, as for `weigh`.
        begin: As for `weigh`.
        starts: As for `weigh`.
        lengths: As for `weigh`.
        residual: Gradient of the losses in the linear predictors, flat, updated where there is no Gram matrix.
        weights: Curvature of the losses, flat.
        means: Weighted means of the features `(C, m)`.
        Q: Quadratic penalty `(C, C)`.
        basis: Orthonormal columns `(C, C)`, used if `rotated`.
        bends: Curvature that Q adds `(C,)`: a diagonal that dominates it, or if `rotated` its eigenvalues in `basis`.
        rotated: Whether to take the steps in Q's eigenbasis, where strong ties between tasks cost no extra passes;
            ‖wⱼ‖₂ is the same there, ‖wⱼ‖₁ is not, so that `single` must be 0.
        group: Weight of ‖wⱼ‖₂.
        single: Weight of ‖wⱼ‖₁.
        max_sweeps: Number of passes at most.
        enough: Stop once no feature's step, in a pass over all, mends more than this of the gradient (its norm).

    Returns:
        Number of passes done.
    """
    columns, features = W.shape
    coupled = np.any(Q != 0.0)
    slopes = np.empty(columns)
    pull = np.empty(columns)
    curvature = np.empty(columns)
    new = np.empty(columns)
    alive = np.ones(features, dtype=np.bool_)
    partial = 0
    W_start, G_start, residual_start = W.copy(), G.copy(), residual.copy()
    W_past = np.empty((_MEMORY + 1, columns * features))
    G_past = np.empty((_MEMORY + 1, columns * features))
    residual_past = np.empty((_MEMORY + 1, len(residual)))
    remembered = 0
    for sweep in range(max_sweeps):
        worst = 0.0
        for j in range(features):
            if partial > 0 and not alive[j]:
                continue
            for c in range(columns):
                gradient = G[c, j]
                if gram_of[c] < 0:
                    samples = lengths[c]
                    x = blocks[begin[c] + j * samples : begin[c] + (j + 1) * samples]
                    r = residual[starts[c] : starts[c] + samples]
                    for i in range(samples):
                        gradient += x[i] * r[i]
                slopes[c] = gradient
            if rotated:
                rotated_step(W, slopes, squares, basis, bends, group, j, pull, curvature, new)
            else:
                for c in range(columns):
                    curvature[c] = max(squares[c, j] + bends[c], 1e-300)
                    pull[c] = curvature[c] * W[c, j] - slopes[c]
                block_minimum(pull, curvature, group, single, new)
            alive[j] = False
            mended = 0.0
            for c in range(columns):
                if new[c] != 0.0:
                    alive[j] = True
                step = new[c] - W[c, j]
                W[c, j] = new[c]
                new[c] = step
                if step == 0.0:
                    continue
                mended += (curvature[c] * step) ** 2
                if gram_of[c] >= 0:
                    row = grams[gram_of[c], j]
                    factor = step * scales[c]
                    for i in range(features):
                        G[c, i] += factor * row[i]
                else:
                    samples = lengths[c]
                    x = blocks[begin[c] + j * samples : begin[c] + (j + 1) * samples]
                    r = residual[starts[c] : starts[c] + samples]
                    d = weights[starts[c] : starts[c] + samples]
                    mean = means[c, j]
                    for i in range(samples):
                        r[i] += step * d[i] * (x[i] - mean)
            worst = max(worst, mended)
            if coupled:
                for c in range(columns):
                    if new[c] != 0.0:
                        for d2 in range(columns):
                            G[d2, j] += Q[d2, c] * new[c]
        if worst <= enough * enough:
            if partial == 0:
                return sweep + 1
            partial = 0
        else:
            partial = (partial + 1) % 11
        W_past[remembered] = W.ravel()
        G_past[remembered] = G.ravel()
        residual_past[remembered] = residual
        remembered += 1
        if remembered > _MEMORY:
            remembered = 0
            share = mixture(W_past[1:] - W_past[:-1])
            W_far = (share @ W_past[1:]).reshape(W.shape)
            G_far = (share @ G_past[1:]).reshape(W.shape)
            residual_far = share @ residual_past[1:]
            here = model_value(
                W, G, residual, W_start, G_start, residual_start, gram_of, starts, lengths, weights, group, single
            )
            there = model_value(
                W_far, G_far, residual_far, W_start, G_start, residual_start, gram_of, starts, lengths, weights, group,
                single,
            )  # fmt: skip
            if there < here:
                W[:] = W_far
                G[:] = G_far
                residual[:] = residual_far
    return max_sweeps
