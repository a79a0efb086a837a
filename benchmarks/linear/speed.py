"""Time of whole paths, in CPU seconds on one thread, ours beside others, at one and the same duality gap.

Run: OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/linear/speed.py [--adelie PYTHON] [--skglm]
[--repeats 5] [--parts mixed same_x growth] [--out FILE]
adelie needs an environment of its own: python -m venv /tmp/adelie && /tmp/adelie/bin/pip install adelie.
"""

# ruff: noqa: ANN001, ANN202, D103, N803 - a script, read top to bottom
from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import tempfile
import time
import warnings
from datetime import date
from pathlib import Path

import numba
import numpy as np
import sklearn
from sklearn.linear_model import MultiTaskLasso

from tailor.linear import mixed_path, simulate

TASKS, FEATURES, ALPHAS, RATIO = 20, 2000, 20, 0.05
SAMPLES = np.tile(np.linspace(100, 500, 10).astype(int), 2)


def seconds(function) -> tuple[float, object]:
    """CPU seconds of a call, and its result."""
    begin = time.process_time()
    result = function()
    return time.process_time() - begin, result


def mixed(repeats: int, adelie: str | None, setting: dict) -> dict:
    """10 regression and 10 classification tasks, each with its own X."""
    data = simulate(10, 10, samples=SAMPLES, features=FEATURES, **setting)
    options = {"n_alphas": ALPHAS, "alpha_min_ratio": RATIO, "loss_weights": "mtlcomb"}
    mixed_path(data.Xs, data.ys, **options | {"n_alphas": 2})  # compiles
    times = []
    for _ in range(repeats):
        spent, path = seconds(lambda: mixed_path(data.Xs, data.ys, **options))
        times.append(spent)
    result = {
        "setting": setting,
        "ours": {"seconds": statistics.median(times), "best": min(times), "largest gap": path.dual_gaps.max()},
        "features": [len(s.features) for s in path.solutions],
    }
    if adelie:
        result["adelie"] = adelie_side(adelie, path, repeats)
    return result


