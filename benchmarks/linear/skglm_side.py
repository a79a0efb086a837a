"""Paths of `speed.py` by skglm, run in an environment of its own: python skglm_side.py data.npz out.json."""

# ruff: noqa: ANN001, ANN201, ANN202, ARG002, D102, D103, N803 - a script, read top to bottom
from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import skglm
from numba import float64, int32, int64
from skglm.datafits.base import BaseDatafit
from skglm.penalties import WeightedGroupL2
from skglm.solvers import GroupBCD
from skglm.utils.jit_compilation import compiled_clone


class Mixed(BaseDatafit):
    """Least squares on the first rows, weighted logistic loss on the others; no two columns of a group share a row."""

    def __init__(self, grp_ptr, grp_indices, weights, first) -> None:
        self.grp_ptr, self.grp_indices, self.weights, self.first = grp_ptr, grp_indices, weights, first

    def get_spec(self):
        return (("grp_ptr", int32[:]), ("grp_indices", int32[:]), ("weights", float64[:]), ("first", int64))

    def params_to_dict(self):
        return {name: getattr(self, name) for name in ("grp_ptr", "grp_indices", "weights", "first")}

    def initialize_sparse(self, X_data, X_indptr, X_indices, y):
        pass

    def get_lipschitz_sparse(self, X_data, X_indptr, X_indices, y):
        result = np.zeros(len(self.grp_ptr) - 1)
        for g in range(len(result)):
            for j in self.grp_indices[self.grp_ptr[g] : self.grp_ptr[g + 1]]:
                total = 0.0
                for i in range(X_indptr[j], X_indptr[j + 1]):
                    row = X_indices[i]
                    total += self.weights[row] * X_data[i] ** 2 * (1.0 if row < self.first else 0.25)
                result[g] = max(result[g], total)
        return result

    def value(self, y, w, Xw):
        total = 0.0
        for i in range(len(y)):
            if i < self.first:
                total += self.weights[i] * 0.5 * (Xw[i] - y[i]) ** 2
            else:
                softplus = max(Xw[i], 0.0) + np.log1p(np.exp(-abs(Xw[i])))
                total += self.weights[i] * (softplus - y[i] * Xw[i])
        return total

    def gradient_g_sparse(self, X_data, X_indptr, X_indices, y, w, Xw, g):
        columns = self.grp_indices[self.grp_ptr[g] : self.grp_ptr[g + 1]]
        gradient = np.zeros(len(columns))
        for k, j in enumerate(columns):
            for i in range(X_indptr[j], X_indptr[j + 1]):
                row = X_indices[i]
                fitted = Xw[row] if row < self.first else 1.0 / (1.0 + np.exp(-Xw[row]))
                gradient[k] += X_data[i] * self.weights[row] * (fitted - y[row])
        return gradient


def mixed_path(data):
    """Coefficients `(A, p, T)` and intercepts `(A, T)` on the block-diagonal matrix, as a function of the grid."""
    tasks, p = int(data["tasks"]), int(data["features"])
    blocks = [data[f"X{t}"] for t in range(tasks)]
    first = sum(len(X) for X in blocks[: int(data["regressions"])])
    # Feature-major columns, so that a feature's tasks are one group, then one free column a task.
    matrix = sp.block_diag(blocks, format="csc")[:, np.arange(tasks * p).reshape(tasks, p).T.ravel()]
    X = sp.csc_matrix(sp.hstack([matrix, sp.block_diag([np.ones((len(X), 1)) for X in blocks])], format="csc"))
    y = data["y"]
    ends = np.concatenate([np.arange(p + 1) * tasks, p * tasks + 1 + np.arange(tasks)]).astype(np.int32)
    members = np.arange(p * tasks + tasks, dtype=np.int32)
    free = np.concatenate([np.ones(p), np.full(tasks, 1e-300)])  # at 0, skglm divides 0 by 0
    datafit = compiled_clone(Mixed(ends, members, data["weights"], first))
    penalty = compiled_clone(WeightedGroupL2(1.0, free, ends, members))
    solver = GroupBCD(max_iter=200, max_epochs=1000, tol=float(data["tol"]))

    def path(alphas):
        w, z, fits = np.zeros(X.shape[1]), np.zeros(len(y)), []
        for alpha in alphas:
            penalty.alpha = alpha
            w = solver._solve(X, y, datafit, penalty, w, z)[0]
            fits.append(w.copy())
        fits = np.array(fits)
        return {"W": fits[:, : p * tasks].reshape(-1, p, tasks), "b": fits[:, p * tasks :]}

    return path


def same_x_path(data):
    """Coefficients `(A, p, T)` of skglm's own MultiTaskLasso path."""
    model = skglm.MultiTaskLasso(fit_intercept=False, tol=float(data["tol"]))
    X, Y = np.asfortranarray(data["X"]), np.asfortranarray(data["Y"])

    def path(alphas):
        return {"W": model.path(X, Y, alphas)[1].transpose(2, 1, 0)}

    return path


def main() -> None:
    warnings.simplefilter("ignore")
    data = np.load(sys.argv[1])
    path = mixed_path(data) if "tasks" in data else same_x_path(data)
    path(data["alphas"][:2])  # compiles
    seconds = []
    for _ in range(int(data["repeats"])):
        begin = time.process_time()
        fits = path(data["alphas"])
        seconds.append(time.process_time() - begin)
    np.savez(sys.argv[2] + ".npz", **fits)
    Path(sys.argv[2]).write_text(json.dumps({"seconds": seconds, "version": skglm.__version__}))


if __name__ == "__main__":
    main()
