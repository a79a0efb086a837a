"""The mixed path of `speed.py` by adelie, run in an environment of its own: python adelie_side.py data.npz out.json."""

# ruff: noqa: ANN001, ANN201, ARG002, D102, D103 - a script, read top to bottom
from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import adelie as ad
import numpy as np
import scipy.sparse as sp


class Mixed(ad.glm.glm_base, ad.adelie_core.glm.GlmBase64):
    """Least squares on the first rows, weighted logistic loss on the others."""

    def __init__(self, y, weights, first) -> None:
        ad.glm.glm_base.__init__(self, y, weights, ad.adelie_core.glm.GlmBase64, np.float64)
        ad.adelie_core.glm.GlmBase64.__init__(self, "mixed", self.y, self.weights)
        self.first = first

    def gradient(self, eta, grad):
        k, w, y = self.first, self.weights, self.y
        grad[:k] = w[:k] * (y[:k] - eta[:k])
        grad[k:] = w[k:] * (y[k:] - 1 / (1 + np.exp(-eta[k:])))

    def hessian(self, eta, grad, hess):
        k, w = self.first, self.weights
        p = 1 / (1 + np.exp(-eta[k:]))
        hess[:k] = w[:k]
        hess[k:] = w[k:] * p * (1 - p)

    def inv_hessian_gradient(self, eta, grad, hess, inv_hess_grad):
        inv_hess_grad[:] = grad / np.maximum(hess, 1e-300)

    def loss(self, eta):
        k, w, y = self.first, self.weights, self.y
        return w[:k] @ (0.5 * eta[:k] ** 2 - y[:k] * eta[:k]) + w[k:] @ (np.logaddexp(0, eta[k:]) - y[k:] * eta[k:])

    def loss_full(self):
        k, w, y = self.first, self.weights, self.y
        return -0.5 * w[:k] @ y[:k] ** 2


def main() -> None:
    data = np.load(sys.argv[1])
    tasks, p = int(data["tasks"]), int(data["features"])
    blocks = [data[f"X{t}"] for t in range(tasks)]
    weights, y = data["weights"], data["y"]
    sizes = [len(X) for X in blocks]
    first = sum(sizes[: int(data["regressions"])])
    # Feature-major columns, so that a feature's tasks lie beside each other, then one free column a task.
    matrix = sp.block_diag(blocks, format="csc")[:, np.arange(tasks * p).reshape(tasks, p).T.ravel()]
    ones = sp.block_diag([np.ones((n, 1)) for n in sizes], format="csc")
    X = sp.hstack([matrix, ones], format="csc")
    groups = np.concatenate([np.arange(p) * tasks, p * tasks + np.arange(tasks)])
    penalty = np.concatenate([np.ones(p), np.zeros(tasks)])
    total = weights.sum()
    results = {"seconds": []}
    for _ in range(int(data["repeats"])):
        begin = time.process_time()
        state = ad.grpnet(
            X=ad.matrix.sparse(sp.csc_matrix(X), method="naive"), glm=Mixed(y, weights / total, first),
            groups=groups, penalty=penalty, lmda_path=data["alphas"] / total, intercept=False, early_exit=False,
            tol=float(data["tol"]), irls_tol=float(data["tol"]), progress_bar=False,
        )  # fmt: skip
        results["seconds"].append(time.process_time() - begin)
    betas = state.betas.toarray()
    results["version"] = ad.__version__
    np.savez(sys.argv[2] + ".npz", W=betas[:, : p * tasks].reshape(-1, p, tasks), b=betas[:, p * tasks :])
    Path(sys.argv[2]).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
