"""Time of whole paths, in CPU seconds on one thread, ours beside others, at one and the same duality gap.

Run: OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/linear/speed.py [--adelie PYTHON] [--skglm PYTHON]
[--repeats 5] [--parts mixed "mixed, hard" same_x growth] [--out FILE]
adelie and skglm run in environments of their own: python -m venv /tmp/adelie && /tmp/adelie/bin/pip install adelie.
Each gets the standardized problem ready made, and the loosest of a row of tolerances at which it comes within 1e-6 of
our objective (relative to that of the best constants) at every alpha. The sides take turns, so that whatever else the
machine does hits all of them.
"""

# ruff: noqa: ANN001, ANN202, D103, N803 - a script, read top to bottom
from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from datetime import date
from pathlib import Path

import numba
import numpy as np
import sklearn
from sklearn.linear_model import MultiTaskLasso

from lomt.linear import mixed_path, simulate

TASKS, FEATURES, ALPHAS, RATIO = 20, 2000, 20, 0.05
SAMPLES = np.tile(np.linspace(100, 500, 10).astype(int), 2)


def seconds(function) -> tuple[float, object]:
    """CPU seconds of a call, and its result."""
    begin = time.process_time()
    result = function()
    return time.process_time() - begin, result


def mixed(repeats: int, pythons: dict, setting: dict) -> dict:
    """10 regression and 10 classification tasks, each with its own X."""
    data = simulate(10, 10, samples=SAMPLES, features=FEATURES, **setting)
    options = {"n_alphas": ALPHAS, "alpha_min_ratio": RATIO, "loss_weights": "mtlcomb"}

    def ours():
        return mixed_path(data.Xs, data.ys, **options)

    path = ours()  # compiles
    problem = path.problem
    order = [problem.column_slices[c] for c in range(problem.columns)]
    arrays = {f"X{t}": matrix.matrix for t, matrix in enumerate(problem.designs)}
    arrays |= {
        "tasks": problem.columns, "features": FEATURES, "regressions": 10, "alphas": path.alphas,
        "y": np.concatenate([problem.y[w] for w in order]), "weights": np.concatenate([problem.a[w] for w in order]),
    }  # fmt: skip
    sides = {"ours": lambda: seconds(ours)[0]}
    peers = {name: Peer(python, name, arrays, path) for name, python in pythons.items()}
    return {"setting": setting} | race(sides, peers, repeats, path)


def same_x(repeats: int, pythons: dict) -> dict:
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
        return mixed_path(X, Y, losses="squared", alphas=alphas, standardize=False, tol=1e-6)

    def theirs():
        # Its gap is relative to ‖Y‖², ours to ‖Y‖²/2n (and its objective is n times ours): tol 5e-7 is our 1e-6.
        model, fits = MultiTaskLasso(fit_intercept=False, warm_start=True, tol=5e-7, max_iter=100_000, copy_X=False), []
        fits.extend(model.set_params(alpha=alpha).fit(Xc, Yc).coef_.copy() for alpha in alphas)
        return fits

    path = ours()  # compiles
    sides = {"ours": lambda: seconds(ours)[0], "scikit-learn": lambda: seconds(theirs)[0]}
    pythons = {name: python for name, python in pythons.items() if name == "skglm"}
    peers = {name: Peer(python, name, {"X": Xc, "Y": Yc, "alphas": alphas}, path) for name, python in pythons.items()}
    return race(sides, peers, repeats, path)


class Peer:
    """Somebody else's solver in a process of its own, at the loosest tolerance at which it comes near our objective."""

    def __init__(self, python: str, name: str, arrays: dict, path) -> None:
        self.python, self.script = python, Path(__file__).with_name(f"{name}_side.py")
        self.arrays, self.path = arrays, path
        for tol in (1e-2, 3e-3, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-9, 1e-11, 1e-13):
            self.tol = tol
            self.seconds()
            if self.excess <= 1e-6:
                break

    def seconds(self) -> float:
        """CPU seconds of its path; leaves `excess` over our objective, relative to that of constants."""
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "data.npz", Path(folder) / "out.json"
            np.savez(source, tol=self.tol, repeats=1, **self.arrays)
            subprocess.run([self.python, str(self.script), str(source), str(target)], check=True, timeout=1200)
            result = json.loads(target.read_text())
            fits = dict(np.load(str(target) + ".npz"))
        path, self.version = self.path, result["version"]
        intercepts = fits.get("b", np.zeros((len(path.alphas), path.problem.columns)))
        self.excess = max(
            (objective(path.problem, W.T, b, alpha) - ours.objective) / path.null_objective
            for W, b, alpha, ours in zip(fits["W"], intercepts, path.alphas, path.solutions, strict=True)
        )
        return result["seconds"][0]


def race(sides: dict, peers: dict, repeats: int, path) -> dict:
    """Medians of all sides, which take turns, and how they compare to ours."""
    sides = sides | {name: peer.seconds for name, peer in peers.items()}
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            times[name].append(side())
            print(f"{name}: {times[name][-1]:.3f} s", flush=True)
    result: dict = {name: {"seconds": statistics.median(t), "best": min(t), "all": t} for name, t in times.items()}
    for name, t in times.items():
        result[name]["median of times ours"] = statistics.median(a / b for a, b in zip(t, times["ours"], strict=True))
    for name, peer in peers.items():
        result[name] |= {"version": peer.version, "tol": peer.tol, "excess of its objective over ours": peer.excess}
    result["ours"]["largest gap"] = path.dual_gaps.max()
    return result | {"features": [len(s.features) for s in path.solutions]}


def objective(problem, W, b, alpha: float) -> float:
    """Our objective at anybody's coefficients `(T, p)`."""
    z = np.empty_like(problem.y)
    for c, where in enumerate(problem.column_slices):
        z[where] = problem.designs[problem.design_of[c]].matrix @ W[c] + b[c]
    return problem.value(z) + alpha * np.linalg.norm(W, axis=0).sum()


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


def processor() -> str:
    """What the processor calls itself, where Linux tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adelie", help="the Python of an environment with adelie")
    parser.add_argument("--skglm", help="the Python of an environment with skglm")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--parts", nargs="*", default=["mixed", "mixed, hard", "same_x", "growth"])
    parser.add_argument("--save-for-r", type=Path, metavar="FOLDER", help="write the mixed problem as CSV files for R")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.save_for_r:
        save_for_r(arguments.save_for_r)
    result = {
        "machine": f"{processor()}, one thread, {os.getloadavg()[1]:.1f} processes on {os.cpu_count()} cores",
        "versions": {"numpy": np.__version__, "numba": numba.__version__, "scikit-learn": sklearn.__version__},
    }  # fmt: skip
    named = {"adelie": arguments.adelie, "skglm": arguments.skglm}
    pythons = {name: python for name, python in named.items() if python}
    parts = {
        "mixed": lambda: mixed(arguments.repeats, pythons, {"active": 50, "common": 1.0, "noise": 0.1}),
        "mixed, hard": lambda: mixed(arguments.repeats, pythons, {"active": 50, "common": 0.0, "noise": 0.5}),
        "same_x": lambda: same_x(arguments.repeats, pythons),
        "growth": growth,
    }
    for name in arguments.parts:
        result[name] = parts[name]() | {"date": date.today().isoformat()}
        if arguments.out:  # after each part: an interruption costs one part, and the others stay as they were
            old = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
            arguments.out.write_text(json.dumps(old | result, indent=1, default=float) + "\n")
    print(json.dumps(result, indent=1, default=float))
    print("\nWhere R is installed:\n" + R_COMMAND)


if __name__ == "__main__":
    main()