def adelie_side(python: str, path, repeats: int) -> dict:
    """The same standardized problem by adelie, tightened until its own gap is at most ours, timed at that tolerance."""
    problem = path.problem
    blocks = [matrix.matrix for matrix in problem.designs]
    order = [problem.column_slices[c] for c in range(problem.columns)]
    arrays = {f"X{t}": X for t, X in enumerate(blocks)}
    arrays |= {
        "tasks": len(blocks), "features": FEATURES, "regressions": 10, "alphas": path.alphas,
        "y": np.concatenate([problem.y[w] for w in order]), "weights": np.concatenate([problem.a[w] for w in order]),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for tol in (1e-7, 1e-9, 1e-11, 1e-13):
            source, target = Path(folder) / "data.npz", Path(folder) / "out.json"
            np.savez(source, tol=tol, repeats=repeats, **arrays)
            here = Path(__file__).with_name("adelie_side.py")
            subprocess.run([python, str(here), str(source), str(target)], check=True, timeout=580)
            result = json.loads(target.read_text())
            fits = np.load(str(target) + ".npz")
            excess = max(
                (objective(problem, fits["W"][k].T, fits["b"][k], alpha) - ours.objective) / path.null_objective
                for k, (alpha, ours) in enumerate(zip(path.alphas, path.solutions, strict=True))
            )
            if excess <= 1e-6:
                break
    times = result.pop("seconds")
    return {
        "seconds": statistics.median(times), "best": min(times), "tol": tol,
        "largest excess of the objective over ours": excess, **result,
    }  # fmt: skip


def objective(problem, W, b, alpha: float) -> float:
    """Our objective at anybody's coefficients `(T, p)`."""
    z = np.empty_like(problem.y)
    for c, where in enumerate(problem.column_slices):
        z[where] = problem.designs[c].matrix @ W[c] + b[c]
    return problem.value(z) + alpha * np.linalg.norm(W, axis=0).sum()


def same_x(repeats: int, with_skglm: bool) -> dict:
    """Least squares on one X, beside scikit-learn and skglm: n = 500, p = 2000, T = 20."""
    random = np.random.default_rng(0)
    X = np.asfortranarray(random.normal(size=(500, FEATURES)))
    W = np.zeros((FEATURES, TASKS))
    W[:50] = random.normal(size=(50, TASKS))
    Y = X @ W + 0.1 * np.sqrt(50) * random.normal(size=(500, TASKS))
    top = np.sqrt((((X - X.mean(0)).T @ (Y - Y.mean(0)) / 500) ** 2).sum(1)).max()
    alphas = np.geomspace(top, RATIO * top, ALPHAS)
    Xc, Yc = np.asfortranarray(X - X.mean(0)), np.asfortranarray(Y - Y.mean(0))

    def ours():
        return mixed_path(X, Y, alphas=alphas, standardize=False, tol=1e-6)

    def theirs():
        # Its gap is relative to ‖Y‖², ours to ‖Y‖²/2n (and its objective is n times ours): tol 5e-7 is our 1e-6.
        model, fits = MultiTaskLasso(fit_intercept=False, warm_start=True, tol=5e-7, max_iter=100_000, copy_X=False), []
        fits.extend(model.set_params(alpha=alpha).fit(Xc, Yc).coef_.copy() for alpha in alphas)
        return fits

    def glass():
        from skglm import MultiTaskLasso as Skglm

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Skglm(fit_intercept=False, tol=1e-6).path(Xc, Yc, alphas)

    sides = {"ours": ours, "scikit-learn": theirs} | ({"skglm": glass} if with_skglm else {})
    times: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side()  # compiles, warms caches
    for _ in range(repeats):
        for name, side in sides.items():
            times[name].append(seconds(side)[0])
    result = {name: {"seconds": statistics.median(t), "best": min(t)} for name, t in times.items()}
    path = ours()
    result["ours"]["largest gap"] = path.dual_gaps.max()
    result["features"] = [len(s.features) for s in path.solutions]
    result["ratio to scikit-learn"] = statistics.median(
        a / b for a, b in zip(times["ours"], times["scikit-learn"], strict=True)
    )
    return result


def growth() -> dict:
    """How time grows with the number of features and of tasks."""
    by_features, by_tasks = {}, {}
    _timed(simulate(2, 2, features=50, active=5))  # loads what is compiled
    for p in (1000, 3000, 10_000, 30_000, 100_000):
        data = simulate(5, 5, samples=100, features=p, active=20, common=1.0, noise=0.3)
        by_features[p] = _timed(data)
    for tasks in (10, 20, 50, 100, 200):
        data = simulate(tasks // 2, tasks // 2, samples=100, features=2000, active=20, common=1.0, noise=0.3)
        by_tasks[tasks] = _timed(data)
    return {"features (10 tasks, n = 100)": by_features, "tasks (p = 2000, n = 100)": by_tasks}


def _timed(data) -> dict:
    spent, path = seconds(lambda: mixed_path(data.Xs, data.ys, n_alphas=10, alpha_min_ratio=0.2))
    return {
        "seconds": spent,
        "largest gap": path.dual_gaps.max(),
        "features at the end": len(path.solutions[-1].features),
    }


R_COMMAND = """python benchmarks/linear/speed.py --parts --save-for-r /tmp/mtlcomb
R -e 'remotes::install_github("transbioZI/MTLComb"); library(MTLComb)
      read <- function(kind) lapply(0:19, function(t) as.matrix(read.csv(sprintf("/tmp/mtlcomb/%s%d.csv", kind, t), header = FALSE)))
      Xs <- lapply(read("X"), scale); ys <- read("y")
      print(system.time(MTLComb_Train(Xs, ys, nlambda = 20, lambda_ratio = 0.05,
                                      opts = list(init = 0, tol = 1e-6, maxIter = 10000))))'
(argument names as of version 0.1; ?MTLComb_Train tells if they have changed)"""  # noqa: E501


def save_for_r(folder: Path) -> None:
    """The first mixed setting as CSV files, classes as -1 and 1."""
    folder.mkdir(parents=True, exist_ok=True)
    data = simulate(10, 10, samples=SAMPLES, features=FEATURES, active=50, common=1.0, noise=0.1)
    for t, (X, y) in enumerate(zip(data.Xs, data.ys, strict=True)):
        np.savetxt(folder / f"X{t}.csv", X, delimiter=",", fmt="%.10g")
        np.savetxt(folder / f"y{t}.csv", y if t < 10 else 2 * y - 1, delimiter=",", fmt="%.10g")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adelie", help="the Python of an environment with adelie")
    parser.add_argument(
        "--skglm", action="store_true", help="time skglm's MultiTaskLasso, too (it compiles for minutes)"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--parts", nargs="*", default=["mixed", "same_x", "growth"])
    parser.add_argument("--save-for-r", type=Path, metavar="FOLDER", help="write the mixed problem as CSV files for R")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.save_for_r:
        save_for_r(arguments.save_for_r)
    result = {
        "date": date.today().isoformat(), "machine": f"{platform.processor() or platform.machine()}, one thread",
        "versions": {"numpy": np.__version__, "numba": numba.__version__, "scikit-learn": sklearn.__version__},
    }  # fmt: skip
    if "mixed" in arguments.parts:
        result["mixed"] = [
            mixed(arguments.repeats, arguments.adelie, setting)
            for setting in (
                {"active": 50, "common": 1.0, "noise": 0.1},
                {"active": 50, "common": 0.0, "noise": 0.5},
            )
        ]
    if "same_x" in arguments.parts:
        result["same_x"] = same_x(arguments.repeats, arguments.skglm)
    if "growth" in arguments.parts:
        result["growth"] = growth()
    text = json.dumps(result, indent=1, default=float)
    print(text)
    print("\nWhere R is installed:\n" + R_COMMAND)
    if arguments.out:
        old = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        arguments.out.write_text(json.dumps(old | result, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
